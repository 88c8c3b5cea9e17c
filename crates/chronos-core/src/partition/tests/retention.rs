//! Random logs whose beginning is carried forward and removed, against the oracle: what somebody
//! needs stays readable, byte for byte, and the rest goes.
//!
//! Two replicas: one leads, decides and never fails; the other lags behind, is checkpointed and
//! crashes. The log loses its beginning when both have a durable checkpoint beyond the last move.

use super::compare;
use super::entry::Event;
use super::oracle::{Known, Oracle};
use super::replica::{Entry, NUMBER, Replica};
use super::steps::{Step as Base, entry_of, step as base};
use crate::command::carry;
use crate::command::publish::{Publish, SLOT_LEN, Slot, slot_position};
use crate::command::{self, Builder, Kind};
use crate::keys::batch::{self, Batch};
use crate::keys::change::State;
use crate::partition::carrying::{Scope, Source, next_step};
use crate::partition::live::{Keep, visit_places};
use crate::partition::{Effects, Outcome, change};
use crate::store::{Family, Store, StoreError};
use crate::types::DueKey;
use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use roaring::RoaringTreemap;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

#[derive(Debug, Clone)]
enum Step {
    Base(Base),
    /// Reclaim the entries up to one of them.
    Reclaim {
        upto: Index,
        /// How long before the horizon events are kept.
        kept_ms: i64,
        /// The same for one topic.
        of_topic: Option<(u32, i64)>,
        not_below: Option<Index>,
        /// Whether every third event is too much of its topic.
        surplus: bool,
        /// Steps after which the leader falls, with or without the last move.
        falls_after: Option<(usize, bool)>,
    },
}

/// What the log holds: nothing where it was removed.
type Log = Vec<Option<Bytes>>;

struct World {
    log: Vec<Entry>,
    bodies: Log,
    /// What came of each entry the first time.
    effects: Vec<Effects>,
    now_ms: i64,
    oracle: Oracle,
    leader: Replica,
    failing: Replica,
    /// When each event was accepted.
    accepted_ms: Vec<i64>,
    /// Up to where each topic's past is forgotten.
    forgotten_ms: BTreeMap<u32, i64>,
    /// Events that may be gone.
    gone: RoaringTreemap,
    /// The last entry to be removed once checkpoints cover the moves up to another.
    pending: Option<(u64, u64)>,
}

struct FromLog<'a>(&'a Log);

impl Source for FromLog<'_> {
    type Error = StoreError;

    fn add(
        &mut self,
        batch: &Batch,
        first: u64,
        count: u32,
        to: &mut carry::Builder,
    ) -> Result<(i64, i64), StoreError> {
        let mut times = (i64::MAX, i64::MIN);
        for offset in first..first + u64::from(count) {
            let (slot, body) = read(self.0, batch, offset);
            let at_ms = Slot::decode(&slot).schedule_ms;
            times = (times.0.min(at_ms), times.1.max(at_ms));
            to.push(&slot, &body);
        }
        Ok(times)
    }
}

fn read(log: &Log, batch: &Batch, offset: u64) -> ([u8; SLOT_LEN], Vec<u8>) {
    let place = batch.place(offset).unwrap();
    let entry = log[batch.log_index as usize].as_ref();
    let entry = entry.unwrap_or_else(|| panic!("{offset} stands in an entry that was removed"));
    let section = &entry[place.section_position as usize..];
    let raw: [u8; SLOT_LEN] = section[slot_position(place.slot) as usize..][..SLOT_LEN]
        .try_into()
        .unwrap();
    let slot = Slot::decode(&raw);
    let bodies = slot_position(place.section_count) as usize;
    let body = &section[bodies + slot.body_position as usize..][..slot.body_len as usize];
    (raw, body.to_vec())
}

