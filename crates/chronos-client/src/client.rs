//! The client: connections, discovery, and the retrying of unary calls.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chronos_proto::MAX_MESSAGE_BYTES;
use chronos_proto::cronos_db::ListPartitionsRequest;
use chronos_proto::cronos_db::event_service_client::EventServiceClient;
use chronos_proto::cronos_db::partition_service_client::PartitionServiceClient;
use chronos_proto::raw::event_service_client::EventServiceClient as RawEventServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::error::speaks_grpc;
use crate::nodes::Nodes;
use crate::retry::{Verdict, is_of_the_node, verdict};
use crate::topology::Topology;
use crate::{Error, Options, RetryPolicy};

/// A connected client. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    nodes: Nodes,
    retry: RetryPolicy,
    request_timeout: Duration,
    direct: bool,
    topology: RwLock<Arc<Topology>>,
}

/// The answer to a call, and whether an earlier try of it may have taken effect.
pub(crate) struct Answer<T> {
    pub(crate) value: T,
    pub(crate) retried_uncertain: bool,
}

impl Client {
    /// Connects, and asks the first node that answers which partitions there are.
    ///
    /// # Errors
    /// [`Error::Address`] or [`Error::NoAddress`] for bad options, [`Error::Unavailable`] when
    /// no node answers.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let client = Self {
            shared: Arc::new(Shared {
                nodes: Nodes::new(&options)?,
                retry: options.retry,
                request_timeout: options.request_timeout,
                direct: options.direct,
                topology: RwLock::new(Arc::new(Topology::one_partition())),
            }),
        };
        client.refresh_topology().await?;
        Ok(client)
    }

    /// Number of partitions, as last listed.
    pub fn partition_count(&self) -> u32 {
        self.topology().partition_count()
    }

    /// Asks again which partitions there are and who leads them. Calls that meet the wrong
    /// leader do so by themselves.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no node answers.
    pub async fn refresh_topology(&self) -> Result<(), Error> {
        let listed = self
            .call(None, |channel| async move {
                match list_partitions(channel).await {
                    Err(status) if status.code() == Code::Unimplemented && speaks_grpc(&status) => {
                        Ok(Response::new(Topology::one_partition()))
                    }
                    other => other,
                }
            })
            .await?;
        self.set_topology(listed.value);
        Ok(())
    }

    pub(crate) fn retry(&self) -> RetryPolicy {
        self.shared.retry
    }

    pub(crate) fn events(&self, channel: Channel) -> EventServiceClient<Channel> {
        EventServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Sends events that are encoded already, so that another try costs nothing.
    pub(crate) fn raw_events(&self, channel: Channel) -> RawEventServiceClient<Channel> {
        RawEventServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The channel for a partition: its leader's if that has an address and may be called, else any
    /// node's.
    pub(crate) fn channel(&self, partition_id: Option<u32>) -> Channel {
        self.shared.nodes.channel(&self.node(partition_id))
    }

    fn node(&self, partition_id: Option<u32>) -> http::Uri {
        let topology = self.topology();
        let partition_id = partition_id.filter(|_| self.shared.direct);
        let leader = partition_id.and_then(|id| topology.leader(id));
        leader.unwrap_or_else(|| self.shared.nodes.any()).clone()
    }

    /// Takes note of a failure, so that the next try goes elsewhere if it can.
    pub(crate) fn distrust(&self) {
        self.shared.nodes.distrust();
    }

    /// Makes a unary call, again and again as far as the policy and the status allow.
    pub(crate) async fn call<T, F, Fut>(
        &self,
        partition_id: Option<u32>,
        mut request: F,
    ) -> Result<Answer<T>, Error>
    where
        F: FnMut(Channel) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut retried_uncertain = false;
        // A leader that did not answer may be one that cannot be reached from here: the next try goes
        // to any node, which forwards it.
        let mut is_detour = false;
        // What a node said of itself tells more than that another one cannot be reached.
        let mut said = None;
        for tries in 1.. {
            let node = self.node(partition_id.filter(|_| !is_detour));
            let channel = self.shared.nodes.channel(&node);
            let status =
                match tokio::time::timeout(self.shared.request_timeout, request(channel)).await {
                    Ok(Ok(response)) => {
                        return Ok(Answer {
                            value: response.into_inner(),
                            retried_uncertain,
                        });
                    }
                    Ok(Err(status)) => status,
                    Err(_) => Status::deadline_exceeded("no answer within the request timeout"),
                };
            let verdict = verdict(&status);
            if verdict == Verdict::Final {
                return Err(Error::of_call(&status, tries, &node));
            }
            if tries >= self.shared.retry.attempts {
                let (status, node) = match said {
                    Some(said) if !is_of_the_node(&status) => said,
                    _ => (status, node),
                };
                return Err(Error::of_call(&status, tries, &node));
            }
            if let Verdict::Throttled(wait) = verdict {
                // The node is well, and so is what is known of the leaders.
                let Some(pause) = self.shared.retry.throttled(wait) else {
                    return Err(Error::of_call(&status, tries, &node));
                };
                tracing::debug!(tries, pause_ms = pause.as_millis() as u64, "throttled");
                tokio::time::sleep(pause).await;
                continue;
            }
            retried_uncertain |= verdict == Verdict::Uncertain;
            is_detour = verdict == Verdict::Uncertain && !is_detour;
            tracing::debug!(tries, code = ?status.code(), "request failed, trying again");
            if is_of_the_node(&status) {
                said = Some((status, node));
            }
            self.distrust();
            tokio::time::sleep(self.shared.retry.backoff(tries)).await;
            self.look_for_leader().await;
        }
        Err(Error::Closed)
    }

    /// One quiet attempt to learn who leads; the caller's own try tells if it failed.
    pub(crate) async fn look_for_leader(&self) {
        let listing = list_partitions(self.channel(None));
        if let Ok(Ok(listed)) = tokio::time::timeout(self.shared.request_timeout, listing).await {
            self.set_topology(listed.into_inner());
        }
    }

    fn topology(&self) -> Arc<Topology> {
        let topology = self.shared.topology.read();
        Arc::clone(&topology.unwrap_or_else(PoisonError::into_inner))
    }

    fn set_topology(&self, topology: Topology) {
        // A listing without partitions is of a node that is still starting.
        if topology.partition_count() > 0 {
            *self
                .shared
                .topology
                .write()
                .unwrap_or_else(PoisonError::into_inner) = Arc::new(topology);
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("partition_count", &self.partition_count())
            .finish_non_exhaustive()
    }
}

async fn list_partitions(channel: Channel) -> Result<Response<Topology>, Status> {
    let listed = PartitionServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .list_partitions(ListPartitionsRequest::default())
        .await?;
    let topology = Topology::from_listing(&listed.get_ref().partitions, listed.metadata());
    Ok(Response::new(topology))
}
