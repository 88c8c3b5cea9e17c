//! The owner of a partition on the node that leads it: one task, one loop.
//!
//! ```text
//! inbox ──► queue ──► propose ──► (log, apply) ──► effects ──► answers
//!             ▲                                       │
//!  settles ───┤                                       ├──► schedule (timers)
//!  what is due┘                                       └──► feed ──► groups ──► sessions
//! ```
//!
//! While an entry is on its way to the disk, whatever arrives is collected into the next one. So the
//! more there is to do, the larger the entries get, and nobody waits for a timer.

use super::clock;
use super::machine::PartitionMachine;
use super::message::{Answers, Handle, Join, Message, Publish, Refused, Standing};
use super::schedule::{PageIn, Schedule};
use crate::delivery::{self, Dispatch, Feed, Policy, SessionId};
use crate::metrics::{Metrics, PartitionMetrics};
use bytes::Bytes;
use chronos_core::command::create_group::CreateGroup;
use chronos_core::command::{Builder, Kind};
use chronos_core::mutant;
use chronos_core::partition::{Effects, Outcome, Published, Run, released};
use chronos_core::types::{GroupNumber, TopicNumber};
use chronos_core::wheel::Timer;
use chronos_raft::{Group, ProposeError};
use chronos_store::RocksStore;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesOrdered, StreamExt};
use hashbrown::{HashMap, HashSet};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Entries on their way through the log at once. More than one, so that the disk does not wait for
/// the next entry to be put together.
const MOST_IN_FLIGHT: usize = 4;
/// An entry is closed when its commands have this size, bytes.
const ENTRY_BYTES: usize = 4 << 20;
/// Messages taken from the inbox before the loop looks at everything else again.
const MOST_MESSAGES: usize = 1024;

/// Under load, status and metrics are brought up to date this often.
const REPORT_EVERY: Duration = Duration::from_millis(50);

/// What a driver is told when it starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// How deliveries are repeated.
    pub policy: Policy,
    /// How far ahead of its time an event may be released, to be delivered on time.
    pub fire_ahead: Duration,
    /// How far ahead the wheel holds events.
    pub near_window: Duration,
}

/// Somebody who waits for a command to take effect.
enum Waiter {
    Publish {
        reply: oneshot::Sender<Result<Published, Refused>>,
        events: u32,
        _permit: OwnedSemaphorePermit,
    },
    CreateGroup(oneshot::Sender<Result<GroupNumber, Refused>>),
    Settle,
}

/// Commands that wait for a place in an entry, and who waits for them.
#[derive(Default)]
struct Queue {
    commands: VecDeque<(Kind, Bytes, Waiter)>,
    bytes: usize,
}

impl Queue {
    fn push(&mut self, kind: Kind, payload: Bytes, waiter: Waiter) {
        self.bytes += payload.len();
        self.commands.push_back((kind, payload, waiter));
    }
}

/// An entry on its way through the log.
struct Entry {
    waiters: Vec<Waiter>,
    answered: Vec<oneshot::Sender<Result<(), Refused>>>,
    proposed: Instant,
}

struct Session {
    group: GroupNumber,
    dispatches: mpsc::UnboundedSender<Vec<Dispatch>>,
    /// Collected during one round of the loop and sent at its end.
    batch: Vec<Dispatch>,
}

/// Drives one partition until it is told to stop or the partition fails.
pub struct Driver {
    handle: Handle,
    raft: Group<PartitionMachine>,
    store: RocksStore,
    options: Options,
    metrics: Arc<Metrics>,
    counters: PartitionMetrics,
    inbox: mpsc::Receiver<Message>,
    term: u64,
    queue: Queue,
    in_flight: VecDeque<Entry>,
    results: FuturesOrdered<BoxFuture<'static, Result<Effects, ProposeError>>>,
    /// The horizon will be at least here once everything in flight is applied.
    proposed_ms: i64,
    next_offset: u64,
    schedule: Schedule,
    paging: Option<BoxFuture<'static, anyhow::Result<Vec<Timer>>>>,
    feed: Feed<RocksStore>,
    topics: usize,
    groups: HashMap<GroupNumber, delivery::Group>,
    groups_of: HashMap<Option<TopicNumber>, Vec<GroupNumber>>,
    sessions: HashMap<SessionId, Session>,
    /// Groups that may have something to hand out.
    active: HashSet<GroupNumber>,
    /// Groups with progress that is not in the log.
    unsaved: HashSet<GroupNumber>,
    wakes: BinaryHeap<Reverse<(i64, GroupNumber)>>,
    /// The earliest wake of each group in `wakes`.
    wake_of: HashMap<GroupNumber, i64>,
    reported: Instant,
    answered: Vec<oneshot::Sender<Result<(), Refused>>>,
    stopping: Option<oneshot::Sender<()>>,
}

