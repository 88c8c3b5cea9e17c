//! Subscribe: a stream of deliveries to one member of a consumer group.
//!
//! The first message says what to subscribe to; nothing else is read. Deliveries are read from the
//! log when the transport asks for them, so a client that does not read costs no memory. Each leaves
//! only while the node may still deliver (`leaving.rs`): it may have waited here for long.

use super::leaving::{Leaving, May};
use super::outgoing::{Batching, Outgoing};
use super::status;
use super::validate::{GROUP_BYTES, TOPIC_BYTES};
use super::view::View;
use crate::config::Config;
use crate::delivery::{Ack, Dispatch, SessionId, Wish};
use crate::engine::{
    Answers, Credit, Engine, Handle, Join, Member, Message, ReadError, Refused, StoredEvent, clock,
};
use crate::metrics::{Metrics, PartitionMetrics};
use bytes::{Bytes, BytesMut};
use chronos_core::catalog;
use chronos_core::command::create_group::{CreateGroup, Start};
use chronos_core::mutant;
use chronos_core::types::GroupNumber;
use chronos_proto::cronos_db::SubscribeRequest;
use chronos_proto::raw;
use futures::stream::{self, SelectAll, Stream, StreamExt};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

/// Most unanswered deliveries of a subscription, whatever it asks for.
const MOST_CREDIT: u32 = 50_000;

/// Opens subscriptions.
#[derive(Clone)]
pub struct Subscriber {
    engine: View,
    metrics: Arc<Metrics>,
    default_credit: u32,
}

impl Subscriber {
    /// Subscribes to this engine.
    pub fn new(engine: View, metrics: Arc<Metrics>, config: &Config) -> Self {
        Self {
            engine,
            metrics,
            default_credit: config.delivery.max_credits.clamp(1, MOST_CREDIT),
        }
    }

    /// The same over these partitions.
    pub fn over(&self, view: View) -> Self {
        Self {
            engine: view,
            ..self.clone()
        }
    }

    /// Unanswered deliveries that a subscription may hold.
    pub fn credit(&self, request: &SubscribeRequest) -> u32 {
        match u32::try_from(request.max_buffer_size) {
            Ok(0) | Err(_) => self.default_credit,
            Ok(credit) => credit.min(MOST_CREDIT),
        }
    }

    /// Serves one call. The stream begins at once, so that clients which wait for its headers before
    /// they send do not wait for ever.
    pub fn serve(
        &self,
        mut requests: Streaming<SubscribeRequest>,
    ) -> impl Stream<Item = Result<raw::Delivery, Status>> + Send + use<> {
        let subscriber = self.clone();
        stream::once(async move {
            let Some(request) = requests.message().await? else {
                // The client asked for nothing and closed its side.
                return Ok(stream::empty().left_stream());
            };
            let deliveries = subscriber.open(request).await?;
            Ok(Held {
                deliveries,
                _requests: requests,
            }
            .right_stream())
        })
        .flat_map(|opened: Result<_, Status>| match opened {
            Ok(deliveries) => deliveries.left_stream(),
            Err(status) => stream::iter([Err(status)]).right_stream(),
        })
    }

    /// Creates the group where it is missing and adds the subscription to it.
    pub async fn open(
        &self,
        request: SubscribeRequest,
    ) -> Result<impl Stream<Item = Result<raw::Delivery, Status>> + Send + Unpin + use<>, Status>
    {
        let request = check(request)?;
        if !request.topic.is_empty() && !self.engine.topics().may_use(request.topic.as_bytes()) {
            return Err(status::no_such_topic(&request.topic));
        }
        let batching = Batching::of(&request)?;
        let wish = Wish {
            key_order: request.key_order,
            // A batch of every second event only would have an id as long as itself.
            stride: batching.map_or(1, |batching| batching.events as u32),
        };
        let partitions = self.partitions(request.partition_id)?;
        if let Some(number) = self.engine.missing() {
            return Err(status::of_refused(&Refused::NotLeader(number)));
        }
        let start = match request.start_offset {
            0 => Start::Earliest,
            offset if offset < 0 => Start::Unclaimed,
            offset => Start::Offset(offset as u64),
        };
        if self.engine.group(&request.consumer_group).is_none() {
            let command = catalog::Command::CreateGroup {
                name: request.consumer_group.clone(),
                topic: request.topic.clone(),
                partitions: (0..self.engine.partition_count()).collect(),
                now_ms: clock::now_ms(),
            };
            self.engine
                .change_catalog(&command)
                .await
                .map_err(|refused| status::of_refused(&refused))?;
        }
        let credit = Arc::new(Credit::new(self.credit(&request)));
        let session = self.engine.new_session();
        let mut deliveries = Deliveries {
            members: Vec::new(),
            dispatches: SelectAll::new(),
            queue: VecDeque::new(),
            session,
            batching,
            ids: BytesMut::new(),
            topic: request.topic.clone(),
            engine: Arc::clone(self.engine.engine()),
            metrics: Arc::clone(&self.metrics),
            ends_together: self.engine.is_part(),
            ended: false,
            pause: None,
        };
        self.metrics.subscriptions.inc();
        let member = Member {
            group: request.consumer_group.clone(),
            subscription_id: request.subscription_id,
            credit: Arc::clone(&credit),
        };
        self.engine.member_joined(session, member);
        let topic = (!request.topic.is_empty()).then(|| request.topic.clone());
        for handle in partitions {
            let create = CreateGroup {
                name: request.consumer_group.clone(),
                topic: topic.clone(),
                start,
                is_waited_for: !request.not_waited_for,
            };
            let group = handle
                .ask(|reply| Message::CreateGroup(create, reply))
                .await
                .map_err(|refused| status::of_refused(&refused))?;
            let (sender, receiver) = mpsc::unbounded_channel();
            // Asked after the leader's answer, so it is that leader's term or a later one.
            let term = handle.term();
            let join = Join {
                session,
                group,
                term,
                credit: Arc::clone(&credit),
                wish,
                dispatches: sender,
            };
            handle
                .send(Message::Join(join))
                .await
                .map_err(|refused| status::of_refused(&refused))?;
            let member = deliveries.members.len();
            deliveries.members.push(Membership {
                handle: handle.clone(),
                group,
                session,
                leaving: Leaving::new(handle.clone(), term),
                metrics: self.metrics.partition(handle.number),
            });
            deliveries.dispatches.push(
                UnboundedReceiverStream::new(receiver)
                    .map(move |batch| (member, Some(batch)))
                    .chain(stream::iter([(member, None)]))
                    .boxed(),
            );
        }
        Ok(deliveries)
    }

