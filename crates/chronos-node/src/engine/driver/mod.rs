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
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the start, the loop, members and their answers, what wakes the loop |
//! | `propose.rs` | the way into the log, and the answers when it is applied |
//! | `answers.rs` | answers to batches, events that expired |
//! | `dead_letters.rs` | dead letters to redrive, edit and discard |
//! | `pauses.rs` | what is paused |
//! | `topics.rs` | topics that change or are deleted |
//! | `losing.rs` | the end of a lead |
//! | `deliver.rs` | the way out: what is released goes to groups and sessions |

mod answers;
mod dead_letters;
mod deliver;
mod losing;
mod pauses;
mod propose;
mod rest;
mod topics;

use super::clock;
use super::message::{Answers, Handle, Join, Message, Refused};
use super::pauses::Watch;
use super::schedule::{PageIn, Schedule};
use super::topics::{Map, Topics};
use crate::delivery::{self, Dispatch, Feed, SessionId};
use crate::metrics::{Metrics, PartitionMetrics};
use chronos_core::command::Builder;
use chronos_core::partition::{Effects, released};
use chronos_core::types::{GroupNumber, TopicNumber};
use chronos_core::wheel::Timer;
use chronos_raft::ProposeError;
use chronos_store::RocksStore;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesOrdered, StreamExt};
use hashbrown::{HashMap, HashSet};
use propose::{Entry, Queue, Waiter};
use rest::Rest;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Messages taken from the inbox before the loop looks at everything else again.
const MOST_MESSAGES: usize = 1024;

/// A leader that cannot be sure to be the only one looks again after this time.
const UNSURE: Duration = Duration::from_millis(5);
/// So often a leader with entries under way looks whether it is cut off.
const LOOK: Duration = Duration::from_millis(500);
/// A leader that is cut off for so long gives up: whoever waits is to look for another one.
const CUT_OFF: Duration = Duration::from_secs(5);

/// What a driver is told when it starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// The settings of topics, how deliveries are repeated among them.
    pub topics: Arc<Topics>,
    /// How far ahead of its time an event may be released, to be delivered on time.
    pub fire_ahead: Duration,
    /// How far ahead the wheel holds events.
    pub near_window: Duration,
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
    store: RocksStore,
    options: Options,
    metrics: Arc<Metrics>,
    counters: PartitionMetrics,
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
    /// Tells when the settings of topics change.
    settings: watch::Receiver<Arc<Map>>,
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
    pauses: Watch,
    reported: Instant,
    answered: Vec<oneshot::Sender<Result<(), Refused>>>,
    /// Until when nothing is proposed, because another node is about to lead.
    resting: Option<Rest>,
    stopping: Option<oneshot::Sender<()>>,
    /// Whether something may wait to be handed out until this node is sure of its lead.
    unsure: bool,
    /// Since when this node cannot be sure to lead, if it is not.
    unsure_since: Option<Instant>,
    /// Resolves when this node does not lead in `term` any more.
    lost: BoxFuture<'static, ()>,
    has_lost: bool,
}

/// How a driver ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was told to stop, and finished what it had taken in.
    Stopped,
    /// Another node leads, or nobody does.
    Lost,
}

