//! Creating, altering, describing, listing and deleting topics.

use chronos_proto::cronos_db::topic_service_client::TopicServiceClient;
use chronos_proto::cronos_db::{
    AlterTopicRequest, CreateTopicRequest, DeleteTopicRequest, DescribeTopicRequest,
    ListTopicsRequest, Topic, TopicSettings,
};

use crate::{Client, Error};

/// Topics asked for at a time.
const PAGE: i32 = 1_000;

impl Client {
    /// Creates a topic. What `settings` leave out is as the node is set.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::Rejected`] for a setting out of its range.
    pub async fn create_topic(&self, name: &str, settings: TopicSettings) -> Result<Topic, Error> {
        let request = CreateTopicRequest {
            name: name.to_owned(),
            settings: Some(settings),
        };
        let answer = self
            .call(None, |channel| {
                let request = request.clone();
                async move { TopicServiceClient::new(channel).create_topic(request).await }
            })
            .await?;
        Ok(answer.value)
    }

    /// Changes settings of a topic; they hold at once.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Conflict`] when it has another version than the one asked for.
    pub async fn alter_topic(&self, request: AlterTopicRequest) -> Result<Topic, Error> {
        let answer = self
            .call(None, |channel| {
                let request = request.clone();
                async move { TopicServiceClient::new(channel).alter_topic(request).await }
            })
            .await?;
        Ok(answer.value)
    }

    /// Describes a topic, with what is pending in each partition.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn topic(&self, name: &str) -> Result<Topic, Error> {
        let request = DescribeTopicRequest {
            name: name.to_owned(),
        };
        let answer = self
            .call(None, |channel| {
                let request = request.clone();
                async move {
                    TopicServiceClient::new(channel)
                        .describe_topic(request)
                        .await
                }
            })
            .await?;
        Ok(answer.value)
    }

    /// Every topic whose name begins with `prefix`, by name.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn topics(&self, prefix: &str) -> Result<Vec<Topic>, Error> {
        let mut topics = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListTopicsRequest {
                prefix: prefix.to_owned(),
                page_size: PAGE,
                page_token,
            };
            let answer = self
                .call(None, |channel| {
                    let request = request.clone();
                    async move { TopicServiceClient::new(channel).list_topics(request).await }
                })
                .await?
                .value;
            topics.extend(answer.topics);
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                return Ok(topics);
            }
        }
    }

    /// Deletes a topic with everything in it; returns how many pending events went with it.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Conflict`] while events are pending, unless `force` is set.
    pub async fn delete_topic(&self, name: &str, force: bool) -> Result<i64, Error> {
        let request = DeleteTopicRequest {
            name: name.to_owned(),
            force,
        };
        let answer = self
            .call(None, |channel| {
                let request = request.clone();
                async move { TopicServiceClient::new(channel).delete_topic(request).await }
            })
            .await?;
        Ok(answer.value.deleted_pending)
    }
}
