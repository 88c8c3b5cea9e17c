//! A partition's driver on the node that leads it: the server's driver in small.
//!
//! Requests become commands, commands become entries, and what comes of an entry answers requests,
//! arms timers and releases events. It ends when the node no longer leads.

use super::deliver::{Deliveries, Dispatch, Member};
use super::machine::SharedPartition;
use super::message::{ChangeAnswer, Refused, Reply, Request, Sent};
use super::process::Process;
use super::read::{self, PARTITION, ReadError};
use super::stream::{Handed, Stream};
use crate::history::{Delivery, Excuse};
use crate::rules;
use crate::world::World;
use bytes::Bytes;
use chronos_core::command::change::{Action, Change, Item};
use chronos_core::command::{Builder, Kind};
use chronos_core::keys::dedup::hash;
use chronos_core::mutant;
use chronos_core::partition::{Effects, Outcome, Published, released};
use chronos_core::store::StoreError;
use chronos_core::types::{DueKey, GroupNumber, TopicNumber};
use chronos_core::wheel::{Timer, Wheel};
use chronos_raft::ProposeError;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesOrdered, StreamExt};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Entries under way at once.
const MOST_IN_FLIGHT: usize = 4;
/// How soon a leader without a lease looks whether it has one.
const LEASE_GLANCE: Duration = Duration::from_millis(50);
/// Commands of an entry, at most.
const MOST_COMMANDS: usize = 64;

enum Waiter {
    Publish(bool, Reply<Published>),
    Change(u64, Reply<ChangeAnswer>),
    CreateGroup(Reply<()>),
    Settle(Vec<Reply<bool>>),
}

impl Waiter {
    fn refuse(self, refused: &Refused) {
        match self {
            Waiter::Publish(_, reply) => drop(reply.send(Err(refused.clone()))),
            Waiter::Change(_, reply) => drop(reply.send(Err(refused.clone()))),
            Waiter::CreateGroup(reply) => drop(reply.send(Err(refused.clone()))),
            Waiter::Settle(replies) => {
                for reply in replies {
                    drop(reply.send(Err(refused.clone())));
                }
            }
        }
    }
}

/// Why a leader stops leading.
#[derive(Debug, thiserror::Error)]
pub enum Deposed {
    /// Another leads, or the group stopped.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The index failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Another leads, or may.
    #[error("another leads")]
    Lost,
    /// The process ends.
    #[error("the process ends")]
    Ended,
}

/// Leads a partition.
pub struct Leader {
    world: Arc<World>,
    process: Arc<Process>,
    partition: SharedPartition,
    term: u64,
    reign: u64,
    queue: VecDeque<(Kind, Bytes, Waiter)>,
    in_flight: VecDeque<Vec<Waiter>>,
    results: FuturesOrdered<BoxFuture<'static, Result<Effects, ProposeError>>>,
    wheel: Wheel,
    horizon: DueKey,
    /// The horizon will be at least here once everything in flight is applied.
    proposed_ms: i64,
    groups: BTreeMap<GroupNumber, Deliveries>,
}

impl Leader {
    /// Takes the lead: brings the horizon to the present and takes up the timers.
    pub async fn begin(
        world: Arc<World>,
        process: Arc<Process>,
        term: u64,
    ) -> Result<Self, Deposed> {
        let partition = Arc::clone(&process.partition);
        partition.lock().discard_unknown()?;
        let now_ms = process.clock.now_ms();
        let first = Builder::new(0).finish(now_ms, 0, term);
        let effects = process.group.propose(first).await?;
        world.ledger.leads(process.node, term);
        let now_us = world.time.now_us();
        world.history.records().leaders.push((now_us, term));
        world.say(&process, format_args!("leads term {term}"));
        let mut leader = Self {
            wheel: Wheel::new(effects.horizon.due_ms),
            horizon: effects.horizon,
            proposed_ms: effects.horizon.due_ms,
            reign: world.next_reign(),
            world,
            process,
            term,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            results: FuturesOrdered::new(),
            groups: BTreeMap::new(),
            partition,
        };
        if !mutant!("promote-without-timers") {
            leader.take_up_timers()?;
        }
        let groups = leader.partition.lock().groups().len() as GroupNumber;
        for number in 0..groups {
            leader.add_group(number);
        }
        Ok(leader)
    }

