//! The task behind a subscription: two streams, opened again whenever they break.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chronos_proto::cronos_db::{self, AckRequest};
use futures::{StreamExt, stream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::ack::Settle;
use super::{AckHandle, Delivery, SubscribeOptions};
use crate::error::in_full;
use crate::retry::{Verdict, verdict};
use crate::{Client, Error};

/// A delivery, and the session that it came with.
pub(super) struct Numbered<D> {
    pub(super) session: u64,
    pub(super) delivery: D,
}

/// What a message of the server becomes.
pub(super) trait Arrival: Sized + Send + 'static {
    /// Whether it is to be asked for in batches.
    const BATCHED: bool;

    fn arrive(
        message: cronos_db::Delivery,
        orders: mpsc::UnboundedSender<Order>,
    ) -> Result<Self, Error>;
}

/// What handles and the subscription ask of the task. Every settle uses up a handle, and
/// there are no more of those than the credit allows: that bounds the channel.
pub(super) enum Order {
    Settle(Settle),
    /// Answer once every settle ordered before is answered.
    Finish(oneshot::Sender<()>),
}

pub(super) struct Session<D> {
    client: Client,
    options: SubscribeOptions,
    delivered: mpsc::Sender<Result<Numbered<D>, Error>>,
    orders: mpsc::WeakUnboundedSender<Order>,
    inbox: mpsc::UnboundedReceiver<Order>,
    current: Arc<AtomicU64>,
    unanswered: Unanswered,
}

/// Settles that were sent, or will be with the next session, in order.
#[derive(Default)]
struct Unanswered {
    settles: Mutex<VecDeque<Settle>>,
    emptied: Notify,
}

/// How a session goes.
struct Course {
    /// Sessions before it that failed, one after the other.
    failures: u32,
    /// Deliveries so far.
    received: u64,
}

/// Why a session is over.
enum End {
    /// The subscription was dropped or closed.
    Done,
    /// A stream ended; without a status, in order.
    Broken(Option<Status>),
}

impl<D: Arrival> Session<D> {
    pub(super) fn new(
        client: Client,
        options: SubscribeOptions,
        delivered: mpsc::Sender<Result<Numbered<D>, Error>>,
        orders: mpsc::WeakUnboundedSender<Order>,
        inbox: mpsc::UnboundedReceiver<Order>,
        current: Arc<AtomicU64>,
    ) -> Self {
        Self {
            client,
            options,
            delivered,
            orders,
            inbox,
            current,
            unanswered: Unanswered::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut failures = 0;
        // As for other calls, after a leader that did not answer.
        let mut is_detour = false;
        loop {
            let session = self.current.fetch_add(1, Ordering::AcqRel) + 1;
            let mut course = Course {
                failures,
                received: 0,
            };
            let status = match self.hold(session, is_detour, &mut course).await {
                End::Done => return,
                End::Broken(status) => status,
            };
            let received = course.received;
            if let Some(status) = &status
                && verdict(status) == Verdict::Final
            {
                let error = Error::from_status(status, failures + 1);
                let _ = self.delivered.send(Err(error)).await;
                return;
            }
            is_detour = received == 0 && !is_detour;
            failures = if received > 0 { 1 } else { failures + 1 };
            let pause = self.client.retry().backoff(failures);
            tracing::warn!(
                failures,
                reason = status
                    .as_ref()
                    .map_or_else(|| "it ended".to_string(), in_full),
                pause_ms = pause.as_millis() as u64,
                "subscription interrupted, connecting again"
            );
            self.client.distrust();
            if !self.pause(pause).await {
                return;
            }
            self.client.look_for_leader().await;
        }
    }

    /// Waits before the next session; false when nobody listens any more.
    async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.delivered.closed() => false,
        }
    }

    /// Opens both streams and serves them until one ends.
    async fn hold(&mut self, session: u64, is_detour: bool, course: &mut Course) -> End {
        let partition = self.options.partition_id();
        let channel = self.client.channel(partition.filter(|_| !is_detour));
        let (sent, to_send) = mpsc::unbounded_channel();
        for settle in self.unanswered.lock().iter() {
            let _ = sent.send(settle.request.clone());
        }
        let answers = read_answers(&self.client, channel.clone(), to_send, &self.unanswered);
        let deliveries = read_deliveries(
            &self.client,
            channel,
            &self.options,
            &self.delivered,
            &self.orders,
            session,
            course,
        );
        let orders = forward_orders(&mut self.inbox, &sent, &self.unanswered);
        tokio::select! {
            end = deliveries => end,
            status = answers => End::Broken(status),
            () = orders => End::Done,
            () = self.delivered.closed() => End::Done,
        }
    }
}

