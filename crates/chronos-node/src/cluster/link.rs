//! One connection to a peer: requests of any number of groups out, answers in.
//!
//! Requests wait in one queue, bounded by bytes. While the connection takes one message, whatever
//! arrives is collected into the next: so heartbeats of many groups travel together, and nobody
//! waits for a timer. A connection that breaks fails everything that is under way on it, at once;
//! requests that come while it cannot be made again fail as well, because Raft tries again by itself.

use bytes::Bytes;
use chronos_proto::chronos_internal::peers_client::PeersClient;
use chronos_proto::chronos_internal::{Frame, Frames};
use chronos_raft::{Request, Unreachable};
use futures::stream;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;
use tonic::transport::Channel;

use super::endpoint::Dialer;
use super::peers::MOST_MESSAGE_BYTES;

/// Bytes of requests to one peer that may wait to be sent. Beyond, requests are refused.
const QUEUE_BYTES: usize = 64 << 20;
/// A message is closed when its frames have this size, bytes.
const MESSAGE_BYTES: usize = 1 << 20;
/// A connection that could not be made is not tried again for this long.
const BACKOFF: Duration = Duration::from_millis(100);
/// Bytes the peer may send before this side has read them.
const WINDOW: u32 = 16 << 20;

/// A connection to one address. It ends when this is dropped.
pub struct Link {
    address: String,
    queue: mpsc::UnboundedSender<Queued>,
    queued_bytes: Arc<AtomicUsize>,
    next_call: AtomicU64,
    waiting: Arc<Waiting>,
}

/// Calls that have no answer yet.
#[derive(Default)]
struct Waiting(Mutex<HashMap<u64, oneshot::Sender<Result<Bytes, Unreachable>>>>);

struct Queued {
    frame: Frame,
    bytes: usize,
}

impl Link {
    /// A link to the internal listener at `address` (host and port). Connects when there is something
    /// to send. Has to be called on a runtime, which runs its task.
    pub fn new(dialer: Dialer, address: &str) -> Self {
        let (queue, requests) = mpsc::unbounded_channel();
        let link = Self {
            address: address.to_owned(),
            queue,
            queued_bytes: Arc::default(),
            next_call: AtomicU64::new(0),
            waiting: Arc::default(),
        };
        let pump = Pump {
            dialer,
            address: address.to_owned(),
            requests,
            queued_bytes: Arc::clone(&link.queued_bytes),
            waiting: Arc::clone(&link.waiting),
        };
        tokio::spawn(pump.run());
        link
    }

    /// Where it leads.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request of a group and waits for the answer. The request is in the queue when this
    /// returns; the future only waits.
    pub fn call(
        &self,
        group: u32,
        request: Request,
    ) -> impl Future<Output = Result<Bytes, Unreachable>> + Send + 'static {
        let (deadline, bytes) = (request.deadline, request.len());
        let entered = self.enter(group, request, bytes);
        let waiting = Arc::clone(&self.waiting);
        let address = self.address.clone();
        async move {
            let (call, answer) = entered?;
            match tokio::time::timeout(deadline, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(Unreachable(format!("the connection to {address} ended"))),
                Err(_) => {
                    waiting.0.lock().remove(&call);
                    Err(Unreachable(format!(
                        "{address} did not answer within {deadline:?}"
                    )))
                }
            }
        }
    }

    fn enter(
        &self,
        group: u32,
        request: Request,
        bytes: usize,
    ) -> Result<(u64, oneshot::Receiver<Result<Bytes, Unreachable>>), Unreachable> {
        if self.queued_bytes.load(Ordering::Relaxed) + bytes > QUEUE_BYTES {
            return Err(Unreachable(format!(
                "{} takes requests more slowly than they come",
                self.address
            )));
        }
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.0.lock().insert(call, sender);
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let frame = Frame {
            call,
            group,
            body: request.into_bytes(),
            error: String::new(),
        };
        // The task ends only when the sender is gone.
        let _ = self.queue.send(Queued { frame, bytes });
        Ok((call, answer))
    }
}

impl Waiting {
    fn answer(&self, frame: Frame) {
        let Some(waiter) = self.0.lock().remove(&frame.call) else {
            // Whoever asked has given up.
            return;
        };
        let answer = match frame.error.is_empty() {
            true => Ok(frame.body),
            false => Err(Unreachable(frame.error)),
        };
        let _ = waiter.send(answer);
    }