impl Driver {
    /// Takes the lead of a partition: brings the horizon to the present, so that everything that
    /// matured meanwhile is released, and the near future into the wheel.
    pub async fn start(
        handle: Handle,
        raft: Group<PartitionMachine>,
        store: RocksStore,
        options: Options,
        metrics: Arc<Metrics>,
        inbox: mpsc::Receiver<Message>,
    ) -> anyhow::Result<Self> {
        let term = raft.lead().await?;
        let now_ms = clock::now_ms();
        let first = raft
            .propose(Builder::new(0).finish(now_ms, 0, term))
            .await?;
        let horizon = first.horizon;
        if mutant!("forget-dedup-on-restart") {
            handle.state.lock().forget_ids();
        }
        // Nothing else proposes, so the state stands still until the loop begins.
        let (scheduled, saved, topics, next_offset, groups) = {
            let state = handle.state.lock();
            (
                state.scheduled_total(),
                state.saved_released(),
                state.topics().len(),
                state.next_offset(),
                state.groups().to_vec(),
            )
        };
        let counters = metrics.partition(handle.number);
        let (released, matured) = {
            let (store, number) = (store.clone(), handle.number);
            tokio::task::spawn_blocking(move || -> anyhow::Result<(u64, u64)> {
                let mut matured = 0;
                for topic in 0..topics as TopicNumber {
                    matured += released::count_scheduled(&store, number, topic, saved.1, horizon)?;
                }
                Ok((saved.0 + matured, matured))
            })
            .await??
        };
        counters.fired.inc_by(matured);
        let mut driver = Self {
            schedule: Schedule::new(
                handle.number,
                horizon,
                options.near_window,
                scheduled,
                released,
            ),
            feed: Feed::new(handle.number, store.clone(), horizon),
            counters,
            handle,
            raft,
            store,
            options,
            metrics,
            inbox,
            term,
            queue: Queue::default(),
            in_flight: VecDeque::new(),
            results: FuturesOrdered::new(),
            proposed_ms: horizon.due_ms,
            next_offset,
            paging: None,
            topics,
            groups: HashMap::new(),
            groups_of: HashMap::new(),
            sessions: HashMap::new(),
            active: HashSet::new(),
            unsaved: HashSet::new(),
            wakes: BinaryHeap::new(),
            wake_of: HashMap::new(),
            reported: Instant::now(),
            answered: Vec::new(),
            stopping: None,
        };
        for (number, group) in groups.iter().enumerate() {
            driver.add_group(number as GroupNumber, group);
        }
        if let Some(page) = driver.schedule.page_in(now_ms, topics, next_offset) {
            let timers = driver.read_page(page).await?;
            driver.schedule.paged_in(timers);
        }
        driver.report();
        Ok(driver)
    }

