//! Events: what was done to a cluster, and why, for `kubectl describe`.

use kube::Resource;
use kube::runtime::events::{Event, EventType};

use super::Context;
use crate::api::{ChronosCluster, ScheduledTopic};
use crate::plan::{Action, Drain};

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

/// Publishes an event about a cluster. One that cannot be published is logged: nothing rests on it.
pub(super) async fn about_cluster(
    context: &Context,
    cluster: &ChronosCluster,
    kind: EventType,
    reason: &str,
    note: String,
) {
    publish(context, &cluster.object_ref(&()), kind, reason, note).await;
}

/// Publishes an event about a topic.
pub(super) async fn about_topic(
    context: &Context,
    topic: &ScheduledTopic,
    kind: EventType,
    reason: &str,
    note: String,
) {
    publish(context, &topic.object_ref(&()), kind, reason, note).await;
}

async fn publish(
    context: &Context,
    about: &k8s_openapi::api::core::v1::ObjectReference,
    kind: EventType,
    reason: &str,
    note: String,
) {
    let event = Event {
        type_: kind,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, about).await {
        tracing::warn!(%error, reason, "an event could not be published");
    }
}
