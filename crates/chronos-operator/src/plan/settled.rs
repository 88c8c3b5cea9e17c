//! Whether all is done: every node ready and a member, every copy in its place, and no pod left that
//! is not wanted any more.

use super::{Blocker, Desired, Observed, Step, Wait};

/// What is still under way when there is nothing to do.
pub(super) fn settled(observed: &Observed, _: &Desired) -> Option<Step> {
    let database = observed.database.as_ref()?;
    if let Some(ordinal) = observed.not_ready() {
        return Some(Step::Wait(Wait::Pod(ordinal)));
    }
    for ordinal in 0..observed.size() {
        match database.nodes.get(&ordinal) {
            None => return Some(Step::Wait(Wait::Joining(ordinal))),
            Some(node) if !node.alive || !node.caught_up => {
                return Some(Step::Wait(Wait::CatchingUp(ordinal)));
            }
            Some(_) => {}
        }
    }
    if let Some((ordinal, _)) = observed.pods.range(observed.size()..).next() {
        return Some(Step::Wait(Wait::Leaving(*ordinal)));
    }
    if database.leaderless > 0 {
        return Some(Step::Wait(Wait::Leaderless(database.leaderless)));
    }
    if database.under_replicated > 0 {
        return Some(Step::Wait(Wait::UnderReplicated(database.under_replicated)));
    }
    if database.moves > 0 {
        return Some(Step::Wait(Wait::Moving(database.moves)));
    }
    let at_risk = observed.claim_at_risk();
    at_risk.map(|ordinal| Step::Blocked(Blocker::ClaimAtRisk(ordinal)))
}
