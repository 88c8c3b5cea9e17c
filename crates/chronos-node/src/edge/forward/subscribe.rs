//! A subscription over the leaders of its partitions, which follows them when they change.
//!
//! Each leader has a sub-stream for the partitions it leads. When one of them ends, or the table says
//! that one of its partitions moved, it is left, and its partitions are subscribed to at their present
//! leaders; what was not settled comes again from there. A partition without a leader is waited for.
//!
//! The credit is shared in proportion to the partitions, so that all sub-streams together hold no
//! more than the client asked for: answers go to the leaders on ways that this node does not see. A
//! credit smaller than the number of leaders is one for each of them.

use super::call::{Call, Partitions, Share};
use super::event_service::client;
use super::outcome::{self, Repeat};
use crate::edge::status;
use crate::edge::subscribe::Subscriber;
use chronos_proto::cronos_db::SubscribeRequest;
use chronos_proto::raw;
use futures::stream::{self, BoxStream, SelectAll, Stream, StreamExt};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

/// After a sub-stream ended, and while a partition has no leader, it is tried again this often, and at
/// once when the table changes.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Serves one call. The stream begins at once, as on a node alone.
pub fn serve(
    call: Call,
    subscriber: Subscriber,
    mut requests: Streaming<SubscribeRequest>,
) -> impl Stream<Item = Result<raw::Delivery, Status>> + Send {
    stream::once(async move {
        let Some(request) = requests.message().await? else {
            // The client asked for nothing and closed its side.
            return Ok(stream::empty().left_stream());
        };
        let following = Following::new(call, subscriber, request, requests)?;
        let deliveries = stream::unfold(following, |mut following| async move {
            let next = following.next().await?;
            Some((next, following))
        });
        Ok(deliveries.right_stream())
    })
    .flat_map(|opened: Result<_, Status>| match opened {
        Ok(deliveries) => deliveries.left_stream(),
        Err(status) => stream::iter([Err(status)]).right_stream(),
    })
}

/// What a sub-stream says.
enum Told {
    Delivery(u64, Result<raw::Delivery, Status>),
    Ended(u64),
}

/// A sub-stream.
struct Part {
    share: Share,
    /// It ends when this is dropped.
    _stop: oneshot::Sender<()>,
}

/// A subscription that follows the leaders.
struct Following {
    call: Call,
    subscriber: Subscriber,
    request: SubscribeRequest,
    /// How many partitions it is about.
    partitions: usize,
    changed: watch::Receiver<u64>,
    told: SelectAll<BoxStream<'static, Told>>,
    parts: BTreeMap<u64, Part>,
    next_part: u64,
    /// Partitions that are in no sub-stream.
    waiting: Partitions,
    try_at: Instant,
    ended: bool,
    /// Kept until the end: dropping it would reset the client's side of the call.
    _requests: Streaming<SubscribeRequest>,
}

impl Following {
    fn new(
        call: Call,
        subscriber: Subscriber,
        request: SubscribeRequest,
        requests: Streaming<SubscribeRequest>,
    ) -> Result<Self, Status> {
        let waiting = match (request.partition_id, call.exists(request.partition_id)) {
            (..0, _) => call.all(),
            (_, Some(partition)) => Partitions::from([partition]),
            (partition, None) => return Err(status::no_such_partition(partition)),
        };
        Ok(Self {
            partitions: waiting.len(),
            changed: call.changed(),
            call,
            subscriber,
            request,
            told: SelectAll::new(),
            parts: BTreeMap::new(),
            next_part: 0,
            waiting,
            try_at: Instant::now(),
            ended: false,
            _requests: requests,
        })
    }

    async fn next(&mut self) -> Option<Result<raw::Delivery, Status>> {
        while !self.ended {
            if !self.waiting.is_empty()
                && Instant::now() >= self.try_at
                && let Err(status) = self.subscribe()
            {
                self.ended = true;
                return Some(Err(status));
            }
            tokio::select! {
                told = self.told.next(), if !self.told.is_empty() => {
                    if let Some(delivery) = told.and_then(|told| self.take(told)) {
                        return Some(delivery);
                    }
                }
                // The table lives as long as the call.
                _ = self.changed.changed() => {
                    self.leave_moved();
                    self.try_at = Instant::now();
                }
                () = tokio::time::sleep_until(self.try_at), if !self.waiting.is_empty() => {}
            }
        }
        None
    }

