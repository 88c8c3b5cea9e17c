//! The database over gRPC: one client per cluster, kept while the way to it stays the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chronos_client::cluster_service::{ClusterNode, DrainScope, NodeState, RemoveNodeRequest};
use chronos_client::schedule::{ListPendingRequest, PendingFilter};
use chronos_client::topic::{AlterTopicRequest, TopicSettings as WireSettings};
use chronos_client::{Client, Options, RetryPolicy, Tls};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::Instrument;

use super::{Access, Database, Databases, Error, Status, Topic, TopicSettings, Way};
use crate::build::Names;
use crate::plan::{Drain, Node};

/// How long one connection and one answer may take. A reconciliation comes again soon, so there is
/// no point in waiting long.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long one question may take with all its tries.
const WHOLE: Duration = Duration::from_secs(10);
/// How long a database that was silent is not asked about topics again. There may be many topics: if each
/// waited for the same silence, those of other databases would wait for them.
const QUIET: Duration = Duration::from_secs(3);

/// The databases of all clusters.
#[derive(Default)]
pub struct Pool {
    known: Mutex<HashMap<(String, String), Arc<Connection>>>,
}

struct Connection {
    way: Way,
    client: OnceCell<Client>,
    silence: Silence,
}

impl Databases for Pool {
    fn of(&self, names: &Names, way: Way) -> Arc<dyn Database> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = known
            .entry(names.key())
            .and_modify(|old| {
                if old.way != way {
                    *old = Arc::new(Connection::new(way.clone()));
                }
            })
            .or_insert_with(|| Arc::new(Connection::new(way.clone())));
        Arc::clone(connection) as Arc<dyn Database>
    }

    fn known(&self, names: &Names) -> Option<Arc<dyn Database>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = known.get(&names.key())?;
        Some(Arc::clone(connection) as Arc<dyn Database>)
    }

    fn forget(&self, names: &Names) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&names.key());
    }
}

impl Connection {
    fn new(way: Way) -> Self {
        Self {
            way,
            client: OnceCell::new(),
            silence: Silence::default(),
        }
    }

    async fn client(&self) -> Result<&Client, Error> {
        let connect = || async {
            let mut options = Options::new(self.way.addresses.clone());
            options.tls = self.way.tls.as_ref().map(tls);
            options.connect_timeout = TIMEOUT;
            options.request_timeout = TIMEOUT;
            options.retry = RetryPolicy {
                attempts: 3,
                ..RetryPolicy::default()
            };
            Client::connect(options).await.map_err(error)
        };
        within("connect", self.client.get_or_try_init(connect)).await
    }

    /// Asks, in bounded time.
    async fn ask<T, W>(
        &self,
        name: &'static str,
        question: impl FnOnce(Client) -> W,
    ) -> Result<T, Error>
    where
        W: Future<Output = Result<T, Error>>,
    {
        let client = self.client().await?.clone();
        within(name, question(client)).await
    }

    /// Asks about a topic, unless the database was silent just now.
    async fn ask_about_topic<T, W>(
        &self,
        name: &'static str,
        question: impl FnOnce(Client) -> W,
    ) -> Result<T, Error>
    where
        W: Future<Output = Result<T, Error>>,
    {
        self.heed()?;
        self.listen(self.ask(name, question)).await
    }

    /// Fails when the database was silent just now. What is asked about nodes does not heed it: the status
    /// is how an end of the silence is found, and orders follow a status that was answered.
    fn heed(&self) -> Result<(), Error> {
        match self.silence.heeded(Instant::now()) {
            None => Ok(()),
            Some(why) => Err(Error::Silent(why)),
        }
    }

    /// Asks, and remembers whether there was an answer.
    async fn listen<T>(&self, asking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut question = Question {
            silence: &self.silence,
            unanswered: Some("no answer in time".to_owned()),
        };
        let answer = asking.await;
        question.unanswered = match &answer {
            Err(Error::Silent(why)) => Some(why.clone()),
            Ok(_) | Err(Error::Refused(_)) => None,
        };
        answer
    }
}

/// When the database was last silent, and in which words, until it answers.
#[derive(Default)]
struct Silence(Mutex<Option<(Instant, String)>>);

impl Silence {
    fn began(&self, now: Instant, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, why));
    }

    fn ended(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why it is too early to ask again. Once it is not, one may ask, and the others wait for what becomes
    /// of that.
    fn heeded(&self, now: Instant) -> Option<String> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, why) = last.as_mut()?;
        if now.duration_since(*since) < QUIET {
            return Some(why.clone());
        }
        *since = now;
        None
    }
}

