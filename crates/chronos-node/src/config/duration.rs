//! Durations as Go writes them: `30s`, `1m30s`, `100ms`, `1.5h`.

use std::time::Duration;

/// The units, longest first, with their length in nanoseconds.
const UNITS: [(&str, u128); 8] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
];

/// Go keeps a duration in 64 signed bits of nanoseconds, about 292 years.
const MAX_NANOS: u128 = i64::MAX as u128;

/// Reads a duration. `None` if the text is not one, is negative, or is longer than Go could hold.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, length) = UNITS.into_iter().find(|(name, _)| *name == unit)?;

        nanos = nanos.checked_add(number(whole)?.checked_mul(length)?)?;
        // Eighteen digits are more than the longest unit can show.
        let fraction = &fraction[..fraction.len().min(18)];
        let scale = 10u128.pow(fraction.len() as u32);
        nanos = nanos.checked_add(number(fraction)? * length / scale)?;
        if nanos > MAX_NANOS {
            return None;
        }
        rest = after;
    }
    Some(Duration::from_nanos(nanos as u64))
}

/// Writes a duration so that [`parse`] reads the same one back, without parts that are zero.
pub(super) fn show(duration: Duration) -> String {
    let mut nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, length) in UNITS {
        if name == "µs" || name == "μs" {
            continue;
        }
        let count = nanos / length;
        nanos %= length;
        if count > 0 {
            text.push_str(&format!("{count}{name}"));
        }
    }
    text
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn number(digits: &str) -> Option<u128> {
    if digits.is_empty() {
        return Some(0);
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_go_reads() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("0", ms(0)),
            ("+5s", ms(5_000)),
            ("30s", ms(30_000)),
            ("1m30s", ms(90_000)),
            ("100ms", ms(100)),
            ("1.5h", ms(5_400_000)),
            (".5s", ms(500)),
            ("5.s", ms(5_000)),
            ("2h45m0.5s", ms(9_900_500)),
            ("1us", Duration::from_micros(1)),
            ("1µs", Duration::from_micros(1)),
            ("7ns", Duration::from_nanos(7)),
            ("0.100000000000000000000000001h", ms(360_000)),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses_and_what_is_negative() {
        for text in [
            "", "30", "s", ".", ".s", "-1s", "1 s", "1x", "1sm", "1s ", "3000000h", "1e3s", "+",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn shown_durations_read_back(nanos in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&show(duration)), Some(duration));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn no_nearly_right_text_panics(text in "[-+]?([0-9]{0,40}(\\.[0-9]{0,40})?[a-zµ]{0,3}){0,4}") {
            let _ = parse(&text);
        }
    }
}
