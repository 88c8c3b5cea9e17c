//! Receiving: subscriptions whose acks are pipelined on a stream of their own.
//!
//! A subscription takes whatever the connection holds, books it, and sends all acks of that in one
//! piece, without waiting for the answers; a second task counts these.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::clock;
use super::histogram::Times;
use super::options::ReceiveOptions;
use super::publisher::Errors;
use super::session::Session;
use super::wire::connection::{Connection, MethodName, Outgoing, Receiver, Sender};
use super::wire::request::{Subscription, put_ack};
use super::wire::response::{Delivery, ack_taken};
use super::wire::status::CallError;

/// Chunks of deliveries taken at most before their acks are sent.
const CHUNKS_PER_PIECE: usize = 16;
/// How often a waiting run looks whether everything has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The subscriptions of a run.
pub(crate) struct Subscribers {
    tasks: JoinSet<Received>,
    stop: watch::Sender<bool>,
    counts: Arc<Counts>,
    linger: Duration,
}

/// Numbers that a waiting run watches.
#[derive(Default)]
struct Counts {
    open: AtomicU64,
    deliveries: AtomicU64,
    acks_sent: AtomicU64,
    acks_answered: AtomicU64,
}

/// What the subscriptions amounted to.
pub(crate) struct Received {
    /// Events that arrived, repeats and strangers included.
    pub events: u64,
    /// Time from schedule_ts to arrival.
    pub lateness: Times,
    /// Time from sending an ack to its answer.
    pub ack_latency: Times,
    /// Events whose acks the server answered with success.
    pub acked: u64,
    /// Acks that the server answered with a refusal.
    pub acks_refused: u64,
    /// First arrival.
    pub first_at: Option<Instant>,
    /// Last arrival.
    pub last_at: Option<Instant>,
    /// Answer to the last ack.
    pub last_ack_at: Option<Instant>,
    /// Streams that ended by themselves.
    pub errors: Errors,
}

