//! Whether there is a set, whose database it is, and waking it up.

use super::{Action, Blocker, Desired, Observed, Resize, Step, Wait};

/// Makes the set. Disks that a cluster of this name left behind are members' disks: all of them
/// start, and what is too much is removed properly.
pub(super) fn exists(observed: &Observed, desired: &Desired) -> Option<Step> {
    let Some(set) = observed.set else {
        let size = if desired.hibernate {
            0
        } else {
            desired.replicas.max(with_disks(observed))
        };
        return Some(Step::Act(Action::Resize(size, Resize::Create)));
    };
    (!set.noticed).then_some(Step::Wait(Wait::Controller))
}

/// Nothing is done to nodes of another database.
pub(super) fn another_database(observed: &Observed, desired: &Desired) -> Option<Step> {
    let answered = &observed.database.as_ref()?.cluster_id;
    let known = desired.cluster_id.as_ref()?;
    (answered != known).then(|| Step::Blocked(Blocker::AnotherDatabase(answered.clone())))
}

/// Starts a sleeping cluster with as many nodes as it had, whatever the spec says now: those are
/// its members, and only with a majority of them can others be added or removed.
pub(super) fn wake(observed: &Observed, desired: &Desired) -> Option<Step> {
    if observed.size() > 0 {
        return None;
    }
    let before = with_disks(observed);
    let size = if before == 0 {
        desired.replicas
    } else {
        before
    };
    Some(Step::Act(Action::Resize(size, Resize::Resume)))
}

/// How many nodes there are, by the disks that serve.
fn with_disks(observed: &Observed) -> u32 {
    observed
        .claims
        .iter()
        .filter(|(_, claim)| !claim.retired && !claim.terminating)
        .map(|(ordinal, _)| ordinal + 1)
        .max()
        .unwrap_or(0)
}