impl World {
    fn new() -> Self {
        Self {
            log: Vec::new(),
            bodies: Vec::new(),
            effects: Vec::new(),
            now_ms: 1_700_000_000_000,
            oracle: Oracle::new(),
            leader: Replica::new(),
            failing: Replica::new(),
            accepted_ms: Vec::new(),
            forgotten_ms: BTreeMap::new(),
            gone: RoaringTreemap::new(),
            pending: None,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Base(Base::Append {
                passed_ms,
                ahead_ms,
                sections,
            }) => {
                self.now_ms = self.now_ms.saturating_add(*passed_ms);
                let commands = entry_of(sections, &self.oracle, self.now_ms, *ahead_ms);
                self.oracle.apply(&commands);
                let accepted = self.oracle.events.len();
                self.accepted_ms.resize(accepted, commands.now_ms);
                self.append(commands.encode(), commands.term);
            }
            Step::Base(Base::AppendBlank) => {
                self.oracle.skip();
                self.push(Entry::Blank, Bytes::new());
            }
            Step::Base(Base::AppendMembership(members)) => {
                self.oracle.skip();
                self.push(Entry::Membership(vec![*members]), Bytes::new());
            }
            Step::Base(Base::CatchUp(entries)) => self.catch_up(*entries),
            Step::Base(Base::Checkpoint) => self.failing.checkpoint_step(),
            Step::Base(Base::WholeCheckpoint) => self.failing.checkpoint(),
            Step::Base(Base::Flush) => self.failing.flush(),
            Step::Base(Base::Crash) => self.failing.crash(),
            Step::Base(Base::Look(_)) => {}
            Step::Reclaim {
                upto,
                kept_ms,
                of_topic,
                not_below,
                surplus,
                falls_after,
            } => {
                let since_ms = self
                    .leader
                    .partition
                    .horizon()
                    .due_ms
                    .saturating_sub(*kept_ms);
                let mut keep = Keep::since(since_ms);
                if let Some((topic, kept_ms)) = of_topic {
                    let since_ms = self.leader.partition.horizon().due_ms;
                    keep.by_topic
                        .insert(*topic, since_ms.saturating_sub(*kept_ms));
                }
                if let Some(offset) = not_below {
                    keep.not_below = offset.index(self.oracle.events.len() + 1) as u64;
                }
                if *surplus {
                    let events = self.oracle.events.len() as u64;
                    keep.surplus = (0..events).step_by(3).collect();
                }
                if !self.oracle.events.is_empty() {
                    let upto = upto.index(self.log.len()) as u64;
                    self.reclaim(upto, &keep, *falls_after);
                }
            }
        }
        self.remove();
        self.check();
    }

    fn push(&mut self, entry: Entry, body: Bytes) {
        self.effects.push(self.leader.apply(&entry));
        self.log.push(entry);
        self.bodies.push(Some(body));
    }

    fn append(&mut self, body: Bytes, term: u64) -> Vec<Outcome> {
        let entry = Entry::Raw {
            body: body.clone(),
            term,
        };
        let effects = self.leader.apply(&entry);
        self.log.push(entry);
        self.bodies.push(Some(body));
        self.effects.push(effects.clone());
        effects.outcomes
    }

    fn propose(&mut self, kind: Kind, payload: &[u8]) -> Outcome {
        let mut builder = Builder::new(0);
        // Not the first of its entry, so that its position matters.
        builder.push(
            Kind::Publish,
            &command::publish::Builder::new(0, 0).finish(u64::MAX),
        );
        builder.push(kind, payload);
        let term = self.oracle.events.len() as u64 / 10;
        // The clock stands still: the horizon of the oracle does not know these entries.
        let body = builder.finish(i64::MIN, 0, term);
        self.oracle.skip();
        self.append(body, term).pop().unwrap()
    }

    fn catch_up(&mut self, entries: usize) {
        let next = self.failing.next_index();
        for (entry, effects) in self.log.iter().zip(&self.effects).skip(next).take(entries) {
            assert_eq!(&self.failing.apply(entry), effects);
        }
    }

