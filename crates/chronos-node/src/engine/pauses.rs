//! What is paused, on its way from the catalog to the drivers.
//!
//! ```text
//! PauseService ──► catalog's log ──► CatalogMachine ──► watch of Arc<Pauses> ──► drivers ──► groups
//! ```
//!
//! A driver looks at the watch before it hands anything out, so a pause holds everywhere once each
//! driver has begun another round.

use super::{Engine, Refused, clock};
use crate::delivery;
use chronos_core::catalog::{self, Command, Outcome, Pause, Target, WhilePaused};
use chronos_core::partition::{self, Topics};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

#[derive(Debug, Clone)]
struct Paused {
    pause: Pause,
    dropped: Arc<AtomicU64>,
}

/// What is paused. It is never changed: another one takes its place.
#[derive(Debug, Clone, Default)]
pub struct Pauses {
    by_target: BTreeMap<Target, Paused>,
}

/// A pause and what it did.
#[derive(Debug, Clone)]
pub struct Standing {
    /// What is paused.
    pub target: Target,
    /// How.
    pub pause: Pause,
    /// Events it dropped since the node started.
    pub dropped: u64,
}

impl Pauses {
    /// The catalog's pauses. Those that are as they were keep their counts.
    pub fn after(&self, catalog: &catalog::Pauses) -> Self {
        let paused = |(target, pause): (&Target, &Pause)| {
            let known = (self.by_target.get(target)).filter(|known| known.pause == *pause);
            let paused = known.cloned().unwrap_or_else(|| Paused {
                pause: pause.clone(),
                dropped: Arc::default(),
            });
            (target.clone(), paused)
        };
        Self {
            by_target: catalog.iter().map(paused).collect(),
        }
    }

    /// Whether these are the catalog's.
    pub fn is(&self, catalog: &catalog::Pauses) -> bool {
        let known = (self.by_target.iter()).map(|(target, paused)| (target, &paused.pause));
        known.eq(catalog)
    }

    /// Whether nothing is paused, nor was until a moment ago.
    pub fn is_empty(&self) -> bool {
        self.by_target.is_empty()
    }

    /// When the next pause after `now_ms` ends by itself, Unix milliseconds; never: `i64::MAX`.
    pub fn next_end_ms(&self, now_ms: i64) -> i64 {
        let ends = self.by_target.values().map(|paused| paused.pause.until_ms);
        ends.filter(|until_ms| *until_ms > now_ms)
            .min()
            .unwrap_or(i64::MAX)
    }

    /// What holds at this time: topics by name, then groups by name.
    pub fn at(&self, now_ms: i64) -> impl Iterator<Item = Standing> + '_ {
        let holding = (self.by_target.iter()).filter(move |(_, it)| it.pause.holds_at(now_ms));
        holding.map(|(target, paused)| Standing {
            target: target.clone(),
            pause: paused.pause.clone(),
            dropped: paused.dropped.load(Ordering::Relaxed),
        })
    }

    fn mode_of(&self, target: &Target, now_ms: i64) -> Option<delivery::WhilePaused> {
        let paused = self.by_target.get(target)?;
        paused.pause.holds_at(now_ms).then(|| paused.mode())
    }

    /// What the pauses mean for a group of a partition with these topics.
    pub fn of_group(
        &self,
        group: &partition::Group,
        topics: &Topics,
        now_ms: i64,
    ) -> delivery::Pause {
        let mut pause = delivery::Pause {
            whole: self.mode_of(&Target::Group(group.name.clone()), now_ms),
            topics: Vec::new(),
        };
        for (target, paused) in &self.by_target {
            let Target::Topic(name) = target else {
                continue;
            };
            let number = topics.get(name.as_bytes());
            let Some(number) = number.filter(|_| paused.pause.holds_at(now_ms)) else {
                continue;
            };
            match group.topic {
                None => pause.topics.push(delivery::PausedTopic {
                    number,
                    name: name.as_bytes().into(),
                    while_paused: paused.mode(),
                }),
                Some(topic) if topic == number => pause.add(paused.mode()),
                Some(_) => {}
            }
        }
        pause
    }
}

impl Paused {
    fn mode(&self) -> delivery::WhilePaused {
        match self.pause.while_paused {
            WhilePaused::Hold => delivery::WhilePaused::Hold,
            WhilePaused::Drop => delivery::WhilePaused::Drop(Arc::clone(&self.dropped)),
        }
    }
}

/// A driver's view of the pauses.
#[derive(Clone)]
pub struct Watch {
    pauses: watch::Receiver<Arc<Pauses>>,
    current: Arc<Pauses>,
    /// When the current ones are to be looked at again, Unix milliseconds.
    change_ms: i64,
    /// Topics that there were when they were looked at.
    topics: usize,
}

