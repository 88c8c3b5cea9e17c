//! Which partitions there are, and who leads them.

use std::collections::HashMap;

use chronos_proto::cronos_db::PartitionInfo;
use tonic::metadata::MetadataMap;

use crate::endpoint_uri;

/// Names a node and its address, `name=address`, at the head of a listing.
const LEADER: &str = "chronos-leader";

/// What the last listing of partitions said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    /// Per partition the address of its leader, where the listing gives one.
    leaders: Vec<Option<http::Uri>>,
}

impl Topology {
    /// A server that cannot list its partitions has one.
    pub(crate) fn one_partition() -> Self {
        Self {
            leaders: vec![None],
        }
    }

    /// A leader_id is a name that the metadata has an address for, or an address itself when it
    /// holds a colon. Any other is only a name; every node serves every partition.
    pub(crate) fn from_listing(partitions: &[PartitionInfo], metadata: &MetadataMap) -> Self {
        let addresses: HashMap<&str, &str> = metadata
            .get_all(LEADER)
            .iter()
            .filter_map(|value| value.to_str().ok()?.split_once('='))
            .collect();
        let mut leaders = vec![None; partitions.len()];
        for partition in partitions {
            let slot = usize::try_from(partition.partition_id)
                .ok()
                .and_then(|id| leaders.get_mut(id));
            if let Some(slot) = slot
                && let Some(address) = addresses
                    .get(partition.leader_id.as_str())
                    .copied()
                    .or_else(|| Some(&*partition.leader_id).filter(|id| id.contains(':')))
            {
                *slot = endpoint_uri(address).ok();
            }
        }
        Self { leaders }
    }

    pub(crate) fn partition_count(&self) -> u32 {
        u32::try_from(self.leaders.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn leader(&self, partition_id: u32) -> Option<&http::Uri> {
        self.leaders.get(partition_id as usize)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_are_addresses_or_names() {
        let partition = |partition_id, leader_id: &str| PartitionInfo {
            partition_id,
            leader_id: leader_id.into(),
            ..PartitionInfo::default()
        };
        let mut metadata = MetadataMap::new();
        for value in ["node2=db-2:9000", "node3=", "=db-4:9000", "nothing"] {
            metadata.append(LEADER, value.parse().unwrap());
        }
        let listing = [
            partition(1, "db-1:9000"),
            partition(0, "node1"),
            partition(2, "node2"),
            partition(7, "db-2:9000"),
        ];
        let topology = Topology::from_listing(&listing, &metadata);
        assert_eq!(topology.partition_count(), 4);
        assert_eq!(topology.leader(2).unwrap().to_string(), "http://db-2:9000/");
        assert_eq!(topology.leader(0), None);
        assert_eq!(topology.leader(1).unwrap().to_string(), "http://db-1:9000/");
        assert_eq!(topology.leader(7), None);
    }
}
