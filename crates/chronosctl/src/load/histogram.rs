//! Times in microseconds: recorded, summed up and drawn.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest bar, in characters.
const BAR_WIDTH: usize = 44;

/// A histogram of times with three significant digits.
#[derive(Clone)]
pub(crate) struct Times {
    histogram: Histogram<u64>,
}

impl Times {
    /// An empty histogram.
    pub(crate) fn new() -> Self {
        // Only a number of digits above five is refused.
        let histogram = Histogram::new(3).expect("three significant digits are allowed");
        Self { histogram }
    }

    /// Records one time.
    pub(crate) fn record(&mut self, time: Duration) {
        self.record_us(i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
    }

    /// Records `time_us`; a negative time counts as zero.
    pub(crate) fn record_us(&mut self, time_us: i64) {
        // The histogram grows by itself and has room for every i64.
        self.histogram.record(time_us.max(0) as u64).ok();
    }

    /// Records the same time `count` times.
    pub(crate) fn record_many(&mut self, time: Duration, count: u64) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.histogram.record_n(time_us, count).ok();
    }

    /// Adds the times of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Both grow by themselves, so they always fit.
        self.histogram.add(&other.histogram).ok();
    }

    /// The summary, or `None` when nothing was recorded.
    pub(crate) fn summary(&self) -> Option<Summary> {
        if self.histogram.is_empty() {
            return None;
        }
        let at = |quantile| {
            self.histogram
                .value_at_quantile(quantile)
                .min(self.histogram.max())
        };
        Some(Summary {
            count: self.histogram.len(),
            mean_us: self.histogram.mean() as u64,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: self.histogram.max(),
        })
    }

    /// The histogram as lines of text with bars over buckets 1-2-5, or nothing when nothing was
    /// recorded.
    pub(crate) fn draw(&self, title: &str) -> String {
        let Some(summary) = self.summary() else {
            return String::new();
        };
        let mut text = format!("{title} ({} times)\n", grouped(summary.count));
        let rows = self.rows();
        let longest = rows.iter().map(|row| row.count).max().unwrap_or(1);
        for row in &rows {
            let share = row.count as f64 * 100.0 / summary.count as f64;
            let marks: String = [
                ("p50", summary.p50_us),
                ("p99", summary.p99_us),
                ("p99.9", summary.p99_9_us),
                ("max", summary.max_us),
            ]
            .iter()
            .filter(|(_, time_us)| (row.from_us..row.to_us).contains(time_us))
            .map(|(name, time_us)| format!("  {name} {}", human(*time_us)))
            .collect();
            // Writing into a string does not fail.
            writeln!(
                text,
                "  < {:>8}  {:<BAR_WIDTH$} {share:>6.2} % {:>12}{marks}",
                human(row.to_us),
                bar(row.count, longest),
                grouped(row.count),
            )
            .ok();
        }
        text
    }

    fn rows(&self) -> Vec<Row> {
        let (least_us, most_us) = (self.histogram.min(), self.histogram.max());
        let mut rows = Vec::new();
        let mut from_us = 0;
        for to_us in bounds() {
            if to_us > least_us {
                let count = self
                    .histogram
                    .iter_recorded()
                    .filter(|step| {
                        let value = step.value_iterated_to().min(most_us);
                        (from_us..to_us).contains(&value)
                    })
                    .map(|step| step.count_since_last_iteration())
                    .sum();
                rows.push(Row {
                    from_us,
                    to_us,
                    count,
                });
            }
            if to_us > most_us {
                break;
            }
            from_us = to_us;
        }
        rows
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

/// Percentiles in µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    /// Times recorded.
    pub count: u64,
    /// Mean.
    pub mean_us: u64,
    /// Half are at or below.
    pub p50_us: u64,
    /// 90 % are at or below.
    pub p90_us: u64,
    /// 99 % are at or below.
    pub p99_us: u64,
    /// 99.9 % are at or below.
    pub p99_9_us: u64,
    /// The longest.
    pub max_us: u64,
}

struct Row {
    from_us: u64,
    to_us: u64,
    count: u64,
}

/// 10, 20, 50, 100 … µs.
fn bounds() -> impl Iterator<Item = u64> {
    (1..18).flat_map(|exponent| [1, 2, 5].map(|step| step * 10_u64.pow(exponent)))
}

fn bar(count: u64, longest: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (count as f64 / longest.max(1) as f64 * (BAR_WIDTH * 8) as f64).ceil() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// A time with a fitting unit: `340 µs`, `1.25 ms`, `12.0 s`.
pub(crate) fn human(time_us: u64) -> String {
    let time = time_us as f64;
    match time_us {
        0..1_000 => format!("{time_us} µs"),
        1_000..1_000_000 => format!("{} ms", three_digits(time / 1e3)),
        _ => format!("{} s", three_digits(time / 1e6)),
    }
}

fn three_digits(value: f64) -> String {
    let decimals = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A number with its thousands apart: `1 234 567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_knows_its_percentiles() {
        let mut times = Times::new();
        assert_eq!(times.summary(), None);
        for time_us in 1..=1_000 {
            times.record_us(time_us);
        }
        let summary = times.summary().unwrap();
        assert_eq!(
            (summary.p50_us, summary.p99_us, summary.max_us),
            (500, 990, 1_000)
        );
    }

    #[test]
    fn every_time_is_drawn_once() {
        let mut times = Times::new();
        for time_us in [-5, 0, 9, 10, 19, 20, 4_999, 5_000, 123_456_789] {
            times.record_us(time_us);
        }
        assert_eq!(times.rows().iter().map(|row| row.count).sum::<u64>(), 9);
        let drawn = times.draw("lateness");
        assert!(
            drawn.contains("p50 19 µs") && drawn.contains("max 123 s"),
            "{drawn}"
        );
        assert!(drawn.contains('█'), "{drawn}");
    }

    #[test]
    fn merged_times_are_all_there() {
        let (mut left, mut right) = (Times::new(), Times::new());
        left.record(Duration::from_micros(5));
        right.record(Duration::from_secs(3_600));
        left.merge(&right);
        assert_eq!(left.summary().unwrap().count, 2);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(human(999), "999 µs");
        assert_eq!(human(1_250), "1.25 ms");
        assert_eq!(human(500_000), "500 ms");
        assert_eq!(human(12_000_000), "12 s");
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(grouped(123), "123");
    }
}
