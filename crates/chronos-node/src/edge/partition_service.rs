//! PartitionService: what the partitions of this node hold.

use super::status;
use super::view::View;
use crate::engine::retention::{Extent, Reclaimed, Request};
use crate::engine::{Handle, clock};
use chronos_proto::cronos_db::{
    CompactRequest, CompactResponse, GetPartitionRequest, GetSchedulerStatusRequest,
    GetWalStatusRequest, ListPartitionsRequest, ListPartitionsResponse, PartitionInfo,
    RetentionRequest, RetentionResponse, SchedulerStatus, SplitPartitionRequest,
    SplitPartitionResponse, WalStatus,
};
use chronos_proto::server::partition_service_server::PartitionService;
use std::time::Duration;
use tonic::{Response, Status};

/// The wheel's resolution, milliseconds.
const TICK_MS: i32 = 1;
/// Slots of the wheel's first level.
const WHEEL_SIZE: i32 = 256;

/// Serves PartitionService.
#[derive(Clone)]
pub struct Partitions {
    /// The partitions.
    pub engine: View,
    /// This node, which leads what it serves.
    pub node_id: String,
}

impl Partitions {
    fn find(&self, partition_id: i32) -> Result<Handle, Status> {
        let number = u32::try_from(partition_id)
            .map_err(|_| Status::invalid_argument("partition_id must be 0 or greater"))?;
        self.engine
            .partition(number)
            .ok_or_else(|| Status::not_found(format!("partition {partition_id} not found")))
    }

    fn info(&self, handle: &Handle, topic: &str) -> PartitionInfo {
        let next_offset = handle.state.lock().next_offset() as i64;
        let log = handle.wal.status();
        let mut replica_ids = self.engine.replica_names(handle.number);
        if replica_ids.is_empty() {
            replica_ids.push(self.node_id.clone());
        }
        PartitionInfo {
            partition_id: handle.number as i32,
            topic: topic.to_owned(),
            leader_id: self.node_id.clone(),
            replica_ids,
            high_watermark: next_offset,
            last_offset: next_offset - 1,
            segment_count: log.segments.len() as i32,
            disk_usage_bytes: log.total_bytes as i64,
        }
    }
}

impl Partitions {
    async fn reclaim(&self, partition_id: i32, request: Request) -> Result<Reclaimed, String> {
        let retention = u32::try_from(partition_id).ok();
        let Some(retention) = retention.and_then(|number| self.engine.retention(number)) else {
            return Ok(Reclaimed::default());
        };
        let reclaimed = retention.reclaim(request).await;
        reclaimed.map_err(|error| error.to_string())
    }
}

fn negative(field: &str) -> Status {
    Status::invalid_argument(format!("{field} must be 0 or greater"))
}

#[tonic::async_trait]
impl PartitionService for Partitions {
    async fn get_partition(
        &self,
        request: tonic::Request<GetPartitionRequest>,
    ) -> Result<Response<PartitionInfo>, Status> {
        let handle = self.find(request.into_inner().partition_id)?;
        Ok(Response::new(self.info(&handle, "")))
    }

    async fn list_partitions(
        &self,
        request: tonic::Request<ListPartitionsRequest>,
    ) -> Result<Response<ListPartitionsResponse>, Status> {
        let topic = request.into_inner().topic;
        let partitions = self
            .engine
            .partitions()
            .iter()
            .map(|handle| self.info(handle, &topic))
            .collect();
        Ok(Response::new(ListPartitionsResponse { partitions }))
    }

    async fn get_wal_status(
        &self,
        request: tonic::Request<GetWalStatusRequest>,
    ) -> Result<Response<WalStatus>, Status> {
        let handle = self.find(request.into_inner().partition_id)?;
        let log = handle.wal.status();
        let next_offset = handle.state.lock().next_offset() as i64;
        let first_offset = handle
            .events
            .first_offset()
            .map_err(|error| status::of_read(&error))?;
        let created_ms = |offset: i64| match handle.events.batch_of(offset.max(0) as u64) {
            Ok(batch) if next_offset > 0 => batch.now_ms,
            _ => 0,
        };
        Ok(Response::new(WalStatus {
            partition_id: handle.number as i32,
            segment_files: log
                .segments
                .iter()
                .map(|segment| segment.file.clone())
                .collect(),
            first_offset: first_offset.map_or(next_offset, |offset| offset as i64),
            last_offset: next_offset - 1,
            index_entries: log.index_entries as i64,
            oldest_segment_ts: created_ms(first_offset.unwrap_or(0) as i64),
            newest_segment_ts: created_ms(next_offset - 1),
            total_size_bytes: log.total_bytes as i64,
            available_space_bytes: log.available_bytes.map_or(0, |bytes| bytes as i64),
        }))
    }

