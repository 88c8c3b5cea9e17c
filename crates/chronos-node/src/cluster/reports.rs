//! How the groups stand that this node leads.

use crate::engine::Engine;
use chronos_core::catalog;
use chronos_core::placement::Report;
use chronos_core::types::PartitionNumber;
use chronos_proto::chronos_internal::{GroupReport, Held};
use chronos_raft::{Group, Machine};
use std::collections::BTreeMap;

/// The reports of all groups that this node leads, the catalog's among them.
pub fn of_led(engine: &Engine) -> Vec<(PartitionNumber, Report)> {
    let me = engine.me();
    let partitions = (engine.replicas().all().into_iter()).filter_map(|replica| {
        let handle = &replica.handle;
        let report = of(&handle.raft, me)?;
        // Before it is served, what falls due is not known.
        let next_due_ms = match handle.is_led() {
            true => handle.standing.lock().next_due_ms,
            false => None,
        };
        let report = Report {
            next_due_ms,
            ..report
        };
        Some((handle.number, report))
    });
    let catalog = of(engine.catalog_group(), me).map(|report| (catalog::NUMBER, report));
    partitions.chain(catalog).collect()
}

/// The replicas that this node holds, and the next offset of each.
pub fn of_held(engine: &Engine) -> Vec<Held> {
    let replicas = engine.replicas().all();
    let held = replicas.iter().map(|replica| Held {
        partition: replica.handle.number,
        next_offset: replica.handle.state.lock().next_offset(),
    });
    held.collect()
}

fn of<M: Machine>(group: &Group<M>, me: u64) -> Option<Report> {
    let lead = group.leadership().get();
    let replication = group.replication()?;
    if !lead.leads {
        return None;
    }
    let members = group.members();
    let (voters, incoming) = match members.old_voters {
        Some(old) => (old, Some(members.voters)),
        None => (members.voters, None),
    };
    let status = group.status();
    let last_index = status.last_index.unwrap_or(0);
    let mut matched: BTreeMap<u64, u64> = (replication.into_iter())
        .filter_map(|(node, peer)| Some((node, peer.matched_index?)))
        .collect();
    matched.insert(me, last_index);
    Some(Report {
        leader: me,
        term: lead.term,
        voters,
        incoming,
        learners: members.learners,
        matched,
        last_index,
        committed: status.committed_index.unwrap_or(0),
        is_sure: group.holds_lease(),
        next_due_ms: None,
    })
}

/// A report as it travels.
pub fn encode(group: PartitionNumber, report: Report) -> GroupReport {
    GroupReport {
        group,
        leader: report.leader,
        term: report.term,
        voters: report.voters.into_iter().collect(),
        incoming: report.incoming.into_iter().flatten().collect(),
        learners: report.learners.into_iter().collect(),
        matched: report.matched.into_iter().collect(),
        last_index: report.last_index,
        committed: report.committed,
        is_sure: report.is_sure,
        next_due_ms: report.next_due_ms,
    }
}

/// The group and its report.
pub fn decode(report: GroupReport) -> (PartitionNumber, Report) {
    let decoded = Report {
        leader: report.leader,
        term: report.term,
        voters: report.voters.into_iter().collect(),
        incoming: (!report.incoming.is_empty()).then(|| report.incoming.into_iter().collect()),
        learners: report.learners.into_iter().collect(),
        matched: report.matched.into_iter().collect(),
        last_index: report.last_index,
        committed: report.committed,
        is_sure: report.is_sure,
        next_due_ms: report.next_due_ms,
    };
    (report.group, decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_round_trip() {
        let mut report = Report {
            leader: 2,
            term: 9,
            voters: [1, 2, 3].into(),
            incoming: None,
            learners: [4].into(),
            matched: [(1, 8), (2, 10)].into(),
            last_index: 10,
            committed: 9,
            is_sure: true,
            next_due_ms: Some(-1),
        };
        assert_eq!(decode(encode(7, report.clone())), (7, report.clone()));
        report.incoming = Some([2, 3].into());
        assert_eq!(decode(encode(7, report.clone())), (7, report));
    }
}
