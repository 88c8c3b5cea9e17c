//! AdminService: the whole cluster as existing dashboards ask for it, through whichever node.
//!
//! What single partitions and groups have to say is asked of the services for clients, which go to
//! whoever leads them.
//!
//! | file | holds |
//! |---|---|
//! | `topology.rs` | nodes, partitions and how far followers are, as they travel |

mod topology;

use super::forward::Forwarded;
use super::group_service::Groups;
use super::partition_service::Partitions;
use crate::cluster::placer::Placer;
use crate::engine::Engine;
use chronos_core::placement::standing;
use chronos_proto::cronos_db::{
    CompactRequest, GetConsumerGroupRequest, GetPartitionRequest, GetSchedulerStatusRequest,
    GetWalStatusRequest, ListConsumerGroupsRequest, ListPartitionsRequest, PartitionInfo,
    RetentionRequest,
};
use chronos_proto::cronos_db_admin::*;
use chronos_proto::server::admin_service_server::AdminService;
use chronos_proto::server::consumer_group_service_server::ConsumerGroupService;
use chronos_proto::server::partition_service_server::PartitionService;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use topology::Sight;

/// Serves AdminService.
pub struct Admin {
    /// This node's engine.
    pub engine: Arc<Engine>,
    /// This node's name.
    pub node_id: String,
    /// What knows the cluster; `None` on a node that stands alone.
    pub placer: Option<Arc<Placer>>,
    /// PartitionService.
    pub partitions: Arc<Forwarded<Partitions>>,
    /// ConsumerGroupService.
    pub groups: Arc<Forwarded<Groups>>,
}

impl Admin {
    async fn listed(&self) -> Result<Vec<PartitionInfo>, Status> {
        let request = Request::new(ListPartitionsRequest::default());
        let listed = self.partitions.list_partitions(request).await?;
        Ok(listed.into_inner().partitions)
    }

    async fn sight(&self) -> Result<Sight, Status> {
        let seen = match &self.placer {
            None => None,
            Some(placer) => placer.look().await,
        };
        Ok(Sight {
            node_id: self.node_id.clone(),
            partitions: self.listed().await?,
            seen,
        })
    }

    /// The partition that is meant, or all of them.
    fn meant(&self, partition_id: i32) -> Vec<i32> {
        match partition_id {
            0 => (0..self.engine.partition_count())
                .map(|it| it as i32)
                .collect(),
            partition => vec![partition],
        }
    }
}

fn absent<T>(what: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!("ChronosDB has no {what}")))
}

/// What is done to several partitions, one after the other.
#[derive(Default)]
struct Sum {
    segments: i64,
    bytes: i64,
    errors: Vec<String>,
}

