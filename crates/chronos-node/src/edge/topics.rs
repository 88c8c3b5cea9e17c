//! TopicService: topics that are created, altered, described, listed and deleted.

use super::status;
use super::validate::TOPIC_BYTES;
use super::view::View;
use crate::delivery::Policy;
use crate::engine::{DeleteTopic, Engine, Handle, Message, ReadError, clock};
use chronos_core::catalog::topics::{Field, Mode, PutTopic, Settings};
use chronos_core::catalog::{Command, Outcome};
use chronos_proto::cronos_db as pb;
use chronos_proto::server::topic_service_server::TopicService;
use roaring::RoaringTreemap;
use std::collections::BTreeSet;
use tonic::{Request, Response, Status};

/// Serves TopicService.
#[derive(Clone)]
pub struct Topics(pub View);

fn bounded(name: &str, value: Option<i64>, most: u64) -> Result<Option<u64>, Status> {
    let Some(value) = value else { return Ok(None) };
    match u64::try_from(value) {
        Ok(value) if (1..=most).contains(&value) => Ok(Some(value)),
        _ => Err(Status::invalid_argument(format!(
            "{name} {value} is not between 1 and {most}"
        ))),
    }
}

const DAY_MS: u64 = 86_400_000;
const MOST: u64 = 1 << 50;

/// The settings that are present, checked.
fn changes(
    wanted: &pb::TopicSettings,
    partitions: u32,
) -> Result<Vec<(Field, Option<u64>)>, Status> {
    let thousandths = |name: &str, value: Option<f64>, least: f64, most: f64| match value {
        Some(value) if !(least..=most).contains(&value) => Err(Status::invalid_argument(format!(
            "{name} {value} is not between {least} and {most}"
        ))),
        value => Ok(value.map(|value| (value * 1e3).round() as u64)),
    };
    let count = wanted.partitions.map(i64::from);
    let made = [
        (
            Field::Partitions,
            bounded("partitions", count, partitions.into())?,
        ),
        (
            Field::RetentionAgeMs,
            bounded("retention_age_ms", wanted.retention_age_ms, MOST)?,
        ),
        (
            Field::RetentionBytes,
            bounded("retention_bytes", wanted.retention_bytes, MOST)?,
        ),
        (
            Field::DedupWindowMs,
            bounded("dedup_window_ms", wanted.dedup_window_ms, MOST)?,
        ),
        (
            Field::AckTimeoutMs,
            bounded("ack_timeout_ms", wanted.ack_timeout_ms, DAY_MS)?,
        ),
        (
            Field::MaxRetries,
            bounded("max_retries", wanted.max_retries.map(i64::from), 1_000_000)?,
        ),
        (
            Field::BackoffFirstMs,
            bounded("backoff_first_ms", wanted.backoff_first_ms, DAY_MS)?,
        ),
        (
            Field::BackoffFactor,
            thousandths("backoff_factor", wanted.backoff_factor, 1.0, 100.0)?,
        ),
        (
            Field::BackoffMaxMs,
            bounded("backoff_max_ms", wanted.backoff_max_ms, DAY_MS)?,
        ),
        (
            Field::BackoffJitter,
            thousandths("backoff_jitter", wanted.backoff_jitter, 0.0, 1.0)?,
        ),
        (
            Field::MaxHorizonMs,
            bounded("max_horizon_ms", wanted.max_horizon_ms, MOST)?,
        ),
        (
            Field::EventsPerSecond,
            bounded("events_per_second", wanted.events_per_second, MOST)?,
        ),
        (
            Field::BytesPerSecond,
            bounded("bytes_per_second", wanted.bytes_per_second, MOST)?,
        ),
        (
            Field::MaxPendingEvents,
            bounded("max_pending_events", wanted.max_pending_events, MOST)?,
        ),
        (
            Field::MaxPendingBytes,
            bounded("max_pending_bytes", wanted.max_pending_bytes, MOST)?,
        ),
    ];
    Ok(made.into_iter().filter(|(_, it)| it.is_some()).collect())
}

