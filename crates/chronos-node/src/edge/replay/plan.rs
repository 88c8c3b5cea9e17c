//! What a replay is to read, as its request says.

use crate::engine::{Handle, StoredEvent, clock};
use chronos_core::keys::change::State;
use chronos_proto::cronos_db::{ReplayOrder, ReplayRequest};
use chronos_proto::raw::scan_event;
use tonic::Status;

/// Events of an offset replay that names no count.
const DEFAULT_COUNT: u64 = 1000;

/// The order of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// As events were published.
    Offset,
    /// By schedule_ts, fired or not.
    Schedule,
    /// As they fired.
    Fire,
}

/// What to replay.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In which order.
    pub axis: Axis,
    topic: String,
    key: String,
    /// First offset.
    pub from: u64,
    /// Where offsets end, as the partition was when the replay began.
    pub upto: u64,
    /// How many events.
    pub most: u64,
    /// Inclusive range of times: of schedule_ts, or on the axis.
    pub times: Option<(i64, i64)>,
    /// On an axis of time: go on after this time and offset.
    pub after: Option<(i64, u64)>,
    /// Seconds from one event to the next, at least.
    pub pause_secs: f64,
    /// How much faster than they happened the events are replayed; 0 for no waiting.
    pub time_factor: f64,
}

impl Plan {
    /// Reads a request.
    pub fn of(request: ReplayRequest, handle: &Handle) -> Result<Self, Status> {
        let axis = match ReplayOrder::try_from(request.order) {
            Ok(ReplayOrder::ReplayByOffset) => Axis::Offset,
            Ok(ReplayOrder::ReplayBySchedule) => Axis::Schedule,
            Ok(ReplayOrder::ReplayByFire) => Axis::Fire,
            Err(_) => return Err(Status::invalid_argument("order is not known")),
        };
        for (name, value) in [
            ("events_per_second", request.events_per_second),
            ("time_factor", request.time_factor),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Status::invalid_argument(format!(
                    "{name} must be 0 or greater"
                )));
            }
        }
        let by_time = request.start_ts > 0 || request.end_ts > 0;
        let times = match axis {
            Axis::Offset if !by_time => None,
            Axis::Offset => Some((request.start_ts, last_ms(request.end_ts, clock::now_ms()))),
            Axis::Schedule | Axis::Fire => {
                Some((request.start_ts, last_ms(request.end_ts, i64::MAX)))
            }
        };
        Ok(Self {
            axis,
            from: match times {
                None => request.start_offset.max(0) as u64,
                Some(_) => 0,
            },
            upto: handle.state.lock().next_offset(),
            most: match u64::try_from(request.count) {
                Ok(0) | Err(_) if times.is_none() => DEFAULT_COUNT,
                Ok(0) | Err(_) => u64::MAX,
                // With a range of time, clients of before have no use for a count.
                Ok(_) if axis == Axis::Offset && by_time => u64::MAX,
                Ok(count) => count,
            },
            times,
            after: request
                .after_ts
                .filter(|_| axis != Axis::Offset)
                .map(|after_ms| (after_ms, request.after_offset.max(0) as u64)),
            pause_secs: pause_secs(request.speed).max(match request.events_per_second {
                0.0 => 0.0,
                rate => 1.0 / rate,
            }),
            time_factor: request.time_factor,
            topic: request.topic,
            key: request.key,
        })
    }

    /// The topic to read; `None` for every topic.
    pub fn topic(&self) -> Option<&str> {
        (!self.topic.is_empty()).then_some(self.topic.as_str())
    }

    /// Whether an event that is read belongs into the replay. The one place that decides it.
    pub fn wants(&self, handle: &Handle, event: &StoredEvent) -> bool {
        let is_cancelled = || {
            let version = handle.events.version(event.offset);
            matches!(version, Ok(Some(version)) if version.state == State::Cancelled)
        };
        let in_time = match (self.axis, self.times) {
            // The due key said so already.
            (Axis::Fire, _) | (_, None) => true,
            (_, Some((start, end))) => (start..=end).contains(&event.schedule_ms),
        };
        in_time
            && (self.topic.is_empty() || event.topic() == self.topic.as_bytes())
            && (self.key.is_empty()
                || scan_event(&event.body).is_ok_and(|fields| fields.routing_key() == self.key))
            && !is_cancelled()
    }
}

fn last_ms(end_ts: i64, otherwise: i64) -> i64 {
    match end_ts > 0 {
        true => end_ts,
        false => otherwise,
    }
}

/// The pause per event of the field that old clients send: 10 ms at speed 1, which means none.
fn pause_secs(speed: f64) -> f64 {
    let paced = speed.is_finite() && speed > 0.0 && speed != 1.0;
    if paced { 0.01 / speed.max(1e-3) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clients_keep_their_pace() {
        for (speed, seconds) in [
            (0.0, 0.0),
            (1.0, 0.0),
            (2.0, 0.005),
            (0.5, 0.02),
            (-1.0, 0.0),
            (f64::NAN, 0.0),
        ] {
            assert_eq!(pause_secs(speed), seconds, "{speed}");
        }
    }
}
