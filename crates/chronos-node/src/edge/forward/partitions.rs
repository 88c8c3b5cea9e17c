//! PartitionService in front of the partitions of a cluster.

use super::call::{Answer, Share, with_leaders};
use super::outcome::Repeat;
use super::{Forwarded, Over, Way, asking, spread};
use crate::edge::partition_service::Partitions as Local;
use crate::edge::view::View;
use chronos_proto::cronos_db::partition_service_client::PartitionServiceClient;
use chronos_proto::cronos_db::{
    CompactRequest, CompactResponse, GetPartitionRequest, GetSchedulerStatusRequest,
    GetWalStatusRequest, ListPartitionsRequest, ListPartitionsResponse, PartitionInfo,
    RetentionRequest, RetentionResponse, SchedulerStatus, SplitPartitionRequest,
    SplitPartitionResponse, WalStatus,
};
use chronos_proto::server::partition_service_server::PartitionService;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// How long a list waits for leaders before it leaves open what only they know.
const LIST_PATIENCE: Duration = Duration::from_secs(1);

impl Over for Local {
    fn over(&self, view: View) -> Self {
        Self {
            engine: view,
            node_id: self.node_id.clone(),
        }
    }
}

/// Asks the leader of the partition that a request names; one that does not exist is judged here.
macro_rules! at_leader {
    ($self:ident, $request:ident, $method:ident, $repeat:expr) => {{
        let call = spread!($self, $request, $method);
        let Some(partition) = call.exists($request.get_ref().partition_id) else {
            return $self.local.$method($request).await;
        };
        let message = $request.into_inner();
        let ask = asking!($self, call, PartitionServiceClient, $method, |share| {
            message
        });
        let Answer { share, value } = call.ask_one(partition, $repeat, ask).await?;
        Ok(with_leaders(value.into_inner(), [&share]))
    }};
}

#[tonic::async_trait]
impl PartitionService for Forwarded<Local> {
    async fn get_partition(
        &self,
        request: Request<GetPartitionRequest>,
    ) -> Result<Response<PartitionInfo>, Status> {
        at_leader!(self, request, get_partition, Repeat::Harmless)
    }

    /// Every partition in the order of the numbers, also one without a leader: clients count them.
    async fn list_partitions(
        &self,
        request: Request<ListPartitionsRequest>,
    ) -> Result<Response<ListPartitionsResponse>, Status> {
        let call = spread!(self, request, list_partitions);
        let call = call.for_all(LIST_PATIENCE);
        let message = request.into_inner();
        let ask = asking!(
            self,
            call,
            PartitionServiceClient,
            list_partitions,
            |share| { message.clone() }
        );
        let answers = call.ask_each(call.all(), Repeat::Harmless, ask).await?;
        let mut listed: BTreeMap<i32, PartitionInfo> = BTreeMap::new();
        let mut shares = Vec::new();
        for Answer { share, value } in answers {
            if let Ok(response) = value {
                let partitions = response.into_inner().partitions;
                listed.extend(partitions.into_iter().map(|it| (it.partition_id, it)));
                shares.push(share);
            }
        }
        let partitions = call.all().into_iter().map(|number| {
            let known = listed.remove(&(number as i32));
            known.unwrap_or_else(|| self.without_leader(number, &message.topic))
        });
        let partitions = partitions.collect();
        // Clients that go to the leaders by themselves find all of them here, this node too.
        for share in &mut shares {
            if share.peer.is_none() {
                share.peer = self.forwarder.routes.this_node();
            }
        }
        Ok(with_leaders(ListPartitionsResponse { partitions }, &shares))
    }

    async fn get_wal_status(
        &self,
        request: Request<GetWalStatusRequest>,
    ) -> Result<Response<WalStatus>, Status> {
        at_leader!(self, request, get_wal_status, Repeat::Harmless)
    }

    async fn get_scheduler_status(
        &self,
        request: Request<GetSchedulerStatusRequest>,
    ) -> Result<Response<SchedulerStatus>, Status> {
        at_leader!(self, request, get_scheduler_status, Repeat::Harmless)
    }

    async fn compact(
        &self,
        request: Request<CompactRequest>,
    ) -> Result<Response<CompactResponse>, Status> {
        at_leader!(self, request, compact, Repeat::Harmless)
    }

    async fn run_retention(
        &self,
        request: Request<RetentionRequest>,
    ) -> Result<Response<RetentionResponse>, Status> {
        at_leader!(self, request, run_retention, Repeat::Harmless)
    }

    async fn split_partition(
        &self,
        request: Request<SplitPartitionRequest>,
    ) -> Result<Response<SplitPartitionResponse>, Status> {
        // Refused whoever leads it.
        self.local.split_partition(request).await
    }
}

impl Forwarded<Local> {
    /// What is known of a partition whose leader does not answer.
    fn without_leader(&self, number: u32, topic: &str) -> PartitionInfo {
        let leader = self.forwarder.routes.leader_name(number);
        PartitionInfo {
            partition_id: number as i32,
            topic: topic.to_owned(),
            leader_id: leader.unwrap_or_default(),
            replica_ids: self.forwarder.engine.replica_names(number),
            last_offset: -1,
            ..PartitionInfo::default()
        }
    }
}
