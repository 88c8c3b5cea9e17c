//! Partitions, their logs and schedulers.

use chronos_proto::cronos_db::partition_service_client::PartitionServiceClient;
use chronos_proto::cronos_db::{
    GetPartitionRequest, GetSchedulerStatusRequest, GetWalStatusRequest, ListPartitionsRequest,
    PartitionInfo, SchedulerStatus, WalStatus,
};

use crate::{Client, Error};

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
}

/// A number beyond the wire's range names no partition; the largest does not either.
fn wire_id(partition_id: u32) -> i32 {
    i32::try_from(partition_id).unwrap_or(i32::MAX)
}
