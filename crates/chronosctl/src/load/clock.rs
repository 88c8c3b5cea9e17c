//! The wall clock: schedule_ts is wall-clock time, so lateness is too.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in µs.
pub(crate) fn now_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_micros() as i64)
}

/// Unix time in ms.
pub(crate) fn now_ms() -> i64 {
    now_us() / 1_000
}
