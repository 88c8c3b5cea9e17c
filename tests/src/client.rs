//! Clients generated from the wire contract, as a foreign program would use them: no SDK between.

use std::time::Duration;

use chronos_proto::MAX_MESSAGE_BYTES;
use chronos_proto::cronos_db::cluster_service_client::ClusterServiceClient;
use chronos_proto::cronos_db::consumer_group_service_client::ConsumerGroupServiceClient;
use chronos_proto::cronos_db::event_service_client::EventServiceClient;
use chronos_proto::cronos_db::partition_service_client::PartitionServiceClient;
use chronos_proto::cronos_db::schedule_service_client::ScheduleServiceClient;
use chronos_proto::cronos_db::{
    AckRequest, AckResponse, Delivery, Event, PublishBatchRequest, PublishBatchResponse,
    PublishRequest, PublishResponse, ReplayEvent, ReplayRequest, SubscribeRequest,
};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::history::wall_ms;
use crate::patience::soon;

/// One connection and its services.
#[derive(Clone, Debug)]
pub struct Client {
    /// Publish, subscribe, ack, replay.
    pub events: EventServiceClient<Channel>,
    /// The nodes of a cluster.
    pub cluster: ClusterServiceClient<Channel>,
    /// Consumer groups.
    pub groups: ConsumerGroupServiceClient<Channel>,
    /// Partitions.
    pub partitions: PartitionServiceClient<Channel>,
    /// Scheduled events.
    pub schedules: ScheduleServiceClient<Channel>,
}