impl Driver {
    /// Takes over a partition that this node leads in `term`: brings the horizon to the present, so
    /// that everything that matured meanwhile is released, and the near future into the wheel. `None`
    /// when the lead was lost meanwhile.
    pub async fn start(
        handle: Handle,
        term: u64,
        store: RocksStore,
        options: Options,
        metrics: Arc<Metrics>,
        pauses: Watch,
    ) -> anyhow::Result<Option<Self>> {
        if handle.state.lock().discard_unknown()? {
            tracing::warn!(
                partition = handle.number,
                "the log had lost its end; the index has forgotten it too"
            );
        }
        // What it knew of an earlier lead may have changed since.
        handle.events.forget();
        let now_ms = clock::now_ms();
        let proposed = (handle.raft).propose(Builder::new(0).finish(now_ms, 0, term));
        let first = match tokio::time::timeout(CUT_OFF, proposed).await {
            Ok(Ok(effects)) => effects,
            Ok(Err(ProposeError::NotLeader { .. } | ProposeError::Unknown)) | Err(_) => {
                return Ok(None);
            }
            Ok(Err(stopped)) => return Err(stopped.into()),
        };
        let horizon = first.horizon;
        #[cfg(feature = "mutants")]
        if chronos_core::mutant!("forget-dedup-on-restart") {
            handle.state.lock().forget_ids();
        }
        // Nothing else proposes, so the state stands still until the loop begins.
        let (scheduled, saved, topics, next_offset, groups) = {
            let mut state = handle.state.lock();
            state.deletion_seen(None);
            handle
                .events
                .know_deleted(state.deleted_topics().filter_map(|(topic, below)| {
                    state.topics().name(topic).map(|name| (name.into(), below))
                }));
            handle.events.know_changed(state.changed());
            handle.events.prioritize(state.topics().prioritized());
            (
                state.scheduled().to_vec(),
                state.saved_released().clone(),
                state.topics().len(),
                state.next_offset(),
                state.groups().to_vec(),
            )
        };
        let counters = metrics.partition(handle.number);
        let (released, matured) = {
            let (store, number) = (store.clone(), handle.number);
            tokio::task::spawn_blocking(move || -> anyhow::Result<(Vec<u64>, u64)> {
                let (mut released, upto) = saved;
                released.resize(topics.max(released.len()), 0);
                let mut matured = 0;
                for (topic, released) in released.iter_mut().enumerate() {
                    let topic = topic as TopicNumber;
                    let count = released::count_scheduled(&store, number, topic, upto, horizon)?;
                    *released += count;
                    matured += count;
                }
                Ok((released, matured))
            })
            .await??
        };
        counters.fired.inc_by(matured);
        let settings = options.topics.watch();
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
            lost: handle.raft.lost(term).boxed(),
            handle,
            has_lost: false,
            unsure: false,
            unsure_since: None,
            store,
            options,
            metrics,
            term,
            queue: Queue::default(),
            in_flight: VecDeque::new(),
            results: FuturesOrdered::new(),
            proposed_ms: horizon.due_ms,
            next_offset,
            paging: None,
            topics,
            settings,
            groups: HashMap::new(),
            groups_of: HashMap::new(),
            sessions: HashMap::new(),
            active: HashSet::new(),
            unsaved: HashSet::new(),
            wakes: BinaryHeap::new(),
            wake_of: HashMap::new(),
            pauses,
            reported: Instant::now(),
            answered: Vec::new(),
            resting: None,
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
        Ok(Some(driver))
    }

