//! Sizes in bytes: `536870912`, `512MiB` (2^20), `512MB` (10^6).

use super::number;

/// The suffixes with their factor. Those that print come first, largest first.
const UNITS: [(&str, u64); 13] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a size. `None` if the text is not one or does not fit 64 bits. Case does not matter.
pub(super) fn parse(text: &str) -> Option<u64> {
    for (suffix, factor) in UNITS {
        let Some(split) = text.len().checked_sub(suffix.len()) else {
            continue;
        };
        let (Some(digits), Some(end)) = (text.get(..split), text.get(split..)) else {
            continue;
        };
        if end.eq_ignore_ascii_case(suffix)
            && let Some(count) = number::parse_decimal(digits)
        {
            return count.checked_mul(factor);
        }
    }
    number::parse(text)
}

/// Writes a size in the largest binary unit that loses nothing.
pub(super) fn show(bytes: u64) -> String {
    for (suffix, factor) in &UNITS[..4] {
        if bytes >= *factor && bytes.is_multiple_of(*factor) {
            return format!("{}{suffix}", bytes / factor);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_bytes_and_suffixes() {
        for (text, expected) in [
            ("0", 0),
            ("536870912", 536_870_912),
            ("512MiB", 536_870_912),
            ("512Mi", 536_870_912),
            ("512mib", 536_870_912),
            ("512MB", 512_000_000),
            ("1kb", 1_000),
            ("1KiB", 1_024),
            ("7B", 7),
            ("1_000", 1_000),
            ("0x10", 16),
            ("0xB", 11),
            ("0x1B", 27),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "MiB",
            "-1",
            "1.5GiB",
            "5M",
            "5 MiB",
            "18446744073709551616",
            "99999999TiB",
            "é",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn shown_sizes_read_back(bytes in any::<u64>(), shift in 0..50u32) {
            for bytes in [bytes, bytes >> 20 << shift] {
                prop_assert_eq!(parse(&show(bytes)), Some(bytes));
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
