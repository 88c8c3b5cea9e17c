//! EventService in front of the partitions of a cluster.

use super::call::{Share, name_leaders};
use super::outcome::{Repeat, broken};
use super::{Forwarded, Way, ack, spread, subscribe};
use crate::edge::event_service::Events;
use chronos_proto::MAX_MESSAGE_BYTES;
use chronos_proto::cronos_db::{
    AckRequest, AckResponse, PublishBatchResponse, PublishResponse, ReplayRequest, SubscribeRequest,
};
use chronos_proto::raw;
use chronos_proto::raw::event_service_client::EventServiceClient;
use chronos_proto::server::event_service_server::EventService;
use futures::stream::{BoxStream, StreamExt};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

#[tonic::async_trait]
impl EventService for Forwarded<Events> {
    async fn publish(
        &self,
        request: Request<raw::PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let call = spread!(self, request, publish);
        self.publish_at_leader(call, request).await
    }

    async fn publish_batch(
        &self,
        request: Request<raw::PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        let call = spread!(self, request, publish_batch);
        self.publish_batch_at_leaders(call, request).await
    }

    type SubscribeStream = BoxStream<'static, Result<raw::Delivery, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let call = spread!(self, request, subscribe);
        let subscriber = self.local.subscriber().clone();
        let deliveries = subscribe::serve(call, subscriber, request.into_inner());
        Ok(Response::new(deliveries.boxed()))
    }

    type AckStream = BoxStream<'static, Result<AckResponse, Status>>;

    async fn ack(
        &self,
        request: Request<Streaming<AckRequest>>,
    ) -> Result<Response<Self::AckStream>, Status> {
        let call = spread!(self, request, ack);
        Ok(Response::new(
            ack::serve(call, request.into_inner()).boxed(),
        ))
    }

    type ReplayStream = BoxStream<'static, Result<raw::ReplayEvent, Status>>;

    async fn replay(
        &self,
        request: Request<ReplayRequest>,
    ) -> Result<Response<Self::ReplayStream>, Status> {
        let call = spread!(self, request, replay);
        let Some(partition) = call.exists(request.get_ref().partition_id) else {
            return self.local.replay(request).await;
        };
        let message = request.into_inner();
        let answer = call.ask_one(partition, Repeat::Harmless, |share: Share| {
            let message = message.clone();
            let local = self.part(&call, &share);
            async move {
                let Some(peer) = &share.peer else {
                    return local.replay(Request::new(message)).await;
                };
                let mut client = client(peer.channel());
                let replayed = client.replay(share.request(message)).await?;
                Ok(replayed.map(|events| events.map(|event| event.map_err(broken)).boxed()))
            }
        });
        let answer = answer.await?;
        let mut response = answer.value;
        name_leaders(response.metadata_mut(), [&answer.share]);
        Ok(response)
    }
}

/// A client of a peer that keeps events as the bytes they are.
pub(super) fn client(channel: Channel) -> EventServiceClient<Channel> {
    EventServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}
