//! Leaving a cluster alone, and putting it to sleep.

use super::{Action, Blocker, Calm, Desired, Observed, Resize, Step, Wait};

/// A paused cluster is not touched, whatever is wrong with it.
pub(super) fn paused(_: &Observed, desired: &Desired) -> Option<Step> {
    desired.paused.then_some(Step::Calm(Calm::Paused))
}

/// All nodes stop together. Nothing has to move: every disk stays, and so every acknowledged event.
pub(super) fn sleep(observed: &Observed, desired: &Desired) -> Option<Step> {
    if !desired.hibernate {
        return None;
    }
    Some(if let Some(ordinal) = observed.claim_at_risk() {
        Step::Blocked(Blocker::ClaimAtRisk(ordinal))
    } else if observed.size() > 0 {
        Step::Act(Action::Resize(0, Resize::Hibernate))
    } else if !observed.pods.is_empty() {
        Step::Wait(Wait::Stopping)
    } else {
        Step::Calm(Calm::Hibernated)
    })
}
