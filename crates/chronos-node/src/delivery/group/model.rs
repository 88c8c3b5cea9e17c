//! Random lives of one group against what its consumers know: publishes, members that come and go,
//! events with keys and priorities, pauses, answers right, late and repeated, one by one and in runs, time-outs, progress on its way to the log, and restarts that
//! lose what is not in it.

mod end;
mod pauses;
mod steps;

use super::known::Known;
use super::*;
use chronos_core::command::create_group::CreateGroup;
use chronos_core::command::publish::{Builder, NewEvent};
use chronos_core::command::{self, Kind};
use chronos_core::keys::dead::{self, DeadLetter};
use chronos_core::partition::{Effects, LogPosition, Outcome, Partition};
use chronos_core::store::{Family, MemoryStore};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use steps::{Plan, Step, plan, step};

const POLICY: Policy = Policy {
    ack_timeout: Duration::from_millis(500),
    most_attempts: 3,
    backoff: super::Backoff {
        first: Duration::from_millis(100),
        factor: None,
        most: None,
        jitter: 0,
    },
};
const TOPICS: [&str; 2] = ["t", "u"];

/// A delivery that was not answered, as the group must see it.
#[derive(Debug, Clone, Copy)]
struct Open {
    session: SessionId,
    attempt: u32,
    deadline_ms: i64,
}

/// Progress on its way to the log, and the events whose consumers wait for it.
struct Proposed {
    settle: Settle,
    answered: Vec<DueKey>,
}

struct World {
    plan: Plan,
    now_ms: i64,
    partition: Partition<MemoryStore>,
    feed: Feed<MemoryStore>,
    group: Group,
    index: u64,
    timers: BTreeMap<DueKey, TopicNumber>,
    /// Events for this group: due key → when it may be delivered.
    wanted: BTreeMap<DueKey, i64>,
    members: BTreeMap<SessionId, (u32, Arc<Credit>)>,
    known: Known,
    /// Members that asked for key order.
    keyed: BTreeSet<SessionId>,
    next_session: u64,

    /// Every delivery there ever was.
    deliveries: Vec<(DueKey, u32)>,
    proposed: VecDeque<Proposed>,
    /// Reported as processed since progress was last proposed.
    reported: Vec<DueKey>,
    /// Consumers were told that these are settled.
    told: BTreeSet<DueKey>,
    /// Reported as processed, at any time.
    processed: BTreeSet<DueKey>,
    /// Given up, at any time.
    given_up: BTreeSet<DueKey>,

    // What this leader did.
    open: BTreeMap<DueKey, Open>,
    attempts: BTreeMap<DueKey, u32>,
    failures: BTreeMap<DueKey, u32>,
    ended: BTreeSet<DueKey>,
    greatest_first: DueKey,
    /// The same for each key.
    greatest_of_key: BTreeMap<(u64, Option<TopicNumber>), DueKey>,
    ever_keyed: bool,
    /// Delivered and not settled when key order began, and not delivered again since.
    under_way: BTreeSet<DueKey>,
    pauses: pauses::Pauses,
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut partition = Partition::open(0, MemoryStore::new()).unwrap();
        let mut builder = command::Builder::new(64);
        let create = CreateGroup {
            name: "g".into(),
            topic: plan.topic.map(str::to_owned),
            start: plan.start,
            is_waited_for: true,
        };
        builder.push(Kind::CreateGroup, &create.encode());
        let position = LogPosition { term: 1, index: 0 };
        partition
            .apply(position, &builder.finish(1_000, 0, 1))
            .unwrap();
        let store = partition.store().clone();
        let feed = Feed::new(0, store, partition.horizon());
        let group = Group::new(0, &partition.groups()[0], POLICY);
        Self {
            plan,
            now_ms: 1_000,
            partition,
            feed,
            group,
            index: 0,
            timers: BTreeMap::new(),
            wanted: BTreeMap::new(),
            members: BTreeMap::new(),
            known: Known::default(),
            keyed: BTreeSet::new(),
            next_session: 0,
            deliveries: Vec::new(),
            proposed: VecDeque::new(),
            reported: Vec::new(),
            told: BTreeSet::new(),
            processed: BTreeSet::new(),
            given_up: BTreeSet::new(),
            open: BTreeMap::new(),
            attempts: BTreeMap::new(),
            failures: BTreeMap::new(),
            ended: BTreeSet::new(),
            greatest_first: DueKey::MIN,
            greatest_of_key: BTreeMap::new(),
            ever_keyed: false,
            under_way: BTreeSet::new(),
            pauses: pauses::Pauses::default(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Publish {
                topic,
                count,
                from_now_ms,
                seed,
            } => self.publish(TOPICS[*topic], *count, *from_now_ms, *seed),
            Step::Advance => {
                self.apply(command::Builder::new(0));
            }
            Step::Pass { millis } => self.now_ms += millis,
            Step::Join { credit, wish } => {
                self.join(*credit, *wish);
            }
            Step::Leave(member) => self.leave(member),
            Step::Answer { open, success } => {
                if !self.open.is_empty() {
                    let at = open.index(self.open.len());
                    let (key, open) = self.open.iter().nth(at).unwrap();
                    self.answer(*key, open.attempt, *success);
                }
            }
            Step::AnswerAny { delivery, success } => {
                if !self.deliveries.is_empty() {
                    let (key, attempt) = self.deliveries[delivery.index(self.deliveries.len())];
                    self.answer(key, attempt, *success);
                }
            }
            Step::AnswerRun { open, count } => {
                if !self.open.is_empty() {
                    let at = open.index(self.open.len());
                    let (key, open) = self.open.iter().nth(at).unwrap();
                    self.answer_run(*key, open.attempt, *count);
                }
            }
            Step::Propose => self.propose(),
            Step::Commit => self.commit(),
            Step::Pause { topic, mode } => self.pause_or_resume(*topic, *mode),
            Step::Restart => self.restart(),
        }
        self.deliver();
    }

