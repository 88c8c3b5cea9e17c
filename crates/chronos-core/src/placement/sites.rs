//! The nodes that partitions are spread over, and which of them may fail together.

use crate::catalog::Node;
use crate::types::NodeId;
use std::collections::BTreeMap;

/// A node, as far as its place matters. Zones and racks have numbers; a rack belongs to its zone and
/// a zone to its region, so equal names elsewhere are other numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Site {
    id: NodeId,
    zone: usize,
    rack: usize,
}

/// The nodes, by a number of their own: `0..len`, ascending by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sites(Vec<Site>);

impl Sites {
    /// These nodes, which come in the order of their ids.
    pub(super) fn of<'a>(nodes: impl Iterator<Item = &'a Node>) -> Self {
        let (mut zones, mut racks) = (BTreeMap::new(), BTreeMap::new());
        let site = |node: &'a Node| {
            let info = &node.info;
            let next = zones.len();
            let zone = *zones.entry((&info.region, &info.zone)).or_insert(next);
            let next = racks.len();
            let rack = *racks.entry((zone, &info.rack)).or_insert(next);
            let id = node.id;
            Site { id, zone, rack }
        };
        Self(nodes.map(site).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn id(&self, at: usize) -> NodeId {
        self.0[at].id
    }

    /// The number of a node, if it is one of these.
    pub(super) fn at(&self, id: NodeId) -> Option<usize> {
        self.0.binary_search_by_key(&id, |site| site.id).ok()
    }

    /// How many of `set`, without `but`, share the zone of `at`, and how many its rack: the less, the
    /// less is lost together.
    pub(super) fn crowd(&self, set: &[usize], but: Option<usize>, at: usize) -> (usize, usize) {
        let site = self.0[at];
        let others = || (set.iter()).filter(|other| Some(**other) != but && **other != at);
        (
            others()
                .filter(|other| self.0[**other].zone == site.zone)
                .count(),
            others()
                .filter(|other| self.0[**other].rack == site.rack)
                .count(),
        )
    }
}