fn cleared(name: &str) -> Result<Field, Status> {
    match name {
        "retention_age_ms" => Ok(Field::RetentionAgeMs),
        "retention_bytes" => Ok(Field::RetentionBytes),
        "dedup_window_ms" => Ok(Field::DedupWindowMs),
        "ack_timeout_ms" => Ok(Field::AckTimeoutMs),
        "max_retries" => Ok(Field::MaxRetries),
        "backoff_first_ms" => Ok(Field::BackoffFirstMs),
        "backoff_factor" => Ok(Field::BackoffFactor),
        "backoff_max_ms" => Ok(Field::BackoffMaxMs),
        "max_horizon_ms" => Ok(Field::MaxHorizonMs),
        "events_per_second" => Ok(Field::EventsPerSecond),
        "bytes_per_second" => Ok(Field::BytesPerSecond),
        "max_pending_events" => Ok(Field::MaxPendingEvents),
        "max_pending_bytes" => Ok(Field::MaxPendingBytes),
        "backoff_jitter" => Ok(Field::BackoffJitter),
        _ => Err(Status::invalid_argument(format!(
            "{name} is no setting that can be cleared"
        ))),
    }
}

fn as_set(settings: &Settings) -> pb::TopicSettings {
    let of = |field| settings.get(field).map(|value| value as i64);
    let share = |field| settings.get(field).map(|value| value as f64 / 1e3);
    pb::TopicSettings {
        partitions: of(Field::Partitions).map(|count| count as i32),
        retention_age_ms: of(Field::RetentionAgeMs),
        retention_bytes: of(Field::RetentionBytes),
        dedup_window_ms: of(Field::DedupWindowMs),
        ack_timeout_ms: of(Field::AckTimeoutMs),
        max_retries: of(Field::MaxRetries).map(|most| most as i32),
        backoff_first_ms: of(Field::BackoffFirstMs),
        backoff_factor: share(Field::BackoffFactor),
        backoff_max_ms: of(Field::BackoffMaxMs),
        backoff_jitter: share(Field::BackoffJitter),
        max_horizon_ms: of(Field::MaxHorizonMs),
        events_per_second: of(Field::EventsPerSecond),
        bytes_per_second: of(Field::BytesPerSecond),
        max_pending_events: of(Field::MaxPendingEvents),
        max_pending_bytes: of(Field::MaxPendingBytes),
    }
}

fn effective(settings: &Settings, policy: Policy, partitions: usize) -> pb::TopicSettings {
    let set = as_set(settings);
    pb::TopicSettings {
        partitions: set.partitions.or(Some(partitions as i32)),
        ack_timeout_ms: Some(policy.ack_timeout.as_millis() as i64),
        max_retries: Some(policy.most_attempts as i32),
        backoff_first_ms: Some(policy.backoff.first.as_millis() as i64),
        backoff_jitter: Some(policy.backoff.jitter as f64 / 1e3),
        ..set
    }
}

/// How many topics a page may have.
pub fn page_size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(100),
        Ok(most) => Ok(most.min(1_000)),
        Err(_) => Err(Status::invalid_argument("page_size is negative")),
    }
}

impl Topics {
    /// The answer about a topic that is not there.
    pub fn missing(name: &str) -> Status {
        Status::not_found(format!("topic {name} does not exist"))
    }

    /// The answer to deleting a topic that has pending events.
    pub fn still_pending(name: &str, pending: u64) -> Status {
        Status::failed_precondition(format!(
            "{pending} events of topic {name} are pending: force deletes them too"
        ))
    }

    /// Whether some partition has the topic, created or not.
    fn is_named(&self, name: &str) -> bool {
        self.0.partitions().iter().any(|handle| {
            let state = handle.state.lock();
            let number = state.topics().get(name.as_bytes());
            number.is_some_and(|number| !state.topic_state(number).gone)
        })
    }

    fn brief(&self, name: &str) -> Option<pb::Topic> {
        let info = self.0.topic(name);
        if info.is_none() && !self.is_named(name) {
            return None;
        }
        let automatic = info.is_none();
        let info = info.unwrap_or_default();
        Some(pb::Topic {
            name: name.to_owned(),
            settings: Some(as_set(&info.settings)),
            automatic,
            created_ts: info.created_ms,
            version: info.version as i64,
            ..pb::Topic::default()
        })
    }

