//! What a topic's settings allow a publish: its horizon and its quotas. All of a request or nothing.

use super::status;
use super::validate::LAST_SCHEDULE_MS;
use crate::engine::topics::{Map, Reserved, Topic};
use crate::engine::{Engine, Exceeded, clock};
use chronos_core::catalog::topics::Field;
use hashbrown::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// How long a publish that met too many pending events is told to wait.
const WHILE_PENDING: Duration = Duration::from_secs(1);

/// What a request brings to one topic.
#[derive(Debug, Default)]
struct Share {
    name: String,
    topic: Option<Arc<Topic>>,
    events: u64,
    bytes: u64,
    later_events: u64,
    later_bytes: u64,
}

/// Refuses a time that is further ahead than the topic allows.
fn within_horizon(known: &Topic, topic: &str, schedule_ms: i64, now_ms: i64) -> Result<(), Status> {
    let most = known.get(Field::MaxHorizonMs);
    let ahead_ms = schedule_ms.saturating_sub(now_ms);
    match most.and_then(|most| i64::try_from(most).ok()) {
        Some(most) if ahead_ms > most => Err(Status::invalid_argument(format!(
            "schedule_ts {schedule_ms} is more than {most} ms ahead, which is max_horizon_ms of \
             topic {topic}"
        ))),
        _ => Ok(()),
    }
}

/// Refuses to move an event of a topic further ahead than the topic allows.
pub fn may_move_to(engine: &Engine, topic: &[u8], schedule_ms: i64) -> Result<(), Status> {
    match engine.topics().get(topic) {
        Some(known) => {
            let name = String::from_utf8_lossy(topic);
            within_horizon(&known, &name, schedule_ms, clock::now_ms())
        }
        None => Ok(()),
    }
}

/// The latest time that an event of a topic may be due, Unix milliseconds.
pub fn latest_ms(engine: &Engine, topic: &[u8]) -> i64 {
    let known = engine.topics().get(topic);
    let most = known.and_then(|known| known.get(Field::MaxHorizonMs));
    let most = most.and_then(|most| i64::try_from(most).ok());
    most.map_or(LAST_SCHEDULE_MS, |most| {
        clock::now_ms().saturating_add(most).min(LAST_SCHEDULE_MS)
    })
}

/// The events of a request, by topic.
pub struct Admission {
    map: Arc<Map>,
    auto_create: bool,
    now_ms: i64,
    shares: Vec<Share>,
    /// Where the share of a topic is.
    index: HashMap<String, usize>,
    /// Where the share of the event before is.
    last: Option<usize>,
}

impl Admission {
    /// Of a request that came in at `now_ms`.
    pub fn new(engine: &Engine, now_ms: i64) -> Self {
        Self {
            map: engine.topics().map(),
            auto_create: engine.topics().auto_create,
            now_ms,
            shares: Vec::new(),
            index: HashMap::new(),
            last: None,
        }
    }

    /// Adds an event.
    pub fn add(&mut self, topic: &str, bytes: usize, schedule_ms: i64) -> Result<(), Status> {
        if self.map.is_empty() && self.auto_create {
            return Ok(());
        }
        let at = match self.last.filter(|at| self.shares[*at].name == topic) {
            Some(at) => at,
            None => match self.index.get(topic) {
                Some(at) => *at,
                None => {
                    let known = self.map.get(topic.as_bytes());
                    if known.is_none() && !self.auto_create {
                        return Err(status::no_such_topic(topic));
                    }
                    self.shares.push(Share {
                        name: topic.to_owned(),
                        topic: known.cloned(),
                        ..Share::default()
                    });
                    self.index.insert(topic.to_owned(), self.shares.len() - 1);
                    self.shares.len() - 1
                }
            },
        };
        // Most events of a request have the topic of the one before.
        self.last = Some(at);
        let share = &mut self.shares[at];
        let Some(known) = &share.topic else {
            return Ok(());
        };
        within_horizon(known, topic, schedule_ms, self.now_ms)?;
        share.events += 1;
        share.bytes += bytes as u64;
        if schedule_ms > self.now_ms {
            share.later_events += 1;
            share.later_bytes += bytes as u64;
        }
        Ok(())
    }

    /// Takes what the events need out of this node's quotas, or refuses them. What comes back is held until
    /// they are answered.
    pub async fn admit(self, engine: &Engine) -> Result<Vec<Reserved>, Status> {
        let mut reserved = Vec::new();
        for share in &self.shares {
            let (name, Some(topic)) = (&share.name, &share.topic) else {
                continue;
            };
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
                    return Err(status::quota(name, what, limit, WHILE_PENDING));
                }
            }
        }
        for share in &self.shares {
            let (name, Some(topic)) = (&share.name, &share.topic) else {
                continue;
            };
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
                let wait = Duration::from_micros(wait_us);
                return Err(status::quota(name, what, limit.unwrap_or(0), wait));
            }
        }
        Ok(reserved)
    }
}