    /// Runs until stopped. An error means that the partition can no longer be served here.
    pub async fn run(mut self) -> anyhow::Result<()> {
        loop {
            self.propose();
            if self.is_finished() {
                break;
            }
            let wake = self.next_wake();
            tokio::select! {
                biased;
                Some(result) = self.results.next(), if !self.in_flight.is_empty() => self.on_applied(result)?,
                timers = page(&mut self.paging), if self.paging.is_some() => {
                    self.paging = None;
                    self.schedule.paged_in(timers?);
                }
                message = self.inbox.recv(), if self.stopping.is_none() => match message {
                    Some(message) => self.receive(message),
                    None => return Ok(()),
                },
                () = tokio::time::sleep(wake) => {}
            }
            self.deliver()?;
        }
        if let Some(stopped) = self.stopping.take() {
            let _ = stopped.send(());
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.stopping.is_some() && self.in_flight.is_empty() && self.queue.commands.is_empty()
    }

    fn receive(&mut self, first: Message) {
        self.on_message(first);
        for _ in 0..MOST_MESSAGES {
            match self.inbox.try_recv() {
                Ok(message) => self.on_message(message),
                Err(_) => break,
            }
        }
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Publish(publish) => self.on_publish(publish),
            Message::CreateGroup(create, reply) => self.on_create_group(&create, reply),
            Message::Join(join) => self.on_join(join),
            Message::Leave(session) => self.on_leave(session),
            Message::Answers(answers) => self.on_answers(answers),
            Message::Wake => self.active.extend(self.groups.keys().copied()),
            Message::Stop(reply) => {
                // Streams end when their sender goes; what they held is delivered after the restart.
                self.sessions.clear();
                self.inbox.close();
                while let Ok(message) = self.inbox.try_recv() {
                    self.refuse(message);
                }
                self.stopping = Some(reply);
            }
        }
    }

    fn refuse(&mut self, message: Message) {
        let refused = Refused::Stopping(self.handle.number);
        match message {
            Message::Publish(publish) => drop(publish.reply.send(Err(refused))),
            Message::CreateGroup(_, reply) => drop(reply.send(Err(refused))),
            // Answers count until the end: they are work done.
            Message::Answers(answers) => self.on_answers(answers),
            Message::Join(_) | Message::Leave(_) | Message::Wake | Message::Stop(_) => {}
        }
    }

    fn on_publish(&mut self, publish: Publish) {
        let Publish {
            section,
            events,
            permit,
            reply,
        } = publish;
        if mutant!("ack-before-append") {
            let published = Published {
                first_offset: self.next_offset,
                accepted: events,
                duplicates: Vec::new(),
            };
            self.next_offset += u64::from(events);
            let _ = reply.send(Ok(published));
            return;
        }
        let waiter = Waiter::Publish {
            reply,
            events,
            _permit: permit,
        };
        self.queue.push(Kind::Publish, section, waiter);
    }

    fn on_create_group(
        &mut self,
        create: &CreateGroup,
        reply: oneshot::Sender<Result<GroupNumber, Refused>>,
    ) {
        let known = self
            .handle
            .state
            .lock()
            .group_number(&create.name, create.topic.as_deref());
        match known.filter(|number| self.groups.contains_key(number)) {
            Some(number) => drop(reply.send(Ok(number))),
            None => self.queue.push(
                Kind::CreateGroup,
                create.encode().into(),
                Waiter::CreateGroup(reply),
            ),
        }
    }

    fn on_join(&mut self, join: Join) {
        if let Some(group) = self.groups.get_mut(&join.group) {
            join.credit.share_with(self.handle.inbox.downgrade());
            group.join(join.session, join.credit);
            let session = Session {
                group: join.group,
                dispatches: join.dispatches,
                batch: Vec::new(),
            };
            self.sessions.insert(join.session, session);
            self.active.insert(join.group);
        }
    }

    fn on_leave(&mut self, session: SessionId) {
        if let Some(Session { group, .. }) = self.sessions.remove(&session)
            && let Some(members) = self.groups.get_mut(&group)
        {
            members.leave(session);
            self.active.insert(group);
        }
    }

    fn on_answers(&mut self, answers: Answers) {
        let (horizon, now_ms) = (self.feed.horizon(), clock::now_ms());
        let (mut acked, mut nacked) = (0, 0);
        for (number, ack) in answers.acks {
            let Some(group) = self.groups.get_mut(&number) else {
                continue;
            };
            if ack.success {
                acked += 1
            } else {
                nacked += 1
            }
            group.answer(ack, horizon, now_ms);
            self.unsaved.insert(number);
            self.active.insert(number);
        }
        self.counters.acked.inc_by(acked);
        self.counters.nacked.inc_by(nacked);
        self.answered.push(answers.reply);
    }

