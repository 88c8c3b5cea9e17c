//! Many sends, few requests.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chronos_proto::cronos_db::Event;
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::{Client, Error, EventOutcome};

/// How a producer gathers events. A batch goes out when it is full by count or bytes, or when
/// its first event has waited for `linger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerOptions {
    /// Most events in a batch, at least 1.
    pub max_batch_events: usize,
    /// Most bytes in a batch; one event more than fits still goes along.
    pub max_batch_bytes: usize,
    /// Longest wait of an event for others.
    pub linger: Duration,
    /// Most batches under way. With 1, batches arrive in the order of their sends.
    pub max_batches_in_flight: usize,
    /// Most bytes of events sent and not yet answered; [`Producer::send`] waits beyond.
    pub max_buffered_bytes: usize,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            max_batch_events: 1000,
            max_batch_bytes: 1024 * 1024,
            linger: Duration::from_millis(5),
            max_batches_in_flight: 4,
            max_buffered_bytes: 32 * 1024 * 1024,
        }
    }
}

/// Publishes events in batches behind the caller's back. Cheap to clone; when the last clone
/// is dropped, what was sent still goes out. Use [`Self::flush`] to wait for it.
#[derive(Clone)]
pub struct Producer {
    messages: mpsc::UnboundedSender<Message>,
    buffer: Arc<Semaphore>,
    buffer_bytes: u32,
}

/// The outcome of one send, once its batch is answered. Dropping it changes nothing.
pub struct Receipt(oneshot::Receiver<EventOutcome>);

/// What the owner task is told. The channel needs no bound of its own: every event in it
/// holds its share of the buffer.
enum Message {
    Send(Waiting),
    Flush(oneshot::Sender<()>),
}

struct Waiting {
    event: Event,
    bytes: usize,
    reply: oneshot::Sender<EventOutcome>,
    _room: OwnedSemaphorePermit,
}

impl Producer {
    /// Starts a producer. Must be called within a Tokio runtime.
    pub fn new(client: Client, options: ProducerOptions) -> Self {
        let (messages, inbox) = mpsc::unbounded_channel();
        let buffer_bytes = u32::try_from(options.max_buffered_bytes.max(1))
            .unwrap_or(u32::MAX)
            .min(Semaphore::MAX_PERMITS.try_into().unwrap_or(u32::MAX));
        tokio::spawn(
            Batcher {
                client,
                options,
                inbox,
                under_way: JoinSet::new(),
            }
            .run(),
        );
        Self {
            messages,
            buffer: Arc::new(Semaphore::new(buffer_bytes as usize)),
            buffer_bytes,
        }
    }

    /// Takes an event, waiting while the buffer is full. The receipt tells what became of it.
    ///
    /// # Errors
    /// [`Error::Closed`] when the runtime is shutting down.
    pub async fn send(&self, event: impl Into<Event>) -> Result<Receipt, Error> {
        let event = event.into();
        let bytes = event.encoded_len();
        // An event larger than the whole buffer goes alone.
        let room = u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .min(self.buffer_bytes);
        let room = Arc::clone(&self.buffer)
            .acquire_many_owned(room)
            .await
            .map_err(|_| Error::Closed)?;
        let (reply, receipt) = oneshot::channel();
        self.messages
            .send(Message::Send(Waiting {
                event,
                bytes,
                reply,
                _room: room,
            }))
            .map_err(|_| Error::Closed)?;
        Ok(Receipt(receipt))
    }

    /// Waits until everything sent before is answered, well or badly.
    ///
    /// # Errors
    /// [`Error::Closed`] when the runtime is shutting down.
    pub async fn flush(&self) -> Result<(), Error> {
        let (reply, done) = oneshot::channel();
        self.messages
            .send(Message::Flush(reply))
            .map_err(|_| Error::Closed)?;
        done.await.map_err(|_| Error::Closed)
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("buffer_bytes", &self.buffer_bytes)
            .field("buffer_bytes_free", &self.buffer.available_permits())
            .finish_non_exhaustive()
    }
}

impl Future for Receipt {
    type Output = EventOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<EventOutcome> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|outcome| outcome.unwrap_or(EventOutcome::Failed(Error::Closed)))
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}