impl Subscribers {
    /// Opens the subscriptions, each on a connection of its own.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(crate) async fn start(
        session: &Arc<Session>,
        options: &ReceiveOptions,
        strangers: Strangers,
    ) -> Result<Self, CallError> {
        let (stop, stopped) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        let mut tasks = JoinSet::new();
        let group_base = options
            .group
            .clone()
            .unwrap_or_else(|| format!("load-{}", session.run));
        for group in 0..usize::from(options.groups) {
            for member in 0..options.members {
                let name = if options.groups == 1 {
                    group_base.clone()
                } else {
                    format!("{group_base}-{group}")
                };
                let subscription = Subscription {
                    group: name,
                    topic: session.topic.clone(),
                    partition: -1,
                    start_offset: options.start_offset(),
                    credit: options.credit,
                    member: format!("{}-{group}-{member}", session.run),
                    batch: options.delivery_batch,
                };
                let connection = session.connect(tasks.len()).await?;
                let streams = open(&connection, &subscription).await?;
                counts.open.fetch_add(1, Relaxed);
                tasks.spawn(receive(
                    session.clone(),
                    group,
                    strangers,
                    streams,
                    counts.clone(),
                    stopped.clone(),
                ));
            }
        }
        Ok(Self {
            tasks,
            stop,
            counts,
            linger: options.linger.duration(),
        })
    }

    /// Waits until everything accepted has arrived and every ack is answered, then a little longer
    /// for duplicates. Returns false when the time allowed ended or every subscription failed
    /// first.
    pub(crate) async fn wait(&self, session: &Session) -> bool {
        loop {
            if self.counts.all_acked() && session.ledger.is_complete() {
                break;
            }
            if session.out_of_time() || self.counts.open.load(Relaxed) == 0 {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tokio::time::sleep(self.linger).await;
        true
    }

    /// Waits until nothing has arrived for `idle`. Returns false when the time allowed ended first.
    pub(crate) async fn wait_until_idle(&self, session: &Session, idle: Duration) -> bool {
        let mut seen = (u64::MAX, Instant::now());
        loop {
            let deliveries = self.counts.deliveries.load(Relaxed);
            if deliveries != seen.0 {
                seen = (deliveries, Instant::now());
            }
            let open = self.counts.open.load(Relaxed) > 0;
            if !open || (seen.1.elapsed() >= idle && self.counts.all_acked()) {
                return open;
            }
            if session.out_of_time() {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Deliveries taken so far.
    pub(crate) fn deliveries(&self) -> u64 {
        self.counts.deliveries.load(Relaxed)
    }

    /// Ends the subscriptions and sums them up.
    pub(crate) async fn stop(mut self) -> Received {
        self.stop.send_replace(true);
        let mut total = Received::new();
        while let Some(received) = self.tasks.join_next().await {
            match received {
                Ok(received) => total.merge(received),
                Err(panic) => total.errors.add(format!("a subscriber failed: {panic}")),
            }
        }
        total
    }
}

/// What to do with the lateness of events that are not of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strangers {
    /// Leave it out of the histogram.
    Skip,
    /// Record it too.
    Record,
}

impl Counts {
    fn all_acked(&self) -> bool {
        self.acks_answered.load(Relaxed) >= self.acks_sent.load(Relaxed)
    }
}

impl Received {
    fn new() -> Self {
        Self {
            events: 0,
            lateness: Times::new(),
            ack_latency: Times::new(),
            acked: 0,
            acks_refused: 0,
            first_at: None,
            last_at: None,
            last_ack_at: None,
            errors: Errors::default(),
        }
    }

    fn merge(&mut self, other: Self) {
        self.events += other.events;
        self.lateness.merge(&other.lateness);
        self.ack_latency.merge(&other.ack_latency);
        self.acked += other.acked;
        self.acks_refused += other.acks_refused;
        self.first_at = [self.first_at, other.first_at].into_iter().flatten().min();
        self.last_at = self.last_at.max(other.last_at);
        self.last_ack_at = self.last_ack_at.max(other.last_ack_at);
        self.errors.merge(other.errors);
    }
}

/// The two streams of one subscription.
struct Streams {
    /// Kept open: its end would end the subscription.
    subscribe: Sender,
    deliveries: Receiver,
    acks: Sender,
    answers: Receiver,
}

async fn open(connection: &Connection, subscription: &Subscription) -> Result<Streams, CallError> {
    let (acks, answers) = connection.stream(MethodName::Ack).await?;
    let (mut subscribe, deliveries) = connection.stream(MethodName::Subscribe).await?;
    subscribe.send(subscription.request())?;
    Ok(Streams {
        subscribe,
        deliveries,
        acks,
        answers,
    })
}

async fn receive(
    session: Arc<Session>,
    group: usize,
    strangers: Strangers,
    streams: Streams,
    counts: Arc<Counts>,
    mut stopped: watch::Receiver<bool>,
) -> Received {
    let mut received = Received::new();
    let mut answers = Answers::default();
    let on_the_way = OnTheWay::default();
    let end = {
        let take = async {
            let mut booking = Booking {
                session: &session,
                group,
                strangers,
                received: &mut received,
                outgoing: Outgoing::default(),
                waiting: 0,
                events: 0,
            };
            take_deliveries(
                streams.deliveries,
                streams.acks,
                &mut booking,
                &counts,
                &on_the_way,
            )
            .await
        };
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => Ok(()),
            end = take => end,
            end = take_answers(streams.answers, &mut answers, &counts, &on_the_way) => end,
        }
    };
    counts.open.fetch_sub(1, Relaxed);
    drop(streams.subscribe);
    if let Err(error) = end {
        received.errors.add(error.to_string());
    }
    received.ack_latency = answers.latency;
    received.acked = answers.events.saturating_sub(answers.refused);
    received.acks_refused = answers.refused;
    received.last_ack_at = answers.last_at;
    received
}

/// Takes deliveries and acks them until the stream ends.
async fn take_deliveries(
    mut deliveries: Receiver,
    mut acks: Sender,
    booking: &mut Booking<'_>,
    counts: &Counts,
    on_the_way: &OnTheWay,
) -> Result<(), CallError> {
    loop {
        let mut now_us = None;
        let mut more = deliveries
            .messages(|message| booking.book(message, *now_us.get_or_insert_with(clock::now_us)))
            .await?;
        for _ in 1..CHUNKS_PER_PIECE {
            let mut now_us = None;
            let next = deliveries
                .messages(|message| {
                    booking.book(message, *now_us.get_or_insert_with(clock::now_us))
                })
                .now_or_never();
            match next {
                Some(next) if more => more = next?,
                _ => break,
            }
        }
        let waiting = std::mem::take(&mut booking.waiting);
        let events = std::mem::take(&mut booking.events);
        if let Some(piece) = booking.outgoing.take() {
            let now = Instant::now();
            booking.received.first_at.get_or_insert(now);
            booking.received.last_at = Some(now);
            counts.deliveries.fetch_add(events, Relaxed);
            counts.acks_sent.fetch_add(waiting, Relaxed);
            lock(on_the_way).push_back(Piece {
                sent_at: now,
                acks: waiting,
                events,
            });
            acks.send(piece)?;
        }
        if !more {
            return Err(CallError::Protocol(
                "the server ended the subscription".to_owned(),
            ));
        }
    }
}

/// Counts the answers to acks until the stream ends.
async fn take_answers(
    mut stream: Receiver,
    answers: &mut Answers,
    counts: &Counts,
    on_the_way: &OnTheWay,
) -> Result<(), CallError> {
    loop {
        let before = answers.taken + answers.refused;
        let more = stream
            .messages(|message| {
                match ack_taken(message)? {
                    true => answers.taken += 1,
                    false => answers.refused += 1,
                }
                Ok(())
            })
            .await?;
        let now = Instant::now();
        let mut came = answers.taken + answers.refused - before;
        if came > 0 {
            answers.last_at = Some(now);
            counts.acks_answered.fetch_add(came, Relaxed);
        }
        let mut on_the_way = lock(on_the_way);
        while let Some(piece) = on_the_way.front_mut()
            && came > 0
        {
            let matched = came.min(piece.acks);
            answers
                .latency
                .record_many(now.duration_since(piece.sent_at), matched);
            came -= matched;
            piece.acks -= matched;
            if piece.acks == 0 {
                answers.events += piece.events;
                on_the_way.pop_front();
            }
        }
        if came > 0 {
            return Err(CallError::Protocol("more answers than acks".to_owned()));
        }
        if !more {
            return Err(CallError::Protocol(
                "the server ended the ack stream".to_owned(),
            ));
        }
    }
}

/// Acks that were sent together.
struct Piece {
    sent_at: Instant,
    /// How many of them are not answered.
    acks: u64,
    /// Events that they are for.
    events: u64,
}

/// Acks on their way, oldest first. Answers come in the order of the acks.
type OnTheWay = Mutex<VecDeque<Piece>>;

fn lock(on_the_way: &OnTheWay) -> MutexGuard<'_, VecDeque<Piece>> {
    on_the_way.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where deliveries are booked, and the acks that this makes.
struct Booking<'a> {
    session: &'a Session,
    group: usize,
    strangers: Strangers,
    received: &'a mut Received,
    outgoing: Outgoing,
    /// Acks, and the events that they are for.
    waiting: u64,
    events: u64,
}

impl Booking<'_> {
    fn book(&mut self, message: &[u8], now_us: i64) -> Result<(), CallError> {
        let delivery = Delivery::scan(message)?;
        let mut next_offset = 0;
        for (event, attempt) in delivery.events() {
            let arrival = self
                .session
                .ledger
                .receive(self.group, event, attempt, now_us);
            if arrival.ours || self.strangers == Strangers::Record {
                self.received.lateness.record_us(arrival.lateness_us);
            }
            self.received.events += 1;
            self.events += 1;
            next_offset = event.offset + 1;
        }
        self.waiting += 1;
        put_ack(self.outgoing.buffer(), delivery.delivery_id, next_offset);
        Ok(())
    }
}

/// Answers to acks.
#[derive(Default)]
struct Answers {
    latency: Times,
    /// Events whose acks were answered.
    events: u64,
    taken: u64,
    refused: u64,
    last_at: Option<Instant>,
}
