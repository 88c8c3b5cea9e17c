//! Repair: broken pods, a silent database, lost disks.

use super::{Action, Claim, Desired, Disruption, Observed, Pod, PodCondition, Step, Wait, rolling};

/// A pod that is broken and would come back otherwise is replaced, whatever else is going on:
/// stopping what does not run takes nothing away. One that is as the spec says is left to the
/// kubelet, which restarts it.
///
/// A pod that runs without being ready is treated alike when the database does not hear from it, or
/// when nothing at all serves: a setting may keep it from ever getting ready.
///
/// Such pods go one after the other. One that should have been gone is not waited for: its machine may
/// be lost. One whose machine is not heard from is left alone: it may serve, and would not come back.
///
/// Not one whose disk somebody is deleting: the disk would go with the pod.
pub(super) fn broken_pods(observed: &Observed, desired: &Desired) -> Option<Step> {
    let outdated = observed.outdated(desired);
    let none_serves =
        observed.database.is_none() && (0..observed.size()).all(|n| !observed.is_ready(n));
    let stopping = observed.pods.values().any(Pod::is_stopping);
    let (ordinal, pod) = observed.pods.iter().find(|(ordinal, pod)| {
        if !outdated.contains(ordinal) || observed.is_alive(**ordinal) {
            return false;
        }
        if observed.claims.get(ordinal).is_some_and(Claim::is_at_risk) {
            return false;
        }
        match pod.condition {
            PodCondition::Broken(_) => true,
            PodCondition::Starting if pod.unreachable => false,
            // One after the other: what comes back may show that the change was wrong.
            PodCondition::Starting => !stopping && (none_serves || observed.database.is_some()),
            PodCondition::Ready | PodCondition::Terminating => false,
        }
    })?;
    Some(Step::Act(Action::DeletePod {
        ordinal: *ordinal,
        uid: pod.uid.clone(),
        why: Disruption::BrokenPod,
    }))
}

/// Without an answer nothing below is known. It may be missing because of an update: with few nodes, one
/// that does not come back is enough.
pub(super) fn database_silent(observed: &Observed, desired: &Desired) -> Option<Step> {
    if observed.database.is_some() {
        return None;
    }
    if desired.cluster_id.is_none() {
        return Some(Step::Wait(Wait::Founding));
    }
    let updates = !observed.outdated(desired).is_empty();
    let failed = updates.then(|| rolling::failed(observed, desired));
    failed.flatten().or(Some(Step::Wait(Wait::DatabaseSilent)))
}

/// Gives up a member whose disk is lost, when somebody said so: marks the disk, removes the member,
/// and lets the pod come back with a fresh disk as another member.
///
/// The mark comes first. Without it, a successor that has not joined yet would look like the one
/// that was removed, and would lose its disk as well.
pub(super) fn lost_disks(observed: &Observed, desired: &Desired) -> Option<Step> {
    if let Some(replace) = desired.replace {
        let ordinal = replace.ordinal;
        let node = observed.node(ordinal);
        let lost = node.is_some_and(|node| node.number == replace.number && !node.alive);
        if lost {
            return Some(Step::Act(match observed.claims.get(&ordinal) {
                Some(claim) if !claim.retired => Action::RetireClaim {
                    ordinal,
                    uid: claim.uid.clone(),
                },
                _ => Action::Remove {
                    ordinal,
                    number: replace.number,
                    lost: true,
                },
            }));
        }
    }
    retired_within(observed, desired)
}

/// What becomes of marked disks of nodes that are to be there.
///
/// A member's disk loses its mark before anything else, whether the member is up or not: it is to stay,
/// and a disk that holds something again must count as one that serves.
fn retired_within(observed: &Observed, desired: &Desired) -> Option<Step> {
    observed.database.as_ref()?;
    let within = observed.size().min(desired.replicas);
    let (&ordinal, claim) = observed
        .claims
        .range(..within)
        .find(|(_, claim)| claim.retired)?;
    if observed.is_no_member(ordinal) {
        return Some(fresh_disk(observed, ordinal, claim));
    }
    Some(Step::Act(Action::KeepClaim {
        ordinal,
        uid: claim.uid.clone(),
    }))
}

/// The next step to a fresh disk for a pod whose member was removed.
///
/// A process that is starting is waited for: on a disk that was wiped it joins as a new member, and
/// then keeps the disk. One that does not run, or was ready and is no member, never joins from this
/// disk.
fn fresh_disk(observed: &Observed, ordinal: u32, claim: &Claim) -> Step {
    let pod = observed
        .pods
        .get(&ordinal)
        .filter(|pod| pod.condition != PodCondition::Terminating);
    Step::Act(match (pod, claim.terminating) {
        (None, true) => return Step::Wait(Wait::ClaimGoing(ordinal)),
        (None, false) => Action::DeleteClaim {
            ordinal,
            uid: claim.uid.clone(),
        },
        (Some(pod), true) => Action::DeletePod {
            ordinal,
            uid: pod.uid.clone(),
            why: Disruption::LostDisk,
        },
        (Some(pod), false) if pod.condition == PodCondition::Starting => {
            return Step::Wait(Wait::Pod(ordinal));
        }
        (Some(pod), false) => Action::ReplaceDisk {
            ordinal,
            claim: claim.uid.clone(),
            pod: pod.uid.clone(),
        },
    })
}
