//! ReplayService in front of the partitions of a cluster: the leader of the range reads it and
//! publishes it wherever its events belong.

use super::call::{Share, name_leaders};
use super::outcome::{Repeat, broken};
use super::{Forwarded, Way, spread};
use crate::edge::replay::Republisher;
use chronos_proto::cronos_db::replay_service_client::ReplayServiceClient;
use chronos_proto::cronos_db::{RepublishProgress, RepublishRequest};
use chronos_proto::server::replay_service_server::ReplayService;
use futures::stream::{BoxStream, StreamExt};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl ReplayService for Forwarded<Republisher> {
    type RepublishStream = BoxStream<'static, Result<RepublishProgress, Status>>;

    async fn republish(
        &self,
        request: Request<RepublishRequest>,
    ) -> Result<Response<Self::RepublishStream>, Status> {
        let call = spread!(self, request, republish);
        let range = request.get_ref().range.as_ref();
        let Some(partition) = range.and_then(|range| call.exists(range.partition_id)) else {
            return self.local.republish(request).await;
        };
        let message = request.into_inner();
        // Every event has an id of its own, so what is published twice is a duplicate.
        let answer = call.ask_one(partition, Repeat::Harmless, |share: Share| {
            let message = message.clone();
            let local = self.part(&call, &share);
            async move {
                let Some(peer) = &share.peer else {
                    return local.republish(Request::new(message)).await;
                };
                let mut client = ReplayServiceClient::new(peer.channel());
                let progress = client.republish(share.request(message)).await?;
                Ok(progress.map(|it| it.map(|it| it.map_err(broken)).boxed()))
            }
        });
        let answer = answer.await?;
        let mut response = answer.value;
        name_leaders(response.metadata_mut(), [&answer.share]);
        Ok(response)
    }
}
