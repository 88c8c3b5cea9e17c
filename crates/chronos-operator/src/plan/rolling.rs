//! Restarting nodes whose pods are out of date, one at a time.
//!
//! The next one is chosen only when every node is ready, known to the database, alive and caught
//! up, and no event is late. The catalog's leader comes last, so that the catalog changes hands
//! once. Leaderships are moved off first, and the database has the last word on whether the node
//! may stop.
//!
//! Nodes that are unwell come first, and are not waited for, while only nodes that are out of date are
//! unwell: the change may be what makes them well.

use std::collections::BTreeSet;

use super::{
    Action, Blocker, Database, Desired, Disruption, Drain, Node, Observed, PodCondition, Step, Wait,
};
use crate::api::UpdateType;

/// With fewer copies than this, one stopped node always costs some partition its majority: a rule
/// that can never be met would block the change that mends it.
const COPIES_WITH_SPARE: u32 = 3;

/// The next step of an update, while there is one.
pub(super) fn roll(observed: &Observed, desired: &Desired) -> Option<Step> {
    let outdated = observed.outdated(desired);
    if outdated.is_empty() {
        return None;
    }
    // Before anything that asks somebody to delete pods.
    if let Some(ordinal) = observed.claim_at_risk() {
        return Some(Step::Blocked(Blocker::ClaimAtRisk(ordinal)));
    }
    if let Some(why) = &desired.held_back {
        return Some(Step::Blocked(Blocker::HeldBack(why.clone())));
    }
    if let Some(step) = failed(observed, desired) {
        return Some(step);
    }
    if desired.update == UpdateType::OnDelete {
        return Some(Step::Blocked(Blocker::OnDelete(outdated.len())));
    }
    let database = observed.database.as_ref()?;
    let unwell = observed.unwell();
    let may_mend = |ordinal: &u32| {
        let pod = observed.pods.get(ordinal);
        outdated.contains(ordinal) && pod.is_some_and(|pod| !pod.unreachable)
    };
    if !unwell.is_empty() && unwell.iter().all(may_mend) {
        return mend(observed, desired, &unwell);
    }
    if let Some(step) = not_now(observed, desired) {
        return Some(step);
    }
    let (ordinal, node) = outdated
        .iter()
        .rev()
        .filter_map(|ordinal| Some((*ordinal, database.nodes.get(ordinal)?)))
        .min_by_key(|(_, node)| (node.drain == Drain::None, node.catalog_leader))?;
    let has_word = desired.copies >= COPIES_WITH_SPARE;
    Some(restart(observed, desired, ordinal, node, has_word))
}

/// Stops an update at a pod that is updated and does not come up. One that runs without getting ready
/// may be waiting for others while the database is silent.
pub(super) fn failed(observed: &Observed, desired: &Desired) -> Option<Step> {
    let within = observed.pods.range(..observed.size());
    let mut updated = within.filter(|(_, pod)| pod.template == desired.template);
    updated.find_map(|(&ordinal, pod)| {
        let why = match &pod.condition {
            PodCondition::Broken(why) => why.clone(),
            PodCondition::Starting if observed.database.is_some() && pod.is_slow() => {
                format!("not ready for {} minutes", pod.waiting_ms / 60_000)
            }
            _ => return None,
        };
        Some(Step::Blocked(Blocker::UpdateFailed(ordinal, why)))
    })
}

/// Why no node may be restarted now.
fn not_now(observed: &Observed, desired: &Desired) -> Option<Step> {
    let database = observed.database.as_ref()?;
    if let Some(ordinal) = observed.not_ready() {
        return Some(Step::Wait(Wait::Pod(ordinal)));
    }
    for ordinal in 0..observed.size() {
        let Some(node) = database.nodes.get(&ordinal) else {
            return Some(Step::Wait(Wait::Joining(ordinal)));
        };
        if !node.alive || !node.caught_up {
            return Some(Step::Wait(Wait::CatchingUp(ordinal)));
        }
    }
    if database.leaderless > 0 {
        return Some(Step::Wait(Wait::Leaderless(database.leaderless)));
    }
    if database.under_replicated > 0 {
        return Some(Step::Wait(Wait::UnderReplicated(database.under_replicated)));
    }
    too_late(database, desired)
}

/// Waits while events are late: every restart delays some more.
fn too_late(database: &Database, desired: &Desired) -> Option<Step> {
    let late = database.overdue_ms > desired.max_overdue_ms;
    late.then_some(Step::Wait(Wait::Overdue(database.overdue_ms)))
}

/// Restarts one of the nodes that are unwell, first one that may stop. What they lack themselves holds
/// nothing up: it would be waited for without end.
fn mend(observed: &Observed, desired: &Desired, unwell: &BTreeSet<u32>) -> Option<Step> {
    let database = observed.database.as_ref()?;
    let (ordinal, node) = unwell
        .iter()
        .rev()
        .map(|ordinal| (*ordinal, database.nodes.get(ordinal)))
        .min_by_key(|(_, node)| {
            node.map(|node| {
                let stays = node.drain == Drain::None;
                (!node.can_stop, stays, node.catalog_leader)
            })
        })?;
    // No member holds nothing that somebody could miss.
    let Some(node) = node else {
        return Some(delete(observed, ordinal));
    };
    // Late events may be its own doing while it leads.
    if node.leaders == 0
        && let Some(step) = too_late(database, desired)
    {
        return Some(step);
    }
    // With few copies, one of several that are unwell may be the last that the catalog can spare.
    let has_word = desired.copies >= COPIES_WITH_SPARE || unwell.len() > 1;
    Some(restart(observed, desired, ordinal, node, has_word))
}

/// The next step to a node's restart. `has_word`: whether the database says if it may stop.
fn restart(
    observed: &Observed,
    desired: &Desired,
    ordinal: u32,
    node: &Node,
    has_word: bool,
) -> Step {
    if has_word && !node.can_stop {
        return Step::Wait(Wait::CannotStop(ordinal, node.why_not.clone()));
    }
    if desired.copies > 1 {
        if node.drain == Drain::None {
            return Step::Act(Action::Drain(ordinal, Drain::Leaders));
        }
        let leads = node.leaders > 0 || node.catalog_leader;
        if leads && node.draining_ms < desired.drain_timeout_ms {
            return Step::Wait(Wait::MovingLeaders(ordinal));
        }
    }
    delete(observed, ordinal)
}

fn delete(observed: &Observed, ordinal: u32) -> Step {
    match observed.pods.get(&ordinal) {
        Some(pod) => Step::Act(Action::DeletePod {
            ordinal,
            uid: pod.uid.clone(),
            why: Disruption::RollingUpdate,
        }),
        None => Step::Wait(Wait::Pod(ordinal)),
    }
}