/// The owner task: gathers, sends, answers.
struct Batcher {
    client: Client,
    options: ProducerOptions,
    inbox: mpsc::UnboundedReceiver<Message>,
    under_way: JoinSet<()>,
}

impl Batcher {
    async fn run(mut self) {
        while let Some(message) = self.inbox.recv().await {
            match message {
                Message::Send(first) => {
                    let (batch, flush) = self.gather(first).await;
                    self.dispatch(batch).await;
                    if let Some(reply) = flush {
                        self.drain(reply).await;
                    }
                }
                Message::Flush(reply) => self.drain(reply).await,
            }
        }
        while self.under_way.join_next().await.is_some() {}
    }

    /// Fills a batch until it is full, old enough, or a flush asks for it.
    async fn gather(&mut self, first: Waiting) -> (Vec<Waiting>, Option<oneshot::Sender<()>>) {
        let ends = Instant::now() + self.options.linger;
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < self.options.max_batch_events && bytes < self.options.max_batch_bytes {
            match timeout_at(ends, self.inbox.recv()).await {
                Ok(Some(Message::Send(waiting))) => {
                    bytes += waiting.bytes;
                    batch.push(waiting);
                }
                Ok(Some(Message::Flush(reply))) => return (batch, Some(reply)),
                Ok(None) | Err(_) => break,
            }
        }
        (batch, None)
    }

    async fn dispatch(&mut self, batch: Vec<Waiting>) {
        while self.under_way.len() >= self.options.max_batches_in_flight.max(1) {
            self.under_way.join_next().await;
        }
        let client = self.client.clone();
        self.under_way.spawn(async move {
            let mut events = Vec::with_capacity(batch.len());
            let mut replies = Vec::with_capacity(batch.len());
            for waiting in batch {
                events.push(waiting.event);
                replies.push((waiting.reply, waiting._room));
            }
            let outcome = client.publish_batch(events).await;
            for ((reply, room), outcome) in replies.into_iter().zip(outcome.events) {
                drop(room);
                let _ = reply.send(outcome);
            }
        });
        while self.under_way.try_join_next().is_some() {}
    }

    async fn drain(&mut self, reply: oneshot::Sender<()>) {
        while self.under_way.join_next().await.is_some() {}
        let _ = reply.send(());
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;
    use crate::NewEvent;
    use crate::fake::Fake;

    fn event(id: usize) -> NewEvent {
        NewEvent::new("t", format!("id-{id}"), "payload")
    }

    #[tokio::test]
    async fn sends_share_requests_and_keep_their_outcomes() {
        let fake = Fake::start(1).await;
        let options = ProducerOptions {
            max_batch_events: 50,
            max_batches_in_flight: 1,
            linger: Duration::from_secs(60),
            ..ProducerOptions::default()
        };
        let producer = Producer::new(fake.client().await, options);
        let mut receipts = Vec::new();
        for id in 0..200 {
            receipts.push(producer.send(event(id)).await.unwrap());
        }
        for (id, outcome) in join_all(receipts).await.into_iter().enumerate() {
            assert!(
                matches!(outcome, EventOutcome::Stored { offset, .. } if offset == id as u64),
                "{id}: {outcome:?}"
            );
        }
        assert_eq!(fake.batch_calls(), 4);
    }

    #[tokio::test]
    async fn flush_sends_what_lingers() {
        let fake = Fake::start(1).await;
        let options = ProducerOptions {
            linger: Duration::from_secs(3600),
            ..ProducerOptions::default()
        };
        let producer = Producer::new(fake.client().await, options);
        let receipt = producer.send(event(0)).await.unwrap();
        producer.flush().await.unwrap();
        assert_eq!(fake.stored().len(), 1);
        assert!(matches!(receipt.await, EventOutcome::Stored { .. }));
        producer.flush().await.unwrap();
    }

    #[tokio::test]
    async fn the_buffer_bounds_what_is_under_way() {
        let fake = Fake::start(1).await;
        let options = ProducerOptions {
            max_buffered_bytes: 1,
            linger: Duration::ZERO,
            ..ProducerOptions::default()
        };
        let producer = Producer::new(fake.client().await, options);
        for id in 0..5 {
            producer.send(event(id)).await.unwrap();
        }
        producer.flush().await.unwrap();
        assert_eq!((fake.stored().len(), fake.batch_calls()), (5, 5));
    }
}
