//! ConsumerGroupService: groups as clients see them.

use super::status;
use super::validate::{GROUP_BYTES, TOPIC_BYTES};
use super::view::View;
use crate::engine::{Message, clock};
use chronos_core::catalog::{self, GroupInfo, Outcome};
use chronos_core::command::create_group::{CreateGroup, Start};
use chronos_proto::cronos_db::{
    ConsumerGroupMetadata, CreateConsumerGroupRequest, CreateConsumerGroupResponse,
    GetConsumerGroupRequest, ListConsumerGroupsRequest, ListConsumerGroupsResponse,
    RebalanceConsumerGroupRequest, RebalanceConsumerGroupResponse,
};
use chronos_proto::server::consumer_group_service_server::ConsumerGroupService;
use tonic::{Request, Response, Status};

/// Serves ConsumerGroupService.
#[derive(Clone)]
pub struct Groups(pub View);

impl Groups {
    fn metadata(&self, name: &str, group: &GroupInfo) -> ConsumerGroupMetadata {
        let topic = (!group.topic.is_empty()).then_some(group.topic.as_str());
        let committed = |number: u32| -> i64 {
            let Some(handle) = self.0.partition(number) else {
                return -1;
            };
            let state = handle.state.lock();
            let progress = state
                .group_number(name, topic)
                .and_then(|n| state.groups().get(n as usize));
            progress.map_or(-1, committed_offset)
        };
        ConsumerGroupMetadata {
            group_id: name.to_owned(),
            topic: group.topic.clone(),
            partitions: group
                .partitions
                .iter()
                .map(|number| *number as i32)
                .collect(),
            committed_offsets: group
                .partitions
                .iter()
                .map(|number| (*number as i32, committed(*number)))
                .collect(),
            member_offsets: self.0.members_of(name),
            last_rebalance_ts: group.rebalanced_ms,
        }
    }

    /// Makes the group exist in the partitions it names, or in all of them when it names none that
    /// exist, so that whatever fires from now on waits for it.
    ///
    /// When another node asks, for its share of the partitions, the catalog is that node's to change.
    async fn create(
        &self,
        request: &CreateConsumerGroupRequest,
        partitions: &[u32],
    ) -> Result<bool, Status> {
        if self.0.is_part() {
            self.create_in_partitions(request, partitions).await?;
            return Ok(true);
        }
        if self.0.group(&request.group_id).is_some() {
            return Ok(false);
        }
        self.create_in_partitions(request, partitions).await?;
        self.create_in_catalog(request, partitions).await
    }

    async fn create_in_partitions(
        &self,
        request: &CreateConsumerGroupRequest,
        partitions: &[u32],
    ) -> Result<(), Status> {
        if !request.topic.is_empty() && !self.0.topics().may_use(request.topic.as_bytes()) {
            return Err(status::no_such_topic(&request.topic));
        }
        let topic = (!request.topic.is_empty()).then(|| request.topic.clone());
        let named = |number: &u32| partitions.is_empty() || partitions.contains(number);
        for handle in self
            .0
            .partitions()
            .iter()
            .filter(|handle| named(&handle.number))
        {
            let create = CreateGroup {
                name: request.group_id.clone(),
                topic: topic.clone(),
                start: Start::Unclaimed,
                is_waited_for: !request.not_waited_for,
            };
            handle
                .ask(|reply| Message::CreateGroup(create, reply))
                .await
                .map_err(|refused| status::of_refused(&refused))?;
        }
        Ok(())
    }

    /// Enters the group into the catalog; whether it was not there.
    pub async fn create_in_catalog(
        &self,
        request: &CreateConsumerGroupRequest,
        partitions: &[u32],
    ) -> Result<bool, Status> {
        let command = catalog::Command::CreateGroup {
            name: request.group_id.clone(),
            topic: request.topic.clone(),
            partitions: partitions.to_vec(),
            now_ms: clock::now_ms(),
        };
        let outcome = self
            .0
            .change_catalog(&command)
            .await
            .map_err(|refused| status::of_refused(&refused))?;
        Ok(outcome == Outcome::Done)
    }
}