    async fn described(&self, name: &str) -> Result<pb::Topic, Status> {
        let mut topic = self.brief(name).ok_or_else(|| Self::missing(name))?;
        let info = self.0.topic(name).unwrap_or_default();
        let policy = self.0.topics().policy_with(&info.settings);
        topic.effective = Some(effective(
            &info.settings,
            policy,
            self.0.partition_count() as usize,
        ));
        for handle in self.0.partitions() {
            let counts = handle.count_pending().await;
            let counts = counts.map_err(|refused| status::of_refused(&refused))?;
            let state = handle.state.lock();
            let Some(number) = state.topics().get(name.as_bytes()) else {
                continue;
            };
            let pending = counts.get(number as usize).copied().unwrap_or(0);
            let scheduled = state.scheduled().get(number as usize).copied();
            topic.pending += pending as i64;
            topic.partitions.push(pb::TopicPartition {
                partition_id: handle.number as i32,
                pending: pending as i64,
                scheduled: scheduled.unwrap_or(0) as i64,
                pending_bytes: state.topic_state(number).mean_bytes(pending) as i64,
            });
        }
        Ok(topic)
    }

    /// Creates a topic that some partition knows already, or none.
    pub async fn create(
        &self,
        request: pb::CreateTopicRequest,
        is_named: bool,
    ) -> Result<Response<pb::Topic>, Status> {
        if request.name.is_empty() || request.name.len() > TOPIC_BYTES {
            return Err(Status::invalid_argument(format!(
                "name must have 1 to {TOPIC_BYTES} bytes"
            )));
        }
        let count = self.0.partition_count();
        let changes = changes(&request.settings.unwrap_or_default(), count)?;
        let spread = changes.iter().any(|(field, _)| *field == Field::Partitions);
        if spread && self.0.topic(&request.name).is_none() && is_named {
            return Err(Status::failed_precondition(
                "the topic exists since it was published or subscribed to: its partitions can no \
                 longer be chosen",
            ));
        }
        self.put(PutTopic {
            name: request.name,
            mode: Mode::Create,
            if_version: None,
            changes,
            now_ms: clock::now_ms(),
        })
        .await
    }

    /// Changes a topic that some partition knows, or none.
    pub async fn alter(
        &self,
        request: pb::AlterTopicRequest,
        is_named: bool,
    ) -> Result<Response<pb::Topic>, Status> {
        let settings = request.settings.unwrap_or_default();
        if settings.partitions.is_some() {
            return Err(Status::invalid_argument(
                "partitions is fixed when the topic is created",
            ));
        }
        let mut changes = changes(&settings, self.0.partition_count())?;
        for name in &request.clear {
            changes.push((cleared(name)?, None));
        }
        let automatic = self.0.topic(&request.name).is_none() && is_named;
        self.put(PutTopic {
            name: request.name,
            mode: if automatic { Mode::Put } else { Mode::Alter },
            if_version: (request.if_version).map(|version| u64::try_from(version).unwrap_or(0)),
            changes,
            now_ms: clock::now_ms(),
        })
        .await
    }

    /// Takes a topic out of the catalog.
    pub async fn forget(&self, name: String) -> Result<(), Status> {
        let gone = self.0.change_catalog(&Command::DeleteTopic { name }).await;
        gone.map(drop)
            .map_err(|refused| status::of_refused(&refused))
    }

    async fn put(&self, put: PutTopic) -> Result<Response<pb::Topic>, Status> {
        let name = put.name.clone();
        let outcome = self.0.change_catalog(&put.into()).await;
        match outcome.map_err(|refused| status::of_refused(&refused))? {
            Outcome::Done => Ok(Response::new(self.described(&name).await?)),
            Outcome::Exists => Err(Status::already_exists(format!(
                "topic {name} already exists"
            ))),
            Outcome::NotFound => Err(Status::not_found(format!("topic {name} does not exist"))),
            Outcome::VersionMismatch => Err(Status::failed_precondition(format!(
                "topic {name} has another version"
            ))),
            of_cluster @ (Outcome::Node(_)
            | Outcome::Gone
            | Outcome::Taken
            | Outcome::InUse
            | Outcome::Busy
            | Outcome::Invalid) => Err(Status::internal(format!(
                "a change of topic {name} had the outcome {of_cluster:?}"
            ))),
        }
    }
}