impl Watch {
    /// A view that has looked at nothing yet.
    pub fn new(pauses: watch::Receiver<Arc<Pauses>>) -> Self {
        Self {
            pauses,
            current: Arc::default(),
            change_ms: i64::MIN,
            topics: 0,
        }
    }

    /// The pauses as they were last looked at.
    pub fn current(&self) -> &Arc<Pauses> {
        &self.current
    }

    /// When a pause ends by itself, Unix milliseconds, if one does.
    pub fn change_ms(&self) -> Option<i64> {
        (self.change_ms != i64::MAX).then_some(self.change_ms)
    }

    /// Waits until the pauses change, and makes [`refresh`](Self::refresh) look at them.
    pub async fn changed(&mut self) {
        match self.pauses.changed().await {
            Ok(()) => self.change_ms = i64::MIN,
            // Nobody will pause anything any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// Looks at the pauses when there may be something new for a partition with so many topics.
    /// Whether there is.
    pub fn refresh(&mut self, topics: usize, now_ms: i64) -> bool {
        let fresh = self.pauses.has_changed().unwrap_or(false);
        let more_topics = topics != self.topics && !self.current.is_empty();
        if !fresh && !more_topics && now_ms < self.change_ms {
            return false;
        }
        let was_empty = self.current.is_empty();
        self.current = Arc::clone(&self.pauses.borrow_and_update());
        self.change_ms = self.current.next_end_ms(now_ms);
        self.topics = topics;
        !(was_empty && self.current.is_empty())
    }
}

impl Engine {
    /// What is paused now.
    pub fn pauses(&self) -> Vec<Standing> {
        self.pauses.borrow().at(clock::now_ms()).collect()
    }

    /// Pauses a topic or a group. When it returns, no driver hands out anything any more that the
    /// pause holds back.
    pub async fn pause(&self, target: Target, pause: Pause) -> Result<(), Refused> {
        let command = Command::Pause { target, pause };
        self.change_catalog(&command).await?;
        self.heeded().await
    }

    /// Ends a pause; whether there was one.
    pub async fn resume(&self, target: Target) -> Result<bool, Refused> {
        let now_ms = clock::now_ms();
        let command = Command::Resume { target, now_ms };
        Ok(self.change_catalog(&command).await? == Outcome::Done)
    }

    /// Waits until every driver has finished what it was handing out, and so looks at the pauses
    /// before it hands out more.
    async fn heeded(&self) -> Result<(), Refused> {
        for handle in self.partitions() {
            handle.count_pending().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(until_ms: i64) -> Pause {
        Pause {
            reason: String::new(),
            since_ms: 1,
            until_ms,
            while_paused: WhilePaused::Drop,
        }
    }

    fn topic(name: &str) -> Target {
        Target::Topic(name.into())
    }

    #[test]
    fn a_pause_that_stays_keeps_its_count_and_one_that_is_new_begins_at_zero() {
        let mut catalog = catalog::Pauses::new();
        catalog.insert(topic("a"), pause(0));
        catalog.insert(topic("b"), pause(0));
        let first = Pauses::default().after(&catalog);
        for paused in first.by_target.values() {
            paused.dropped.store(3, Ordering::Relaxed);
        }
        catalog.insert(topic("b"), pause(9));
        let second = first.after(&catalog);
        let dropped: Vec<_> = second.at(5).map(|it| it.dropped).collect();
        assert_eq!(dropped, [3, 0]);
        assert_eq!(second.at(9).count(), 1, "b is over");
        assert_eq!(second.next_end_ms(5), 9);
        assert_eq!(second.next_end_ms(9), i64::MAX);
    }

    #[test]
    fn a_driver_looks_again_at_a_change_at_an_end_and_at_a_new_topic() {
        let (sender, receiver) = watch::channel(Arc::new(Pauses::default()));
        let mut watch = Watch::new(receiver);
        assert!(!watch.refresh(0, 1), "nothing is paused");
        assert_eq!(watch.change_ms(), None);
        let mut catalog = catalog::Pauses::new();
        catalog.insert(topic("a"), pause(9));
        sender.send_modify(|pauses| *pauses = Arc::new(pauses.after(&catalog)));
        assert!(watch.refresh(0, 2));
        assert_eq!(watch.change_ms(), Some(9));
        assert!(!watch.refresh(0, 8));
        assert!(watch.refresh(1, 8), "a new topic");
        assert!(watch.refresh(1, 9), "its end");
        assert!(!watch.refresh(1, 10));
    }
}
