//! More nodes. Joining, catching up, voting and evening out is the database's work.

use std::ops::Range;

use super::{Action, Desired, Observed, Resize, Step, Wait};

/// A disk that is marked is gone before a node of its name comes: the database would refuse it.
pub(super) fn grow(observed: &Observed, desired: &Desired) -> Option<Step> {
    let size = observed.size();
    if size >= desired.replicas {
        return None;
    }
    if let Some(step) = clear_disks(observed, size..desired.replicas) {
        return Some(step);
    }
    Some(Step::Act(Action::Resize(desired.replicas, Resize::ScaleUp)))
}

/// The next step to no marked disk being left where nodes are to come. `None` when there is none.
pub(super) fn clear_disks(observed: &Observed, coming: Range<u32>) -> Option<Step> {
    for (&ordinal, claim) in observed.claims.range(coming) {
        let marked = claim.retired && observed.is_no_member(ordinal);
        if claim.terminating || (marked && observed.pods.contains_key(&ordinal)) {
            return Some(Step::Wait(Wait::ClaimGoing(ordinal)));
        }
        if marked {
            return Some(Step::Act(Action::DeleteClaim {
                ordinal,
                uid: claim.uid.clone(),
            }));
        }
    }
    None
}
