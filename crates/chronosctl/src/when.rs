//! Times and durations as people write them.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;

/// Units of a duration, in ms, longest name first where one begins with another.
const UNITS_MS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 7 * 86_400_000),
];

/// Numbers that are times of the years 1973 to 5138 in seconds. In ms they are of 1970 to 1973, which
/// nobody means.
const LIKE_SECONDS: RangeInclusive<i64> = 100_000_000..=100_000_000_000;

/// Reads a point in time: RFC 3339 with an offset, or Unix ms. Gives Unix ms.
pub(crate) fn parse_time_ms(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse::<i64>() {
        return match LIKE_SECONDS.contains(&ms) {
            true => Err("this looks like seconds; write milliseconds or RFC 3339".to_string()),
            false => Ok(ms),
        };
    }
    text.parse::<Timestamp>()
        .map(Timestamp::as_millisecond)
        .map_err(|_| {
            "expected RFC 3339 with an offset, such as 2026-12-24T18:00:00Z or \
             2026-12-24T19:00:00+01:00, or Unix time in ms"
                .to_string()
        })
}

/// Reads a time that bounds something. 0 means "no bound" on the wire, which no one asks for by a time.
pub(crate) fn parse_bound_ms(text: &str) -> Result<i64, String> {
    match parse_time_ms(text)? {
        ms if ms > 0 => Ok(ms),
        _ => Err("it must be after 1970; leave the option out for no bound".to_string()),
    }
}

/// Reads a duration of 1 ms or more. 0 means "not given" on the wire.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        span if span.as_millis() > 0 => Ok(span),
        _ => Err("it must be 1ms or more; leave the option out for no bound".to_string()),
    }
}

/// Reads a duration: numbers with units, added up, such as 10s, 1h30m or 1.5s.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || "expected a duration such as 500ms, 10s, 1h30m or 2d".to_string();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(invalid)?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit_ms = UNITS_MS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, ms)| *ms)
            .ok_or_else(invalid)?;
        total = total
            .checked_add(multiple(number, unit_ms).ok_or_else(invalid)?)
            .ok_or_else(invalid)?;
        rest = after;
    }
    Ok(total)
}

fn multiple(number: &str, unit_ms: u64) -> Option<Duration> {
    if let Ok(whole) = number.parse::<u64>() {
        return Some(Duration::from_millis(whole.checked_mul(unit_ms)?));
    }
    let (whole, fraction) = number.split_once('.')?;
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let seconds = number.parse::<f64>().ok()? * unit_ms as f64 / 1000.0;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Unix ms as RFC 3339 in UTC with ms; as a plain number when it is out of range.
pub(crate) fn show_time_ms(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, ms) in [
            ("0", 0),
            ("-5", -5),
            ("1700000000123", 1_700_000_000_123),
            ("1970-01-01T00:00:01Z", 1_000),
            ("1970-01-01T01:00:00.5+01:00", 500),
            ("2026-12-24 18:00:00Z", 1_798_135_200_000),
        ] {
            assert_eq!(parse_time_ms(text), Ok(ms), "{text}");
        }
        for text in [
            "",
            "soon",
            "2026-12-24",
            "2026-12-24T18:00:00",
            "1e3",
            "99999999999999999999",
        ] {
            assert!(parse_time_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_are_not_taken_for_ms() {
        for text in ["100000000", "1796000000", "100000000000"] {
            let refused = parse_time_ms(text).unwrap_err();
            assert!(refused.contains("looks like seconds"), "{text}: {refused}");
        }
        for text in ["99999999", "100000000001", "1796000000000", "-1796000000"] {
            assert!(parse_time_ms(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn bounds_are_never_zero() {
        assert_eq!(parse_bound_ms("1"), Ok(1));
        assert_eq!(parse_span("1ms"), Ok(Duration::from_millis(1)));
        for refused in [
            parse_bound_ms("0").map(drop),
            parse_bound_ms("-5").map(drop),
            parse_bound_ms("1970-01-01T00:00:00Z").map(drop),
            parse_span("0s").map(drop),
            parse_span("0.4ms").map(drop),
        ] {
            let refused = refused.unwrap_err();
            assert!(refused.contains("leave the option out"), "{refused}");
        }
        assert!(parse_bound_ms("soon").is_err() && parse_span("soon").is_err());
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("2d", 172_800_000),
            ("1w1ms", 604_800_001),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in [
            "",
            "10",
            "s",
            "10x",
            "1h30",
            "-1s",
            "1..5s",
            ".s",
            "1 s",
            "99999999999999999999s",
            "18446744073709551615w",
            "1m2",
            "é",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shown_times_can_be_read() {
        for ms in [0, 1, 1_700_000_000_123, -1] {
            assert_eq!(parse_time_ms(&show_time_ms(ms)), Ok(ms));
        }
        assert_eq!(show_time_ms(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(show_time_ms(i64::MAX), i64::MAX.to_string());
    }
}
