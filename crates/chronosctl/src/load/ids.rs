//! Names of events: `<run>-<ten digits>`.
//!
//! The digits count the events of one run from zero, so whoever receives an event finds its place
//! in the [ledger](super::ledger) by arithmetic, without a map of strings.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Decimal digits of the counter.
const DIGITS: usize = 10;
/// Longest run name in bytes.
const MAX_RUN_BYTES: usize = 24;

/// Name of one run of the load generator: 1 to 24 lower-case letters and digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunId(String);

impl RunId {
    /// A name that two runs started at different microseconds, or by different processes, do not
    /// share.
    pub(crate) fn fresh() -> Self {
        let micros = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_micros() as u64);
        let mut number = micros ^ (u64::from(std::process::id()) << 44);
        let mut name = Vec::with_capacity(13);
        while number > 0 {
            name.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]);
            number /= 36;
        }
        Self(String::from_utf8(name).unwrap_or_default())
    }
}

impl FromStr for RunId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if text.is_empty() || text.len() > MAX_RUN_BYTES || !text.bytes().all(allowed) {
            return Err(format!(
                "a run is named by 1 to {MAX_RUN_BYTES} of the characters a-z and 0-9"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Writes and reads the event ids of one run.
#[derive(Clone, Debug)]
pub(crate) struct EventIds {
    prefix: Vec<u8>,
}

impl EventIds {
    /// The ids of `run`.
    pub(crate) fn new(run: &RunId) -> Self {
        Self {
            prefix: format!("{run}-").into_bytes(),
        }
    }

    /// Length of every id of the run, in bytes.
    pub(crate) fn id_bytes(&self) -> usize {
        self.prefix.len() + DIGITS
    }

    /// Writes the id of event `counter` into `id`, which is [`id_bytes`](Self::id_bytes) long.
    pub(crate) fn write(&self, id: &mut [u8], mut counter: u64) {
        let (prefix, digits) = id.split_at_mut(self.prefix.len());
        prefix.copy_from_slice(&self.prefix);
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (counter % 10) as u8;
            counter /= 10;
        }
    }

    /// The counter in `id`, or `None` when the id is not of this run.
    pub(crate) fn counter(&self, id: &[u8]) -> Option<u64> {
        let digits = id.strip_prefix(self.prefix.as_slice())?;
        if digits.len() != DIGITS {
            return None;
        }
        digits.iter().try_fold(0_u64, |sum, digit| {
            digit
                .is_ascii_digit()
                .then(|| sum * 10 + u64::from(digit - b'0'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_gives_its_counter_back() {
        let ids = EventIds::new(&"abc123".parse().unwrap());
        let mut id = vec![0; ids.id_bytes()];
        for counter in [0, 7, 10, 4_294_967_296, 9_999_999_999] {
            ids.write(&mut id, counter);
            assert_eq!(ids.counter(&id), Some(counter));
        }
        assert_eq!(id, b"abc123-9999999999");
    }

    #[test]
    fn ids_of_others_are_not_ours() {
        let ids = EventIds::new(&"abc".parse().unwrap());
        for id in [
            "",
            "abc-",
            "abc-123",
            "abd-0000000001",
            "abc-00000000x1",
            "abc-00000000011",
        ] {
            assert_eq!(ids.counter(id.as_bytes()), None, "{id}");
        }
    }

    #[test]
    fn fresh_runs_have_valid_names() {
        let run = RunId::fresh();
        assert_eq!(run.to_string().parse::<RunId>(), Ok(run.clone()));
        assert!("Upper".parse::<RunId>().is_err());
        assert!("".parse::<RunId>().is_err());
    }
}
