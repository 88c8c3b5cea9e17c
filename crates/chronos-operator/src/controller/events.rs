//! Events: what was done to a cluster, and why, for `kubectl describe`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType};

use super::Context;
use crate::api::{ChronosCluster, ScheduledTopic};
use crate::build::Names;
use crate::plan::{Action, Drain};

/// What the operator was doing, for events that need no other word.
const RECONCILE: &str = "Reconcile";

/// The reason of an action's event, and the label of its metric.
pub(super) fn reason(action: &Action) -> &'static str {
    match action {
        Action::Resize(_, why) => why.reason(),
        Action::DeletePod { why, .. } => why.reason(),
        Action::Drain(_, Drain::Replicas) => "NodeDraining",
        Action::Drain(..) => "LeadersMoving",
        Action::Undrain(_) => "NodeUndrained",
        Action::Remove { lost: true, .. } => "LostNodeRemoved",
        Action::Remove { .. } => "NodeRemoved",
        Action::RetireClaim { .. } => "DiskRetired",
        Action::KeepClaim { .. } => "DiskKept",
        Action::ReplaceDisk { .. } => "DiskReplaced",
        Action::DeleteClaim { .. } => "DiskDeleted",
        Action::GrowClaim { .. } => "DiskGrown",
        Action::SetZone(..) => "ZoneSet",
    }
}

/// Publishes that an action was carried out. The pod that it concerns comes along: events that say
/// the same of the same objects are counted as one, and two pods are not the same.
pub(super) async fn about_action(context: &Context, cluster: &ChronosCluster, action: &Action) {
    let event = Event {
        type_: EventType::Normal,
        reason: reason(action).to_owned(),
        note: Some(action.to_string()),
        action: match action {
            Action::Resize(pods, _) => format!("ScaleTo{pods}"),
            _ => RECONCILE.to_owned(),
        },
        secondary: ordinal(action).map(|ordinal| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(Names::of(cluster).pod(ordinal)),
            namespace: cluster.metadata.namespace.clone(),
            ..ObjectReference::default()
        }),
    };
    publish(context, &cluster.object_ref(&()), &event).await;
}

/// The pod that an action concerns.
fn ordinal(action: &Action) -> Option<u32> {
    match action {
        Action::Resize(..) => None,
        Action::Drain(ordinal, _) | Action::Undrain(ordinal) | Action::SetZone(ordinal, _) => {
            Some(*ordinal)
        }
        Action::DeletePod { ordinal, .. }
        | Action::Remove { ordinal, .. }
        | Action::RetireClaim { ordinal, .. }
        | Action::KeepClaim { ordinal, .. }
        | Action::ReplaceDisk { ordinal, .. }
        | Action::DeleteClaim { ordinal, .. }
        | Action::GrowClaim { ordinal, .. } => Some(*ordinal),
    }
}

/// Publishes an event about a cluster.
pub(super) async fn about_cluster(
    context: &Context,
    cluster: &ChronosCluster,
    kind: EventType,
    reason: &str,
    note: String,
) {
    let event = plain(kind, reason, note);
    publish(context, &cluster.object_ref(&()), &event).await;
}

/// Publishes an event about a topic.
pub(super) async fn about_topic(
    context: &Context,
    topic: &ScheduledTopic,
    kind: EventType,
    reason: &str,
    note: String,
) {
    let event = plain(kind, reason, note);
    publish(context, &topic.object_ref(&()), &event).await;
}

fn plain(kind: EventType, reason: &str, note: String) -> Event {
    Event {
        type_: kind,
        reason: reason.to_owned(),
        note: Some(note),
        action: RECONCILE.to_owned(),
        secondary: None,
    }
}

/// One that cannot be published is logged: nothing rests on it.
async fn publish(context: &Context, about: &ObjectReference, event: &Event) {
    if let Err(error) = context.recorder.publish(event, about).await {
        tracing::warn!(%error, reason = event.reason, "an event could not be published");
    }
}