async fn read_deliveries<D: Arrival>(
    client: &Client,
    channel: Channel,
    options: &SubscribeOptions,
    delivered: &mpsc::Sender<Result<Numbered<D>, Error>>,
    orders: &mpsc::WeakUnboundedSender<Order>,
    session: u64,
    course: &mut Course,
) -> End {
    // The server reads one message; ending the request stream would end the subscription.
    let request = stream::iter([options.request(D::BATCHED)]).chain(stream::pending());
    let mut stream = match client.events(channel).subscribe(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => return End::Broken(Some(status)),
    };
    if course.failures > 0 {
        // As loud as the interruption was, so that whoever saw that sees this.
        tracing::warn!("subscription connected again");
    }
    loop {
        let message = match stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return End::Broken(None),
            Err(status) => return End::Broken(Some(status)),
        };
        let Some(orders) = orders.upgrade() else {
            return End::Done;
        };
        let item = D::arrive(message, orders).map(|delivery| Numbered { session, delivery });
        course.received += 1;
        if delivered.send(item).await.is_err() {
            return End::Done;
        }
    }
}

impl Arrival for Delivery {
    const BATCHED: bool = false;

    fn arrive(
        message: cronos_db::Delivery,
        orders: mpsc::UnboundedSender<Order>,
    ) -> Result<Self, Error> {
        let event = message
            .event
            .ok_or(Error::Unexpected("delivery without an event"))?;
        let next_offset = event.offset.saturating_add(1);
        Ok(Self {
            event,
            attempt: u32::try_from(message.attempt).unwrap_or(0),
            ack_timeout: Duration::from_millis(u64::try_from(message.ack_timeout_ms).unwrap_or(0)),
            handle: AckHandle {
                delivery_id: message.delivery_id,
                next_offset,
                orders,
            },
        })
    }
}

/// Holds the Ack stream; the server answers in the order of the requests.
async fn read_answers(
    client: &Client,
    channel: Channel,
    to_send: mpsc::UnboundedReceiver<AckRequest>,
    unanswered: &Unanswered,
) -> Option<Status> {
    let requests = UnboundedReceiverStream::new(to_send);
    let mut stream = match client.events(channel).ack(requests).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Some(status),
    };
    loop {
        match stream.message().await {
            Ok(Some(answer)) => unanswered.answer(if answer.success {
                Ok(())
            } else {
                Err(Error::rejected(answer.error))
            }),
            Ok(None) => return None,
            Err(status) => return Some(status),
        }
    }
}

/// Sends what is ordered; returns when asked to finish, or when nobody can order any more.
async fn forward_orders(
    inbox: &mut mpsc::UnboundedReceiver<Order>,
    sent: &mpsc::UnboundedSender<AckRequest>,
    unanswered: &Unanswered,
) {
    while let Some(order) = inbox.recv().await {
        match order {
            Order::Settle(settle) => {
                let request = settle.request.clone();
                unanswered.lock().push_back(settle);
                let _ = sent.send(request);
            }
            Order::Finish(reply) => {
                unanswered.wait_until_empty().await;
                let _ = reply.send(());
                return;
            }
        }
    }
    unanswered.wait_until_empty().await;
}

impl Unanswered {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Settle>> {
        self.settles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, answer: Result<(), Error>) {
        let mut settles = self.lock();
        if let Some(settle) = settles.pop_front() {
            let _ = settle.reply.send(answer);
        }
        if settles.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    async fn wait_until_empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }
}
