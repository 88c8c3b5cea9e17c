//! Which partitions there are, and who leads them.

use chronos_proto::cronos_db::PartitionInfo;

use crate::endpoint_uri;

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

    /// A leader_id that holds a colon is an address; any other is a name, and every node
    /// serves every partition.
    pub(crate) fn from_listing(partitions: &[PartitionInfo]) -> Self {
        let mut leaders = vec![None; partitions.len()];
        for partition in partitions {
            let slot = usize::try_from(partition.partition_id)
                .ok()
                .and_then(|id| leaders.get_mut(id));
            if let Some(slot) = slot
                && partition.leader_id.contains(':')
            {
                *slot = endpoint_uri(&partition.leader_id).ok();
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
        let topology = Topology::from_listing(&[
            partition(1, "db-1:9000"),
            partition(0, "node1"),
            partition(7, "db-2:9000"),
        ]);
        assert_eq!(topology.partition_count(), 3);
        assert_eq!(topology.leader(0), None);
        assert_eq!(topology.leader(1).unwrap().to_string(), "http://db-1:9000/");
        assert_eq!(topology.leader(7), None);
    }
}