    /// Runs until stopped or until the lead is lost. An error means that the partition can no longer be
    /// served here.
    pub async fn run(mut self, inbox: &mut mpsc::Receiver<Message>) -> anyhow::Result<End> {
        loop {
            if !self.rests() {
                self.propose();
            }
            if self.is_finished() {
                break;
            }
            if self.has_lost || self.is_cut_off() {
                return Ok(self.lose());
            }
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = &mut self.lost => self.has_lost = true,
                Some(result) = self.results.next(), if !self.in_flight.is_empty() => self.on_applied(result)?,
                timers = page(&mut self.paging), if self.paging.is_some() => {
                    self.paging = None;
                    self.schedule.paged_in(timers?);
                }
                message = inbox.recv(), if self.stopping.is_none() => match message {
                    Some(message) => self.receive(message, inbox),
                    None => return Ok(End::Stopped),
                },
                () = self.pauses.changed() => {}
                Ok(()) = self.settings.changed() => self.on_settings(),
                () = tokio::time::sleep(wake) => {}
            }
            self.deliver()?;
        }
        if let Some(stopped) = self.stopping.take() {
            let _ = stopped.send(());
        }
        Ok(End::Stopped)
    }

    fn is_finished(&self) -> bool {
        self.stopping.is_some() && self.in_flight.is_empty() && self.queue.is_empty()
    }

    /// A leader without peers learns from nobody that another one leads.
    fn is_cut_off(&mut self) -> bool {
        if self.handle.may_deliver(self.term) {
            self.unsure_since = None;
            return false;
        }
        let since = *self.unsure_since.get_or_insert_with(Instant::now);
        since.elapsed() > CUT_OFF
    }

    fn receive(&mut self, first: Message, inbox: &mut mpsc::Receiver<Message>) {
        self.on_message(first);
        for _ in 0..MOST_MESSAGES {
            match inbox.try_recv() {
                Ok(message) => self.on_message(message),
                Err(_) => break,
            }
        }
        if self.stopping.is_some() {
            inbox.close();
            while let Ok(message) = inbox.try_recv() {
                self.refuse(message);
            }
        }
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Publish(publish) => self.on_publish(publish),
            Message::Change(changes) => self.on_change(changes),
            Message::Replace(replace) => self.on_replace(replace),
            Message::CountPending(reply) => {
                drop(reply.send(self.schedule.pending_by_topic().collect()));
            }
            Message::CreateGroup(create, reply) => self.on_create_group(&create, reply),
            Message::DeadLetters(letters) => self.on_dead_letters(letters),
            Message::Retain(kind, section, reply) => {
                self.queue.push(kind, section, Waiter::Retain(reply));
            }
            Message::DeleteTopic(delete) => self.on_delete_topic(delete),
            Message::Join(join) => self.on_join(join),
            Message::Leave(session) => self.on_leave(session),
            Message::Answers(answers) => self.on_answers(answers),
            Message::Expired(expired) => self.on_expired(&expired),
            Message::Wake => self.active.extend(self.groups.keys().copied()),
            Message::Rest(reply) => self.resting = Some(Rest::begin(reply)),
            Message::Stop(reply) => {
                // Streams end when their sender goes; what they held is delivered after the restart.
                self.sessions.clear();
                self.stopping = Some(reply);
            }
        }
    }

    fn refuse(&mut self, message: Message) {
        match message {
            // Answers count until the end: they are work done.
            Message::Answers(answers) => self.on_answers(answers),
            Message::Expired(expired) => self.on_expired(&expired),
            message => message.refuse(Refused::Stopping(self.handle.number)),
        }
    }

    fn on_join(&mut self, join: Join) {
        if join.term != self.term {
            // Its stream ends with its sender.
            return;
        }
        if let Some(group) = self.groups.get_mut(&join.group) {
            join.credit.share_with(self.handle.inbox.downgrade());
            group.join_with(join.session, join.credit, join.wish);
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
        self.on_runs(answers.runs);
        self.answered.push(answers.reply);
    }

    fn add_group(&mut self, number: GroupNumber, state: &chronos_core::partition::Group) {
        self.topics = self
            .topics
            .max(state.topic.map_or(0, |topic| topic as usize + 1));
        let policy = self.policy_of(state.topic);
        self.groups
            .insert(number, delivery::Group::new(number, state, policy));
        self.groups_of.entry(state.topic).or_default().push(number);
        if !self.pauses.current().is_empty() {
            self.pause_group(number, clock::now_ms());
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
        let next = [fire, group, page, self.pauses.change_ms()]
            .into_iter()
            .flatten()
            .min();
        let wake = next.map_or(Duration::from_secs(3_600), clock::until);
        let wake = match &self.resting {
            // What falls due meanwhile waits with the rest.
            Some(rest) => rest.left(),
            None => wake,
        };
        match (self.unsure, self.in_flight.is_empty()) {
            (true, _) => wake.min(UNSURE),
            (false, false) => wake.min(LOOK),
            (false, true) => wake,
        }
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