    fn partitions(&self, partition_id: i32) -> Result<Vec<Handle>, Status> {
        match u32::try_from(partition_id) {
            Err(_) => Ok(self.engine.partitions().to_vec()),
            Ok(number) => match self.engine.partition(number) {
                Some(handle) => Ok(vec![handle.clone()]),
                None => Err(status::no_such_partition(partition_id)),
            },
        }
    }
}

fn check(request: SubscribeRequest) -> Result<SubscribeRequest, Status> {
    if request.consumer_group.is_empty() {
        return Err(Status::invalid_argument("consumer_group is required"));
    }
    for (name, value, most) in [
        ("consumer_group", &request.consumer_group, GROUP_BYTES),
        ("topic", &request.topic, TOPIC_BYTES),
    ] {
        if value.len() > most {
            return Err(Status::invalid_argument(format!(
                "{name} has {} bytes, at most {most} are allowed",
                value.len()
            )));
        }
    }
    Ok(request)
}

/// A subscription's place in one partition; leaves when dropped.
struct Membership {
    handle: Handle,
    group: GroupNumber,
    session: SessionId,
    leaving: Leaving,
    metrics: PartitionMetrics,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let message = Message::Leave(self.session);
        if let Err(mpsc::error::TrySendError::Full(message)) = self.handle.inbox.try_send(message) {
            let inbox = self.handle.inbox.clone();
            tokio::spawn(async move {
                // A closed inbox means that the partition has stopped: nobody is a member any more.
                let _ = inbox.send(message).await;
            });
        }
    }
}

/// What a membership, by its index, is handed out; `None` when its partition is no longer served here.
type Dispatches = SelectAll<Pin<Box<dyn Stream<Item = (usize, Option<Vec<Dispatch>>)> + Send>>>;

/// The deliveries of a subscription.
struct Deliveries {
    members: Vec<Membership>,
    dispatches: Dispatches,
    /// Dispatched and not yet read: (index of the membership, events). Bounded by the credit.
    queue: VecDeque<Work>,
    session: SessionId,
    batching: Option<Batching>,
    ids: BytesMut,
    topic: String,
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    /// Whether the end of one partition is the end of all: who named them finds them elsewhere.
    ends_together: bool,
    ended: bool,
    /// Until it is asked again whether the next delivery may leave.
    pause: Option<Pin<Box<Sleep>>>,
}

/// The deliveries of a call.
struct Held<S> {
    deliveries: S,
    /// Kept until the end: dropping it would reset the client's side of the call.
    _requests: Streaming<SubscribeRequest>,
}

impl<S: Stream + Unpin> Stream for Held<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.deliveries.poll_next_unpin(context)
    }
}

/// Something to send, with the index of the membership: events to read from the log, or deliveries
/// that were read.
enum Work {
    Unread(usize, VecDeque<Dispatch>),
    Ready(usize, VecDeque<raw::Delivery>),
}

impl Work {
    fn member(&self) -> usize {
        match self {
            Self::Unread(member, _) | Self::Ready(member, _) => *member,
        }
    }
}

