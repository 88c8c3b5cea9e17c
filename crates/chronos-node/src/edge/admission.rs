//! What a topic's settings allow a publish: its horizon and its quotas. All of a request or nothing.

use super::status;
use crate::engine::topics::{Map, Reserved, Topic};
use crate::engine::{Engine, Exceeded, clock};
use chronos_core::catalog::topics::Field;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// How long a publish that met too many pending events is told to wait.
const WHILE_PENDING: Duration = Duration::from_secs(1);

/// What a request brings to one topic.
#[derive(Debug, Default)]
struct Share {
    topic: Option<Arc<Topic>>,
    events: u64,
    bytes: u64,
    later_events: u64,
    later_bytes: u64,
}

/// The events of a request, by topic.
pub struct Admission {
    map: Arc<Map>,
    auto_create: bool,
    now_ms: i64,
    shares: BTreeMap<Vec<u8>, Share>,
}

impl Admission {
    /// Of a request that came in at `now_ms`.
    pub fn new(engine: &Engine, now_ms: i64) -> Self {
        Self {
            map: engine.topics().map(),
            auto_create: engine.topics().auto_create,
            now_ms,
            shares: BTreeMap::new(),
        }
    }

    /// Adds an event.
    pub fn add(&mut self, topic: &str, bytes: usize, schedule_ms: i64) -> Result<(), Status> {
        let Some(known) = self.map.get(topic.as_bytes()) else {
            return match self.auto_create {
                true => Ok(()),
                false => Err(status::no_such_topic(topic)),
            };
        };
        if let Some(most) = known.get(Field::MaxHorizonMs)
            && schedule_ms.saturating_sub(self.now_ms) > i64::try_from(most).unwrap_or(i64::MAX)
        {
            return Err(Status::invalid_argument(format!(
                "schedule_ts {schedule_ms} is more than {most} ms ahead, which is max_horizon_ms of \
                 topic {topic}"
            )));
        }
        let share = self.shares.entry(topic.as_bytes().to_vec()).or_default();
        share.topic = Some(Arc::clone(known));
        share.events += 1;
        share.bytes += bytes as u64;
        if schedule_ms > self.now_ms {
            share.later_events += 1;
            share.later_bytes += bytes as u64;
        }
        Ok(())
    }

    /// Takes what the events need out of the quotas, or refuses them. What comes back is held until
    /// they are answered.
    pub async fn admit(self, engine: &Engine) -> Result<Vec<Reserved>, Status> {
        let mut reserved = Vec::new();
        for (name, share) in &self.shares {
            let Some(topic) = &share.topic else { continue };
            let name = String::from_utf8_lossy(name);
            let limits = (
                topic.get(Field::MaxPendingEvents),
                topic.get(Field::MaxPendingBytes),
            );
            if (limits.0.is_none() && limits.1.is_none()) || share.later_events == 0 {
                continue;
            }
            let (room, mut events, mut bytes) =
                Reserved::take(&topic.used, share.later_events, share.later_bytes);
            reserved.push(room);
            for handle in engine.partitions() {
                let counts = handle.count_pending().await;
                let counts = counts.map_err(|refused| status::of_refused(&refused))?;
                let state = handle.state.lock();
                if let Some(number) = state.topics().get(name.as_bytes()) {
                    let pending = counts.get(number as usize).copied().unwrap_or(0);
                    events += pending;
                    bytes += state.topic_state(number).mean_bytes(pending);
                }
            }
            for (limit, all, what) in [
                (limits.0, events, "max_pending_events"),
                (limits.1, bytes, "max_pending_bytes"),
            ] {
                if let Some(limit) = limit.filter(|limit| all > *limit) {
                    return Err(status::quota(&name, what, limit, WHILE_PENDING));
                }
            }
        }
        for (name, share) in &self.shares {
            let Some(topic) = &share.topic else { continue };
            let limits = (
                topic.get(Field::EventsPerSecond),
                topic.get(Field::BytesPerSecond),
            );
            let wanted = (share.events, share.bytes);
            let taken = topic
                .used
                .rates
                .lock()
                .take(limits, wanted, clock::now_us());
            if let Err((which, wait_us)) = taken {
                let (what, limit) = match which {
                    Exceeded::Events => ("events_per_second", limits.0),
                    Exceeded::Bytes => ("bytes_per_second", limits.1),
                };
                let name = String::from_utf8_lossy(name);
                let wait = Duration::from_micros(wait_us);
                return Err(status::quota(&name, what, limit.unwrap_or(0), wait));
            }
        }
        Ok(reserved)
    }
}
