//! How fast a replay goes.

use super::plan::Plan;
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait that a clock can count.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Says when each event is to leave.
#[derive(Debug)]
pub struct Pace {
    pause_secs: f64,
    time_factor: f64,
    began: Instant,
    sent: u64,
    /// Time of the first event, Unix milliseconds.
    first_ms: Option<i64>,
}

impl Pace {
    /// The pace of a plan, from now on.
    pub fn new(plan: &Plan) -> Self {
        Self {
            pause_secs: plan.pause_secs,
            time_factor: plan.time_factor,
            began: Instant::now(),
            sent: 0,
            first_ms: None,
        }
    }

    /// When the next event may leave, which happened at this time; `None` for at once.
    pub fn next(&mut self, event_ms: i64) -> Option<Instant> {
        if self.pause_secs == 0.0 && self.time_factor == 0.0 {
            return None;
        }
        let first_ms = *self.first_ms.get_or_insert(event_ms);
        let by_rate = self.sent as f64 * self.pause_secs;
        let by_time = match self.time_factor {
            0.0 => 0.0,
            factor => event_ms.saturating_sub(first_ms).max(0) as f64 / 1e3 / factor,
        };
        self.sent += 1;
        let wait = Duration::try_from_secs_f64(by_rate.max(by_time)).unwrap_or(FOR_EVER);
        Some(self.began + wait.min(FOR_EVER))
    }
}
