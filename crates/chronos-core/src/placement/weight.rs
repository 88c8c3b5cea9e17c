//! Rendezvous weights.

use crate::types::{NodeId, PartitionNumber};

/// How much a partition wants to be on a node: a hash of the two. Every partition ranks the nodes
/// in an order of its own, so when a node comes or goes the ranks of all others stay as they are.
///
/// D. G. Thaler, C. V. Ravishankar: "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM
/// Transactions on Networking 6(1), 1998 (highest random weight). The hash is the low half of XXH3
/// with 128 bits.
pub(super) fn weight(partition: usize, node: NodeId) -> u64 {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&(partition as PartitionNumber).to_be_bytes());
    bytes[4..].copy_from_slice(&node.to_be_bytes());
    twox_hash::XxHash3_128::oneshot(&bytes) as u64
}
