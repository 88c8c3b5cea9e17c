//! What this node asks of others.

use super::outcome;
use super::peers::MOST_MESSAGE_BYTES;
use super::recipient::To;
use super::reports;
use super::routes::Routes;
use super::steer::Order;
use crate::engine::copy::{self, Part};
use crate::engine::{CatalogLeader, Made, Refused};
use bytes::Bytes;
use chronos_core::catalog;
use chronos_core::placement::Report;
use chronos_core::types::{NodeId, PartitionNumber};
use chronos_proto::chronos_internal::nodes_client::NodesClient;
use chronos_proto::chronos_internal::{
    ChangeRequest, CopyRequest, Held, PulseAnswer, PulseRequest, ReportRequest,
};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// How long a node may take to answer a pulse.
const PULSE_LIMIT: Duration = Duration::from_secs(1);
/// How long it may take to change the catalog, which waits for the disks of most nodes.
const CHANGE_LIMIT: Duration = Duration::from_secs(6);
/// How long it may take to say how its groups stand.
const REPORT_LIMIT: Duration = Duration::from_secs(2);
/// How long it may take to change a group.
pub(super) const STEER_LIMIT: Duration = Duration::from_secs(10);

type Client = NodesClient<InterceptedService<Channel, To>>;

/// A group and how it stands.
pub type GroupAndReport = (PartitionNumber, Report);

/// Asks other nodes.
#[derive(Clone)]
pub struct Calls(pub Arc<Routes>);

impl Calls {
    fn to(&self, node: NodeId) -> Result<Client, Status> {
        let peer = self.0.node(node);
        let peer = peer
            .ok_or_else(|| Status::unavailable(format!("it is not known where node {node} is")))?;
        let client = NodesClient::with_interceptor(peer.channel(), To(node));
        Ok(client.max_decoding_message_size(MOST_MESSAGE_BYTES))
    }

    /// Gives a sign of life, and gets one.
    pub async fn pulse(&self, node: NodeId, pulse: PulseRequest) -> Result<PulseAnswer, Status> {
        let answer = self.to(node)?.pulse(within(PULSE_LIMIT, pulse)).await?;
        Ok(answer.into_inner())
    }

    /// How the groups stand that a node leads, and the partitions that it holds.
    pub async fn reports(&self, node: NodeId) -> Result<(Vec<GroupAndReport>, Vec<Held>), Status> {
        let request = within(REPORT_LIMIT, ReportRequest {});
        let answer = self.to(node)?.report(request).await?.into_inner();
        let groups = answer.groups.into_iter().map(reports::decode).collect();
        Ok((groups, answer.held))
    }

    /// Has a node take a step on a group that it leads.
    pub async fn steer(
        &self,
        node: NodeId,
        group: PartitionNumber,
        order: Order,
    ) -> Result<(), Status> {
        let request = within(STEER_LIMIT, order.encode(group));
        self.to(node)?.steer(request).await.map(drop)
    }
}

/// Both sides give up after this time.
fn within<T>(limit: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

impl CatalogLeader for Calls {
    fn change(&self, leader: NodeId, command: Bytes) -> BoxFuture<'static, Result<Made, Refused>> {
        let client = self.to(leader);
        async move {
            let Ok(mut client) = client else {
                return Err(Refused::NoCatalog);
            };
            let request = within(CHANGE_LIMIT, ChangeRequest { command });
            let answer = match client.change(request).await {
                Ok(answer) => answer.into_inner(),
                // The connection or the node says that it did not take the request.
                Err(status) if status.code() == Code::Unavailable && is_surely_unsent(&status) => {
                    return Err(Refused::NoCatalog);
                }
                Err(_) => return Err(Refused::Unknown(catalog::NUMBER)),
            };
            let outcome = outcome::decode(answer.outcome, answer.node);
            Ok(Made {
                outcome: outcome.ok_or(Refused::Unknown(catalog::NUMBER))?,
                index: answer.index,
            })
        }
        .boxed()
    }
}

/// A status that the other node made says so; of one that the transport made, only a connection that
/// could not be made is certain.
fn is_surely_unsent(status: &Status) -> bool {
    use std::error::Error;
    let mut source = status.source();
    if source.is_none() {
        return true;
    }
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        source = error.source();
    }
    false
}

impl copy::Source for Calls {
    fn copy(
        &self,
        node: NodeId,
        partition: PartitionNumber,
    ) -> BoxFuture<'static, anyhow::Result<copy::Parts>> {
        let client = self.to(node);
        async move {
            let parts = client?.copy(CopyRequest { partition }).await?.into_inner();
            let parts = parts.map(|part| -> anyhow::Result<Part> {
                let part = part?;
                anyhow::ensure!(
                    crc32c::crc32c(&part.body) == part.checksum,
                    "a part of a copy was damaged on its way"
                );
                Ok(Part::decode(&part.body)?)
            });
            Ok(parts.boxed())
        }
        .boxed()
    }
}
