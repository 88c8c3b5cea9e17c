//! The settings of topics, as publishes, subscriptions and drivers see them.
//!
//! The catalog replaces the whole map when it changes; whoever uses it takes it once per request.

use super::rates::Rates;
use crate::config::Config;
use crate::delivery::{Backoff, Policy};
use chronos_core::catalog::topics::{Field, Settings, TopicInfo};
use chronos_core::types::{PartitionNumber, route};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// What publishes of a topic have used up. Lives as long as the topic, whatever its settings.
#[derive(Debug, Default)]
pub struct Used {
    /// Of its rates.
    pub rates: Mutex<Rates>,
    /// Events for later that are being published.
    pub events: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
}

/// A topic that was created.
#[derive(Debug, Clone)]
pub struct Topic {
    /// What was set.
    pub settings: Settings,
    /// How its deliveries are repeated.
    pub policy: Policy,
    /// What its publishes used up.
    pub used: Arc<Used>,
}

impl Topic {
    /// A setting, if it was made.
    pub fn get(&self, field: Field) -> Option<u64> {
        self.settings.get(field)
    }

    /// How many of a node's partitions its events are spread over.
    pub fn spread(&self, partitions: u32) -> u32 {
        let spread = self.get(Field::Partitions);
        spread.map_or(partitions, |spread| {
            u32::try_from(spread)
                .unwrap_or(u32::MAX)
                .clamp(1, partitions)
        })
    }

    /// The partition of an event with this routing key.
    pub fn partition(&self, topic: &[u8], key: &[u8], partitions: u32) -> PartitionNumber {
        match self.get(Field::Partitions) {
            None => route(key, partitions),
            Some(spread) => {
                let spread = u32::try_from(spread)
                    .unwrap_or(u32::MAX)
                    .clamp(1, partitions);
                let first = u64::from(route(topic, partitions));
                ((first + u64::from(route(key, spread))) % u64::from(partitions)) as u32
            }
        }
    }
}

/// The topics that were created, by name.
pub type Map = HashMap<Box<[u8]>, Arc<Topic>>;

/// The map, and what holds where it says nothing.
#[derive(Debug)]
pub struct Topics {
    map: watch::Sender<Arc<Map>>,
    /// How deliveries of other topics are repeated.
    pub policy: Policy,
    /// Whether topics that were not created may be used.
    pub auto_create: bool,
}

impl Topics {
    /// Settings of a node, without any topic yet.
    pub fn new(config: &Config) -> Self {
        Self {
            map: watch::Sender::new(Arc::default()),
            auto_create: config.topics.auto_create,
            policy: Policy {
                ack_timeout: config.delivery.ack_timeout,
                most_attempts: config.delivery.max_retries.max(1),
                backoff: Backoff {
                    first: config.delivery.retry_backoff,
                    ..Backoff::default()
                },
            },
        }
    }

