//! Partitions, their logs and schedulers.

use chronos_proto::cronos_db::partition_service_client::PartitionServiceClient;
use chronos_proto::cronos_db::{
    CompactRequest, GetPartitionRequest, GetSchedulerStatusRequest, GetWalStatusRequest,
    ListPartitionsRequest, PartitionInfo, RetentionRequest, SchedulerStatus, WalStatus,
};

use crate::groups::succeeded;
use crate::{Client, Error};

/// Space that became free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freed {
    /// Segment files removed.
    pub segments: i64,
    /// Bytes freed.
    pub bytes: i64,
}

impl Client {
    /// Describes every partition, by id.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn partitions(&self) -> Result<Vec<PartitionInfo>, Error> {
        let answer = self
            .call(None, |channel| async move {
                PartitionServiceClient::new(channel)
                    .list_partitions(ListPartitionsRequest::default())
                    .await
            })
            .await?;
        Ok(answer.value.partitions)
    }

    /// Describes one partition.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn partition(&self, partition_id: u32) -> Result<PartitionInfo, Error> {
        let wire_id = wire_id(partition_id);
        let answer = self
            .call(Some(partition_id), |channel| async move {
                PartitionServiceClient::new(channel)
                    .get_partition(GetPartitionRequest {
                        partition_id: wire_id,
                    })
                    .await
            })
            .await?;
        Ok(answer.value)
    }

    /// Describes the log files of one partition.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn wal_status(&self, partition_id: u32) -> Result<WalStatus, Error> {
        let wire_id = wire_id(partition_id);
        let answer = self
            .call(Some(partition_id), |channel| async move {
                PartitionServiceClient::new(channel)
                    .get_wal_status(GetWalStatusRequest {
                        partition_id: wire_id,
                    })
                    .await
            })
            .await?;
        Ok(answer.value)
    }

    /// Describes what one partition has waiting.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn scheduler_status(&self, partition_id: u32) -> Result<SchedulerStatus, Error> {
        let wire_id = wire_id(partition_id);
        let answer = self
            .call(Some(partition_id), |channel| async move {
                PartitionServiceClient::new(channel)
                    .get_scheduler_status(GetSchedulerStatusRequest {
                        partition_id: wire_id,
                    })
                    .await
            })
            .await?;
        Ok(answer.value)
    }

    /// Frees every full segment of a partition's log that holds anything which may go. Returns when
    /// the space is free.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Rejected`] with the reason when it did not come to its end.
    pub async fn compact(&self, request: CompactRequest) -> Result<Freed, Error> {
        let partition_id = u32::try_from(request.partition_id).ok();
        let answer = self
            .call(partition_id, |channel| async move {
                PartitionServiceClient::new(channel).compact(request).await
            })
            .await?
            .value;
        succeeded(answer.success, answer.error)?;
        Ok(Freed {
            segments: answer.segments_compacted.into(),
            bytes: answer.bytes_reclaimed,
        })
    }

    /// Applies limits to a partition's log now. Returns when the space is free.
    ///
    /// # Errors
    /// See [`Client::compact`].
    pub async fn run_retention(&self, request: RetentionRequest) -> Result<Freed, Error> {
        let partition_id = u32::try_from(request.partition_id).ok();
        let answer = self
            .call(partition_id, |channel| async move {
                PartitionServiceClient::new(channel)
                    .run_retention(request)
                    .await
            })
            .await?
            .value;
        succeeded(answer.success, answer.error)?;
        Ok(Freed {
            segments: answer.segments_deleted.into(),
            bytes: answer.bytes_freed,
        })
    }
}

/// A number beyond the wire's range names no partition; the largest does not either.
fn wire_id(partition_id: u32) -> i32 {
    i32::try_from(partition_id).unwrap_or(i32::MAX)
}
