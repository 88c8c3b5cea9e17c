//! When a certificate expires: the one field that rustls does not tell.

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate's validity, seconds since the epoch. `None`: this is no certificate.
///
/// RFC 5280, section 4.1: a certificate begins with version, serial number, signature, issuer, and
/// validity, which is two times in UTC.
pub(crate) fn expires_at(certificate: &[u8]) -> Option<i64> {
    let mut certificate = Der(certificate).enter(SEQUENCE)?;
    let mut signed = certificate.enter(SEQUENCE)?;
    if signed.0.first() == Some(&VERSION) {
        signed.next()?;
    }
    for expected in [INTEGER, SEQUENCE, SEQUENCE] {
        signed.enter(expected)?;
    }
    let mut validity = signed.enter(SEQUENCE)?;
    validity.next()?;
    let (kind, time) = validity.next()?;
    seconds(kind, std::str::from_utf8(time).ok()?)
}

/// What is left of a series of DER elements: a kind, a length, and as many bytes.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[kind, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // The length is in the next bytes; four hold the length of any certificate.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                let add = |sum, byte: &u8| sum << 8 | usize::from(*byte);
                (bytes.iter().fold(0_usize, add), rest)
            }
            _ => return None,
        };
        let (inside, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((kind, inside))
    }

    fn enter(&mut self, expected: u8) -> Option<Self> {
        let (kind, inside) = self.next()?;
        (kind == expected).then_some(Self(inside))
    }
}

/// `YYMMDDHHMMSSZ`, or with all digits of the year.
fn seconds(kind: u8, time: &str) -> Option<i64> {
    let digits = time.strip_suffix('Z')?;
    let (year, rest) = digits.split_at_checked(match kind {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return None,
    })?;
    let mut year: i64 = year.parse().ok()?;
    if kind == UTC_TIME {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let field = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (field(0)?, field(2)?);
    let (hour, minute, second) = (field(4)?, field(6)?, field(8)?);
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970-01-01; see <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronos_tests::authority::Authority;

    #[test]
    fn reads_both_ways_to_write_a_time() {
        let utc = |time| seconds(UTC_TIME, time);
        assert_eq!(utc("700101000000Z"), Some(0));
        assert_eq!(utc("240229235959Z"), Some(1_709_251_199));
        let long = |time| seconds(GENERALIZED_TIME, time);
        assert_eq!(long("20500101000000Z"), Some(2_524_608_000));
        assert_eq!(long("99991231235959Z"), Some(253_402_300_799));
        for no_time in ["", "Z", "240229235959", "24022923595Z", "2402292359éZ"] {
            assert_eq!(utc(no_time), None, "{no_time}");
        }
    }

    #[test]
    fn finds_the_time_in_a_certificate() {
        let ca = Authority::new();
        for (year, expected) in [(2049, 2_493_072_000), (2051, 2_556_144_000)] {
            let leaf = ca.sign_until(&["db"], year);
            assert_eq!(expires_at(&leaf.der), Some(expected), "{year}");
            for end in 0..leaf.der.len().min(200) {
                assert_eq!(expires_at(&leaf.der[..end]), None, "cut at {end}");
            }
        }
    }
}