    fn take_up_timers(&mut self) -> Result<(), StoreError> {
        let partition = self.partition.lock();
        for topic in 0..partition.topics().len() as TopicNumber {
            let wheel = &mut self.wheel;
            released::visit(
                partition.store(),
                PARTITION,
                topic,
                self.horizon,
                DueKey::MAX,
                &mut |key| {
                    wheel.insert(Timer {
                        due_ms: key.due_ms,
                        topic,
                        offset: key.offset,
                    });
                },
            )?;
        }
        Ok(())
    }

    fn add_group(&mut self, number: GroupNumber) {
        let partition = self.partition.lock();
        let most_failures = self.world.plan.most_failures;
        self.groups
            .entry(number)
            .or_insert_with(|| Deliveries::new(number, &partition, most_failures));
    }

    /// Leads until somebody else does.
    pub async fn run(mut self, inbox: &mut mpsc::UnboundedReceiver<Request>) -> Deposed {
        let mut lost = self.process.group.lost(self.term).boxed();
        let deposed = loop {
            self.process.resumed().await;
            if let Err(deposed) = self.step() {
                break deposed;
            }
            let wake = self.next_wake();
            let done = tokio::select! {
                biased;
                Some(result) = self.results.next(), if !self.in_flight.is_empty() => self.on_applied(result),
                request = inbox.recv() => match request {
                    Some(request) => self.on_request(request),
                    None => Err(Deposed::Ended),
                },
                () = &mut lost => Err(Deposed::Lost),
                () = tokio::time::sleep(wake) => Ok(()),
            };
            if let Err(deposed) = done {
                break deposed;
            }
        };
        for (.., waiter) in self.queue {
            waiter.refuse(&Refused::NotLeader(None));
        }
        for waiter in self.in_flight.into_iter().flatten() {
            waiter.refuse(&Refused::Unknown);
        }
        deposed
    }

    fn step(&mut self) -> Result<(), Deposed> {
        self.deliver()?;
        self.propose();
        Ok(())
    }

    fn next_wake(&self) -> Duration {
        let ahead_ms = i64::from(self.world.plan.ahead_ms);
        let fire = (self.wheel.next_due_ms())
            .filter(|due_ms| *due_ms > self.proposed_ms)
            .map(|due_ms| self.process.clock.until(due_ms - ahead_ms));
        let clock = &self.process.clock;
        let groups = self.groups.values();
        let groups = groups.filter_map(|group| group.next_wake(clock)).min();
        if !self.process.may_deliver() {
            return LEASE_GLANCE;
        }
        let next = fire.into_iter().chain(groups).min();
        next.unwrap_or(Duration::from_secs(1))
    }

    fn on_request(&mut self, request: Request) -> Result<(), Deposed> {
        match request {
            Request::Publish {
                section,
                durable,
                reply,
            } => {
                let waiter = Waiter::Publish(durable, reply);
                self.queue.push_back((Kind::Publish, section, waiter));
            }
            Request::Change(id, action, reply) => self.on_change(&id, action, reply)?,
            Request::CreateGroup(create, reply) => {
                let payload = create.encode().into();
                self.queue
                    .push_back((Kind::CreateGroup, payload, Waiter::CreateGroup(reply)));
            }
            Request::Join {
                group,
                topic,
                member,
                credit,
                sink,
                reply,
            } => {
                self.world.excuse(Excuse::MemberGone {
                    group: group.clone(),
                    member,
                });
                let stream = self.stream(member, sink);
                if let Some(deliveries) = self.group(&group, topic) {
                    // It comes back before it was missed.
                    deliveries.leave(member);
                    deliveries.members.push(Member {
                        number: member,
                        credit,
                        stream,
                    });
                    drop(reply.send(Ok(())));
                } else {
                    drop(reply.send(Err(Refused::NotLeader(None))));
                }
            }
            Request::Answer {
                group,
                topic,
                key,
                attempt,
                success,
                reply,
            } => match self.group(&group, topic) {
                Some(deliveries) => deliveries.answer(key, attempt, success, reply),
                None => drop(reply.send(Err(Refused::NotLeader(None)))),
            },
        }
        Ok(())
    }