/// A question that is being asked. One that is given up was not answered.
struct Question<'a> {
    silence: &'a Silence,
    unanswered: Option<String>,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        match self.unanswered.take() {
            None => self.silence.ended(),
            Some(why) => self.silence.began(Instant::now(), why),
        }
    }
}

fn tls(access: &Access) -> Tls {
    let tls = Tls::new()
        .ca_pem(&access.ca)
        .server_name(&access.server_name);
    match &access.identity {
        None => tls,
        Some((certificate, key)) => tls.identity_pem(certificate, key),
    }
}

/// Does the work, which is a span of its own in the trace, in bounded time.
async fn within<T>(
    name: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let span = tracing::debug_span!("database", otel.name = name, otel.kind = "client");
    tokio::time::timeout(WHOLE, work.instrument(span))
        .await
        .unwrap_or_else(|_| Err(Error::Silent("no answer in time".to_owned())))
}

#[async_trait]
impl Database for Connection {
    async fn status(&self) -> Result<Status, Error> {
        let asking = self.ask("ClusterStatus", |client| async move {
            client.cluster_status().await.map_err(error)
        });
        let status = self.listen(asking).await?;
        let nodes = status.nodes.into_iter();
        Ok(Status {
            cluster_id: status.cluster_id,
            replication_factor: status.replication_factor,
            under_replicated: status.under_replicated,
            leaderless: status.leaderless,
            moves: status.moves,
            overdue_ms: status.overdue_ms,
            nodes: nodes
                .map(|node| (node.name.clone(), node_of(node)))
                .collect(),
        })
    }

    async fn drain(&self, node: &str, scope: Drain) -> Result<(), Error> {
        let scope = match scope {
            Drain::None => return self.undrain(node).await,
            Drain::Leaders => DrainScope::DrainLeaders,
            Drain::Replicas => DrainScope::DrainReplicas,
        };
        self.ask("DrainNode", |client| async move {
            client.drain_node(node, scope).await.map_err(error)
        })
        .await
    }

    async fn undrain(&self, node: &str) -> Result<(), Error> {
        self.ask("UndrainNode", |client| async move {
            client.undrain_node(node).await.map_err(error)
        })
        .await
    }

    async fn remove(&self, node: &str, number: u64, lost: bool) -> Result<(), Error> {
        let request = RemoveNodeRequest {
            name: node.to_owned(),
            number,
            lost,
        };
        self.ask("RemoveNode", |client| async move {
            gone_is_fine(client.remove_node(request).await)
        })
        .await
    }

    async fn set_zone(&self, node: &str, zone: &str) -> Result<(), Error> {
        self.ask("SetNodeZone", |client| async move {
            client.set_node_zone(node, zone).await.map_err(error)
        })
        .await
    }

    async fn topic(&self, name: &str) -> Result<Option<Topic>, Error> {
        let asking = self.ask_about_topic("GetTopic", |client| async move {
            match client.topic(name).await {
                Ok(topic) => Ok(Some(topic)),
                Err(chronos_client::Error::NotFound(_)) => Ok(None),
                Err(other) => Err(error(other)),
            }
        });
        let found = asking.await?;
        Ok(found.map(|topic| Topic {
            settings: topic.settings.map(settings_of).unwrap_or_default(),
            automatic: topic.automatic,
            version: topic.version,
            partitions: topic
                .partitions
                .iter()
                .filter_map(|partition| u32::try_from(partition.partition_id).ok())
                .collect(),
            pending: topic.pending,
        }))
    }

    async fn create_topic(&self, name: &str, settings: &TopicSettings) -> Result<(), Error> {
        let settings = wire_of(settings);
        self.ask_about_topic("CreateTopic", |client| async move {
            client.create_topic(name, settings).await.map_err(error)
        })
        .await?;
        Ok(())
    }

    async fn alter_topic(
        &self,
        name: &str,
        settings: &TopicSettings,
        clear: &[&str],
    ) -> Result<(), Error> {
        let request = AlterTopicRequest {
            name: name.to_owned(),
            settings: Some(wire_of(settings)),
            clear: clear.iter().map(|name| (*name).to_owned()).collect(),
            if_version: None,
        };
        self.ask_about_topic("AlterTopic", |client| async move {
            client.alter_topic(request).await.map_err(error)
        })
        .await?;
        Ok(())
    }

