//! Receiving events as they fall due.
//!
//! ```text
//! Session (task) ── deliveries ──► Subscription ──► Delivery ──► AckHandle
//!       ▲                                                            │
//!       └──────────────────────── settles ◄──────────────────────────┘
//! ```
//! The session holds the Subscribe and the Ack stream. When either breaks, both are opened
//! anew: the group resumes at its cursor, and settles that were not answered are sent again.

mod ack;
mod batch;
mod options;
mod session;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use chronos_proto::cronos_db::Event;
use futures::Stream;
use tokio::sync::{mpsc, oneshot};

pub use ack::{AckHandle, AckReceipt};
pub use batch::{Batch, BatchEvent};
pub use options::{Start, SubscribeOptions};

use crate::{Client, Error};
use session::{Arrival, Numbered, Order, Session};

/// A stream of deliveries to one member of a consumer group. It ends after an error that
/// reconnecting cannot mend. Dropping it leaves the group: what was delivered and not
/// acknowledged goes to other members.
pub struct Subscription<D = Delivery> {
    deliveries: mpsc::Receiver<Result<Numbered<D>, Error>>,
    orders: mpsc::UnboundedSender<Order>,
    /// Number of the session under way. What an earlier one left in the channel is stale: the
    /// server delivers it again.
    current_session: Arc<AtomicU64>,
}

/// One event, due now, for this member.
#[derive(Debug)]
pub struct Delivery {
    event: Event,
    attempt: u32,
    ack_timeout: Duration,
    handle: AckHandle,
}

impl Client {
    /// Joins a consumer group. Connects in the background, and again whenever the connection
    /// breaks. Must be called within a Tokio runtime.
    pub fn subscribe(&self, options: SubscribeOptions) -> Subscription {
        self.open_subscription(options)
    }

    /// The same with events in batches, each answered as a whole: far less work for both sides where
    /// many events fall due together. A batch holds what is due, and waits for nothing.
    pub fn subscribe_batches(&self, options: SubscribeOptions) -> Subscription<Batch> {
        self.open_subscription(options)
    }

    fn open_subscription<D: Arrival>(&self, options: SubscribeOptions) -> Subscription<D> {
        let (delivered, deliveries) = mpsc::channel(options.local_buffer());
        let (orders, order_inbox) = mpsc::unbounded_channel();
        let current_session = Arc::new(AtomicU64::new(0));
        let session = Session::new(
            self.clone(),
            options,
            delivered,
            orders.downgrade(),
            order_inbox,
            Arc::clone(&current_session),
        );
        tokio::spawn(session.run());
        Subscription {
            deliveries,
            orders,
            current_session,
        }
    }
}

impl<D> Subscription<D> {
    /// Leaves the group after the acks given so far are answered, at most `limit` later.
    ///
    /// # Errors
    /// [`Error::Closed`] when they were not answered in time.
    pub async fn close(self, limit: Duration) -> Result<(), Error> {
        let (reply, done) = oneshot::channel();
        self.orders
            .send(Order::Finish(reply))
            .map_err(|_| Error::Closed)?;
        // Keeps the receiver of deliveries alive, or the session would end at once.
        match tokio::time::timeout(limit, done).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::Closed),
        }
    }
}

impl<D> Stream for Subscription<D> {
    type Item = Result<D, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return match self.deliveries.poll_recv(cx) {
                Poll::Ready(Some(Ok(numbered))) => {
                    if numbered.session != self.current_session.load(Ordering::Acquire) {
                        continue;
                    }
                    Poll::Ready(Some(Ok(numbered.delivery)))
                }
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
        }
    }
}

impl<D> fmt::Debug for Subscription<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

impl Delivery {
    /// The event, with what the server says about it.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// 1 for the first delivery of this event to the group, then counting up.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// After how long without an ack the server delivers the event again.
    pub fn ack_timeout(&self) -> Duration {
        self.ack_timeout
    }

    /// The event, and the handle to settle it with.
    pub fn into_parts(self) -> (Event, AckHandle) {
        (self.event, self.handle)
    }

    /// Says that the event is processed. See [`AckHandle::ack`].
    pub fn ack(self) -> AckReceipt {
        self.handle.ack()
    }

