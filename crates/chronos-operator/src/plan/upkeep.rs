//! What keeps the database informed: drains that are over, Kubernetes nodes that are being
//! emptied, zones.

use super::{Action, Desired, Drain, Observed, PodCondition, Step};

/// Small steps that disturb nobody.
pub(super) fn drains_and_zones(observed: &Observed, desired: &Desired) -> Option<Step> {
    let database = observed.database.as_ref()?;
    for (&ordinal, node) in database.nodes.range(..observed.size()) {
        if node.drain == Drain::Replicas {
            // Somebody wanted fewer nodes, and changed their mind.
            return Some(Step::Act(Action::Undrain(ordinal)));
        }
        let Some(pod) = observed.pods.get(&ordinal) else {
            continue;
        };
        if pod.condition != PodCondition::Ready {
            continue;
        }
        if let Some(zone) = &pod.zone
            && *zone != node.zone
        {
            return Some(Step::Act(Action::SetZone(ordinal, zone.clone())));
        }
        let current = pod.template == desired.template;
        let stays = !(pod.leaving && others_can_lead(observed, desired, ordinal));
        if node.drain == Drain::Leaders && current && stays && node.alive && node.caught_up {
            return Some(Step::Act(Action::Undrain(ordinal)));
        }
        // Before the eviction comes: then leaderships are elsewhere already.
        if node.drain == Drain::None && !stays {
            return Some(Step::Act(Action::Drain(ordinal, Drain::Leaders)));
        }
    }
    None
}

/// Whether somebody who stays could lead in this node's place.
fn others_can_lead(observed: &Observed, desired: &Desired, ordinal: u32) -> bool {
    desired.copies > 1
        && observed.pods.iter().any(|(other, pod)| {
            *other != ordinal && pod.condition == PodCondition::Ready && !pod.leaving
        })
}
