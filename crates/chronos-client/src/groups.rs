//! Consumer groups.

use std::collections::BTreeMap;

use chronos_proto::cronos_db::consumer_group_service_client::ConsumerGroupServiceClient;
use chronos_proto::cronos_db::{
    ConsumerGroupMetadata, CreateConsumerGroupRequest, GetConsumerGroupRequest,
    ListConsumerGroupsRequest, RebalanceConsumerGroupRequest,
};

use crate::{Client, Error};

impl Client {
    /// Creates a group ahead of its first subscription. The partitions need not exist.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]; also when an earlier try of this call got no answer.
    pub async fn create_group(
        &self,
        group_id: &str,
        topic: &str,
        partitions: &[u32],
    ) -> Result<(), Error> {
        let request = CreateConsumerGroupRequest {
            group_id: group_id.to_string(),
            topic: topic.to_string(),
            partitions: partitions
                .iter()
                .map(|id| i32::try_from(*id).unwrap_or(i32::MAX))
                .collect(),
            not_waited_for: false,
        };
        let answer = self
            .call(None, |channel| {
                let (mut groups, request) =
                    (ConsumerGroupServiceClient::new(channel), request.clone());
                async move { groups.create_consumer_group(request).await }
            })
            .await?;
        succeeded(answer.value.success, answer.value.error)
    }

    /// Describes one group.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn group(&self, group_id: &str) -> Result<ConsumerGroupMetadata, Error> {
        let request = GetConsumerGroupRequest {
            group_id: group_id.to_string(),
        };
        let answer = self
            .call(None, |channel| {
                let (mut groups, request) =
                    (ConsumerGroupServiceClient::new(channel), request.clone());
                async move { groups.get_consumer_group(request).await }
            })
            .await?;
        Ok(answer.value)
    }

    /// Describes the groups of a topic; all groups if the topic is empty.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn groups(&self, topic: &str) -> Result<Vec<ConsumerGroupMetadata>, Error> {
        let request = ListConsumerGroupsRequest {
            topic: topic.to_string(),
        };
        let answer = self
            .call(None, |channel| {
                let (mut groups, request) =
                    (ConsumerGroupServiceClient::new(channel), request.clone());
                async move { groups.list_consumer_groups(request).await }
            })
            .await?;
        Ok(answer.value.groups)
    }

    /// Shares a group's partitions among the named members; returns a partition per member.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn rebalance_group(
        &self,
        group_id: &str,
        member_ids: &[String],
    ) -> Result<BTreeMap<String, i32>, Error> {
        let request = RebalanceConsumerGroupRequest {
            group_id: group_id.to_string(),
            member_ids: member_ids.to_vec(),
        };
        let answer = self
            .call(None, |channel| {
                let (mut groups, request) =
                    (ConsumerGroupServiceClient::new(channel), request.clone());
                async move { groups.rebalance_consumer_group(request).await }
            })
            .await?;
        succeeded(answer.value.success, answer.value.error)?;
        Ok(answer.value.partition_assignments)
    }
}

/// What an answer with its own success flag says.
pub(crate) fn succeeded(success: bool, error: String) -> Result<(), Error> {
    if success {
        Ok(())
    } else {
        Err(Error::rejected(error))
    }
}