/// The offset a group is committed up to in a partition; -1 before it settled anything.
fn committed_offset(group: &chronos_core::partition::Group) -> i64 {
    match group.committed {
        0 => -1,
        committed => i64::try_from(committed).unwrap_or(i64::MAX),
    }
}

/// Checks a group to create; the partitions that it names.
pub fn check(request: &CreateConsumerGroupRequest) -> Result<Vec<u32>, String> {
    let (group_id, topic) = (&request.group_id, &request.topic);
    if group_id.is_empty() {
        return Err("group_id is required".into());
    }
    for (name, value, most) in [
        ("group_id", group_id, GROUP_BYTES),
        ("topic", topic, TOPIC_BYTES),
    ] {
        if value.len() > most {
            return Err(format!(
                "{name} has {} bytes, at most {most} are allowed",
                value.len()
            ));
        }
    }
    let partitions: Result<Vec<u32>, _> = (request.partitions.iter())
        .map(|n| u32::try_from(*n))
        .collect();
    partitions.map_err(|_| "partitions must be 0 or greater".into())
}

#[tonic::async_trait]
impl ConsumerGroupService for Groups {
    async fn create_consumer_group(
        &self,
        request: Request<CreateConsumerGroupRequest>,
    ) -> Result<Response<CreateConsumerGroupResponse>, Status> {
        let request = request.into_inner();
        let answer = match check(&request) {
            Err(error) => Err(error),
            Ok(partitions) => match self.create(&request, &partitions).await? {
                true => Ok(()),
                false => Err(format!("group {} already exists", request.group_id)),
            },
        };
        Ok(Response::new(CreateConsumerGroupResponse {
            success: answer.is_ok(),
            error: answer.err().unwrap_or_default(),
        }))
    }

    async fn get_consumer_group(
        &self,
        request: Request<GetConsumerGroupRequest>,
    ) -> Result<Response<ConsumerGroupMetadata>, Status> {
        let name = request.into_inner().group_id;
        match self.0.group(&name) {
            Some(group) => Ok(Response::new(self.metadata(&name, &group))),
            None => Err(Status::unknown(format!("consumer group not found: {name}"))),
        }
    }

    async fn list_consumer_groups(
        &self,
        request: Request<ListConsumerGroupsRequest>,
    ) -> Result<Response<ListConsumerGroupsResponse>, Status> {
        let topic = request.into_inner().topic;
        let groups = self.0.groups();
        let wanted = groups
            .iter()
            .filter(|(_, group)| topic.is_empty() || group.topic == topic);
        let groups = wanted
            .map(|(name, group)| self.metadata(name, group))
            .collect();
        Ok(Response::new(ListConsumerGroupsResponse { groups }))
    }

    async fn rebalance_consumer_group(
        &self,
        request: Request<RebalanceConsumerGroupRequest>,
    ) -> Result<Response<RebalanceConsumerGroupResponse>, Status> {
        let request = request.into_inner();
        let Some(group) = self.0.group(&request.group_id) else {
            return Ok(Response::new(RebalanceConsumerGroupResponse {
                error: format!("consumer group not found: {}", request.group_id),
                ..RebalanceConsumerGroupResponse::default()
            }));
        };
        let command = catalog::Command::Rebalanced {
            name: request.group_id,
            now_ms: clock::now_ms(),
        };
        self.0
            .change_catalog(&command)
            .await
            .map_err(|refused| status::of_refused(&refused))?;
        // Members share every partition; the assignment tells each where most of its events are.
        let partitions = if group.partitions.is_empty() {
            vec![0]
        } else {
            group.partitions
        };
        let assigned = request
            .member_ids
            .into_iter()
            .zip(partitions.iter().cycle());
        Ok(Response::new(RebalanceConsumerGroupResponse {
            success: true,
            error: String::new(),
            partition_assignments: assigned
                .map(|(member, partition)| (member, *partition as i32))
                .collect(),
        }))
    }
}