    /// Puts what is queued into entries, as long as there is room in the log's pipeline.
    fn propose(&mut self) {
        let ahead_ms = self.options.fire_ahead.as_millis() as u32;
        loop {
            if self.in_flight.len() >= MOST_IN_FLIGHT {
                return;
            }
            let now_ms = clock::now_ms();
            let target_ms = now_ms.saturating_add(i64::from(ahead_ms));
            self.ask_for_page(now_ms);
            if self.paging.is_some() && !self.schedule.is_loaded_upto(target_ms) {
                // The horizon would pass events that are still being read.
                return;
            }
            self.queue_settles();
            let due = self
                .schedule
                .next_due_ms()
                .is_some_and(|due| due <= target_ms && due > self.proposed_ms);
            if self.queue.commands.is_empty() && !due {
                self.answer_settled();
                return;
            }
            self.propose_entry(now_ms, if due { ahead_ms } else { 0 });
        }
    }

    fn queue_settles(&mut self) {
        for number in self.unsaved.drain() {
            if let Some(settle) = self
                .groups
                .get_mut(&number)
                .and_then(delivery::Group::take_settle)
            {
                self.queue
                    .push(Kind::Settle, settle.encode().into(), Waiter::Settle);
            }
        }
    }

    /// Answers that changed nothing are told so at once, or after what is in flight: that may be the
    /// very settles they repeat.
    fn answer_settled(&mut self) {
        match self.in_flight.back_mut() {
            Some(last) => last.answered.append(&mut self.answered),
            None => self
                .answered
                .drain(..)
                .for_each(|reply| drop(reply.send(Ok(())))),
        }
    }

    fn propose_entry(&mut self, now_ms: i64, ahead_ms: u32) {
        let mut builder = Builder::new(self.queue.bytes.min(ENTRY_BYTES + (1 << 16)));
        let mut waiters = Vec::new();
        while let Some((kind, payload, waiter)) = self.queue.commands.pop_front() {
            self.queue.bytes -= payload.len();
            builder.push(kind, &payload);
            waiters.push(waiter);
            if builder.len() >= ENTRY_BYTES || waiters.len() == usize::from(u16::MAX) {
                break;
            }
        }
        // Settles are queued behind publishes: the answers may go with the entry that takes the last.
        let answered = match self.queue.commands.is_empty() {
            true => std::mem::take(&mut self.answered),
            false => Vec::new(),
        };
        let body = builder.finish(now_ms, ahead_ms, self.term);
        self.counters.wal_append_batches.inc();
        self.counters.wal_append_bytes.inc_by(body.len() as u64);
        self.proposed_ms = self
            .proposed_ms
            .max(now_ms.saturating_add(i64::from(ahead_ms)));
        self.results.push_back(self.raft.propose(body).boxed());
        self.in_flight.push_back(Entry {
            waiters,
            answered,
            proposed: Instant::now(),
        });
    }

    fn on_applied(&mut self, result: Result<Effects, ProposeError>) -> anyhow::Result<()> {
        let Some(entry) = self.in_flight.pop_front() else {
            return Ok(());
        };
        let mut effects = match result {
            Ok(effects) => effects,
            Err(error) => {
                let refused = match error {
                    ProposeError::NotLeader { .. } => Refused::NotLeader(self.handle.number),
                    ProposeError::Unknown => Refused::Unknown(self.handle.number),
                    ProposeError::Stopped(_) => Refused::Failed(self.handle.number),
                };
                entry.fail(&refused, &self.counters);
                anyhow::bail!("partition {} lost its log: {error}", self.handle.number);
            }
        };
        self.metrics
            .commit_seconds
            .observe(entry.proposed.elapsed().as_secs_f64());
        if let Some(batch) = effects.batch.take() {
            self.next_offset = batch.first_offset + batch.count();
            self.handle.events.remember(batch);
        }
        self.release(&effects);
        for (waiter, outcome) in entry.waiters.into_iter().zip(effects.outcomes) {
            self.answer(waiter, outcome);
        }
        entry
            .answered
            .into_iter()
            .for_each(|reply| drop(reply.send(Ok(()))));
        Ok(())
    }

