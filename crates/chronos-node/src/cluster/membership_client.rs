//! What this node asks others about membership. One connection for each call: they are rare.

use super::Dialer;
use super::founding::{Founding, Stance};
use super::introductions::Introductions;
use super::wire::{self, Introduced};
use chronos_core::catalog::ClusterInfo;
use chronos_core::types::NodeId;
use chronos_proto::chronos_internal as proto;
use chronos_proto::chronos_internal::joined::Result as Kind;
use chronos_proto::chronos_internal::membership_client::MembershipClient;
use chronos_tls::innermost;
use std::time::Duration;
use tonic::transport::Channel;

/// For an answer that needs no disk.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// For an answer that does.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address}: {why}")]
pub(super) struct NoAnswer {
    address: String,
    why: String,
}

/// What a member says to a node that asks for a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Joined {
    /// The node has this number in this cluster.
    Member(NodeId, ClusterInfo),
    /// Another node leads the catalog, perhaps here.
    NotLeader(Option<String>),
    /// The disk was removed for good.
    Gone,
    /// The disk belongs to a node of another name.
    Taken,
    /// Who was asked belongs to another cluster.
    OtherCluster(String),
    /// Not now.
    Later(String),
}

/// Who is at `address`?
pub(super) async fn hello(me: &Introductions, address: &str) -> Result<Introduced, NoAnswer> {
    let no_answer = |why: String| no_answer(address, why);
    let introduced = me
        .introduce()
        .map_err(|error| no_answer(error.to_string()))?;
    let message = wire::put_introduction(introduced);
    let mut client = client(me.dialer(), address, HELLO_TIMEOUT).await?;
    let answer = client.hello(message).await;
    let answer = answer.map_err(|status| no_answer(status.message().to_owned()))?;
    wire::take_introduction(answer.into_inner()).map_err(|error| no_answer(error.to_string()))
}

/// Asks the node at `address` to accept a founding. An error means that it may have.
pub(super) async fn accept(
    dialer: &Dialer,
    founding: &Founding,
    address: &str,
) -> Result<Result<(), Stance>, NoAnswer> {
    let no_answer = |why: String| no_answer(address, why);
    let mut client = client(dialer, address, WRITE_TIMEOUT).await?;
    let answer = client.accept(wire::put_founding(founding.clone())).await;
    let answer = answer.map_err(|status| no_answer(status.message().to_owned()))?;
    let answer = answer.into_inner();
    if answer.accepted {
        return Ok(Ok(()));
    }
    let stance = wire::take_stance(answer.stance).map_err(|error| no_answer(error.to_string()))?;
    Ok(Err(stance))
}

/// Asks the member at `address` for a number.
pub(super) async fn join(
    me: &Introductions,
    cluster_id: Option<u128>,
    address: &str,
) -> Result<Joined, NoAnswer> {
    let no_answer = |why: String| no_answer(address, why);
    let request = proto::JoinRequest {
        node: Some(wire::put_node(me.info())),
        cluster_id: cluster_id.map(wire::put_id).unwrap_or_default(),
    };
    let mut client = client(me.dialer(), address, WRITE_TIMEOUT).await?;
    let answer = client.join(request).await;
    let answer = answer.map_err(|status| no_answer(status.message().to_owned()))?;
    let answer = answer.into_inner();
    Ok(match answer.result() {
        Kind::Retry => Joined::Later(answer.detail),
        Kind::Gone => Joined::Gone,
        Kind::Taken => Joined::Taken,
        Kind::OtherCluster => Joined::OtherCluster(answer.detail),
        Kind::NotLeader => {
            let address = answer.leader_addr;
            Joined::NotLeader((!address.is_empty()).then_some(address))
        }
        Kind::Member => {
            let id = wire::take_id(&answer.cluster_id);
            let info = ClusterInfo {
                id: id.map_err(|error| no_answer(error.to_string()))?,
                partitions: answer.partitions,
                replication_factor: answer.replication_factor,
            };
            if answer.number == 0 || info.partitions == 0 || info.replication_factor == 0 {
                return Err(no_answer("the answer makes no sense".to_owned()));
            }
            Joined::Member(answer.number, info)
        }
    })
}

fn no_answer(address: &str, why: String) -> NoAnswer {
    NoAnswer {
        address: address.to_owned(),
        why,
    }
}

async fn client(
    dialer: &Dialer,
    address: &str,
    timeout: Duration,
) -> Result<MembershipClient<Channel>, NoAnswer> {
    let no_answer = |error: tonic::transport::Error| no_answer(address, innermost(&error));
    let endpoint = dialer
        .endpoint(address)
        .map_err(no_answer)?
        .timeout(timeout);
    let channel = dialer.connect(&endpoint).await.map_err(no_answer)?;
    Ok(MembershipClient::new(channel))
}