    /// Says that the event could not be processed. See [`AckHandle::nack`].
    pub fn nack(self, reason: impl Into<String>) -> AckReceipt {
        self.handle.nack(reason)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::fake::{Fake, SessionEnd};

    async fn next_id(subscription: &mut Subscription) -> (String, AckHandle) {
        let delivery = tokio::time::timeout(Duration::from_secs(20), subscription.next())
            .await
            .expect("a delivery in time")
            .expect("an open stream")
            .expect("no error");
        let (event, handle) = delivery.into_parts();
        (event.message_id, handle)
    }

    #[tokio::test]
    async fn delivers_and_settles_in_order() {
        let fake = Fake::start(1).await;
        fake.deliver(["a", "b", "c"]);
        let client = fake.client().await;
        let mut subscription = client.subscribe(SubscribeOptions::new("g", "t").credit(7));
        let mut receipts = Vec::new();
        for (expected, good) in [("a", true), ("b", false), ("c", true)] {
            let (id, handle) = next_id(&mut subscription).await;
            assert_eq!(id, expected);
            receipts.push(if good {
                handle.ack()
            } else {
                handle.nack("no")
            });
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
        let settles: Vec<(String, bool, i64)> = fake
            .acks()
            .into_iter()
            .map(|ack| (ack.delivery_id, ack.success, ack.next_offset))
            .collect();
        assert_eq!(
            settles,
            [
                ("1/a".to_string(), true, 1),
                ("1/b".to_string(), false, 2),
                ("1/c".to_string(), true, 3),
            ]
        );
        let request = fake.subscribes().remove(0);
        assert_eq!(request.max_buffer_size, 7);
        assert_eq!((request.partition_id, request.start_offset), (-1, 0));
        subscription.close(Duration::from_secs(20)).await.unwrap();
    }

    #[tokio::test]
    async fn reconnects_and_goes_on_when_the_stream_ends() {
        for end in [SessionEnd::Ok, SessionEnd::Unavailable] {
            let fake = Fake::start(1).await;
            fake.script_sessions([(1, end)]);
            fake.deliver(["a", "b"]);
            let client = fake.client().await;
            let mut subscription = client.subscribe(
                SubscribeOptions::new("g", "t")
                    .member("m")
                    .start(Start::New),
            );
            let (id, handle) = next_id(&mut subscription).await;
            assert_eq!(id, "a");
            handle.ack().await.unwrap();
            let (id, handle) = next_id(&mut subscription).await;
            assert_eq!(id, "b");
            handle.ack().await.unwrap();
            let requests = fake.subscribes();
            assert_eq!(requests.len(), 2);
            assert_eq!(requests[0], requests[1]);
            assert_eq!(requests[0].subscription_id, "m");
            assert_eq!(requests[0].start_offset, -1);
        }
    }

    #[tokio::test]
    async fn an_unanswered_ack_is_sent_again() {
        let fake = Fake::start(1).await;
        fake.swallow_acks(1);
        fake.deliver(["a"]);
        let client = fake.client().await;
        let mut subscription = client.subscribe(SubscribeOptions::new("g", "t"));
        let (_, handle) = next_id(&mut subscription).await;
        handle.ack().await.unwrap();
        let ids: Vec<String> = fake.acks().into_iter().map(|ack| ack.delivery_id).collect();
        assert_eq!(ids, ["1/a", "1/a"]);
    }

    #[tokio::test]
    async fn a_refusal_ends_the_stream() {
        let fake = Fake::start(1).await;
        fake.script_sessions([(0, SessionEnd::Refused)]);
        let client = fake.client().await;
        let mut subscription = client.subscribe(SubscribeOptions::new("g", "t"));
        assert!(matches!(
            subscription.next().await,
            Some(Err(Error::Rejected(_)))
        ));
        assert!(subscription.next().await.is_none());
    }

    #[tokio::test]
    async fn a_refused_settle_is_an_error() {
        let fake = Fake::start(1).await;
        fake.refuse_acks();
        fake.deliver(["a"]);
        let client = fake.client().await;
        let mut subscription = client.subscribe(SubscribeOptions::new("g", "t"));
        let (_, handle) = next_id(&mut subscription).await;
        assert!(matches!(handle.ack().await, Err(Error::Rejected(_))));
    }

    #[tokio::test]
    async fn a_handle_outlives_its_subscription() {
        let fake = Fake::start(1).await;
        fake.deliver(["a"]);
        let client = fake.client().await;
        let mut subscription = client.subscribe(SubscribeOptions::new("g", "t"));
        let (_, handle) = next_id(&mut subscription).await;
        drop(subscription);
        // The session may still be there to take it, or not; either way there is an answer.
        let _ = handle.ack().await;
    }
}
