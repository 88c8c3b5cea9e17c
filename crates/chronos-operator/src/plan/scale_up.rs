//! More nodes. Joining, catching up, voting and evening out is the database's work.

use super::{Action, Desired, Observed, Resize, Step, Wait};

/// A disk that is marked must be gone before a node of its name comes: the database would refuse
/// the old disk, and must never see what is on it.
pub(super) fn grow(observed: &Observed, desired: &Desired) -> Option<Step> {
    let size = observed.size();
    if size >= desired.replicas {
        return None;
    }
    for (&ordinal, claim) in observed.claims.range(size..desired.replicas) {
        if claim.terminating || (claim.retired && observed.pods.contains_key(&ordinal)) {
            return Some(Step::Wait(Wait::ClaimGoing(ordinal)));
        }
        if claim.retired {
            return Some(if observed.is_no_member(ordinal) {
                Step::Act(Action::DeleteClaim {
                    ordinal,
                    uid: claim.uid.clone(),
                })
            } else {
                Step::Wait(Wait::LastBreath(ordinal))
            });
        }
    }
    Some(Step::Act(Action::Resize(desired.replicas, Resize::ScaleUp)))
}