impl Sum {
    fn add(&mut self, partition: i32, error: &str, segments: i32, bytes: i64) {
        if !error.is_empty() {
            self.errors.push(format!("partition {partition}: {error}"));
        }
        self.segments += i64::from(segments);
        self.bytes += bytes;
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn get_cluster_topology(
        &self,
        _: Request<GetClusterTopologyRequest>,
    ) -> Result<Response<ClusterTopology>, Status> {
        Ok(Response::new(self.sight().await?.topology()))
    }

    async fn get_partition_health(
        &self,
        request: Request<PartitionHealth>,
    ) -> Result<Response<PartitionHealthResponse>, Status> {
        let partition_id = request.into_inner().partition_id;
        let of = Request::new(GetPartitionRequest { partition_id });
        let info = self.partitions.get_partition(of).await?.into_inner();
        let of = Request::new(GetWalStatusRequest { partition_id });
        let log = self.partitions.get_wal_status(of).await?.into_inner();
        let of = Request::new(GetSchedulerStatusRequest { partition_id });
        let timers = self.partitions.get_scheduler_status(of).await?.into_inner();
        Ok(Response::new(PartitionHealthResponse {
            partition_id,
            high_watermark: info.high_watermark,
            first_offset: log.first_offset,
            segment_count: info.segment_count,
            disk_usage_bytes: info.disk_usage_bytes,
            active_timers: timers.active_timers,
            ready_events: timers.ready_events,
            // Every event that waits is on the disk, and counted among the timers.
            cold_store_entries: 0,
            replay_error: false,
            last_error: String::new(),
        }))
    }

    async fn get_replication_lag(
        &self,
        request: Request<ReplicationLag>,
    ) -> Result<Response<ReplicationLagResponse>, Status> {
        let partition_id = request.into_inner().partition_id;
        let sight = self.sight().await?;
        let known = |it: &PartitionInfo| it.partition_id == partition_id;
        if !sight.partitions.iter().any(known) {
            let text = format!("partition {partition_id} not found");
            return Err(Status::not_found(text));
        }
        Ok(Response::new(
            sight.lag(partition_id, &self.meant(partition_id)),
        ))
    }

    async fn list_consumer_groups(
        &self,
        _: Request<AdminListConsumerGroupsRequest>,
    ) -> Result<Response<AdminListConsumerGroupsResponse>, Status> {
        let request = Request::new(ListConsumerGroupsRequest::default());
        let groups = self
            .groups
            .list_consumer_groups(request)
            .await?
            .into_inner();
        let summary =
            |group: chronos_proto::cronos_db::ConsumerGroupMetadata| AdminConsumerGroupSummary {
                group_id: group.group_id,
                topic: group.topic,
                partitions: group.partitions,
                member_count: group.member_offsets.len() as i32,
            };
        let groups = groups.groups.into_iter().map(summary).collect();
        Ok(Response::new(AdminListConsumerGroupsResponse { groups }))
    }

    async fn get_consumer_group_lag(
        &self,
        request: Request<AdminConsumerGroupLag>,
    ) -> Result<Response<AdminConsumerGroupLagResponse>, Status> {
        let AdminConsumerGroupLag {
            group_id,
            partition_id,
        } = request.into_inner();
        let of = Request::new(GetConsumerGroupRequest {
            group_id: group_id.clone(),
        });
        let group = self.groups.get_consumer_group(of).await?.into_inner();
        let of = Request::new(GetPartitionRequest { partition_id });
        let info = self.partitions.get_partition(of).await?.into_inner();
        let committed = group.committed_offsets.get(&partition_id).copied();
        let committed_offset = committed.unwrap_or(-1);
        Ok(Response::new(AdminConsumerGroupLagResponse {
            group_id,
            partition_id,
            committed_offset,
            partition_high_watermark: info.high_watermark,
            lag: (info.high_watermark - committed_offset.max(0)).max(0),
        }))
    }

    async fn run_retention(
        &self,
        request: Request<RunRetentionRequest>,
    ) -> Result<Response<RunRetentionResponse>, Status> {
        let asked = request.into_inner();
        let max_age_hours = i32::try_from(asked.max_age_hours)
            .map_err(|_| Status::invalid_argument("max_age_hours is too large"))?;
        let mut sum = Sum::default();
        for partition_id in self.meant(asked.partition_id) {
            let request = Request::new(RetentionRequest {
                partition_id,
                max_age_hours,
                max_size_bytes: asked.max_size_bytes,
                ..RetentionRequest::default()
            });
            let done = self.partitions.run_retention(request).await?.into_inner();
            sum.add(
                partition_id,
                &done.error,
                done.segments_deleted,
                done.bytes_freed,
            );
        }
        Ok(Response::new(RunRetentionResponse {
            success: sum.errors.is_empty(),
            error: sum.errors.join("; "),
            segments_deleted: sum.segments,
            bytes_freed: sum.bytes,
        }))
    }

    async fn run_compaction(
        &self,
        request: Request<RunCompactionRequest>,
    ) -> Result<Response<RunCompactionResponse>, Status> {
        let asked = request.into_inner();
        let mut sum = Sum::default();
        for partition_id in self.meant(asked.partition_id) {
            // Only retention knows of offsets.
            if asked.before_offset == 0 {
                let request = Request::new(CompactRequest {
                    partition_id,
                    ..CompactRequest::default()
                });
                let done = self.partitions.compact(request).await?.into_inner();
                sum.add(
                    partition_id,
                    &done.error,
                    done.segments_compacted,
                    done.bytes_reclaimed,
                );
                continue;
            }
            let request = Request::new(RetentionRequest {
                partition_id,
                min_offset: asked.before_offset,
                ..RetentionRequest::default()
            });
            let done = self.partitions.run_retention(request).await?.into_inner();
            sum.add(
                partition_id,
                &done.error,
                done.segments_deleted,
                done.bytes_freed,
            );
        }
        Ok(Response::new(RunCompactionResponse {
            success: sum.errors.is_empty(),
            error: sum.errors.join("; "),
            segments_compacted: sum.segments,
            bytes_reclaimed: sum.bytes,
        }))
    }

    async fn list_schemas(
        &self,
        _: Request<ListSchemasRequest>,
    ) -> Result<Response<ListSchemasResponse>, Status> {
        absent("schemas: payloads are bytes to it")
    }

    async fn get_schema(
        &self,
        _: Request<GetSchemaRequest>,
    ) -> Result<Response<GetSchemaResponse>, Status> {
        absent("schemas: payloads are bytes to it")
    }

    async fn get_tenant_usage(
        &self,
        _: Request<TenantUsage>,
    ) -> Result<Response<TenantUsageResponse>, Status> {
        absent("tenants: limits are set for topics")
    }

    /// The cluster evens out by itself, so this only says how much of that is left.
    async fn trigger_rebalance(
        &self,
        _: Request<RebalanceRequest>,
    ) -> Result<Response<RebalanceResponse>, Status> {
        let moves = match self.sight().await?.seen {
            None => 0,
            Some(seen) => standing(&seen.view()).moves,
        };
        Ok(Response::new(RebalanceResponse {
            success: true,
            error: String::new(),
            partitions_moved: moves as i32,
        }))
    }
}