    async fn get_scheduler_status(
        &self,
        request: tonic::Request<GetSchedulerStatusRequest>,
    ) -> Result<Response<SchedulerStatus>, Status> {
        let handle = self.find(request.into_inner().partition_id)?;
        let standing = handle.standing.lock().clone();
        let delay_ms = standing
            .next_due_ms
            .map_or(0, |due_ms| (due_ms - clock::now_ms()).max(0));
        Ok(Response::new(SchedulerStatus {
            partition_id: handle.number as i32,
            active_timers: standing.pending as i64,
            ready_events: standing.waiting as i64,
            avg_delay_ms: delay_ms,
            max_delay_ms: delay_ms,
            tick_ms: TICK_MS,
            wheel_size: WHEEL_SIZE,
        }))
    }

    async fn compact(
        &self,
        request: tonic::Request<CompactRequest>,
    ) -> Result<Response<CompactResponse>, Status> {
        let request = request.into_inner();
        self.find(request.partition_id)?;
        let reclaim = Request {
            extent: Extent::Everything,
            kept_for: request.force.then_some(Duration::ZERO),
            before_ms: match request.before_ts {
                0 => i64::MAX,
                before_ms => before_ms,
            },
            ..Request::REGULAR
        };
        Ok(Response::new(
            match self.reclaim(request.partition_id, reclaim).await {
                Ok(reclaimed) => CompactResponse {
                    success: true,
                    error: String::new(),
                    segments_compacted: reclaimed.segments as i32,
                    bytes_reclaimed: reclaimed.bytes as i64,
                },
                Err(error) => CompactResponse {
                    error,
                    ..CompactResponse::default()
                },
            },
        ))
    }

    async fn run_retention(
        &self,
        request: tonic::Request<RetentionRequest>,
    ) -> Result<Response<RetentionResponse>, Status> {
        let request = request.into_inner();
        self.find(request.partition_id)?;
        let of_node = request.max_age_hours == 0 && request.max_size_bytes == 0;
        let reclaim = Request {
            extent: Extent::Worthwhile,
            // A limit that is left out does not limit; without any, the node's count.
            kept_for: match u64::try_from(request.max_age_hours) {
                Ok(0) if of_node => None,
                Ok(0) => Some(Duration::MAX),
                Ok(hours) => Some(Duration::from_secs(hours.saturating_mul(3600))),
                Err(_) => return Err(negative("max_age_hours")),
            },
            most_bytes: match u64::try_from(request.max_size_bytes) {
                Ok(0) if of_node => None,
                Ok(bytes) => Some(bytes),
                Err(_) => return Err(negative("max_size_bytes")),
            },
            keep_from: match u64::try_from(request.min_offset) {
                Ok(0) => u64::MAX,
                Ok(offset) => offset,
                Err(_) => return Err(negative("min_offset")),
            },
            ..Request::REGULAR
        };
        Ok(Response::new(
            match self.reclaim(request.partition_id, reclaim).await {
                Ok(reclaimed) => RetentionResponse {
                    success: true,
                    error: String::new(),
                    segments_deleted: reclaimed.segments as i32,
                    bytes_freed: reclaimed.bytes as i64,
                },
                Err(error) => RetentionResponse {
                    error,
                    ..RetentionResponse::default()
                },
            },
        ))
    }

    async fn split_partition(
        &self,
        request: tonic::Request<SplitPartitionRequest>,
    ) -> Result<Response<SplitPartitionResponse>, Status> {
        let source = request.into_inner().source_partition_id;
        match u32::try_from(source) {
            Ok(number) if number < self.engine.partition_count() => {}
            Ok(_) | Err(_) => self.find(source).map(drop)?,
        }
        Err(Status::unimplemented(
            "partitions are not split: their number is fixed when the data directory is made",
        ))
    }
}