    fn group(&mut self, name: &str, topic: &str) -> Option<&mut Deliveries> {
        let number = self.partition.lock().group_number(name, Some(topic))?;
        self.groups.get_mut(&number)
    }

    /// Finds the event that has an id. What never changes of it goes into the command.
    fn on_change(
        &mut self,
        id: &str,
        action: Action,
        reply: Reply<ChangeAnswer>,
    ) -> Result<(), Deposed> {
        let id = hash(id.as_bytes());
        let partition = self.partition.lock();
        let Some(offset) = partition.offset_of_id(id)? else {
            drop(reply.send(Ok(ChangeAnswer { found: None })));
            return Ok(());
        };
        let event = match read::read(partition.store(), &self.process.wal, offset) {
            // Nobody needs it any more.
            Err(error) if error.is_gone() => {
                drop(reply.send(Ok(ChangeAnswer { found: None })));
                return Ok(());
            }
            read => read?,
        };
        let item = Item {
            offset,
            topic: partition.topics().get(&event.topic).unwrap_or_default(),
            published_ms: event.schedule_ms,
            id,
            if_version: None,
            action,
        };
        let payload = Change { items: vec![item] }.encode().into();
        self.queue
            .push_back((Kind::Change, payload, Waiter::Change(offset, reply)));
        Ok(())
    }

    fn propose(&mut self) {
        while self.in_flight.len() < MOST_IN_FLIGHT {
            for deliveries in self.groups.values_mut() {
                if let Some((settle, replies)) = deliveries.take_settle() {
                    let payload = settle.encode().into();
                    self.queue
                        .push_back((Kind::Settle, payload, Waiter::Settle(replies)));
                }
            }
            let now_ms = self.process.clock.now_ms();
            let ahead_ms = self.world.plan.ahead_ms;
            let target_ms = now_ms.saturating_add(i64::from(ahead_ms));
            // Where clocks were wrong the horizon is ahead of them. What is fired or moved to the
            // past then falls due right after it, and must not wait until the clock is there.
            let target_ms = target_ms.max(self.horizon.due_ms.saturating_add(1));
            let is_due = |due_ms: i64| due_ms <= target_ms && due_ms > self.proposed_ms;
            let due = self.wheel.next_due_ms().is_some_and(is_due);
            if self.queue.is_empty() && !due {
                return;
            }
            let reach_ms = if due {
                target_ms.saturating_sub(now_ms)
            } else {
                0
            };
            self.propose_entry(now_ms, u32::try_from(reach_ms).unwrap_or(u32::MAX));
        }
    }

    fn propose_entry(&mut self, now_ms: i64, ahead_ms: u32) {
        let mut builder = Builder::new(0);
        let mut waiters = Vec::new();
        while let Some((kind, payload, waiter)) = self.queue.pop_front() {
            builder.push(kind, &payload);
            waiters.push(waiter);
            if waiters.len() == MOST_COMMANDS {
                break;
            }
        }
        let body = builder.finish(now_ms, ahead_ms, self.term);
        self.proposed_ms = self
            .proposed_ms
            .max(now_ms.saturating_add(i64::from(ahead_ms)));
        self.results
            .push_back(self.process.group.propose(body).boxed());
        self.in_flight.push_back(waiters);
    }

    fn on_applied(&mut self, result: Result<Effects, ProposeError>) -> Result<(), Deposed> {
        let waiters = self.in_flight.pop_front().unwrap_or_default();
        let effects = match result {
            Ok(effects) => effects,
            Err(error) => {
                let refused = match error {
                    ProposeError::NotLeader { leader } => Refused::NotLeader(leader),
                    ProposeError::Stopped(_) => Refused::NotLeader(None),
                    ProposeError::Unknown => Refused::Unknown,
                };
                for waiter in waiters {
                    waiter.refuse(&refused);
                }
                return Err(error.into());
            }
        };
        self.horizon = effects.horizon;
        for timer in &effects.timers {
            self.wheel.insert(*timer);
        }
        for moved in &effects.moves {
            if let Some(due_ms) = moved.to_ms {
                self.wheel.insert(Timer {
                    due_ms,
                    topic: moved.topic,
                    offset: moved.offset,
                });
            }
        }
        // What falls due is read from the index: timers only say when to look.
        self.wheel.expire(self.horizon.due_ms, &mut Vec::new());
        for (waiter, outcome) in waiters.into_iter().zip(effects.outcomes) {
            self.answer(waiter, outcome);
        }
        Ok(())
    }

