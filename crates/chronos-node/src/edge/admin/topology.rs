//! Nodes, partitions and how far followers are, as they travel.

use crate::cluster::placer::Seen;
use crate::engine::clock;
use chronos_core::catalog::{Node, NodeState};
use chronos_core::placement::{Report, Standing, View, standing};
use chronos_core::types::NodeId;
use chronos_proto::cronos_db::PartitionInfo;
use chronos_proto::cronos_db_admin::*;
use std::collections::BTreeMap;

/// A cluster as one node sees it; without `seen`, that node alone.
pub struct Sight {
    /// The node that answers.
    pub node_id: String,
    /// The partitions, as their leaders describe them.
    pub partitions: Vec<PartitionInfo>,
    /// The nodes, and what they report.
    pub seen: Option<Seen>,
}

impl Sight {
    /// As the answer has it.
    pub fn topology(&self) -> ClusterTopology {
        let nodes = self.nodes();
        let led = |it: &&PartitionInfo| it.leader_id == self.node_id;
        ClusterTopology {
            local_node_id: self.node_id.clone(),
            is_cluster_mode: self.seen.is_some(),
            total_nodes: nodes.len() as i64,
            alive_nodes: nodes.iter().filter(|node| node.is_alive).count() as i64,
            total_partitions: self.partitions.len() as i32,
            leader_partitions: self.partitions.iter().filter(led).count() as i32,
            nodes,
            partitions: self
                .partitions
                .iter()
                .map(|it| self.partition(it))
                .collect(),
            captured_at_unix_ms: clock::now_ms(),
        }
    }

    /// How far the followers of these partitions are, all together.
    pub fn lag(&self, partition_id: i32, partitions: &[i32]) -> ReplicationLagResponse {
        let meant = (self.partitions.iter()).filter(|it| partitions.contains(&it.partition_id));
        let mut response = ReplicationLagResponse {
            partition_id,
            ..ReplicationLagResponse::default()
        };
        let mut followers: BTreeMap<String, FollowerLag> = BTreeMap::new();
        for info in meant {
            response.leader_high_watermark += info.high_watermark;
            for (name, offset) in self.offsets(info) {
                let follower = followers.entry(name.clone()).or_insert(FollowerLag {
                    in_sync: true,
                    follower_id: name.clone(),
                    ..FollowerLag::default()
                });
                follower.offset += offset;
                follower.lag_events += (info.high_watermark - offset).max(0);
                follower.in_sync &= self.in_sync(info).contains(&name);
            }
        }
        response.followers = followers.into_values().collect();
        response
    }

    fn nodes(&self) -> Vec<AdminNode> {
        let Some(seen) = &self.seen else {
            return vec![AdminNode {
                node_id: self.node_id.clone(),
                is_local: true,
                is_alive: true,
                state: "alone".into(),
                ..AdminNode::default()
            }];
        };
        let view = seen.view();
        let standing = standing(&view);
        let members = (view.cluster.nodes.values()).filter(|it| it.state != NodeState::Gone);
        let mut nodes: Vec<AdminNode> = members.map(|it| self.node(it, &standing)).collect();
        nodes.sort_by(|one, other| one.node_id.cmp(&other.node_id));
        nodes
    }

    fn node(&self, node: &Node, standing: &Standing) -> AdminNode {
        let state = match node.state {
            NodeState::Active => "active",
            NodeState::Following => "draining leaders",
            NodeState::Draining => "draining replicas",
            NodeState::Gone => "gone",
        };
        let info = &node.info;
        AdminNode {
            node_id: info.name.clone(),
            address: info.grpc_addr.clone(),
            is_local: info.name == self.node_id,
            is_alive: (standing.nodes.get(&node.id)).is_some_and(|of| of.is_alive),
            state: state.into(),
            rack: info.rack.clone(),
            zone: info.zone.clone(),
            region: info.region.clone(),
        }
    }

    fn partition(&self, info: &PartitionInfo) -> AdminPartition {
        let in_sync = self.in_sync(info);
        let report = self.report(info);
        AdminPartition {
            partition_id: info.partition_id,
            leader_id: info.leader_id.clone(),
            replicas: info.replica_ids.clone(),
            in_sync_count: in_sync.len() as i32,
            isr: in_sync,
            epoch: report.map_or(0, |(_, report)| report.term as i64),
            leader_high_watermark: info.high_watermark,
            follower_offsets: self.offsets(info),
        }
    }

    /// The replicas that have what is committed.
    fn in_sync(&self, info: &PartitionInfo) -> Vec<String> {
        let Some((view, report)) = self.report(info) else {
            return info.replica_ids.clone();
        };
        let has_all = |node: &&NodeId| {
            let matched = report.matched.get(*node).copied().unwrap_or(0);
            !view.dead.contains_key(*node)
                && matched.saturating_add(view.limits.caught_up_entries) >= report.committed
        };
        let synced = report.voters.iter().filter(has_all);
        synced.filter_map(|node| name(&view, *node)).collect()
    }

    /// The next offset of each follower, as it says itself.
    fn offsets(&self, info: &PartitionInfo) -> BTreeMap<String, i64> {
        let held = (self.seen.as_ref()).and_then(|seen| seen.held(info.partition_id as u32));
        let Some((view, held)) = self.seen.as_ref().map(Seen::view).zip(held) else {
            return BTreeMap::new();
        };
        let offsets = held.iter();
        let offsets = offsets.filter_map(|(node, next)| Some((name(&view, *node)?, *next as i64)));
        offsets
            .filter(|(name, _)| *name != info.leader_id)
            .collect()
    }

    fn report(&self, info: &PartitionInfo) -> Option<(View<'_>, Report)> {
        let view = self.seen.as_ref()?.view();
        let report = view.groups.get(&(info.partition_id as u32))?.clone();
        Some((view, report))
    }
}

fn name(view: &View<'_>, node: NodeId) -> Option<String> {
    let node = view.cluster.nodes.get(&node)?;
    Some(node.info.name.clone())
}