    fn reclaim(&mut self, upto: u64, keep: &Keep, falls_after: Option<(usize, bool)>) {
        self.leader.checkpoint();
        let partition = &self.leader.partition;
        let store = partition.store().clone();
        let view = partition.view();
        let mut live = view.scan(&store, keep).unwrap();
        let changed = partition.changed().clone();
        view.add_changed(&store, keep, &changed, &mut live).unwrap();
        self.check_live(&live, keep);
        self.gone |= RoaringTreemap::from_iter(0..view.next_offset) - &live;

        let forgotten = view.forgotten(&store, keep).unwrap();
        let versions = view
            .forgotten_versions(&store, &forgotten, &changed, &live, 5)
            .unwrap();
        let (mut from, end) = (0, view.next_offset);
        for taken in 0.. {
            let mut source = FromLog(&self.bodies);
            let scope = Scope {
                partition: NUMBER,
                from,
                upto: end,
                last_index: upto,
                step_bytes: 200,
            };
            let step = next_step(&store, scope, &live, &mut source).unwrap();
            let Some(mut step) = step else {
                break;
            };
            from = step.next;
            if let Some(section) = &step.section {
                let Outcome::Carried {
                    log_index,
                    section_position,
                } = self.propose(Kind::Carry, section)
                else {
                    panic!("a carry section has its own outcome");
                };
                step.moved.log_index = log_index;
                step.moved.section_position = section_position;
            }
            let falls = falls_after.filter(|(steps, _)| *steps == taken);
            if falls.is_some_and(|(_, with_move)| !with_move) {
                return;
            }
            self.propose(Kind::Moved, &step.moved.encode());
            if falls.is_some() {
                return;
            }
        }
        let last = carry::Moved {
            forgotten: forgotten.clone(),
            versions: versions.clone(),
            ..carry::Moved::default()
        };
        self.propose(Kind::Moved, &last.encode());
        for forgotten in forgotten {
            let upto = self.forgotten_ms.entry(forgotten.topic).or_insert(i64::MIN);
            *upto = forgotten.before_ms.max(*upto);
        }
        for offset in versions {
            self.check_version_is_not_needed(offset);
        }
        visit_places(&store, NUMBER, 0..u64::MAX, &mut |batch| {
            assert!(batch.log_index > upto, "{batch:?} points into what goes");
            ControlFlow::Continue(())
        })
        .unwrap();
        self.pending = Some((upto, self.log.len() as u64 - 1));
    }

    fn check_version_is_not_needed(&self, offset: u64) {
        let known = &self.oracle.events[offset as usize];
        let late = DueKey::new(known.version.published_ms, offset) <= self.oracle.horizon;
        assert!(late, "{offset} would come to life again");
    }

    /// Both replicas have durable checkpoints that know the moves: the log loses its beginning.
    fn remove(&mut self) {
        let Some((upto, moved)) = self.pending else {
            return;
        };
        if self
            .failing
            .saved_index()
            .is_some_and(|saved| saved >= moved)
        {
            self.bodies[..=upto as usize].fill(None);
            self.pending = None;
        }
    }

    /// What the rules say of one event.
    fn must_be_live(&self, offset: u64, known: &Known, keep: &Keep) -> bool {
        let horizon = self.oracle.horizon;
        let topic = self.oracle.topic_number(&known.event.topic);
        let since_ms = (keep.by_topic.get(&topic)).map_or(keep.since_ms, |since_ms| *since_ms);
        let is_kept = offset >= keep.not_below && !keep.surplus.contains(offset);
        let of_group = |group: &super::oracle::Group| {
            let topic = group.command.topic.as_ref();
            group.command.is_waited_for && topic.is_none_or(|topic| *topic == known.event.topic)
        };
        let mut groups = self.oracle.groups.iter();
        let dead = (self.oracle.groups.iter())
            .any(|group| group.dead.iter().any(|letter| letter.key.offset == offset));
        dead || match known.key(offset) {
            None => is_kept && known.version.changed_ms >= since_ms.min(horizon.due_ms),
            Some(key) if key > horizon => true,
            Some(key) => {
                is_kept && key.due_ms >= since_ms.min(horizon.due_ms)
                    || groups.any(|group| {
                        of_group(group) && !group.is_settled(key) && group.reads(offset)
                    })
            }
        }
    }

    fn check_live(&self, live: &RoaringTreemap, keep: &Keep) {
        let since_ms = keep.since_ms.min(self.oracle.horizon.due_ms);
        let is_young = |(_, known): &(u64, &Known)| known.late && known.due_ms >= since_ms;
        let young_from = (0..).zip(&self.oracle.events).find(is_young);
        let young_from = young_from.map_or(u64::MAX, |(offset, _)| offset);
        for (offset, known) in (0..).zip(&self.oracle.events) {
            let must = self.must_be_live(offset, known, keep);
            // What is gone may be asked for by a group that began later; it does not come back.
            if must || self.gone.contains(offset) {
                let is_live = live.contains(offset) || self.gone.contains(offset);
                assert!(is_live, "{offset} is needed: {known:?}");
                continue;
            }
            let stays = offset >= young_from.max(keep.not_below) && !keep.surplus.contains(offset);
            assert!(
                !live.contains(offset) || stays,
                "{offset} is over: {known:?}"
            );
        }
    }