impl Deliveries {
    /// The next delivery out of what is queued.
    fn next_queued(&mut self) -> Option<raw::Delivery> {
        loop {
            match self.queue.front_mut()? {
                Work::Ready(_, deliveries) => match deliveries.pop_front() {
                    Some(delivery) => return Some(delivery),
                    None => drop(self.queue.pop_front()),
                },
                Work::Unread(member, dispatches) => {
                    let policy = self.engine.topics().policy_of(self.topic.as_bytes());
                    let ack_timeout_ms =
                        i32::try_from(policy.ack_timeout.as_millis()).unwrap_or(i32::MAX);
                    let Membership {
                        handle,
                        group,
                        metrics,
                        ..
                    } = &self.members[*member];
                    let mut outgoing = Outgoing {
                        handle,
                        group: *group,
                        session: self.session,
                        ack_timeout_ms,
                        metrics,
                        ids: &mut self.ids,
                    };
                    let ready = match self.batching {
                        Some(batching) => outgoing.batches(dispatches, batching),
                        None => outgoing.singles(dispatches),
                    };
                    let member = *member;
                    if dispatches.is_empty() {
                        self.queue.pop_front();
                    }
                    self.queue.push_front(Work::Ready(member, ready));
                }
            }
        }
    }

    /// Waits until what is next may leave, and forgets what may not: who leads now delivers it.
    fn poll_may_leave(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some(member) = self.queue.front().map(Work::member) {
            match self.members[member].leaving.may() {
                May::Leave => break,
                May::Never => {
                    self.queue.retain(|work| work.member() != member);
                    self.ended |= self.ends_together;
                }
                May::Wait(pause) => {
                    let sleep = self
                        .pause
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
                    ready!(sleep.as_mut().poll(context));
                    self.pause = None;
                }
            }
        }
        Poll::Ready(())
    }

    /// Takes what a membership was handed out.
    fn take(&mut self, member: usize, batch: Option<Vec<Dispatch>>) {
        match batch {
            Some(batch) => self.enqueue(member, batch),
            None => self.ended |= self.ends_together,
        }
    }

    /// Queues what a partition handed out.
    fn enqueue(&mut self, member: usize, batch: Vec<Dispatch>) {
        if self.batching.is_some()
            && let Some(Work::Unread(_, dispatches)) = (self.queue.iter_mut())
                .find(|work| matches!(work, Work::Unread(of, _) if *of == member))
        {
            // The fuller the batches, the fewer.
            return dispatches.extend(batch);
        }
        self.queue.push_back(Work::Unread(member, batch.into()));
    }

    /// Queues what is there, so that batches are as full as can be without waiting.
    fn gather(&mut self, context: &mut Context<'_>) {
        while let Some(Work::Ready(_, ready)) = self.queue.front()
            && ready.is_empty()
        {
            self.queue.pop_front();
        }
        if self.batching.is_some() && !matches!(self.queue.front(), Some(Work::Ready(..))) {
            while !self.ended
                && let Poll::Ready(Some((member, batch))) = self.dispatches.poll_next_unpin(context)
            {
                self.take(member, batch);
            }
        }
    }
}

/// An event on its way out: the stored bytes and what the server says about it.
pub fn stored(event: StoredEvent, partition: u32) -> raw::StoredEvent {
    let stamp = raw::Stamp {
        created_ts: event.created_ms,
        offset: event.offset as i64,
        partition_id: partition as i32,
        checksum: event.checksum,
        term: event.term as i64,
        schedule_ts: (event.options.stamped || event.schedule_ms != event.published_ms)
            .then_some(event.schedule_ms),
    };
    let body = if mutant!("wrong-payload") {
        damaged(&event.body)
    } else {
        event.body
    };
    raw::StoredEvent::new(body, stamp)
}

fn damaged(body: &Bytes) -> Bytes {
    let mut bytes = body.to_vec();
    if let Ok(fields) = raw::scan_event(body)
        && let Some(byte) = bytes.get_mut(fields.payload_range.start)
    {
        *byte ^= 1;
    }
    bytes.into()
}

/// An event that cannot be read is refused on the client's behalf: it is tried again, and at last it
/// is a dead letter, where an operator finds it.
pub(super) fn give_back(
    handle: &Handle,
    group: GroupNumber,
    dispatch: Dispatch,
    error: &ReadError,
) {
    tracing::error!(%error, partition = handle.number, offset = dispatch.key.offset, "cannot deliver an event");
    let reason = error.to_string();
    let ack = Ack {
        key: dispatch.key,
        attempt: dispatch.attempt,
        success: false,
        reason,
    };
    let (reply, _) = oneshot::channel();
    let message = Message::Answers(Answers {
        acks: vec![(group, ack)],
        runs: Vec::new(),
        reply,
    });
    let inbox = handle.inbox.clone();
    tokio::spawn(async move {
        let _ = inbox.send(message).await;
    });
}

impl Stream for Deliveries {
    type Item = Result<raw::Delivery, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.gather(context);
        loop {
            ready!(this.poll_may_leave(context));
            if this.ended {
                return Poll::Ready(None);
            }
            if let Some(delivery) = this.next_queued() {
                return Poll::Ready(Some(Ok(delivery)));
            }
            match ready!(this.dispatches.poll_next_unpin(context)) {
                Some((member, batch)) => this.take(member, batch),
                // The partitions stop: the client should come back to another node, or later.
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.engine.member_left(self.session);
        self.metrics.subscriptions.dec();
    }
}
