//! Spans of time as typed on the command line: `250ms`, `10s`, `5m`, `2h`, `90d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const UNITS_MS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// A span of whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    ms: u64,
}

impl Span {
    /// A span of `ms` milliseconds.
    pub(crate) const fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    /// The span in milliseconds.
    pub(crate) const fn as_ms(self) -> u64 {
        self.ms
    }

    /// The span as a duration.
    pub(crate) const fn duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let explain = || format!("{text:?} is not a span such as 250ms, 10s, 5m, 2h or 90d");
        let split = text
            .find(|character: char| !character.is_ascii_digit())
            .ok_or_else(explain)?;
        let (number, unit) = text.split_at(split);
        let unit_ms = UNITS_MS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(explain)?
            .1;
        let ms = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit_ms))
            .filter(|ms| *ms <= i64::MAX as u64)
            .ok_or_else(explain)?;
        Ok(Self { ms })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, unit_ms) = UNITS_MS
            .iter()
            .rev()
            .find(|(_, unit_ms)| self.ms > 0 && self.ms.is_multiple_of(*unit_ms))
            .unwrap_or(&UNITS_MS[0]);
        write!(formatter, "{}{unit}", self.ms / unit_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_back_as_written() {
        for text in ["0ms", "250ms", "10s", "5m", "2h", "90d"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("60s".parse::<Span>().unwrap().to_string(), "1m");
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "1y",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
