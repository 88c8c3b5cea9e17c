//! Whole numbers as Go's flags read them: decimal, `0x`, `0o` or `0b`, underscores between digits.

/// Reads a number that is not negative. `None` if the text is not one or does not fit 64 bits.
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0o") => (&lower[2..], 8),
        Some("0b") => (&lower[2..], 2),
        _ => (lower.as_str(), 10),
    };
    parse_digits(digits, radix)
}

/// Reads decimal digits, underscores between them.
pub(super) fn parse_decimal(text: &str) -> Option<u64> {
    parse_digits(text, 10)
}

fn parse_digits(digits: &str, radix: u32) -> Option<u64> {
    if digits.starts_with(['_', '+']) || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_of_go() {
        for (text, expected) in [
            ("0", 0),
            ("100", 100),
            ("+7", 7),
            ("1_000_000", 1_000_000),
            ("0x1F", 31),
            ("0o17", 15),
            ("0B11", 3),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "+",
            "++1",
            "-1",
            "1.0",
            "1e3",
            "_1",
            "1_",
            "1__0",
            "0x",
            "0x+1",
            "18446744073709551616",
            "ten",
            " 1",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
