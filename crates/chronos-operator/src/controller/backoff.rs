//! How long to wait after failures: twice as long each time, up to five minutes, and a share of it
//! left to chance, so that a thousand resources do not come back together.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Failures in a row, by resource. Holds only what fails now.
#[derive(Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// Takes note of a failure; how long to wait.
    pub fn failed(&self, key: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.to_owned()).or_insert(0);
        *count = count.saturating_add(1);
        // The state of every RandomState differs.
        let chance = RandomState::new().hash_one(key);
        pause(*count, chance)
    }

    /// Forgets a resource's failures: it worked, or is gone.
    pub fn worked(&self, key: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(key);
    }
}

/// Between half and all of the doubled time.
fn pause(failures: u32, chance: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let half = whole / 2;
    let share = u32::try_from(chance % 1024).unwrap_or(0);
    half + half * share / 1023
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_vary() {
        assert_eq!(pause(1, 0), Duration::from_millis(500));
        assert_eq!(pause(1, 1023), Duration::from_secs(1));
        assert_eq!(pause(3, 1023), Duration::from_secs(4));
        assert_eq!(pause(40, 1023), LONGEST);
        assert_eq!(pause(u32::MAX, 0), LONGEST / 2);
    }

    #[test]
    fn success_begins_anew_and_leaves_nothing() {
        let backoff = Backoff::default();
        backoff.failed("a");
        assert!(backoff.failed("a") >= FIRST);
        backoff.worked("a");
        assert!(backoff.failures.lock().unwrap().is_empty());
        assert!(backoff.failed("a") <= FIRST);
    }
}
