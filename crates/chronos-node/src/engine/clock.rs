//! The wall clock, read in one place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix milliseconds, rounded down: an event due at a millisecond is not due before it began.
pub fn now_ms() -> i64 {
    now_us().div_euclid(1_000)
}

/// Unix microseconds.
pub fn now_us() -> i64 {
    let us = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    };
    #[cfg(feature = "mutants")]
    let us = us.saturating_add(off_by_us());
    us
}

/// By how much the clock is wrong: what `CHRONOS_CLOCK_OFF_BY_MS` says, in builds with mutants.
#[cfg(feature = "mutants")]
fn off_by_us() -> i64 {
    static OFF_BY_US: std::sync::LazyLock<i64> = std::sync::LazyLock::new(|| {
        let ms = std::env::var("CHRONOS_CLOCK_OFF_BY_MS").ok();
        ms.and_then(|ms| ms.parse::<i64>().ok()).unwrap_or(0) * 1_000
    });
    *OFF_BY_US
}

/// How long it is until a Unix millisecond; zero when it has passed. Longer waits are cut to an
/// hour, so that a step of the wall clock is noticed.
pub fn until(at_ms: i64) -> Duration {
    let us = at_ms.saturating_mul(1_000).saturating_sub(now_us());
    Duration::from_micros(us.clamp(0, 3_600_000_000) as u64)
}
