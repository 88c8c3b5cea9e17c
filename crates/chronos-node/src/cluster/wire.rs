//! Between the messages of `Membership` and what the rest of this folder speaks of.

use super::founding::{Founding, Heard, Stance};
use chronos_core::catalog::NodeInfo;
use chronos_core::types::NodeId;
use chronos_proto::chronos_internal as proto;

/// A message that does not make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message has no valid {0}")]
pub(super) struct Nonsense(&'static str);

pub(super) fn put_id(id: u128) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&id.to_be_bytes())
}

pub(super) fn take_id(bytes: &[u8]) -> Result<u128, Nonsense> {
    let bytes = bytes.try_into().map_err(|_| Nonsense("identity"))?;
    Ok(u128::from_be_bytes(bytes))
}

/// An identity that may be left out.
pub(super) fn take_optional_id(bytes: &[u8]) -> Result<Option<u128>, Nonsense> {
    match bytes.is_empty() {
        true => Ok(None),
        false => take_id(bytes).map(Some),
    }
}

pub(super) fn put_node(info: NodeInfo) -> proto::NodeRecord {
    proto::NodeRecord {
        name: info.name,
        disk: put_id(info.disk),
        cluster_addr: info.cluster_addr,
        grpc_addr: info.grpc_addr,
        http_addr: info.http_addr,
        rack: info.rack,
        zone: info.zone,
        region: info.region,
        version: info.version,
    }
}

pub(super) fn take_node(record: Option<proto::NodeRecord>) -> Result<NodeInfo, Nonsense> {
    let record = record.ok_or(Nonsense("node"))?;
    if record.name.is_empty() {
        return Err(Nonsense("name"));
    }
    Ok(NodeInfo {
        disk: take_id(&record.disk)?,
        name: record.name,
        cluster_addr: record.cluster_addr,
        grpc_addr: record.grpc_addr,
        http_addr: record.http_addr,
        rack: record.rack,
        zone: record.zone,
        region: record.region,
        version: record.version,
    })
}

pub(super) fn put_numbered(nodes: Vec<(NodeId, NodeInfo)>) -> Vec<proto::NumberedNode> {
    let numbered = |(number, info)| proto::NumberedNode {
        number,
        node: Some(put_node(info)),
    };
    nodes.into_iter().map(numbered).collect()
}

pub(super) fn take_numbered(
    nodes: Vec<proto::NumberedNode>,
) -> Result<Vec<(NodeId, NodeInfo)>, Nonsense> {
    let numbered = |node: proto::NumberedNode| Ok((node.number, take_node(node.node)?));
    nodes.into_iter().map(numbered).collect()
}

pub(super) fn put_stance(stance: Stance) -> proto::Stance {
    proto::Stance {
        cluster_id: stance.held().map(put_id).unwrap_or_default(),
        number: match stance {
            Stance::Fresh | Stance::Holds(_) => 0,
            Stance::Member { number, .. } => number,
        },
    }
}

pub(super) fn take_stance(stance: Option<proto::Stance>) -> Result<Stance, Nonsense> {
    let stance = stance.ok_or(Nonsense("stance"))?;
    Ok(
        match (take_optional_id(&stance.cluster_id)?, stance.number) {
            (None, 0) => Stance::Fresh,
            (None, _) => return Err(Nonsense("stance")),
            (Some(cluster_id), 0) => Stance::Holds(cluster_id),
            (Some(cluster_id), number) => Stance::Member { cluster_id, number },
        },
    )
}

pub(super) fn put_founding(founding: Founding) -> proto::Founding {
    proto::Founding {
        cluster_id: put_id(founding.cluster_id),
        founder: put_id(founding.founder),
        partitions: founding.partitions,
        replication_factor: founding.replication_factor,
        nodes: put_numbered(founding.nodes),
        voters: founding.voters.into_iter().collect(),
    }
}

pub(super) fn take_founding(founding: proto::Founding) -> Result<Founding, Nonsense> {
    Ok(Founding {
        cluster_id: take_id(&founding.cluster_id)?,
        founder: take_id(&founding.founder)?,
        partitions: founding.partitions,
        replication_factor: founding.replication_factor,
        nodes: take_numbered(founding.nodes)?,
        voters: founding.voters.into_iter().collect(),
    })
}

/// What a node said of itself, and what it knows of others.
#[derive(Debug, Clone)]
pub(super) struct Introduced {
    pub heard: Heard,
    /// Its clock, Unix milliseconds.
    pub now_ms: i64,
    /// The catalog's leader as far as it knows.
    pub leader: Option<NodeId>,
    /// The nodes in its catalog.
    pub nodes: Vec<(NodeId, NodeInfo)>,
}

pub(super) fn put_introduction(introduced: Introduced) -> proto::Introduction {
    let Introduced {
        heard,
        now_ms,
        leader,
        nodes,
    } = introduced;
    proto::Introduction {
        node: Some(put_node(heard.node)),
        stance: Some(put_stance(heard.stance)),
        seen: heard.seen.into_iter().map(put_id).collect(),
        joins_only: heard.joins_only,
        now_ms,
        leader: leader.unwrap_or(0),
        nodes: put_numbered(nodes),
    }
}

pub(super) fn take_introduction(message: proto::Introduction) -> Result<Introduced, Nonsense> {
    let seen: Result<_, _> = message.seen.iter().map(|disk| take_id(disk)).collect();
    Ok(Introduced {
        heard: Heard {
            node: take_node(message.node)?,
            stance: take_stance(message.stance)?,
            seen: seen?,
            joins_only: message.joins_only,
        },
        now_ms: message.now_ms,
        leader: (message.leader != 0).then_some(message.leader),
        nodes: take_numbered(message.nodes)?,
    })
}