    fn apply(&mut self, builder: command::Builder) -> Effects {
        self.index += 1;
        let position = LogPosition {
            term: 1,
            index: self.index,
        };
        let body = builder.finish(self.now_ms, self.plan.ahead_ms, 1);
        let topics = self.partition.topics().len();
        let effects = self.partition.apply(position, &body).unwrap();
        if self.partition.topics().len() > topics {
            self.tell_pauses();
        }
        for timer in &effects.timers {
            let key = DueKey::new(timer.due_ms, timer.offset);
            self.timers.insert(key, timer.topic);
            self.want(timer.topic, key, timer.due_ms);
        }
        for run in &effects.runs {
            for offset in run.first_offset..run.first_offset + run.count {
                self.want(run.topic, DueKey::new(run.due_ms, offset), run.ready_ms);
            }
        }
        let DueKey { due_ms, offset } = effects.horizon;
        let later = self
            .timers
            .split_off(&DueKey::new(due_ms, offset.saturating_add(1)));
        let due = std::mem::replace(&mut self.timers, later);
        let runs = due.into_iter().map(|(key, topic)| partition::Run {
            topic,
            due_ms: key.due_ms,
            first_offset: key.offset,
            count: 1,
            ready_ms: key.due_ms,
        });
        let runs: Vec<_> = runs.chain(effects.runs.iter().copied()).collect();
        self.feed.release(runs, effects.horizon);
        effects
    }

    fn want(&mut self, topic: TopicNumber, key: DueKey, ready_ms: i64) {
        let group = &self.partition.groups()[0];
        let of_topic = group.topic.is_none_or(|number| number == topic);
        if of_topic && key.offset >= group.first_offset {
            self.wanted.insert(key, ready_ms);
            self.wants_of_topic(topic, key);
        }
    }

    fn publish(&mut self, topic: &str, count: usize, from_now_ms: i64, seed: u64) {
        for n in 0..count as u64 {
            let (offset, seed) = (self.partition.next_offset() + n, seed >> (4 * n));
            self.known.keys.insert(offset, seed % 3);
            if self.plan.priorities {
                self.known.priorities.insert(offset, (seed / 3 % 3) as u8);
            }
        }
        let mut events = Builder::new(count, 64);
        for n in 0..count {
            let body = format!("{}-{n}{topic}", self.index);
            let len = body.len() as u32;
            events.push(NewEvent {
                schedule_ms: self.now_ms + from_now_ms,
                body: body.as_bytes(),
                id: (0, (len - 1) as u8),
                topic: (len - 1, 1),
                allow_duplicate: false,
            });
        }
        let mut builder = command::Builder::new(64);
        builder.push(Kind::Publish, &events.finish(1_000_000));
        self.apply(builder);
        if self.plan.priorities {
            let topics = self.partition.topics().len() as TopicNumber;
            self.known.prioritized.extend(0..topics);
        }
    }

    fn join(&mut self, credit: u32, wish: Wish) -> SessionId {
        self.next_session += 1;
        let session = SessionId(self.next_session);
        let shared = Arc::new(Credit::new(credit));
        self.group.join_with(session, Arc::clone(&shared), wish);
        if wish.key_order {
            if self.keyed.is_empty() {
                let delivered = self.attempts.keys().copied();
                self.under_way = delivered.filter(|key| !self.ended.contains(key)).collect();
            }
            self.ever_keyed = true;
            self.keyed.insert(session);
        }
        self.members.insert(session, (credit, shared));
        session
    }

