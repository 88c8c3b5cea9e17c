//! Fewer nodes: the last one is drained, its disk marked, its member removed, and only then
//! does the set get smaller.

use super::{Action, Blocker, Desired, Drain, Node, Observed, Resize, Step, Wait, scale_up};

/// A set that somebody else made smaller gets its members back first: it may have lost a majority,
/// so this does not wait for an answer of the database. The operator itself never leaves an
/// unmarked disk beyond the set.
pub(super) fn restore(observed: &Observed, _: &Desired) -> Option<Step> {
    let size = observed.size();
    let (last, _) = observed.claims.iter().rfind(|(ordinal, claim)| {
        let left_out = match &observed.database {
            None => !claim.retired,
            // A mark may be older than a member that joined from the disk.
            Some(database) => database.nodes.get(*ordinal).is_some_and(|n| !is_out(n)),
        };
        **ordinal >= size && !claim.terminating && left_out
    })?;
    let whole = last + 1;
    let clear = observed
        .database
        .as_ref()
        .and_then(|_| scale_up::clear_disks(observed, size..whole));
    clear.or(Some(Step::Act(Action::Resize(whole, Resize::Restore))))
}

/// Takes the last node out. Membership is asked of the database for this very ordinal.
pub(super) fn shrink(observed: &Observed, desired: &Desired) -> Option<Step> {
    let size = observed.size();
    if size <= desired.replicas {
        return None;
    }
    let last = size - 1;
    if let Some(step) = take_out(observed, desired, last) {
        return Some(step);
    }
    if let Some(step) = mark(observed, last) {
        return Some(step);
    }
    Some(Step::Act(Action::Resize(last, Resize::ScaleDown)))
}

/// Members and disks beyond the set that are not wanted either: a node that joined in the last moment is
/// taken out again, and marked disks are deleted where that was asked for.
///
/// A member that is wanted, and whose disk is gone, is no surplus: the set grows, and the database gives
/// it up when its name comes back with another disk.
pub(super) fn leftovers(observed: &Observed, desired: &Desired) -> Option<Step> {
    let beyond = observed.size().max(desired.replicas);
    let database = observed.database.as_ref()?;
    if let Some((&ordinal, node)) = database.nodes.range(beyond..).next_back() {
        if node.alive {
            return Some(Step::Wait(Wait::LastBreath(ordinal)));
        }
        return take_out(observed, desired, ordinal);
    }
    if !desired.delete_retired {
        return None;
    }
    let (&ordinal, claim) = observed.claims.range(beyond..).find(|(ordinal, claim)| {
        claim.retired && !claim.terminating && !observed.pods.contains_key(ordinal)
    })?;
    Some(Step::Act(Action::DeleteClaim {
        ordinal,
        uid: claim.uid.clone(),
    }))
}

/// The next step to a node being no member. `None` when it is none.
fn take_out(observed: &Observed, desired: &Desired, ordinal: u32) -> Option<Step> {
    let database = observed.database.as_ref()?;
    let node = database.nodes.get(&ordinal)?;
    if node.drain != Drain::Replicas {
        let left = database
            .nodes
            .iter()
            .filter(|(other, node)| **other != ordinal && node.drain != Drain::Replicas)
            .count();
        // Copies are at most 7, so the conversion cannot fail.
        if left < usize::try_from(desired.copies).unwrap_or(usize::MAX) {
            let copies = desired.copies;
            return Some(Step::Blocked(Blocker::TooFewNodes { left, copies }));
        }
        return Some(Step::Act(Action::Drain(ordinal, Drain::Replicas)));
    }
    if !is_out(node) {
        return Some(Step::Wait(Wait::Draining(ordinal)));
    }
    // The mark comes first: whoever changes their mind later finds a disk that is known to be
    // refused, and replaces it.
    mark(observed, ordinal).or(Some(Step::Act(Action::Remove {
        ordinal,
        number: node.number,
        lost: false,
    })))
}

/// Whether a node that was drained holds nothing any more.
fn is_out(node: &Node) -> bool {
    node.drain == Drain::Replicas && node.replicas == 0 && node.leaders == 0 && !node.catalog_voter
}

/// Marks a disk. `None` when it is marked, or there is none.
fn mark(observed: &Observed, ordinal: u32) -> Option<Step> {
    let claim = observed.claims.get(&ordinal)?;
    (!claim.retired && !claim.terminating).then(|| {
        let uid = claim.uid.clone();
        Step::Act(Action::RetireClaim { ordinal, uid })
    })
}
