//! When the published events are due.

use std::fmt;
use std::str::FromStr;

use super::payload;
use super::span::Span;

/// A rule that gives each event its schedule_ts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// At the moment of publishing.
    Now,
    /// A fixed span after publishing.
    After(Span),
    /// At a time picked evenly between two spans after publishing.
    Between(Span, Span),
    /// All in the same millisecond (Unix ms).
    At(i64),
}

impl Due {
    /// Between one and ninety days from now.
    pub(crate) const FAR: Self =
        Self::Between(Span::from_ms(86_400_000), Span::from_ms(90 * 86_400_000));

    /// The schedule_ts (Unix ms) of event `counter` published at `now_ms`.
    pub(crate) fn schedule_ms(self, counter: u64, now_ms: i64) -> i64 {
        match self {
            Self::Now => now_ms,
            Self::After(span) => now_ms.saturating_add_unsigned(span.as_ms()),
            Self::Between(from, to) => {
                let width_ms = to.as_ms() - from.as_ms() + 1;
                now_ms.saturating_add_unsigned(from.as_ms() + payload::pick(counter, width_ms))
            }
            Self::At(schedule_ms) => schedule_ms,
        }
    }
}

impl FromStr for Due {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span = |text: &str| {
            text.strip_prefix('+')
                .ok_or_else(|| format!("{text:?} lacks the leading +"))?
                .parse::<Span>()
        };
        match text {
            "now" => Ok(Self::Now),
            "far" => Ok(Self::FAR),
            _ => match text.split_once("..") {
                None => span(text).map(Self::After),
                Some((from, to)) => {
                    let (from, to) = (span(from)?, span(to)?);
                    if from > to {
                        return Err(format!("{text:?} ends before it begins"));
                    }
                    Ok(Self::Between(from, to))
                }
            },
        }
        .map_err(|reason| format!("{reason}; due is one of now, +10s, +10s..+1m, far"))
    }
}

impl fmt::Display for Due {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => formatter.write_str("now"),
            Self::After(span) => write!(formatter, "+{span}"),
            Self::Between(from, to) => write!(formatter, "+{from}..+{to}"),
            Self::At(schedule_ms) => write!(formatter, "at {schedule_ms}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_back_as_written() {
        for text in ["now", "+10s", "+1s..+5m", "+1d..+90d"] {
            assert_eq!(text.parse::<Due>().unwrap().to_string(), text);
        }
        assert_eq!("far".parse::<Due>(), Ok(Due::FAR));
    }

    #[test]
    fn other_rules_are_refused() {
        for text in ["", "10s", "+", "+5m..+1s", "+1s..", "later"] {
            assert!(text.parse::<Due>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_window_is_kept_and_filled() {
        let due = "+1s..+2s".parse::<Due>().unwrap();
        let times: Vec<i64> = (0..10_000)
            .map(|counter| due.schedule_ms(counter, 5_000))
            .collect();
        assert!(times.iter().all(|time| (6_000..=7_000).contains(time)));
        assert!(times.iter().any(|time| *time < 6_050) && times.iter().any(|time| *time > 6_950));
    }
}
