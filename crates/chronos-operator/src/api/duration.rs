//! Durations as Go and Kubernetes write them: `90s`, `1h30m`, `250ms`.

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};

/// The duration in whole milliseconds, rounded down. `None` for text that is not a duration, has
/// no unit or is negative.
pub fn milliseconds(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let factor = match unit {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1000.0,
            "ms" => 1.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = next;
    }
    (total < i64::MAX as f64).then_some(total as i64)
}

/// Milliseconds as a duration, in the largest unit that says them exactly.
pub fn text(milliseconds: i64) -> String {
    for (unit, factor) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if milliseconds != 0 && milliseconds % factor == 0 {
            return format!("{}{unit}", milliseconds / factor);
        }
    }
    format!("{milliseconds}ms")
}

/// The schema of a duration. The pattern is what [`milliseconds`] reads, as far as an `i64` holds it.
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "pattern": r"^([0-9]{1,8}(\.[0-9]{1,3})?(ms|s|m|h))+$"
    })
}

/// The rule that a duration is within these, both included.
pub(super) fn between(field: &str, least: &str, most: &str) -> Rule {
    Rule::new(format!(
        "duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"
    ))
    .message(format!("{field} must be from {least} to {most}").as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        assert_eq!(milliseconds("250ms"), Some(250));
        assert_eq!(milliseconds("90s"), Some(90_000));
        assert_eq!(milliseconds("1h30m"), Some(5_400_000));
        assert_eq!(milliseconds("1.5s"), Some(1500));
        assert_eq!(milliseconds("0s"), Some(0));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "s", "-5s", "5 s", "5d", "1.2.3s", "5s6"] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_reads_back_as_it_was_written() {
        for value in [0, 1, 999, 1000, 1500, 60_000, 90_000, 7_200_000] {
            assert_eq!(milliseconds(&text(value)), Some(value));
        }
    }
}
