//! TopicService in front of the partitions of a cluster. The catalog knows the topics that were
//! created, and each partition those that were used in it.

use super::call::{Answer, Call, Share, with_leaders};
use super::outcome::Repeat;
use super::{Forwarded, Over, Way, asking, spread, spread_steps};
use crate::edge::topics::{Topics, page_size};
use crate::edge::view::View;
use chronos_proto::cronos_db as pb;
use chronos_proto::cronos_db::topic_service_client::TopicServiceClient;
use chronos_proto::server::topic_service_server::TopicService;
use std::collections::BTreeMap;
use tonic::{Code, Request, Response, Status};

impl Over for Topics {
    fn over(&self, view: View) -> Self {
        Self(view)
    }
}

#[tonic::async_trait]
impl TopicService for Forwarded<Topics> {
    async fn create_topic(
        &self,
        request: Request<pb::CreateTopicRequest>,
    ) -> Result<Response<pb::Topic>, Status> {
        let call = spread!(self, request, create_topic);
        let message = request.into_inner();
        let name = message.name.clone();
        // Whether it is in use somewhere matters only for how it is spread.
        let is_spread = message
            .settings
            .as_ref()
            .is_some_and(|it| it.partitions.is_some());
        let is_named = is_spread && self.described(&call, &name).await?.0.is_some();
        let created = self.local.create(message, is_named).await?;
        Ok(self.describe(&call, name).await.unwrap_or(created))
    }

    async fn alter_topic(
        &self,
        request: Request<pb::AlterTopicRequest>,
    ) -> Result<Response<pb::Topic>, Status> {
        let call = spread!(self, request, alter_topic);
        let message = request.into_inner();
        let name = message.name.clone();
        let is_created = self.forwarder.engine.topic(&name).is_some();
        let is_named = !is_created && self.described(&call, &name).await?.0.is_some();
        let altered = self.local.alter(message, is_named).await?;
        Ok(self.describe(&call, name).await.unwrap_or(altered))
    }

    async fn describe_topic(
        &self,
        request: Request<pb::DescribeTopicRequest>,
    ) -> Result<Response<pb::Topic>, Status> {
        let call = spread!(self, request, describe_topic);
        self.describe(&call, request.into_inner().name).await
    }

    async fn list_topics(
        &self,
        request: Request<pb::ListTopicsRequest>,
    ) -> Result<Response<pb::ListTopicsResponse>, Status> {
        let call = spread!(self, request, list_topics);
        let message = request.into_inner();
        let size = page_size(message.page_size)?;
        let ask = asking!(self, call, TopicServiceClient, list_topics, |share| message
            .clone());
        let (mut pages, mut shares) = (Vec::new(), Vec::new());
        for Answer { share, value } in call.ask(call.all(), Repeat::Harmless, ask).await? {
            pages.push(value.into_inner());
            shares.push(share);
        }
        Ok(with_leaders(merged(pages, size), &shares))
    }

    async fn delete_topic(
        &self,
        request: Request<pb::DeleteTopicRequest>,
    ) -> Result<Response<pb::DeleteTopicResponse>, Status> {
        let call = spread_steps!(self, request, delete_topic);
        let message = request.into_inner();
        let (described, shares) = self.described(&call, &message.name).await?;
        let topic = described.ok_or_else(|| Topics::missing(&message.name))?;
        if topic.pending > 0 && !message.force {
            return Err(Topics::still_pending(&message.name, topic.pending as u64));
        }
        // What is deleted already is not deleted again, so the whole may be repeated.
        let ask = asking!(self, call, TopicServiceClient, delete_topic, |share| {
            message.clone()
        });
        let mut response = pb::DeleteTopicResponse::default();
        for Answer { value, .. } in call.ask(call.all(), Repeat::Harmless, ask).await? {
            response.deleted_pending += value.into_inner().deleted_pending;
        }
        self.local.forget(message.name).await?;
        Ok(with_leaders(response, &shares))
    }
}

impl Forwarded<Topics> {
    async fn describe(&self, call: &Call, name: String) -> Result<Response<pb::Topic>, Status> {
        let (topic, shares) = self.described(call, &name).await?;
        let topic = topic.ok_or_else(|| Topics::missing(&name))?;
        Ok(with_leaders(topic, &shares))
    }

    /// A topic with what all leaders know of it; `None` when nobody does.
    async fn described(
        &self,
        call: &Call,
        name: &str,
    ) -> Result<(Option<pb::Topic>, Vec<Share>), Status> {
        let message = pb::DescribeTopicRequest {
            name: name.to_owned(),
        };
        let ask = asking!(self, call, TopicServiceClient, describe_topic, |share| {
            message.clone()
        });
        let mut whole: Option<pb::Topic> = None;
        let mut shares = Vec::new();
        for Answer { share, value } in call.ask_each(call.all(), Repeat::Harmless, ask).await? {
            shares.push(share);
            let part = match value {
                Ok(response) => response.into_inner(),
                Err(status) if status.code() == Code::NotFound => continue,
                Err(status) => return Err(status),
            };
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => {
                    whole.pending += part.pending;
                    whole.partitions.extend(part.partitions);
                }
            }
        }
        if let Some(topic) = &mut whole {
            topic
                .partitions
                .sort_by_key(|partition| partition.partition_id);
        }
        Ok((whole, shares))
    }
}

/// One page out of the leaders' pages, which all begin after the same name. A page token is the last
/// name of a page.
fn merged(pages: Vec<pb::ListTopicsResponse>, size: usize) -> pb::ListTopicsResponse {
    let ends = pages.iter().map(|page| page.next_page_token.clone());
    let mut end = ends.filter(|end| !end.is_empty()).min();
    let all = pages.into_iter().flat_map(|page| page.topics);
    let topics: BTreeMap<String, pb::Topic> = all.map(|it| (it.name.clone(), it)).collect();
    let mut topics: Vec<pb::Topic> = topics.into_values().collect();
    topics.retain(|topic| end.as_ref().is_none_or(|end| topic.name <= *end));
    if topics.len() > size {
        topics.truncate(size);
        end = topics.last().map(|topic| topic.name.clone());
    }
    pb::ListTopicsResponse {
        topics,
        next_page_token: end.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_each_name_once_and_ends_where_the_first_leader_stopped() {
        let page = |names: &[&str], next: &str| pb::ListTopicsResponse {
            topics: names
                .iter()
                .map(|name| pb::Topic {
                    name: (*name).to_owned(),
                    ..pb::Topic::default()
                })
                .collect(),
            next_page_token: next.into(),
        };
        let names = |page: &pb::ListTopicsResponse| -> Vec<String> {
            page.topics.iter().map(|it| it.name.clone()).collect()
        };
        let whole = merged(vec![page(&["a", "c"], "c"), page(&["a", "b", "d"], "")], 9);
        assert_eq!(names(&whole), ["a", "b", "c"]);
        assert_eq!(whole.next_page_token, "c");
        let whole = merged(vec![page(&["a", "c"], ""), page(&["b"], "")], 2);
        assert_eq!(
            (names(&whole).len(), whole.next_page_token.as_str()),
            (2, "b")
        );
        let whole = merged(vec![page(&["a"], ""), page(&["a"], "")], 2);
        assert_eq!(
            (names(&whole).len(), whole.next_page_token.as_str()),
            (1, "")
        );
    }
}