impl Client {
    /// Clients over a channel.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self {
            events: EventServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES * 2),
            cluster: ClusterServiceClient::new(channel.clone()),
            groups: ConsumerGroupServiceClient::new(channel.clone()),
            partitions: PartitionServiceClient::new(channel.clone()),
            schedules: ScheduleServiceClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        }
    }

    /// Publishes one event.
    ///
    /// # Errors
    /// The server's status.
    pub async fn publish(&self, event: Event) -> Result<PublishResponse, Status> {
        let request = PublishRequest {
            event: Some(event),
            allow_duplicate: false,
            ..Default::default()
        };
        self.events
            .clone()
            .publish(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Publishes several events in one call.
    ///
    /// # Errors
    /// The server's status.
    pub async fn publish_batch(&self, events: Vec<Event>) -> Result<PublishBatchResponse, Status> {
        let request = PublishBatchRequest {
            events,
            allow_duplicate: false,
            ..Default::default()
        };
        self.events
            .clone()
            .publish_batch(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Subscribes, and waits until the server has taken the subscription.
    ///
    /// # Errors
    /// The server's status.
    pub async fn subscribe(&self, request: SubscribeRequest) -> Result<Subscription, Status> {
        let group = request.consumer_group.clone();
        let (requests, rest) = mpsc::unbounded_channel();
        let subscribing = async {
            // The first message may be queued before the stream begins.
            let _ = requests.send(request);
            self.events
                .clone()
                .subscribe(UnboundedReceiverStream::new(rest))
                .await
        };
        let deliveries = subscribing.await?.into_inner();
        self.group_exists(&group).await;
        Ok(Subscription {
            deliveries,
            requests,
        })
    }

    /// Waits until a group exists: a subscription is not answered, but its group is seen.
    async fn group_exists(&self, group: &str) {
        let exists = || async {
            let request = chronos_proto::cronos_db::GetConsumerGroupRequest {
                group_id: group.to_string(),
            };
            self.groups.clone().get_consumer_group(request).await.ok()
        };
        let _ = crate::patience::within(Duration::from_secs(10), exists).await;
    }

    /// Opens a stream of acks.
    ///
    /// # Errors
    /// The server's status.
    pub async fn acks(&self) -> Result<Acks, Status> {
        let (requests, rest) = mpsc::unbounded_channel();
        let responses = self
            .events
            .clone()
            .ack(UnboundedReceiverStream::new(rest))
            .await?;
        Ok(Acks {
            requests,
            responses: responses.into_inner(),
        })
    }

    /// Replays to the end.
    ///
    /// # Errors
    /// The server's status, before or within the stream.
    pub async fn replay(&self, request: ReplayRequest) -> Result<Vec<ReplayEvent>, Status> {
        let mut stream = self.events.clone().replay(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(event) = stream.message().await? {
            events.push(event);
        }
        Ok(events)
    }
}

/// A subscription and its end of the request stream.
#[derive(Debug)]
pub struct Subscription {
    /// What the server sends.
    pub deliveries: Streaming<Delivery>,
    requests: mpsc::UnboundedSender<SubscribeRequest>,
}

impl Subscription {
    /// The next delivery.
    ///
    /// # Panics
    /// When none comes in time, or the stream ends.
    pub async fn next(&mut self) -> Delivery {
        match soon("an event is delivered", self.deliveries.next()).await {
            Some(Ok(delivery)) => delivery,
            other => panic!("a delivery was expected, the stream gave {other:?}"),
        }
    }

    /// The next `count` deliveries.
    ///
    /// # Panics
    /// See [`next`](Self::next).
    pub async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut deliveries = Vec::with_capacity(count);
        while deliveries.len() < count {
            deliveries.push(self.next().await);
        }
        deliveries
    }

    /// What comes within `limit`; for showing that nothing does.
    pub async fn within(&mut self, limit: Duration) -> Option<Result<Delivery, Status>> {
        tokio::time::timeout(limit, self.deliveries.next())
            .await
            .ok()
            .flatten()
    }

    /// Closes the request side; the server keeps delivering or ends the stream.
    pub fn half_close(self) -> Streaming<Delivery> {
        drop(self.requests);
        self.deliveries
    }
}

/// A stream of acks and their answers.
#[derive(Debug)]
pub struct Acks {
    requests: mpsc::UnboundedSender<AckRequest>,
    /// The answers, one for each request, in order.
    pub responses: Streaming<AckResponse>,
}

impl Acks {
    /// Sends a request without waiting for its answer. False when the stream has ended.
    pub fn send(&self, request: AckRequest) -> bool {
        self.requests.send(request).is_ok()
    }

    /// The next answer.
    ///
    /// # Panics
    /// When none comes in time, or the stream ends.
    pub async fn answer(&mut self) -> AckResponse {
        match soon("an ack is answered", self.responses.next()).await {
            Some(Ok(response)) => response,
            other => panic!("an answer was expected, the stream gave {other:?}"),
        }
    }

    /// Settles a delivery and waits for the answer.
    ///
    /// # Panics
    /// See [`answer`](Self::answer).
    pub async fn settle(&mut self, delivery: &Delivery, success: bool) -> AckResponse {
        self.send(settlement(delivery, success));
        self.answer().await
    }
}

/// The request that settles a delivery.
#[must_use]
pub fn settlement(delivery: &Delivery, success: bool) -> AckRequest {
    let offset = delivery.event.as_ref().map_or(0, |event| event.offset);
    AckRequest {
        delivery_id: delivery.delivery_id.clone(),
        success,
        error: if success {
            String::new()
        } else {
            "refused by a test".to_string()
        },
        next_offset: offset + 1,
        ..Default::default()
    }
}

/// An event of `topic` that is due now.
#[must_use]
pub fn event(id: &str, topic: &str) -> Event {
    event_at(id, topic, wall_ms())
}

/// An event of `topic` that is due at `schedule_ts`, in Unix milliseconds.
#[must_use]
pub fn event_at(id: &str, topic: &str, schedule_ts: i64) -> Event {
    Event {
        message_id: id.to_string(),
        topic: topic.to_string(),
        schedule_ts,
        payload: format!("payload of {id}").into_bytes().into(),
        ..Event::default()
    }
}

/// A subscription to all partitions of `topic` from the beginning, with the default credit.
#[must_use]
pub fn subscription(group: &str, member: &str, topic: &str) -> SubscribeRequest {
    SubscribeRequest {
        consumer_group: group.to_string(),
        topic: topic.to_string(),
        partition_id: -1,
        subscription_id: member.to_string(),
        ..SubscribeRequest::default()
    }
}

/// The event of a delivery.
///
/// # Panics
/// When it is absent, which the wire contract forbids.
#[must_use]
pub fn event_of(delivery: &Delivery) -> &Event {
    match &delivery.event {
        Some(event) => event,
        None => panic!("a delivery without an event: {delivery:?}"),
    }
}

/// The message ids of deliveries, in order.
#[must_use]
pub fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries
        .iter()
        .map(|delivery| event_of(delivery).message_id.clone())
        .collect()
}