    fn answer(&mut self, waiter: Waiter, outcome: Outcome) {
        match (waiter, outcome) {
            (Waiter::Publish { reply, .. }, Outcome::Published(mut published)) => {
                if mutant!("reuse-offset") {
                    published.first_offset = published.first_offset.saturating_sub(1);
                }
                self.counters.accepted.inc_by(u64::from(published.accepted));
                self.counters
                    .duplicate
                    .inc_by(published.duplicates.len() as u64);
                let _ = reply.send(Ok(published));
            }
            (Waiter::CreateGroup(reply), Outcome::GroupCreated { group, .. }) => {
                if !self.groups.contains_key(&group) {
                    let state = self
                        .handle
                        .state
                        .lock()
                        .groups()
                        .get(group as usize)
                        .cloned();
                    if let Some(state) = state {
                        self.add_group(group, &state);
                    }
                }
                let _ = reply.send(Ok(group));
            }
            (Waiter::Settle, Outcome::Settled) => {}
            (_, outcome) => unreachable!("apply answered a command of another kind: {outcome:?}"),
        }
    }

    fn add_group(&mut self, number: GroupNumber, state: &chronos_core::partition::Group) {
        self.topics = self
            .topics
            .max(state.topic.map_or(0, |topic| topic as usize + 1));
        self.groups.insert(
            number,
            delivery::Group::new(number, state, self.options.policy),
        );
        self.groups_of.entry(state.topic).or_default().push(number);
    }

    /// Releases what the entry brought to the horizon.
    fn release(&mut self, effects: &Effects) {
        self.schedule.arm(effects);
        let runs = self.schedule.release(effects.horizon);
        let highest = runs
            .iter()
            .chain(&effects.runs)
            .map(|run| run.topic as usize + 1)
            .max();
        self.topics = self.topics.max(highest.unwrap_or(0));
        let now_ms = clock::now_ms();
        for run in runs.iter().chain(&effects.runs) {
            self.counters.fired.inc_by(run.count);
            self.observe_lateness(run, effects.horizon_before.due_ms, now_ms);
            for topic in [Some(run.topic), None] {
                self.active
                    .extend(self.groups_of.get(&topic).into_iter().flatten().copied());
            }
        }
        self.feed.release(
            runs.into_iter().chain(effects.runs.iter().copied()),
            effects.horizon,
        );
    }

    /// An event that was late when it was published counts from its publish.
    fn observe_lateness(&self, run: &Run, horizon_before_ms: i64, now_ms: i64) {
        let from_ms = run.ready_ms.max(horizon_before_ms.min(now_ms));
        let seconds = (now_ms - from_ms).max(0) as f64 / 1e3;
        let lateness = self.metrics.fire_lateness_seconds.local();
        for _ in 0..run.count {
            lateness.observe(seconds);
        }
        lateness.flush();
    }

    /// Hands out what is ready.
    fn deliver(&mut self) -> anyhow::Result<()> {
        let now_ms = clock::now_ms();
        while let Some(Reverse((at_ms, number))) = self.wakes.peek().copied() {
            if at_ms > now_ms {
                break;
            }
            self.wakes.pop();
            if self.wake_of.get(&number) == Some(&at_ms) {
                self.wake_of.remove(&number);
            }
            self.active.insert(number);
        }
        let delivering_ms = if mutant!("fire-early") {
            now_ms + 2_000
        } else {
            now_ms
        };
        let lateness = self.metrics.delivery_lateness_seconds.local();
        let mut touched = Vec::new();
        for number in std::mem::take(&mut self.active) {
            let Some(group) = self.groups.get_mut(&number) else {
                continue;
            };
            group.expire(now_ms);
            let sessions = &mut self.sessions;
            group.dispatch(
                delivering_ms,
                &self.feed,
                self.topics,
                &mut |session, dispatch| {
                    if let Some(to) = sessions.get_mut(&session) {
                        if to.batch.is_empty() {
                            touched.push(session);
                        }
                        if dispatch.attempt == 1 {
                            lateness.observe((now_ms - dispatch.key.due_ms).max(0) as f64 / 1e3);
                        }
                        to.batch.push(dispatch);
                    }
                },
            )?;
            let counts = group.take_counts();
            self.counters.retried.inc_by(counts.retried);
            self.counters.timed_out.inc_by(counts.timed_out);
            self.counters.dead_lettered.inc_by(counts.dead);
            if let Some(at_ms) = group.next_wake_ms() {
                if self
                    .wake_of
                    .get(&number)
                    .is_none_or(|earliest| at_ms < *earliest)
                {
                    self.wake_of.insert(number, at_ms);
                    self.wakes.push(Reverse((at_ms, number)));
                }
            }
            self.unsaved.insert(number);
        }
        lateness.flush();
        for id in touched {
            self.flush(id);
        }
        if self.in_flight.is_empty() || self.reported.elapsed() > REPORT_EVERY {
            self.report();
        }
        Ok(())
    }

