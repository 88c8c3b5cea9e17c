//! Rates: token buckets that are told the time.
//!
//! A bucket fills at its rate and holds what the rate brings in one second. What takes more than that
//! at once waits for a full bucket and leaves a debt behind.

/// One bucket. Tokens are counted in millionths, so that microseconds lose nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    tokens: i128,
    filled_us: i64,
    /// The rate it was filled with last; 0 before the first time.
    rate: u64,
}

/// Millionths of a token.
const UNIT: i128 = 1_000_000;

impl Bucket {
    fn fill(&mut self, rate: u64, now_us: i64) {
        let full = i128::from(rate) * UNIT;
        if self.rate == 0 {
            self.tokens = full;
            self.filled_us = now_us;
        }
        let passed_us = now_us.saturating_sub(self.filled_us).max(0);
        self.tokens = (self.tokens + i128::from(passed_us) * i128::from(rate)).min(full);
        self.filled_us = self.filled_us.max(now_us);
        self.rate = rate;
    }

    /// How long until `amount` may be taken, microseconds; 0 for now. To be called when filled.
    fn wait_us(&self, amount: u64) -> u64 {
        let wanted = i128::from(amount.min(self.rate)) * UNIT;
        let missing = (wanted - self.tokens).max(0);
        let rate = i128::from(self.rate.max(1));
        u64::try_from((missing + rate - 1) / rate).unwrap_or(u64::MAX)
    }
}

/// The rates of a topic on this node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    events: Bucket,
    bytes: Bucket,
}

/// Which rate is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// Events per second.
    Events,
    /// Bytes per second.
    Bytes,
}

impl Rates {
    /// Takes events and their bytes out of both buckets, or out of neither: then it says which one
    /// is short, and after how many microseconds it may be enough. `None` is no limit.
    pub fn take(
        &mut self,
        limits: (Option<u64>, Option<u64>),
        (events, bytes): (u64, u64),
        now_us: i64,
    ) -> Result<(), (Exceeded, u64)> {
        let wanted = [
            (&mut self.events, limits.0, events, Exceeded::Events),
            (&mut self.bytes, limits.1, bytes, Exceeded::Bytes),
        ];
        let mut refused = None;
        for (bucket, limit, amount, which) in wanted {
            let Some(rate) = limit else {
                *bucket = Bucket::default();
                continue;
            };
            bucket.fill(rate.max(1), now_us);
            let wait_us = bucket.wait_us(amount);
            if wait_us > 0 && refused.is_none_or(|(_, longest)| longest < wait_us) {
                refused = Some((which, wait_us));
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        if limits.0.is_some() {
            self.events.tokens -= i128::from(events) * UNIT;
        }
        if limits.1.is_some() {
            self.bytes.tokens -= i128::from(bytes) * UNIT;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_admits_a_second_of_its_rate_and_then_as_time_passes() {
        let mut rates = Rates::default();
        let limits = (Some(10), None);
        assert_eq!(rates.take(limits, (10, 0), 0), Ok(()));
        assert_eq!(
            rates.take(limits, (1, 0), 0),
            Err((Exceeded::Events, 100_000))
        );
        assert_eq!(rates.take(limits, (1, 0), 100_000), Ok(()));
        assert!(rates.take(limits, (1, 0), 100_000).is_err());
    }

    #[test]
    fn what_is_larger_than_the_bucket_goes_when_it_is_full_and_leaves_a_debt() {
        let mut rates = Rates::default();
        let limits = (None, Some(100));
        assert_eq!(rates.take(limits, (1, 300), 0), Ok(()));
        assert_eq!(
            rates.take(limits, (1, 100), 0),
            Err((Exceeded::Bytes, 3_000_000))
        );
        assert_eq!(rates.take(limits, (1, 100), 3_000_000), Ok(()));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_allows_and_the_wait_is_true(
            rate in 1_u64..1_000,
            asks in prop::collection::vec((0_i64..500_000, 1_u64..50), 1..60),
        ) {
            let (mut rates, mut now_us, mut taken) = (Rates::default(), 0, 0);
            let limits = (Some(rate), None);
            for (passed_us, amount) in asks {
                now_us += passed_us;
                let amount = amount.min(rate);
                match rates.take(limits, (amount, 0), now_us) {
                    Ok(()) => taken += amount,
                    Err((_, wait_us)) => {
                        let mut earlier = rates;
                        prop_assert!(
                            earlier.take(limits, (amount, 0), now_us + wait_us as i64 - 1).is_err()
                        );
                        let mut later = rates;
                        prop_assert!(
                            later.take(limits, (amount, 0), now_us + wait_us as i64).is_ok()
                        );
                    }
                }
                let most = rate as u128 + rate as u128 * now_us as u128 / 1_000_000;
                prop_assert!(u128::from(taken) <= most);
            }
        }
    }
}
