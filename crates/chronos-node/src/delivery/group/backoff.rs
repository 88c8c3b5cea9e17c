//! How long a failed delivery waits before the next one.

use super::millis;
use std::time::Duration;

/// Waits between deliveries of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backoff {
    /// Before the second delivery.
    pub first: Duration,
    /// By how much every further wait is longer, thousandths; without it the n-th wait is n times
    /// the first.
    pub factor: Option<u64>,
    /// The longest.
    pub most: Option<Duration>,
    /// Share of a wait that is left to chance, thousandths.
    pub jitter: u64,
}

impl Backoff {
    /// The wait after this many failures, milliseconds. Chance is a hash of the event and the
    /// attempt, so the wait is the same whoever computes it.
    pub fn wait_ms(&self, failures: u32, offset: u64) -> i64 {
        let first = millis(self.first);
        let whole = match self.factor {
            None => first.saturating_mul(i64::from(failures)),
            Some(factor) => {
                let growth = (factor as f64 / 1e3).powf(f64::from(failures.saturating_sub(1)));
                // Saturates.
                (first as f64 * growth) as i64
            }
        };
        let whole = self.most.map_or(whole, |most| whole.min(millis(most)));
        let share = i128::from(self.jitter.min(1_000)) * i128::from(chance(offset, failures));
        let less = i128::from(whole) * share / (1_000 * i128::from(u32::MAX));
        whole - less as i64
    }
}

/// A number that looks random, by splitmix64.
fn chance(offset: u64, failures: u32) -> u32 {
    let mut x = (offset ^ u64::from(failures).rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ x >> 31) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grows_by_count_or_by_a_factor_up_to_the_longest() {
        let linear = Backoff {
            first: Duration::from_millis(10),
            ..Backoff::default()
        };
        assert_eq!([1, 2, 3].map(|n| linear.wait_ms(n, 7)), [10, 20, 30]);
        let doubling = Backoff {
            factor: Some(2_000),
            most: Some(Duration::from_millis(35)),
            ..linear
        };
        assert_eq!(
            [1, 2, 3, 9_999].map(|n| doubling.wait_ms(n, 7)),
            [10, 20, 35, 35]
        );
    }

    proptest! {
        #[test]
        fn chance_takes_away_at_most_its_share(
            first_ms in 0_u64..1 << 40,
            factor in prop::option::of(1_000_u64..10_000),
            jitter in 0_u64..=1_000,
            failures in 1_u32..1_000,
            offset: u64,
        ) {
            let sure = Backoff { first: Duration::from_millis(first_ms), factor, most: None, jitter: 0 };
            let backoff = Backoff { jitter, ..sure };
            let (whole, wait) = (sure.wait_ms(failures, offset), backoff.wait_ms(failures, offset));
            let least = i128::from(whole) * i128::from(1_000 - jitter) / 1_000;
            prop_assert!(i128::from(wait) >= least && wait <= whole);
            prop_assert_eq!(wait, backoff.wait_ms(failures, offset));
        }
    }
}
