//! `graph`: when pending events fall due, drawn in the terminal.

use chronos_client::Client;
use chronos_client::schedule::PendingByTimeRequest;
use serde::Serialize;
use std::time::Duration;

use crate::exit::Failure;
use crate::printer::{Printer, table};
use crate::when::{parse_bound_ms, parse_span, show_time_ms};

/// Rows when the command line does not say how wide a bucket is.
const ROWS: i64 = 24;
/// Length of the longest bar, characters.
const BAR: i64 = 50;
/// Ends of a bar, by eighths of a character.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
const DAY_MS: i64 = 86_400_000;

/// What `graph` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Topic of the events; empty means every topic.
    #[arg(default_value = "", hide_default_value = true)]
    topic: String,
    /// Where the first row begins; now if not given.
    #[arg(long, value_name = "TIME", value_parser = parse_bound_ms)]
    from: Option<i64>,
    /// Where the last row ends; a day later if not given.
    #[arg(long, value_name = "TIME", value_parser = parse_bound_ms)]
    to: Option<i64>,
    /// How long a row is; a twenty-fourth of the whole if not given.
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    bucket: Option<Duration>,
}

#[derive(Debug, Serialize)]
struct Histogram {
    from_ts: i64,
    bucket_ms: i64,
    before: i64,
    counts: Vec<i64>,
    after: i64,
}

/// Runs the command.
pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> Result<(), Failure> {
    let from_ms = args.from.unwrap_or_else(chronos_client::now_ms);
    let to_ms = args.to.unwrap_or(from_ms.saturating_add(DAY_MS));
    let bucket_ms = match args.bucket {
        Some(bucket) => i64::try_from(bucket.as_millis()).unwrap_or(i64::MAX),
        None => (to_ms.saturating_sub(from_ms) / ROWS).max(1),
    };
    let request = PendingByTimeRequest {
        topic: args.topic,
        from_ts: from_ms,
        to_ts: to_ms,
        bucket_ms,
    };
    let answer = client.pending_by_time(request).await?;
    let histogram = Histogram {
        from_ts: answer.from_ts,
        bucket_ms: answer.bucket_ms,
        before: answer.before,
        counts: answer.counts,
        after: answer.after,
    };
    printer.whole(&histogram, || {
        let most = histogram.counts.iter().copied().max().unwrap_or(0);
        let mut table = table(["FROM", "PENDING", ""]);
        let mut from_ms = histogram.from_ts;
        if histogram.before > 0 {
            table.add_row([
                "before".to_string(),
                histogram.before.to_string(),
                String::new(),
            ]);
        }
        for count in &histogram.counts {
            table.add_row([show_time_ms(from_ms), count.to_string(), bar(*count, most)]);
            from_ms = from_ms.saturating_add(histogram.bucket_ms);
        }
        table.add_row([
            "later".to_string(),
            histogram.after.to_string(),
            String::new(),
        ]);
        table
    })?;
    Ok(())
}

/// A bar whose length is to the longest as `count` is to `most`. What is there is seen.
fn bar(count: i64, most: i64) -> String {
    if count <= 0 || most <= 0 {
        return String::new();
    }
    let eighths = (i128::from(count) * i128::from(BAR) * 8 / i128::from(most)).max(1) as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_never_vanish() {
        assert_eq!(bar(0, 10), "");
        assert_eq!(bar(10, 10).chars().count(), BAR as usize);
        assert_eq!(bar(5, 10).chars().count(), BAR as usize / 2);
        assert_eq!(bar(1, 1_000_000), "▏");
        assert_eq!(bar(i64::MAX, i64::MAX).chars().count(), BAR as usize);
    }
}
