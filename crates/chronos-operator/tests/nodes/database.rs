//! What the database itself says, asked through the Service.

use std::time::Duration;

use chronos_proto::cronos_db::cluster_service_client::ClusterServiceClient;
use chronos_proto::cronos_db::topic_service_client::TopicServiceClient;
use chronos_proto::cronos_db::{
    AlterTopicRequest, ClusterNode, ClusterStatusRequest, ClusterStatusResponse,
    DeleteTopicRequest, DescribeTopicRequest, Topic, TopicSettings,
};
use chronos_tests::patience::within;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

use crate::stage::{PATIENCE, Stage, TOPIC};

/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(5);

impl Stage {
    async fn channel(&self) -> Option<Channel> {
        let endpoint = Channel::from_shared(format!("http://{}", self.address().await)).unwrap();
        timeout(ANSWER, endpoint.connect()).await.ok()?.ok()
    }

    /// What the database says of itself. `None`: it does not answer.
    pub async fn database(&self) -> Option<ClusterStatusResponse> {
        let mut service = ClusterServiceClient::new(self.channel().await?);
        let answer = service.cluster_status(ClusterStatusRequest::default());
        Some(timeout(ANSWER, answer).await.ok()?.ok()?.into_inner())
    }

    /// Waits until the database says that it has so many nodes, that all are well, and that nothing
    /// moves.
    pub async fn whole(&self, nodes: usize) -> ClusterStatusResponse {
        let well = |node: &ClusterNode| node.alive && node.caught_up;
        let whole = within(PATIENCE, || async {
            let status = self.database().await?;
            let is_whole = status.nodes.len() == nodes
                && status.nodes.iter().all(well)
                && (status.leaderless, status.under_replicated, status.moves) == (0, 0, 0);
            is_whole.then_some(status)
        });
        match whole.await {
            Some(status) => status,
            None => panic!(
                "the database of {} is not whole: {:#?}",
                self.namespace,
                self.database().await
            ),
        }
    }

    /// The pod of the node that leads the catalog.
    pub async fn catalog_leader(&self) -> String {
        let leader = within(PATIENCE, || async {
            let nodes = self.database().await?.nodes;
            let leader = nodes.into_iter().find(|node| node.catalog_leader)?;
            Some(leader.name)
        });
        leader.await.expect("nobody leads the catalog")
    }

    /// The topic, if there is one.
    pub async fn topic(&self) -> Option<Topic> {
        let found = within(PATIENCE, || async {
            let mut topics = TopicServiceClient::new(self.channel().await?);
            let request = DescribeTopicRequest { name: TOPIC.into() };
            match timeout(ANSWER, topics.describe_topic(request)).await.ok()? {
                Ok(topic) => Some(Some(topic.into_inner())),
                Err(status) if status.code() == Code::NotFound => Some(None),
                Err(_) => None,
            }
        });
        found.await.expect("the database does not answer")
    }

    /// Changes the topic behind the operator's back.
    pub async fn alter_retries(&self, max_retries: i32) {
        let request = AlterTopicRequest {
            name: TOPIC.into(),
            settings: Some(TopicSettings {
                max_retries: Some(max_retries),
                ..TopicSettings::default()
            }),
            ..AlterTopicRequest::default()
        };
        let done = within(PATIENCE, || async {
            let mut topics = TopicServiceClient::new(self.channel().await?);
            let answer = topics.alter_topic(request.clone());
            timeout(ANSWER, answer).await.ok()?.ok()
        });
        done.await.expect("the topic cannot be changed");
    }

    /// Deletes the topic behind the operator's back.
    pub async fn delete_topic(&self) {
        let request = DeleteTopicRequest {
            name: TOPIC.into(),
            force: true,
        };
        let done = within(PATIENCE, || async {
            let mut topics = TopicServiceClient::new(self.channel().await?);
            let answer = topics.delete_topic(request.clone());
            timeout(ANSWER, answer).await.ok()?.ok()
        });
        done.await.expect("the topic cannot be deleted");
    }

    /// Waits until the topic has this setting.
    pub async fn until_retries(&self, max_retries: i32) {
        let is_so = within(PATIENCE, || async {
            let settings = self.topic().await?.settings?;
            (settings.max_retries == Some(max_retries)).then_some(())
        });
        assert!(is_so.await.is_some(), "{:#?}", self.topic().await);
    }
}