    /// Whatever was live when it was judged last can be read, from both replicas, and is what was
    /// published; what is to come is still to come.
    fn check(&self) {
        for replica in [&self.leader, &self.failing] {
            let partition = &replica.partition;
            for (offset, known) in (0..partition.next_offset()).zip(&self.oracle.events) {
                let floor = batch::key(NUMBER, 0);
                let at = batch::key(NUMBER, offset);
                let found = partition
                    .store()
                    .last_at_or_before(Family::Batch, &floor, &at);
                let batch = found
                    .unwrap()
                    .map(|(key, value)| Batch::decode(&key, &value).unwrap())
                    .filter(|batch| batch.place(offset).is_some());
                let Some(batch) = batch else {
                    assert!(self.gone.contains(offset), "{offset} is nowhere");
                    continue;
                };
                if self.bodies[batch.log_index as usize].is_none() {
                    assert!(self.gone.contains(offset), "the bytes of {offset} are gone");
                    continue;
                }
                check_event(&self.bodies, &batch, offset, &known.event);
                assert_eq!(batch.now_ms, self.accepted_ms[offset as usize]);
            }
        }
        let partition = &self.leader.partition;
        for topic in 0..self.oracle.topics.len() as u32 {
            let from_ms = self.forgotten_ms.get(&topic).copied().unwrap_or(i64::MIN);
            let after = DueKey::new(from_ms, 0).before();
            compare::in_due_order(partition, &self.oracle, topic, after, DueKey::MAX, u64::MAX);
            compare::count(partition, &self.oracle, topic, after, DueKey::MAX);
        }
        for (offset, known) in (0..).zip(&self.oracle.events) {
            let stored = change::version_at(partition.store(), NUMBER, offset, u64::MAX).unwrap();
            let is_changed = known.changed_by.is_some();
            if is_changed
                && (!self.gone.contains(offset)
                    || known.version.state == State::Scheduled
                        && known
                            .key(offset)
                            .is_some_and(|key| key > self.oracle.horizon))
            {
                assert_eq!(stored.map(|(version, _)| version), Some(known.version));
            }
        }
    }

    fn finish(mut self) {
        self.catch_up(usize::MAX);
        self.leader.checkpoint();
        self.failing.checkpoint();
        self.remove();
        self.check();
        compare::replicas(&self.failing.partition, &self.leader.partition);
        self.failing.crash();
        compare::replicas(&self.failing.partition, &self.leader.partition);
        assert_eq!(
            self.failing.partition.carried_upto(),
            self.leader.partition.carried_upto()
        );
    }
}

fn check_event(log: &Log, batch: &Batch, offset: u64, event: &Event) {
    let (slot, body) = read(log, batch, offset);
    assert!(Slot::verify(&slot, &body));
    let slot = Slot::decode(&slot);
    assert_eq!(slot.id_of(&body), Some(event.id.as_bytes()), "{offset}");
    assert_eq!(slot.topic_of(&body), Some(event.topic.as_bytes()));
    assert_eq!(slot.schedule_ms, event.schedule_ms);
    let place = batch.place(offset).unwrap();
    let entry = log[batch.log_index as usize].as_ref().unwrap();
    let section = Publish::decode(&entry[place.section_position as usize..]).unwrap();
    assert_eq!(section.count(), place.section_count);
}

fn step() -> impl Strategy<Value = Step> {
    let kept_ms = prop_oneof![
        3 => Just(0_i64),
        3 => 0_i64..100,
        2 => 0_i64..40_000,
        1 => Just(i64::MAX),
    ];
    let reclaim = (
        any::<Index>(),
        kept_ms.clone(),
        prop::option::weighted(0.3, (0_u32..3, kept_ms)),
        prop::option::weighted(0.2, any::<Index>()),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.2, (0_usize..2, any::<bool>())),
    )
        .prop_map(
            |(upto, kept_ms, of_topic, not_below, surplus, falls_after)| Step::Reclaim {
                upto,
                kept_ms,
                of_topic,
                not_below,
                surplus,
                falls_after,
            },
        );
    prop_oneof![12 => base().prop_map(Step::Base), 1 => reclaim]
}

/// More cases when the environment asks for more.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(400),
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_that_is_needed_goes(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}
