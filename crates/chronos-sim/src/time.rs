//! Simulated time, and the wall clocks of nodes, which may be wrong.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// The wall clock at the beginning of every simulation, Unix milliseconds.
pub const BEGINNING_MS: i64 = 1_700_000_000_000;

/// The time that passes for everyone. Nobody in the simulated cluster can read it.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    began: Instant,
}

impl Timeline {
    /// Begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// Microseconds since the beginning.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// What a clock that is right shows, Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        BEGINNING_MS + self.now_us() / 1_000
    }
}

/// The wall clock of one node: off by some milliseconds, running too fast or too slow, and set
/// anew now and then.
#[derive(Debug)]
pub struct WallClock {
    timeline: Timeline,
    setting: Mutex<Setting>,
}

#[derive(Debug, Clone, Copy)]
struct Setting {
    since_us: i64,
    at_us: i64,
    drift_ppm: i64,
}

impl WallClock {
    /// A clock that is right.
    #[must_use]
    pub fn new(timeline: Timeline) -> Self {
        let now_us = timeline.now_us();
        Self {
            timeline,
            setting: Mutex::new(Setting {
                since_us: now_us,
                at_us: now_us,
                drift_ppm: 0,
            }),
        }
    }

    fn shown_us(&self, setting: &Setting) -> i64 {
        let passed_us = self.timeline.now_us() - setting.since_us;
        setting.at_us + passed_us + passed_us * setting.drift_ppm / 1_000_000
    }

    /// What it shows, Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        BEGINNING_MS + self.shown_us(&self.setting.lock()).div_euclid(1_000)
    }

    /// How long until it shows `at_ms`, if nobody sets it meanwhile. At least a millisecond, which
    /// is as exact as timers are, and at most a second, because somebody may set it.
    #[must_use]
    pub fn until(&self, at_ms: i64) -> Duration {
        let left_ms = at_ms.saturating_sub(self.now_ms()).clamp(1, 1_000);
        Duration::from_millis(left_ms.unsigned_abs())
    }

    /// Sets it forward, or back.
    pub fn jump(&self, by_ms: i64) {
        let mut setting = self.setting.lock();
        let at_us = self.shown_us(&setting) + by_ms * 1_000;
        *setting = Setting {
            since_us: self.timeline.now_us(),
            at_us,
            ..*setting
        };
    }

    /// Lets it gain so many microseconds a second from now on; -1,000,000 stops it.
    pub fn drift(&self, drift_ppm: i64) {
        let mut setting = self.setting.lock();
        *setting = Setting {
            since_us: self.timeline.now_us(),
            at_us: self.shown_us(&setting),
            drift_ppm,
        };
    }

    /// Sets it right.
    pub fn correct(&self) {
        let now_us = self.timeline.now_us();
        *self.setting.lock() = Setting {
            since_us: now_us,
            at_us: now_us,
            drift_ppm: 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_drifts_jumps_stops_and_is_corrected() {
        let timeline = Timeline::begin();
        let clock = WallClock::new(timeline);
        clock.drift(100_000);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(clock.now_ms(), BEGINNING_MS + 11_000);
        clock.jump(-5_000);
        assert_eq!(clock.now_ms(), BEGINNING_MS + 6_000);
        clock.drift(-1_000_000);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(clock.now_ms(), BEGINNING_MS + 6_000);
        clock.correct();
        assert_eq!(clock.now_ms(), timeline.now_ms());
    }
}
