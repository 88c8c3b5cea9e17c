//! Growing disks.

use super::{Action, Desired, Observed, Step};

/// Disks grow while their nodes run, and when they do not: a full disk is a reason for a node to be
/// down. They never shrink: one that somebody made larger stays so.
pub(super) fn grow(observed: &Observed, desired: &Desired) -> Option<Step> {
    let (ordinal, _) = observed.claims.iter().find(|(ordinal, claim)| {
        let may = !claim.retired && !claim.terminating && !desired.fixed_claims.contains(ordinal);
        may && claim.requested_bytes < desired.claim_bytes
    })?;
    Some(Step::Act(Action::GrowClaim {
        ordinal: *ordinal,
        bytes: desired.claim_bytes,
    }))
}
