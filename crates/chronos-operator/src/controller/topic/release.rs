//! Letting a ScheduledTopic go. Only one whose topic is to be deleted with it has a finalizer, and
//! that finalizer never outlives a minute: a cluster that is missing, going, asleep, silent or out of
//! reach does not keep a namespace from being deleted.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action as Next;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Found, database_of, find};
use crate::api::{DeletionPolicy, ScheduledTopic};
use crate::controller::{Context, Error, events};

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
    if let Err(error) = delete(context, topic, namespace).await {
        let name = topic.topic_name();
        if waited_seconds(topic) < PATIENCE_SECONDS {
            tracing::info!(%error, topic = name, "the topic cannot be deleted yet");
            return Ok(Next::requeue(Duration::from_secs(3)));
        }
        let note = format!("The topic {name} stays in the database: {error}");
        events::about_topic(context, topic, EventType::Warning, "TopicLeft", note).await;
    }
    hold(context, topic, namespace, false).await?;
    Ok(Next::await_change())
}

/// Deletes the topic from the database, if that is wanted and it is this resource's.
async fn delete(context: &Context, topic: &ScheduledTopic, namespace: &str) -> Result<(), Error> {
    if topic.spec.deletion_policy != Some(DeletionPolicy::Delete) || !was_brought(topic) {
        return Ok(());
    }
    let Found::Serving(cluster) = find(context, topic, namespace).await? else {
        return Ok(());
    };
    if context.topics.older(topic, &cluster).await.is_some() {
        return Ok(());
    }
    let database = database_of(context, &cluster).await;
    Ok(database.delete_topic(topic.topic_name()).await?)
}

/// Whether the topic was ever as this resource says. One that was refused is about a topic of somebody
/// else, which outlives it.
fn was_brought(topic: &ScheduledTopic) -> bool {
    let status = topic.status.as_ref();
    status.is_some_and(|status| status.version.is_some())
}

fn waited_seconds(topic: &ScheduledTopic) -> i64 {
    let since = topic.metadata.deletion_timestamp.as_ref();
    since.map_or(0, |since| {
        Timestamp::now().as_second() - since.0.as_second()
    })
}