/// Every event of a topic in a partition.
async fn events_of(
    engine: &Engine,
    handle: &Handle,
    topic: &str,
) -> Result<RoaringTreemap, Status> {
    let (view, number) = {
        let state = handle.state.lock();
        (state.view(), state.topics().get(topic.as_bytes()))
    };
    let Some(number) = number else {
        return Ok(RoaringTreemap::new());
    };
    let store = engine.store().clone();
    let read = tokio::task::spawn_blocking(move || view.events_of(&store, number)).await;
    match read {
        Ok(Ok(events)) => Ok(events),
        Ok(Err(error)) => Err(status::of_read(&ReadError::Index(error))),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

#[tonic::async_trait]
impl TopicService for Topics {
    async fn create_topic(
        &self,
        request: Request<pb::CreateTopicRequest>,
    ) -> Result<Response<pb::Topic>, Status> {
        let request = request.into_inner();
        let is_named = self.is_named(&request.name);
        self.create(request, is_named).await
    }

    async fn alter_topic(
        &self,
        request: Request<pb::AlterTopicRequest>,
    ) -> Result<Response<pb::Topic>, Status> {
        let request = request.into_inner();
        let is_named = self.is_named(&request.name);
        self.alter(request, is_named).await
    }

    async fn describe_topic(
        &self,
        request: Request<pb::DescribeTopicRequest>,
    ) -> Result<Response<pb::Topic>, Status> {
        let name = request.into_inner().name;
        Ok(Response::new(self.described(&name).await?))
    }

    async fn list_topics(
        &self,
        request: Request<pb::ListTopicsRequest>,
    ) -> Result<Response<pb::ListTopicsResponse>, Status> {
        let request = request.into_inner();
        let most = page_size(request.page_size)?;
        let mut names: BTreeSet<String> = self.0.created_topics().into_iter().collect();
        for handle in self.0.partitions() {
            let state = handle.state.lock();
            for number in 0..state.topics().len() as u32 {
                if let Some(name) = state.topics().name(number)
                    && !state.topic_state(number).gone
                {
                    names.insert(String::from_utf8_lossy(name).into_owned());
                }
            }
        }
        let after = |name: &String| name > &request.page_token || request.page_token.is_empty();
        let mut names = names
            .into_iter()
            .filter(|name| name.starts_with(&request.prefix) && after(name))
            .peekable();
        let page: Vec<String> = names.by_ref().take(most).collect();
        let more = names.peek().is_some();
        Ok(Response::new(pb::ListTopicsResponse {
            next_page_token: match page.last() {
                Some(last) if more => last.clone(),
                _ => String::new(),
            },
            topics: page.iter().filter_map(|name| self.brief(name)).collect(),
        }))
    }

    async fn delete_topic(
        &self,
        request: Request<pb::DeleteTopicRequest>,
    ) -> Result<Response<pb::DeleteTopicResponse>, Status> {
        let pb::DeleteTopicRequest { name, force } = request.into_inner();
        if self.0.is_part() && !self.is_named(&name) {
            return Ok(Response::new(pb::DeleteTopicResponse::default()));
        }
        let pending = self.described(&name).await?.pending;
        let refused = |pending: u64| Self::still_pending(&name, pending);
        if pending > 0 && !force {
            return Err(refused(pending as u64));
        }
        let mut deleted = 0;
        for handle in self.0.partitions() {
            let name = name.clone();
            let offsets = events_of(&self.0, &handle, &name).await?;
            let outcome = handle
                .ask(|reply| {
                    Message::DeleteTopic(DeleteTopic {
                        name,
                        force,
                        offsets,
                        reply,
                    })
                })
                .await
                .map_err(|refused| status::of_refused(&refused))?;
            deleted += outcome.map_err(refused)? as i64;
        }
        // The catalog is changed by the node that asks all leaders.
        if !self.0.is_part() {
            self.forget(name).await?;
        }
        Ok(Response::new(pb::DeleteTopicResponse {
            deleted_pending: deleted,
        }))
    }
}