    fn fail_all(&self, why: &str) {
        for (_, waiter) in std::mem::take(&mut *self.0.lock()) {
            let _ = waiter.send(Err(Unreachable(why.to_owned())));
        }
    }
}

/// The task behind a link.
struct Pump {
    dialer: Dialer,
    address: String,
    requests: mpsc::UnboundedReceiver<Queued>,
    queued_bytes: Arc<AtomicUsize>,
    waiting: Arc<Waiting>,
}

impl Pump {
    async fn run(mut self) {
        while let Some(first) = self.requests.recv().await {
            let why = self.exchange(first).await;
            tracing::debug!(peer = self.address, why, "the connection to a peer ended");
            self.waiting.fail_all(&why);
            tokio::time::sleep(BACKOFF).await;
            self.drop_queued(&why);
        }
    }

    /// Requests that came while there was no connection fail too: who asked will ask again.
    fn drop_queued(&mut self, why: &str) {
        while let Ok(queued) = self.requests.try_recv() {
            self.queued_bytes.fetch_sub(queued.bytes, Ordering::Relaxed);
        }
        self.waiting.fail_all(why);
    }

    /// One connection from its making to its end. Says why it ended.
    async fn exchange(&mut self, first: Queued) -> String {
        let channel = match self.connect().await {
            Ok(channel) => channel,
            Err(error) => {
                self.queued_bytes.fetch_sub(first.bytes, Ordering::Relaxed);
                return format!("{} cannot be reached: {error}", self.address);
            }
        };
        let mut client = PeersClient::new(channel)
            .max_decoding_message_size(MOST_MESSAGE_BYTES)
            .max_encoding_message_size(MOST_MESSAGE_BYTES);
        // One message at a time: what comes meanwhile is collected for the next.
        let (sender, outgoing) = mpsc::channel::<Frames>(1);
        let outgoing = stream::unfold(outgoing, |mut outgoing| async move {
            outgoing.recv().await.map(|frames| (frames, outgoing))
        });
        let frames = self.collect(first);
        if sender.send(frames).await.is_err() {
            return self.ended();
        }
        match client.exchange(outgoing).await {
            Ok(response) => self.pump(sender, response.into_inner()).await,
            Err(status) => format!("{}: {}", self.address, status.message()),
        }
    }

    async fn pump(
        &mut self,
        sender: mpsc::Sender<Frames>,
        mut answers: Streaming<Frames>,
    ) -> String {
        loop {
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(frames)) => {
                        frames.frames.into_iter().for_each(|frame| self.waiting.answer(frame));
                    }
                    Ok(None) => return format!("{} closed the connection", self.address),
                    Err(status) => return format!("{}: {}", self.address, status.message()),
                },
                next = next_with_place(&sender, &mut self.requests) => match next {
                    Some((place, first)) => place.send(self.collect(first)),
                    None => return self.ended(),
                },
            }
        }
    }

    fn ended(&self) -> String {
        format!("the connection to {} ended", self.address)
    }

    /// Puts what waits into one message, up to its size.
    fn collect(&mut self, first: Queued) -> Frames {
        let mut frames = Frames::default();
        let (mut bytes, mut next) = (0, Some(first));
        while let Some(queued) = next {
            bytes += queued.bytes;
            self.queued_bytes.fetch_sub(queued.bytes, Ordering::Relaxed);
            frames.frames.push(queued.frame);
            next = match bytes < MESSAGE_BYTES {
                true => self.requests.try_recv().ok(),
                false => None,
            };
        }
        frames
    }

    async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        let endpoint = self.dialer.watchful(&self.address, WINDOW, WINDOW)?;
        self.dialer.connect(&endpoint).await
    }
}

/// The next request, once the connection has taken the message before. Nothing is lost when the future
/// is dropped. `None` when the connection has ended or the link is no longer used.
async fn next_with_place<'a>(
    sender: &'a mpsc::Sender<Frames>,
    requests: &mut mpsc::UnboundedReceiver<Queued>,
) -> Option<(mpsc::Permit<'a, Frames>, Queued)> {
    let place = sender.reserve().await.ok()?;
    Some((place, requests.recv().await?))
}