    fn answer(&mut self, waiter: Waiter, outcome: Outcome) {
        match (waiter, outcome) {
            (Waiter::Publish(durable, reply), Outcome::Published(published)) => {
                let must_sync = durable && !mutant!("durable-before-sync");
                let answer = match must_sync && self.process.wal.sync().is_err() {
                    true => Err(Refused::Unknown),
                    false => Ok(published),
                };
                drop(reply.send(answer));
            }
            (Waiter::Change(offset, reply), Outcome::Changed(changed)) => {
                let found = changed.first().map(|changed| (offset, *changed));
                drop(reply.send(Ok(ChangeAnswer { found })));
            }
            (Waiter::CreateGroup(reply), Outcome::GroupCreated { group, .. }) => {
                self.add_group(group);
                drop(reply.send(Ok(())));
            }
            (Waiter::Settle(replies), Outcome::Settled) => {
                for reply in replies {
                    drop(reply.send(Ok(true)));
                }
            }
            (_, outcome) => self.world.verdict.add(
                rules::Rule::Replicas,
                format!("a command has the outcome of another one: {outcome:?}"),
            ),
        }
    }

    fn deliver(&mut self) -> Result<(), Deposed> {
        if !self.process.may_deliver() {
            return Ok(());
        }
        let now_ms = self.process.clock.now_ms();
        let store = self.process.store.clone();
        let numbers: Vec<GroupNumber> = self.groups.keys().copied().collect();
        for number in numbers {
            let Some(deliveries) = self.groups.get_mut(&number) else {
                continue;
            };
            let gone: Vec<u64> = (deliveries.members.iter())
                .filter(|member| member.stream.is_closed())
                .map(|member| member.number)
                .collect();
            let name = self.partition.lock().groups()[number as usize].name.clone();
            for member in gone {
                self.world.excuse(Excuse::MemberGone {
                    group: name.clone(),
                    member,
                });
                deliveries.leave(member);
            }
            // A late event's due time is that of the horizon, which may be far ahead of the clock
            // where clocks were wrong. It is ready at the time that it is wanted for.
            let process = &self.process;
            deliveries.fetch(&store, self.horizon, &|key| process.wanted_ms(key.offset))?;
            for dispatch in deliveries.dispatch(now_ms) {
                self.hand_out(number, &name, dispatch, now_ms)?;
            }
        }
        Ok(())
    }

    /// Hands an event to a member's stream.
    fn hand_out(
        &mut self,
        number: GroupNumber,
        group: &str,
        dispatch: Dispatch,
        now_ms: i64,
    ) -> Result<(), Deposed> {
        let process = &self.process;
        let event = read::read(&process.store, &process.wal, dispatch.key.offset)?;
        let now_us = self.world.time.now_us();
        let delivery = Delivery {
            group: group.to_owned(),
            member: dispatch.member,
            node: process.node,
            term: self.term,
            reign: self.reign,
            key: dispatch.key,
            attempt: dispatch.attempt,
            body: event.body,
            handed_us: now_us,
            sent_us: now_us,
            clock_ms: now_ms,
        };
        let members = self.groups.get(&number).map(|group| &group.members);
        let mut members = members.into_iter().flatten();
        if let Some(member) = members.find(|member| member.number == dispatch.member) {
            let at = tokio::time::Instant::now();
            // A stream that has ended is noticed with the next round.
            drop(member.stream.send(Handed { delivery, at }));
        }
        Ok(())
    }

    /// Opens the stream to a member.
    fn stream(
        &self,
        member: u64,
        sink: mpsc::UnboundedSender<Sent>,
    ) -> mpsc::UnboundedSender<Handed> {
        let (stream, handed) = mpsc::unbounded_channel();
        let now_us = self.world.time.now_us();
        let name = format!("stream of {member} in {} at {now_us}", self.reign);
        let task = Stream {
            world: Arc::clone(&self.world),
            process: Arc::clone(&self.process),
            member,
            handed,
            sink,
            random: self.world.plan.random(&name),
        };
        self.process.spawn(task.run());
        stream
    }
}
