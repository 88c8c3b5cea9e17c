//! Sizes as Kubernetes writes them: `10Gi`, `500M`, `1e9`.

use std::fmt;

/// The size in bytes, rounded up. `None` for text that is not a quantity, or is negative.
pub fn bytes(text: &str) -> Option<u64> {
    let split = text
        .find(|character: char| !(character.is_ascii_digit() || character == '.'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "m" => 0.001,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0_f64.powi(2),
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        _ => 10.0_f64.powi(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let bytes = (number * factor).ceil();
    (bytes.is_finite() && bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// Bytes as a quantity, in the largest binary unit that says them exactly.
pub struct Bytes(
    /// How many.
    pub u64,
);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let mut number = self.0;
        let mut unit = 0;
        while number != 0 && number.is_multiple_of(1024) && unit + 1 < units.len() {
            number /= 1024;
            unit += 1;
        }
        write!(f, "{number}{}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_every_unit() {
        assert_eq!(bytes("1"), Some(1));
        assert_eq!(bytes("1500m"), Some(2));
        assert_eq!(bytes("10Gi"), Some(10 << 30));
        assert_eq!(bytes("1.5Ki"), Some(1536));
        assert_eq!(bytes("2k"), Some(2000));
        assert_eq!(bytes("1e3"), Some(1000));
        assert_eq!(bytes("2E"), Some(2_000_000_000_000_000_000));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "Gi", "ten", "-1Gi", "1 Gi", "1Xi", "1e", "99E99"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn a_size_reads_back_as_it_was_written() {
        for size in [0, 1, 1023, 1024, 1025, 3 << 20, 10 << 30, (1 << 40) + 1] {
            assert_eq!(bytes(&Bytes(size).to_string()), Some(size));
        }
        assert_eq!(Bytes(20 << 30).to_string(), "20Gi");
    }
}
