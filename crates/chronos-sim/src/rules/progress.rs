//! C9: what a group has settled stays settled, and dead letters stay dead.

use super::{Rule, Verdict};
use crate::node::Process;
use crate::oracle::Model;
use chronos_core::partition::Partition;
use chronos_core::store::MemoryStore;

/// Holds a replica's groups against the log's meaning.
pub fn check(
    verdict: &Verdict,
    process: &Process,
    partition: &Partition<MemoryStore>,
    model: &Model,
) {
    if partition.groups().len() != model.groups.len() {
        verdict.add(
            Rule::Progress,
            format!(
                "{process} has {} groups, not {}",
                partition.groups().len(),
                model.groups.len()
            ),
        );
    }
    for (group, expected) in partition.groups().iter().zip(&model.groups) {
        for (offset, event) in (0..).zip(&model.events) {
            let Some(key) = model
                .key_of(offset)
                .filter(|_| expected.is_for(event, offset))
            else {
                continue;
            };
            let (found, said) = (group.settled.contains(key), expected.has_settled(key));
            if found != said {
                verdict.add(
                    Rule::Progress,
                    format!(
                        "{process}: group {} has settled {key:?}: {found}, the log says {said}",
                        group.name
                    ),
                );
            }
        }
        if group.next_dead != expected.dead.len() as u64 {
            verdict.add(
                Rule::Progress,
                format!(
                    "{process}: group {} has {} dead letters, the log says {}",
                    group.name,
                    group.next_dead,
                    expected.dead.len()
                ),
            );
        }
    }
}