    /// The topics as they are now.
    pub fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.borrow())
    }

    /// Tells when they change.
    pub fn watch(&self) -> watch::Receiver<Arc<Map>> {
        self.map.subscribe()
    }

    /// A topic, if it was created.
    pub fn get(&self, name: &[u8]) -> Option<Arc<Topic>> {
        self.map.borrow().get(name).cloned()
    }

    /// Whether a topic may be published or subscribed to.
    pub fn may_use(&self, name: &[u8]) -> bool {
        self.auto_create || self.map.borrow().contains_key(name)
    }

    /// How deliveries of a topic are repeated.
    pub fn policy_of(&self, name: &[u8]) -> Policy {
        self.get(name).map_or(self.policy, |topic| topic.policy)
    }

    /// How deliveries with these settings are repeated.
    pub fn policy_with(&self, settings: &Settings) -> Policy {
        let ms = |field| settings.get(field).map(Duration::from_millis);
        let node = self.policy;
        Policy {
            ack_timeout: ms(Field::AckTimeoutMs).unwrap_or(node.ack_timeout),
            most_attempts: settings
                .get(Field::MaxRetries)
                .map_or(node.most_attempts, |most| {
                    u32::try_from(most).unwrap_or(u32::MAX).max(1)
                }),
            backoff: Backoff {
                first: ms(Field::BackoffFirstMs).unwrap_or(node.backoff.first),
                factor: settings.get(Field::BackoffFactor),
                most: ms(Field::BackoffMaxMs),
                jitter: settings.get(Field::BackoffJitter).unwrap_or(0).min(1_000),
            },
        }
    }

    /// The catalog has these topics now.
    pub fn replace(&self, topics: &BTreeMap<String, TopicInfo>) {
        let before = self.map();
        let map: Map = topics
            .iter()
            .map(|(name, info)| {
                let name: Box<[u8]> = name.as_bytes().into();
                let used = before.get(&name).map(|topic| Arc::clone(&topic.used));
                let topic = Topic {
                    settings: info.settings.clone(),
                    policy: self.policy_with(&info.settings),
                    used: used.unwrap_or_default(),
                };
                (name, Arc::new(topic))
            })
            .collect();
        self.map.send_replace(Arc::new(map));
    }
}

/// Room for pending events that a publish holds until it is answered.
#[derive(Debug)]
pub struct Reserved {
    used: Arc<Used>,
    events: u64,
    bytes: u64,
}

impl Reserved {
    /// Takes room, and says how much is taken with it.
    pub fn take(used: &Arc<Used>, events: u64, bytes: u64) -> (Self, u64, u64) {
        let all_events = used.events.fetch_add(events, Ordering::SeqCst) + events;
        let all_bytes = used.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        let reserved = Self {
            used: Arc::clone(used),
            events,
            bytes,
        };
        (reserved, all_events, all_bytes)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.used.events.fetch_sub(self.events, Ordering::SeqCst);
        self.used.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(settings: &[(Field, u64)]) -> Topics {
        let topics = Topics::new(&Config::default());
        let mut info = TopicInfo::default();
        for (field, value) in settings {
            info.settings.set(*field, Some(*value));
        }
        topics.replace(&BTreeMap::from([("t".to_owned(), info)]));
        topics
    }

    #[test]
    fn a_topic_spreads_over_consecutive_partitions_from_its_hash_on() {
        let one = topics(&[(Field::Partitions, 1)]);
        let three = topics(&[(Field::Partitions, 3)]);
        let free = topics(&[]);
        let first = route(b"t", 16);
        for n in 0..200 {
            let key = format!("key-{n}");
            let at = |topics: &Topics| {
                let topic = topics.get(b"t").unwrap();
                topic.partition(b"t", key.as_bytes(), 16)
            };
            assert_eq!(at(&one), first);
            assert!((0..3).any(|step| at(&three) == (first + step) % 16));
            assert_eq!(at(&free), route(key.as_bytes(), 16));
        }
    }

    #[test]
    fn what_is_not_set_is_the_nodes() {
        let topics = topics(&[(Field::MaxRetries, 2)]);
        let policy = topics.policy_of(b"t");
        assert_eq!(policy.most_attempts, 2);
        assert_eq!(policy.ack_timeout, topics.policy.ack_timeout);
        assert_eq!(topics.policy_of(b"other").most_attempts, 5);
    }

    #[test]
    fn what_was_used_up_outlives_a_change_of_settings() {
        let topics = topics(&[]);
        let used = topics.get(b"t").unwrap().used.clone();
        let (reserved, events, bytes) = Reserved::take(&used, 2, 30);
        assert_eq!((events, bytes), (2, 30));
        topics.replace(&BTreeMap::from([("t".to_owned(), TopicInfo::default())]));
        let (_more, events, bytes) = Reserved::take(&topics.get(b"t").unwrap().used, 1, 5);
        assert_eq!((events, bytes), (3, 35));
        drop(reserved);
        assert_eq!(used.events.load(Ordering::SeqCst), 1);
    }
}