    async fn delete_topic(&self, name: &str) -> Result<(), Error> {
        self.ask_about_topic("DeleteTopic", |client| async move {
            gone_is_fine(client.delete_topic(name, true).await.map(|_| ()))
        })
        .await
    }

    async fn next_fire_ms(&self, topic: &str) -> Result<Option<i64>, Error> {
        let request = ListPendingRequest {
            filter: Some(PendingFilter {
                topic: topic.to_owned(),
                ..PendingFilter::default()
            }),
            page_size: 1,
            ..ListPendingRequest::default()
        };
        // Whether this one is answered is not remembered: a topic is looked after without it.
        self.heed()?;
        let asking = self.ask("ListPending", |client| async move {
            client.list_pending(request).await.map_err(error)
        });
        let page = asking.await?;
        Ok(page.events.first().map(|event| event.schedule_ts))
    }

    async fn leaders(&self) -> Result<Vec<String>, Error> {
        // As for the pending events.
        self.heed()?;
        let asking = self.ask("Partitions", |client| async move {
            client.partitions().await.map_err(error)
        });
        let all = asking.await?;
        Ok(all
            .into_iter()
            .map(|partition| partition.leader_id)
            .collect())
    }
}

fn gone_is_fine(answer: Result<(), chronos_client::Error>) -> Result<(), Error> {
    match answer {
        Ok(()) | Err(chronos_client::Error::NotFound(_)) => Ok(()),
        Err(other) => Err(error(other)),
    }
}

fn error(error: chronos_client::Error) -> Error {
    use chronos_client::Error as Client;
    match error {
        Client::Unavailable { .. }
        | Client::Throttled { .. }
        | Client::Address(_)
        | Client::NoAddress
        | Client::Tls(_)
        | Client::Unexpected(_)
        | Client::Closed => Error::Silent(error.to_string()),
        Client::Duplicate
        | Client::Rejected(_)
        | Client::NotFound(_)
        | Client::Conflict(_)
        | Client::AlreadyExists(_)
        | Client::Status { .. } => Error::Refused(error.to_string()),
    }
}

fn node_of(node: ClusterNode) -> Node {
    let drain = match (node.state(), node.drain()) {
        (NodeState::NodeDraining, DrainScope::DrainReplicas) => Drain::Replicas,
        (NodeState::NodeDraining, _) => Drain::Leaders,
        _ => Drain::None,
    };
    Node {
        number: node.number,
        drain,
        draining_ms: node.draining_ms,
        alive: node.alive,
        leaders: node.leaders,
        replicas: node.replicas,
        lag_entries: node.lag_entries,
        catalog_voter: node.catalog_voter,
        catalog_leader: node.catalog_leader,
        caught_up: node.caught_up,
        can_stop: node.can_stop,
        why_not: node.why_not,
        zone: node.zone,
        version: node.version,
    }
}

fn settings_of(wire: WireSettings) -> TopicSettings {
    TopicSettings {
        partitions: wire.partitions,
        retention_age_ms: wire.retention_age_ms,
        retention_bytes: wire.retention_bytes,
        dedup_window_ms: wire.dedup_window_ms,
        ack_timeout_ms: wire.ack_timeout_ms,
        max_retries: wire.max_retries,
        backoff_first_ms: wire.backoff_first_ms,
        backoff_factor: wire.backoff_factor,
        backoff_max_ms: wire.backoff_max_ms,
        backoff_jitter: wire.backoff_jitter,
        max_horizon_ms: wire.max_horizon_ms,
        events_per_second: wire.events_per_second,
        bytes_per_second: wire.bytes_per_second,
        max_pending_events: wire.max_pending_events,
        max_pending_bytes: wire.max_pending_bytes,
    }
}

fn wire_of(settings: &TopicSettings) -> WireSettings {
    WireSettings {
        partitions: settings.partitions,
        retention_age_ms: settings.retention_age_ms,
        retention_bytes: settings.retention_bytes,
        dedup_window_ms: settings.dedup_window_ms,
        ack_timeout_ms: settings.ack_timeout_ms,
        max_retries: settings.max_retries,
        backoff_first_ms: settings.backoff_first_ms,
        backoff_factor: settings.backoff_factor,
        backoff_max_ms: settings.backoff_max_ms,
        backoff_jitter: settings.backoff_jitter,
        max_horizon_ms: settings.max_horizon_ms,
        events_per_second: settings.events_per_second,
        bytes_per_second: settings.bytes_per_second,
        max_pending_events: settings.max_pending_events,
        max_pending_bytes: settings.max_pending_bytes,
    }
}

#[cfg(test)]
mod tests;