    fn leave(&mut self, member: &Index) {
        if self.members.is_empty() {
            return;
        }
        let at = member.index(self.members.len());
        let session = *self.members.keys().nth(at).unwrap();
        let (credit, shared) = self.members.remove(&session).unwrap();
        self.group.leave(session);
        self.keyed.remove(&session);
        self.open.retain(|_, open| open.session != session);
        assert_eq!(credit_left(&shared), credit, "a member takes credit along");
    }

    fn answer(&mut self, key: DueKey, attempt: u32, success: bool) {
        let ack = Ack {
            key,
            attempt,
            success,
            reason: "because".into(),
        };
        let outcome = self.group.answer(ack, self.feed.horizon(), self.now_ms);
        let open = self.open.get(&key).copied();
        if success {
            self.open.remove(&key);
            self.processed.insert(key);
            self.reported.push(key);
            if open.is_some() {
                assert_eq!(outcome, AckOutcome::Settled);
            }
            if outcome == AckOutcome::Settled {
                assert!(!self.ended.contains(&key), "settled twice");
            }
            self.ended.insert(key);
        } else if open.is_some_and(|open| open.attempt == attempt) {
            self.open.remove(&key);
            let expected = match self.fail(key) {
                true => AckOutcome::Dead,
                false => AckOutcome::Retry,
            };
            assert_eq!(outcome, expected);
        } else {
            assert_eq!(outcome, AckOutcome::Stale);
        }
    }

    fn answer_run(&mut self, first: DueKey, attempt: u32, count: u64) {
        let keys = (0..count).map(|n| DueKey::new(first.due_ms, first.offset + n));
        let was_delivered = |key: &DueKey| {
            self.deliveries
                .iter()
                .any(|(delivered, _)| delivered == key)
        };
        let keys: Vec<_> = keys.take_while(was_delivered).collect();
        let run = AckRun {
            first,
            count: keys.len() as u64,
            attempt,
        };
        let horizon = self.feed.horizon();
        self.group.answer_run(run, horizon, self.now_ms);
        for key in keys {
            self.open.remove(&key);
            self.processed.insert(key);
            self.reported.push(key);
            self.ended.insert(key);
        }
    }

    /// Counts a failure; whether it was the last.
    fn fail(&mut self, key: DueKey) -> bool {
        let failures = self.failures.entry(key).or_default();
        *failures += 1;
        let last = *failures >= POLICY.most_attempts;
        if last {
            self.given_up.insert(key);
            self.ended.insert(key);
        }
        let wait_ms = 100 * i64::from(*failures);
        self.pauses.retry_ms.insert(key, self.now_ms + wait_ms);
        last
    }

    fn deliver(&mut self) {
        self.group.expire(self.now_ms);
        let late = |open: &Open| open.deadline_ms <= self.now_ms;
        let expired: Vec<_> = (self.open.iter().filter(|(_, open)| late(open)))
            .map(|(key, _)| *key)
            .collect();
        for key in expired {
            self.open.remove(&key);
            self.fail(key);
        }
        let mut sent = Vec::new();
        let nothing_waited = self.group.waiting() == 0;
        let topics = self.partition.topics().len();
        self.group
            .dispatch(
                self.now_ms,
                &self.feed,
                topics,
                &self.known,
                &mut |session, dispatch| {
                    sent.push((session, dispatch));
                },
            )
            .unwrap();
        if nothing_waited && self.keyed.is_empty() {
            // All of it was fetched together.
            let first_ones = sent.iter().filter(|(_, dispatch)| dispatch.attempt == 1);
            let ranks = first_ones
                .map(|(_, Dispatch { key, .. })| (key.due_ms, self.rank(key.offset), key.offset));
            assert!(ranks.is_sorted(), "{sent:?} out of order");
        }
        // What was dropped may have let others of its key go in the same round.
        self.check_dropped();
        for (session, dispatch) in sent {
            self.delivered(session, dispatch);
        }
        assert_eq!(self.group.in_flight(), self.open.len());
        for (session, (credit, shared)) in &self.members {
            let held = self.open.values().filter(|open| open.session == *session);
            assert_eq!(credit_left(shared) + held.count() as u32, *credit);
        }
    }

    fn rank(&self, offset: u64) -> u8 {
        9 - self.known.priorities.get(&offset).copied().unwrap_or(0)
    }

