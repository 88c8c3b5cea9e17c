//! One reconciliation of a ScheduledTopic: the topic is compared with the database each time, so
//! that what somebody else changed is found.

mod bring;
mod difference;
mod release;
mod rivals;
mod settings;
mod status;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action as Next;
use kube::{Api, ResourceExt};
use serde_json::json;

use self::bring::bring;
pub use self::rivals::Known;
use self::status::Outcome;
use super::apply::MANAGER;
use super::{Context, Error, tls};
use crate::api::{ChronosCluster, DeletionPolicy, PAUSE_ANNOTATION, ScheduledTopic};
use crate::build::Names;
use crate::database::Database;

/// How often the database is asked again when nothing happens.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Brings the topic in the database to what the resource says.
///
/// # Errors
/// What Kubernetes refused, and when it is not known whether another resource has the topic. What the
/// database says is in the status.
pub async fn reconcile(topic: Arc<ScheduledTopic>, context: Arc<Context>) -> Result<Next, Error> {
    let namespace = topic.namespace().ok_or(Error::Incomplete)?;
    if topic.metadata.deletion_timestamp.is_some() {
        return release::release(&context, &topic, &namespace).await;
    }
    let wants = topic.spec.deletion_policy == Some(DeletionPolicy::Delete);
    if wants != release::is_held(&topic) {
        release::hold(&context, &topic, &namespace, wants).await?;
    }
    let outcome = if is_paused(&topic) {
        Outcome::Paused
    } else {
        match find(&context, &topic, &namespace).await? {
            Found::Serving(cluster) => match context.topics.older(&topic, &cluster).await {
                Ok(Some(other)) => Outcome::Taken(other),
                Ok(None) => {
                    let database = database_of(&context, &cluster).await;
                    bring(&context, &topic, database.as_ref()).await
                }
                Err(error) => {
                    let unknown = Outcome::Unwatched(error.to_string());
                    write_status(&context, &topic, &namespace, &unknown).await?;
                    return Err(error);
                }
            },
            Found::Unreadable(why) => Outcome::Unreadable(why),
            Found::Missing | Found::Going => Outcome::ClusterMissing,
            Found::NotAllowed => Outcome::NotAllowed,
            Found::Asleep => Outcome::ClusterAsleep,
        }
    };
    write_status(&context, &topic, &namespace, &outcome).await?;
    context.backoff.worked(&key(&topic));
    Ok(Next::requeue(match outcome {
        Outcome::Silent(_) => Duration::from_secs(5),
        _ => LOOK_AGAIN,
    }))
}

/// The cluster of a topic.
pub(super) enum Found {
    Serving(Box<ChronosCluster>),
    /// The operator may not look at it.
    Unreadable(String),
    Missing,
    /// It is being deleted.
    Going,
    NotAllowed,
    Asleep,
}

pub(super) async fn find(
    context: &Context,
    topic: &ScheduledTopic,
    namespace: &str,
) -> Result<Found, Error> {
    let reference = &topic.spec.cluster_ref;
    let home = reference.namespace.as_deref().unwrap_or(namespace);
    let clusters: Api<ChronosCluster> = Api::namespaced(context.client.clone(), home);
    let cluster = match clusters.get_opt(&reference.name).await {
        Ok(Some(cluster)) => cluster,
        Ok(None) => return Ok(Found::Missing),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return Ok(Found::Unreadable(status.message));
        }
        Err(error) => return Err(Error::kubernetes("the cluster")(error)),
    };
    Ok(if cluster.metadata.deletion_timestamp.is_some() {
        Found::Going
    } else if !may_use(topic, &cluster) {
        Found::NotAllowed
    } else if cluster.spec.hibernate == Some(true) {
        Found::Asleep
    } else {
        Found::Serving(Box::new(cluster))
    })
}

/// Whether the topic is in a namespace that the cluster lets in.
fn may_use(topic: &ScheduledTopic, cluster: &ChronosCluster) -> bool {
    lets_in(cluster, &topic.namespace().unwrap_or_default())
}

/// Whether the cluster lets topics of that namespace in.
fn lets_in(cluster: &ChronosCluster, namespace: &str) -> bool {
    let mut others = cluster.spec.topic_namespaces.iter();
    cluster.namespace().as_deref() == Some(namespace)
        || others.any(|name| name == namespace || name == "*")
}

/// The database of a cluster, reached as whoever looks after the cluster does.
async fn database_of(context: &Context, cluster: &ChronosCluster) -> Arc<dyn Database> {
    let names = Names::of(cluster);
    if let Some(known) = context.databases.known(&names) {
        return known;
    }
    let way = tls::way(context, &names, cluster).await;
    context.databases.of(&names, way)
}

fn is_paused(topic: &ScheduledTopic) -> bool {
    let annotation = topic.annotations().get(PAUSE_ANNOTATION);
    topic.spec.paused == Some(true) || annotation.is_some_and(|value| value == "true")
}

async fn write_status(
    context: &Context,
    topic: &ScheduledTopic,
    namespace: &str,
    outcome: &Outcome,
) -> Result<(), Error> {
    let new = status::status(topic, outcome, &Timestamp::now().to_string());
    if topic.status.as_ref() == Some(&new) {
        return Ok(());
    }
    let topics: Api<ScheduledTopic> = Api::namespaced(context.client.clone(), namespace);
    let patch = json!({
        "apiVersion": "chronosdb.io/v1alpha1",
        "kind": "ScheduledTopic",
        "status": new,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    let written = topics
        .patch_status(&topic.name_any(), &parameters, &Patch::Apply(patch))
        .await;
    match written {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()).map_err(Error::kubernetes("the status")),
    }
}

/// What names a topic among those that fail.
pub(super) fn key(topic: &ScheduledTopic) -> String {
    format!(
        "topic {}/{}",
        topic.namespace().unwrap_or_default(),
        topic.name_any()
    )
}