    fn flush(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            let batch = std::mem::take(&mut session.batch);
            self.counters.delivered.inc_by(batch.len() as u64);
            if session.dispatches.send(batch).is_err() {
                self.on_leave(id);
            }
        }
    }

    fn ask_for_page(&mut self, now_ms: i64) {
        if self.paging.is_some() || now_ms < self.schedule.next_page_in_ms() {
            return;
        }
        let topics = self.handle.state.lock().topics().len();
        if let Some(page) = self.schedule.page_in(now_ms, topics, self.next_offset) {
            self.paging = Some(self.read_page(page).boxed());
        }
    }

    fn read_page(
        &self,
        page: PageIn,
    ) -> impl Future<Output = anyhow::Result<Vec<Timer>>> + Send + 'static {
        let store = self.store.clone();
        async move { Ok(tokio::task::spawn_blocking(move || page.read(&store)).await??) }
    }

    fn next_wake(&self) -> Duration {
        let ahead_ms = self.options.fire_ahead.as_millis() as i64;
        let fire = self
            .schedule
            .next_due_ms()
            .filter(|due| *due > self.proposed_ms)
            .map(|due| due - ahead_ms);
        let group = self.wakes.peek().map(|Reverse((at_ms, _))| *at_ms);
        let page = self
            .paging
            .is_none()
            .then(|| self.schedule.next_page_in_ms());
        let next = [fire, group, page].into_iter().flatten().min();
        next.map_or(Duration::from_secs(3_600), clock::until)
    }

    /// Tells status and metrics where the partition stands.
    fn report(&mut self) {
        self.reported = Instant::now();
        let (entries, bytes) = self.schedule.wheel_size();
        *self.handle.standing.lock() = Standing {
            pending: self.schedule.pending(),
            waiting: self.groups.values().map(delivery::Group::waiting).sum(),
            in_flight: self
                .groups
                .values()
                .map(|group| group.in_flight() as u64)
                .sum(),
            members: self.sessions.len() as u64,
            next_due_ms: self.schedule.next_due_ms(),
            wheel_entries: entries as u64,
            wheel_bytes: bytes as u64,
            released: self.schedule.released(),
        };
    }
}

impl Entry {
    fn fail(self, refused: &Refused, counters: &PartitionMetrics) {
        for waiter in self.waiters {
            match waiter {
                Waiter::Publish { reply, events, .. } => {
                    counters.failed.inc_by(u64::from(events));
                    let _ = reply.send(Err(refused.clone()));
                }
                Waiter::CreateGroup(reply) => drop(reply.send(Err(refused.clone()))),
                Waiter::Settle => {}
            }
        }
        self.answered
            .into_iter()
            .for_each(|reply| drop(reply.send(Err(refused.clone()))));
    }
}

/// Waits for a page-in, if there is one.
async fn page(
    paging: &mut Option<BoxFuture<'static, anyhow::Result<Vec<Timer>>>>,
) -> anyhow::Result<Vec<Timer>> {
    match paging {
        Some(paging) => paging.await,
        None => std::future::pending().await,
    }
}
