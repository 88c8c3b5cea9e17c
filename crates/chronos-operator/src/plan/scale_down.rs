//! Fewer nodes: the last one is drained, removed from the database, its disk marked, and only then
//! does the set get smaller.

use super::{Action, Blocker, Desired, Drain, Observed, Resize, Step, Wait};

/// A set that somebody else made smaller gets its members back first.
pub(super) fn restore(observed: &Observed, _: &Desired) -> Option<Step> {
    let size = observed.size();
    let database = observed.database.as_ref()?;
    let (last, _) = database.nodes.iter().rfind(|(ordinal, _)| {
        let claim = observed.claims.get(*ordinal);
        **ordinal >= size && claim.is_some_and(|claim| !claim.retired && !claim.terminating)
    })?;
    Some(Step::Act(Action::Resize(last + 1, Resize::Restore)))
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
    if let Some(claim) = observed.claims.get(&last)
        && !claim.retired
        && !claim.terminating
    {
        return Some(Step::Act(Action::RetireClaim {
            ordinal: last,
            uid: claim.uid.clone(),
        }));
    }
    Some(Step::Act(Action::Resize(last, Resize::ScaleDown)))
}

/// Members and disks beyond the set: a node that joined in the last moment is taken out again, and
/// marked disks are deleted where that was asked for.
pub(super) fn leftovers(observed: &Observed, desired: &Desired) -> Option<Step> {
    let size = observed.size();
    let database = observed.database.as_ref()?;
    if let Some((&ordinal, node)) = database.nodes.range(size..).next_back() {
        if node.alive {
            return Some(Step::Wait(Wait::LastBreath(ordinal)));
        }
        return take_out(observed, desired, ordinal);
    }
    if !desired.delete_retired {
        return None;
    }
    let (&ordinal, claim) = observed.claims.range(size..).find(|(ordinal, claim)| {
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
    if node.replicas > 0 || node.leaders > 0 || node.catalog_voter {
        return Some(Step::Wait(Wait::Draining(ordinal)));
    }
    Some(Step::Act(Action::Remove {
        ordinal,
        number: node.number,
        lost: false,
    }))
}
