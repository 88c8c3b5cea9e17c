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

use super::status::was_brought;
use super::{Found, database_of, find, is_paused};
use crate::api::{ChronosCluster, DeletionPolicy, ScheduledTopic};
use crate::controller::{Context, Error, events};
use crate::database;

const FINALIZER: &str = "chronosdb.io/topic";
/// How long a database may refuse or be silent before the topic is left to itself.
const PATIENCE_SECONDS: i64 = 45;
/// How long a try may take even then: while no operator acted, nobody has tried.
const LEAST_SECONDS: i64 = 3;

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
    let name = topic.topic_name();
    let limit = limit(waited_seconds(topic));
    let tried = tokio::time::timeout(limit, delete(context, topic, namespace)).await;
    let late = database::Error::Silent("no answer in time".to_owned());
    let stays = match tried.unwrap_or_else(|_| Err(late.into())) {
        Ok(stays) => stays,
        Err(error) if waited_seconds(topic) < PATIENCE_SECONDS => {
            tracing::info!(%error, topic = name, "the topic cannot be deleted yet");
            return Ok(Next::requeue(Duration::from_secs(3)));
        }
        Err(error) => Some(error.to_string()),
    };
    if let Some(why) = stays {
        let note = format!("The topic {name} stays in the database: {why}");
        events::about_topic(context, topic, EventType::Warning, "TopicLeft", note).await;
    }
    hold(context, topic, namespace, false).await?;
    Ok(Next::await_change())
}

/// Deletes the topic from the database, if that is wanted and it is this resource's. Says why it stays, if
/// whoever deleted the resource may believe that it is gone.
async fn delete(
    context: &Context,
    topic: &ScheduledTopic,
    namespace: &str,
) -> Result<Option<String>, Error> {
    if topic.spec.deletion_policy != Some(DeletionPolicy::Delete) || !was_brought(topic) {
        return Ok(None);
    }
    if is_paused(topic) {
        return Ok(Some("its ScheduledTopic was paused.".to_owned()));
    }
    let why = match find(context, topic, namespace).await? {
        Found::Serving(cluster) => return delete_from(context, topic, &cluster).await,
        // Whoever deletes a cluster knows that its topics stay on its disks, or go with them.
        Found::Going => return Ok(None),
        Found::Missing => "there is no such cluster. Its disks have the topic, if they were kept.",
        Found::NotAllowed => "the cluster does not list this namespace in topicNamespaces.",
        Found::Asleep => "the cluster's nodes are stopped. What is due fires when they are back.",
        Found::Unreadable(why) => {
            let why = format!("the operator may not look at the cluster: {why}");
            return Ok(Some(why));
        }
    };
    Ok(Some(why.to_owned()))
}

async fn delete_from(
    context: &Context,
    topic: &ScheduledTopic,
    cluster: &ChronosCluster,
) -> Result<Option<String>, Error> {
    if let Some(other) = context.topics.older(topic, cluster).await? {
        let why = format!("the older ScheduledTopic {other} is about it too.");
        return Ok(Some(why));
    }
    let database = database_of(context, cluster).await;
    database.delete_topic(topic.topic_name()).await?;
    Ok(None)
}

/// How long a try may take, so that it does not outlast the patience.
fn limit(waited_seconds: i64) -> Duration {
    let left = PATIENCE_SECONDS.saturating_sub(waited_seconds);
    let left = left.clamp(LEAST_SECONDS, PATIENCE_SECONDS);
    Duration::from_secs(left.unsigned_abs())
}

fn waited_seconds(topic: &ScheduledTopic) -> i64 {
    let since = topic.metadata.deletion_timestamp.as_ref();
    since.map_or(0, |since| {
        Timestamp::now().as_second() - since.0.as_second()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forty-five seconds, one last try and the wait for a turn are within a minute.
    #[test]
    fn a_try_does_not_outlast_the_patience() {
        for (waited, seconds) in [(0, 45), (30, 15), (44, 3), (45, 3), (86_400, 3), (-7, 45)] {
            assert_eq!(limit(waited), Duration::from_secs(seconds), "{waited}");
        }
    }
}
