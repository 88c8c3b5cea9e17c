//! Letting a ScheduledTopic go. Only one whose topic is to be deleted with it has a finalizer, and
//! that finalizer never outlives a minute: a cluster that is missing, going, asleep or silent does
//! not keep a namespace from being deleted.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action as Next;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Found, find};
use crate::api::{DeletionPolicy, ScheduledTopic};
use crate::build::Names;
use crate::controller::{Context, Error, events, tls};

const FINALIZER: &str = "chronosdb.io/topic";
/// How long a database may refuse or be silent before the topic is left to itself.
const PATIENCE_SECONDS: i64 = 45;

/// Whether the resource has the finalizer.
pub(super) fn is_held(topic: &ScheduledTopic) -> bool {
    topic.finalizers().iter().any(|name| name == FINALIZER)
}

/// Adds the finalizer, or takes it away.
pub(super) async fn hold(
    context: &Context,
    topic: &ScheduledTopic,
    namespace: &str,
    holds: bool,
) -> Result<(), Error> {
    let mut finalizers = topic.finalizers().to_vec();
    finalizers.retain(|name| name != FINALIZER);
    if holds {
        finalizers.push(FINALIZER.to_owned());
    }
    // The version makes the API server refuse it when somebody else changed the list.
    let patch = json!({ "metadata": {
        "finalizers": finalizers,
        "resourceVersion": topic.metadata.resource_version,
    } });
    let topics: Api<ScheduledTopic> = Api::namespaced(context.client.clone(), namespace);
    let done = topics
        .patch(
            &topic.name_any(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await;
    match done {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other
            .map(|_| ())
            .map_err(Error::kubernetes("a change of finalizers")),
    }
}

/// Deletes the topic if that is wanted and possible, and lets the resource go.
pub(super) async fn release(
    context: &Context,
    topic: &ScheduledTopic,
    namespace: &str,
) -> Result<Next, Error> {
    if !is_held(topic) {
        context.backoff.worked(&super::key(topic));
        return Ok(Next::await_change());
    }
    if topic.spec.deletion_policy == Some(DeletionPolicy::Delete)
        && let Found::Serving(cluster) = find(context, topic, namespace).await?
    {
        let names = Names::of(&cluster);
        let way = tls::way(context, &names, &cluster).await;
        let database = context.databases.of(&names, way);
        let name = topic.topic_name();
        if let Err(error) = database.delete_topic(name).await {
            if waited_seconds(topic) < PATIENCE_SECONDS {
                tracing::info!(%error, topic = name, "the topic cannot be deleted yet");
                return Ok(Next::requeue(Duration::from_secs(3)));
            }
            let note = format!("The topic {name} stays in the database: {error}");
            events::about_topic(context, topic, EventType::Warning, "TopicLeft", note).await;
        }
    }
    hold(context, topic, namespace, false).await?;
    Ok(Next::await_change())
}

fn waited_seconds(topic: &ScheduledTopic) -> i64 {
    let since = topic.metadata.deletion_timestamp.as_ref();
    since.map_or(0, |since| {
        Timestamp::now().as_second() - since.0.as_second()
    })
}