    /// One delivery under way for each key, and first attempts of a key in order.
    fn check_key(&mut self, key: DueKey, first: bool) {
        let lane = self.known.keys[&key.offset];
        if !self.keyed.is_empty() {
            for other in self.attempts.keys().filter(|other| **other != key) {
                let shares = self.known.keys[&other.offset] == lane;
                let waits = !self.ended.contains(other) && !self.under_way.contains(other);
                let is_open = waits || self.open.contains_key(other);
                assert!(!shares || !is_open, "{key:?} while {other:?} is open");
            }
            self.under_way.remove(&key);
        }
        if first && self.plan.ahead_ms == 0 && !self.plan.priorities {
            let topic = self.topic_of(key);
            let of_topic = self.pauses.ever_partial.then_some(topic);
            let last = self.greatest_of_key.insert((lane, of_topic), key);
            assert!(last.is_none_or(|last| last < key), "{key:?} overtook");
        }
    }

    fn delivered(&mut self, session: SessionId, Dispatch { key, attempt, .. }: Dispatch) {
        assert!(self.members.contains_key(&session), "to a member that left");
        let ready_ms = self.wanted.get(&key).expect("an event for this group");
        assert!(*ready_ms <= self.now_ms, "{key:?} is early");
        assert!(!self.told.contains(&key), "{key:?} after it was answered");
        assert!(!self.ended.contains(&key), "{key:?} after it ended here");
        let topic = self.topic_of(key);
        assert_eq!(self.mode_of(topic), None, "{key:?} is paused");
        self.pauses.retry_ms.remove(&key);
        let last = self.attempts.insert(key, attempt);
        assert!(
            last.is_none_or(|last| last < attempt),
            "attempt {attempt} after {last:?}"
        );
        assert!(attempt > self.failures.get(&key).copied().unwrap_or(0));
        self.check_key(key, last.is_none());
        let in_due_order = self.plan.ahead_ms == 0 && !self.plan.priorities && !self.ever_keyed;
        if last.is_none() && in_due_order {
            let last = self.pauses.greatest_of_topic.insert(topic, key);
            assert!(last < Some(key), "{key:?} out of order in its topic");
            let in_order = key > self.greatest_first || self.pauses.ever_partial;
            assert!(in_order, "{key:?} out of order");
            self.greatest_first = key;
        }
        let open = Open {
            session,
            attempt,
            deadline_ms: self.now_ms + 500,
        };
        assert!(
            self.open.insert(key, open).is_none(),
            "delivered twice at a time"
        );
        self.deliveries.push((key, attempt));
    }

    fn propose(&mut self) {
        let answered = std::mem::take(&mut self.reported);
        match (self.group.take_settle(), self.proposed.back_mut()) {
            (Some(settle), _) => self.proposed.push_back(Proposed { settle, answered }),
            (None, Some(last)) => last.answered.extend(answered),
            (None, None) => self.told.extend(answered),
        }
    }

    fn commit(&mut self) {
        let Some(Proposed { settle, answered }) = self.proposed.pop_front() else {
            return;
        };
        let mut builder = command::Builder::new(64);
        builder.push(Kind::Settle, &settle.encode());
        assert_eq!(self.apply(builder).outcomes, [Outcome::Settled]);
        self.told.extend(answered);
        let settled = &self.partition.groups()[0].settled;
        for key in self.wanted.keys() {
            let ended = self.processed.contains(key)
                || self.given_up.contains(key)
                || self.pauses.dropped.contains(key);
            assert!(
                ended || !settled.contains(*key),
                "{key:?} is settled and nobody said so"
            );
        }
        self.told_is_settled();
    }

    fn told_is_settled(&self) {
        let settled = &self.partition.groups()[0].settled;
        for key in &self.told {
            assert!(
                settled.contains(*key),
                "{key:?} was answered and is not settled"
            );
        }
    }

    /// A new leader with what the log has. Sessions end, and with them their credit.
    fn restart(&mut self) {
        let state = &self.partition.groups()[0];
        self.group = Group::new(0, state, POLICY);
        self.feed = Feed::new(0, self.partition.store().clone(), self.partition.horizon());
        self.failures = state.failures.clone();
        self.members.clear();
        self.keyed.clear();
        self.under_way.clear();
        self.greatest_of_key.clear();
        self.ever_keyed = false;
        self.proposed.clear();
        self.reported.clear();
        self.open.clear();
        self.attempts.clear();
        self.ended.clear();
        self.greatest_first = DueKey::MIN;
        self.pauses_after_restart();
    }
}

/// How many deliveries more a credit allows.
fn credit_left(credit: &Credit) -> u32 {
    let mut left = 0;
    while credit.take() {
        left += 1;
    }
    credit.give(left);
    left
}

/// More cases when the environment asks for more.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(2_000),
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn agrees_with_the_consumers(
        plan in plan(),
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let mut world = World::new(plan);
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}