    /// Opens sub-streams for the partitions that are in none and have a leader.
    fn subscribe(&mut self) -> Result<(), Status> {
        let (shares, leaderless) = self.call.shares(&self.waiting)?;
        self.waiting = leaderless;
        self.try_at = Instant::now() + TRY_AGAIN;
        for share in shares {
            let id = self.next_part;
            self.next_part += 1;
            let (stop, stopped) = oneshot::channel::<()>();
            let deliveries = self.open(&share).map(move |it| Told::Delivery(id, it));
            let ended = stream::iter([Told::Ended(id)]);
            self.told
                .push(deliveries.take_until(stopped).chain(ended).boxed());
            self.parts.insert(id, Part { share, _stop: stop });
        }
        Ok(())
    }

    fn open(&self, share: &Share) -> BoxStream<'static, Result<raw::Delivery, Status>> {
        let credit = u64::from(self.subscriber.credit(&self.request));
        let credit = credit * share.partitions.len() as u64 / self.partitions as u64;
        let request = SubscribeRequest {
            partition_id: -1,
            max_buffer_size: credit.max(1) as i32,
            ..self.request.clone()
        };
        let subscriber = self.subscriber.over(self.call.view(share));
        let share = share.clone();
        stream::once(async move {
            let Some(peer) = &share.peer else {
                return Ok(subscriber.open(request).await?.left_stream());
            };
            // The asking side stays open as long as somebody listens. If it never ended, the leader
            // would not hear that nobody does.
            let (listening, ended) = oneshot::channel::<()>();
            let until_ended = stream::once(ended).filter_map(|_| std::future::ready(None));
            let asks = stream::iter([request]).chain(until_ended);
            let deliveries = client(peer.channel())
                .subscribe(share.request(asks))
                .await?;
            let deliveries = deliveries.into_inner().map(move |delivery| {
                let _ = &listening;
                delivery
            });
            Ok(deliveries.right_stream())
        })
        .flat_map(|opened: Result<_, Status>| match opened {
            Ok(deliveries) => deliveries.left_stream(),
            Err(status) => stream::iter([Err(status)]).right_stream(),
        })
        .boxed()
    }

    /// What is for the client.
    fn take(&mut self, told: Told) -> Option<Result<raw::Delivery, Status>> {
        match told {
            // Late news of a sub-stream that was left: its deliveries come again.
            Told::Delivery(id, _) | Told::Ended(id) if !self.parts.contains_key(&id) => None,
            Told::Delivery(_, Ok(delivery)) => Some(Ok(delivery)),
            Told::Delivery(id, Err(status)) if is_passing(&status) => {
                tracing::debug!(%status, "a subscription looks for a leader");
                self.leave(id);
                None
            }
            Told::Delivery(_, Err(status)) => {
                self.ended = true;
                Some(Err(outcome::told(status)))
            }
            Told::Ended(id) => {
                self.leave(id);
                None
            }
        }
    }

    fn leave(&mut self, id: u64) {
        if let Some(part) = self.parts.remove(&id) {
            self.waiting.extend(part.share.partitions.iter());
            self.try_at = Instant::now() + TRY_AGAIN;
        }
    }

    fn leave_moved(&mut self) {
        let moved = |(_, part): &(&u64, &Part)| !self.call.is_still(&part.share);
        let moved: Vec<u64> = self.parts.iter().filter(moved).map(|(id, _)| *id).collect();
        for id in moved {
            self.leave(id);
        }
    }
}

/// Whether another leader, or the same a little later, may serve the subscription.
fn is_passing(status: &Status) -> bool {
    Repeat::Harmless.allows(status) || status.code() == Code::Internal
}
