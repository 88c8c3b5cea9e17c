//! ConsumerGroupService in front of the partitions of a cluster. The catalog knows the groups, and
//! each partition how far they are.

use super::call::{Answer, Call, Partitions, Share, with_leaders};
use super::outcome::Repeat;
use super::{Forwarded, Over, Way, asking, spread};
use crate::edge::group_service::{Groups, check};
use crate::edge::view::View;
use chronos_proto::cronos_db::consumer_group_service_client::ConsumerGroupServiceClient;
use chronos_proto::cronos_db::{
    ConsumerGroupMetadata, CreateConsumerGroupRequest, CreateConsumerGroupResponse,
    GetConsumerGroupRequest, ListConsumerGroupsRequest, ListConsumerGroupsResponse,
    RebalanceConsumerGroupRequest, RebalanceConsumerGroupResponse,
};
use chronos_proto::server::consumer_group_service_server::ConsumerGroupService;
use std::collections::BTreeMap;
use tonic::{Request, Response, Status};

impl Over for Groups {
    fn over(&self, view: View) -> Self {
        Self(view)
    }
}

#[tonic::async_trait]
impl ConsumerGroupService for Forwarded<Groups> {
    async fn create_consumer_group(
        &self,
        request: Request<CreateConsumerGroupRequest>,
    ) -> Result<Response<CreateConsumerGroupResponse>, Status> {
        let call = spread!(self, request, create_consumer_group);
        let message = request.get_ref();
        let is_known = self.forwarder.engine.group(&message.group_id).is_some();
        let Some(named) = check(message).ok().filter(|_| !is_known) else {
            // Refused without a look at any partition.
            return self.local.create_consumer_group(request).await;
        };
        let message = request.into_inner();
        let mut partitions = call.all();
        partitions.retain(|number| named.is_empty() || named.contains(number));
        let ask = asking!(
            self,
            call,
            ConsumerGroupServiceClient,
            create_consumer_group,
            |share| { message.clone() }
        );
        let mut shares = Vec::new();
        for Answer { share, value } in call.ask(partitions, Repeat::Harmless, ask).await? {
            let refused = value.into_inner();
            if !refused.success {
                return Ok(Response::new(refused));
            }
            shares.push(share);
        }
        let is_new = self.local.create_in_catalog(&message, &named).await?;
        let response = CreateConsumerGroupResponse {
            success: is_new,
            error: match is_new {
                true => String::new(),
                false => format!("group {} already exists", message.group_id),
            },
        };
        Ok(with_leaders(response, &shares))
    }

    async fn get_consumer_group(
        &self,
        request: Request<GetConsumerGroupRequest>,
    ) -> Result<Response<ConsumerGroupMetadata>, Status> {
        let call = spread!(self, request, get_consumer_group);
        let name = request.into_inner().group_id;
        if self.forwarder.engine.group(&name).is_none() {
            let request = GetConsumerGroupRequest { group_id: name };
            return self.local.get_consumer_group(Request::new(request)).await;
        }
        let (groups, shares) = self.groups(&call, "").await?;
        let group = groups.into_iter().find(|group| group.group_id == name);
        let group =
            group.ok_or_else(|| Status::unknown(format!("consumer group not found: {name}")))?;
        Ok(with_leaders(group, &shares))
    }

    async fn list_consumer_groups(
        &self,
        request: Request<ListConsumerGroupsRequest>,
    ) -> Result<Response<ListConsumerGroupsResponse>, Status> {
        let call = spread!(self, request, list_consumer_groups);
        let topic = request.into_inner().topic;
        let (groups, shares) = self.groups(&call, &topic).await?;
        Ok(with_leaders(ListConsumerGroupsResponse { groups }, &shares))
    }

    async fn rebalance_consumer_group(
        &self,
        request: Request<RebalanceConsumerGroupRequest>,
    ) -> Result<Response<RebalanceConsumerGroupResponse>, Status> {
        // Only the catalog knows of it.
        self.local.rebalance_consumer_group(request).await
    }
}

impl Forwarded<Groups> {
    /// The groups as this node's catalog has them, with what the leaders know of their progress.
    async fn groups(
        &self,
        call: &Call,
        topic: &str,
    ) -> Result<(Vec<ConsumerGroupMetadata>, Vec<Share>), Status> {
        let message = ListConsumerGroupsRequest {
            topic: topic.to_owned(),
        };
        let nothing = self.local.over(View::only(
            std::sync::Arc::clone(call.engine()),
            Partitions::new(),
        ));
        let mine = nothing.list_consumer_groups(Request::new(message.clone()));
        let mine = mine.await?.into_inner().groups;
        let mut groups: BTreeMap<String, ConsumerGroupMetadata> = mine
            .into_iter()
            .map(|it| (it.group_id.clone(), it))
            .collect();
        let ask = asking!(
            self,
            call,
            ConsumerGroupServiceClient,
            list_consumer_groups,
            |share| { message.clone() }
        );
        let mut shares = Vec::new();
        for Answer { share, value } in call.ask(call.all(), Repeat::Harmless, ask).await? {
            for part in value.into_inner().groups {
                if let Some(whole) = groups.get_mut(&part.group_id) {
                    add(whole, part);
                }
            }
            shares.push(share);
        }
        Ok((groups.into_values().collect(), shares))
    }
}

/// Adds what one leader knows. Of partitions that it does not lead it says -1, as of those where the
/// group settled nothing.
fn add(whole: &mut ConsumerGroupMetadata, part: ConsumerGroupMetadata) {
    for (partition, committed) in part.committed_offsets {
        let known = whole.committed_offsets.entry(partition).or_insert(-1);
        *known = committed.max(*known);
    }
    for (member, settled) in part.member_offsets {
        let known = whole.member_offsets.entry(member).or_insert(-1);
        *known = settled.max(*known);
    }
}
