//! Running the reconcilers while the Lease is held.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node as Machine, PersistentVolumeClaim, Pod, Service};
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{Action as Next, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::Instrument;

use super::wakes::{changes_of, place, reflected, wish_and_phase, wishes};
use super::{Context, Error, cluster, topic};
use crate::api::{ChronosCluster, ScheduledTopic};
use crate::log;

/// Reconciliations at the same time, of each kind.
const CONCURRENCY: u16 = 16;
/// How long a reconciliation may take. A connection may die without a word.
const LONGEST: Duration = Duration::from_secs(120);
/// The pods and claims of all clusters.
const OURS: &str = "app.kubernetes.io/name=chronosdb,app.kubernetes.io/component=node";

/// Runs the reconcilers whenever the Lease is held, until `stop`.
pub async fn run(
    context: Arc<Context>,
    mut held: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            lead = held.wait_for(|held| *held) => if lead.is_err() { return },
        }
        tracing::info!("this operator acts");
        context.metrics.leads(true);
        context.topics.clear();
        let controllers = join_all(controllers(&context));
        tokio::select! {
            _ = controllers => {}
            _ = held.wait_for(|held| !*held) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        context.metrics.leads(false);
        tracing::info!("this operator acts no more");
    }
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

fn controllers(context: &Arc<Context>) -> Vec<Running> {
    // A name that is given twice is looked after once.
    let namespaces: BTreeSet<&String> = context.settings.namespaces.iter().collect();
    let scopes: Vec<Option<&str>> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces
            .into_iter()
            .map(|name| Some(name.as_str()))
            .collect()
    };
    let mut all: Vec<Running> = Vec::new();
    for scope in scopes {
        all.push(Box::pin(clusters(Arc::clone(context), scope)));
        all.push(Box::pin(topics(Arc::clone(context), scope)));
    }
    all
}

fn api<K>(context: &Context, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    }
}

fn clusters(
    context: Arc<Context>,
    namespace: Option<&str>,
) -> impl Future<Output = ()> + Send + use<> {
    let ours = watcher::Config::default().labels(OURS);
    let here = Arc::clone(&context);
    let gone = move |gone: &ChronosCluster| cluster::forget(gone, &here);
    let (changes, known) = reflected(api(&context, namespace), wishes(), gone);
    let mut controller = Controller::for_stream(changes, known.clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .owns(api::<StatefulSet>(&context, namespace), ours.clone())
        .owns(api::<Service>(&context, namespace), ours.clone())
        .watches(api::<Pod>(&context, namespace), ours.clone(), of_cluster)
        .watches(
            api::<PersistentVolumeClaim>(&context, namespace),
            ours,
            of_cluster,
        );
    if context.settings.nodes {
        // Kubelets report often. Any cluster may have a pod on a machine that is being emptied.
        let machines = changes_of(Api::<Machine>::all(context.client.clone()), place);
        controller = controller.watches_stream(machines, move |_| {
            let all: Vec<ObjectRef<ChronosCluster>> = known
                .state()
                .iter()
                .map(|cluster| ObjectRef::from_obj(cluster.as_ref()))
                .collect();
            all
        });
    }
    let stream = controller.run(
        |cluster, context| measured("ChronosCluster", cluster, context, cluster::reconcile),
        |cluster, _, context| failed(&cluster::key(&cluster), &context),
        context,
    );
    drain(stream)
}

fn topics(
    context: Arc<Context>,
    namespace: Option<&str>,
) -> impl Future<Output = ()> + Send + use<> {
    let here = Arc::clone(&context);
    let gone = move |gone: &ScheduledTopic| here.backoff.worked(&topic::key(gone));
    let (changes, known) = reflected(api(&context, namespace), wishes(), gone);
    context.topics.add(namespace, known.clone());
    let clusters = changes_of(api(&context, namespace), wish_and_phase);
    let stream = Controller::for_stream(changes, known.clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .watches_stream(clusters, move |cluster| {
            let all: Vec<ObjectRef<ScheduledTopic>> = known
                .state()
                .iter()
                .filter(|topic| names(topic, &cluster))
                .map(|topic| ObjectRef::from_obj(topic.as_ref()))
                .collect();
            all
        })
        .run(
            |topic, context| measured("ScheduledTopic", topic, context, topic::reconcile),
            |topic, _, context| failed(&topic::key(&topic), &context),
            context,
        );
    drain(stream)
}

/// Whether a topic names this cluster.
fn names(topic: &ScheduledTopic, cluster: &ChronosCluster) -> bool {
    let reference = &topic.spec.cluster_ref;
    let home = reference.namespace.clone().or_else(|| topic.namespace());
    reference.name == cluster.name_any() && home == cluster.namespace()
}

/// The cluster of a pod or claim, by its label.
fn of_cluster<K: Resource>(object: K) -> Option<ObjectRef<ChronosCluster>> {
    let name = object.labels().get("app.kubernetes.io/instance")?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

async fn measured<K, F>(
    kind: &'static str,
    object: Arc<K>,
    context: Arc<Context>,
    reconcile: impl FnOnce(Arc<K>, Arc<Context>) -> F + Send,
) -> Result<Next, Error>
where
    K: Resource<DynamicType = ()> + Send + Sync,
    F: Future<Output = Result<Next, Error>> + Send,
{
    let metrics = Arc::clone(&context.metrics);
    let span = log::reconciliation(object.as_ref());
    let began = Instant::now();
    let work = reconcile(object, context).instrument(span.clone());
    // Kubernetes holds the next one back until this one ends.
    let ended = tokio::time::timeout(LONGEST, work).await;
    let outcome = ended.unwrap_or(Err(Error::Overdue(LONGEST)));
    let seconds = began.elapsed().as_secs_f64();
    let word = outcome.as_ref().map_or_else(Error::reason, |_| "ok");
    metrics.reconciled(kind, word, seconds);
    if outcome.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    span.in_scope(|| match &outcome {
        Ok(_) => tracing::debug!(seconds, "reconciled"),
        Err(error) => tracing::warn!(reason = word, %error, seconds, "the reconciliation failed"),
    });
    outcome
}

/// When to try again. Why it failed was logged where it did.
fn failed(key: &str, context: &Context) -> Next {
    let pause = context.backoff.failed(key);
    tracing::debug!(
        resource = key,
        seconds = pause.as_secs_f32(),
        "trying again"
    );
    Next::requeue(pause)
}

/// Runs a controller to its end. Failures were logged where they happened.
fn drain<K, E, Q>(
    stream: impl futures::Stream<
        Item = Result<(ObjectRef<K>, Next), kube::runtime::controller::Error<E, Q>>,
    > + Send,
) -> impl Future<Output = ()> + Send
where
    K: Resource + DeserializeOwned + Send,
    K::DynamicType: Hash + Eq + Debug + Send,
    E: std::error::Error + Send + 'static,
    Q: std::error::Error + Send + 'static,
{
    stream.for_each(|done| async move {
        if let Err(kube::runtime::controller::Error::QueueError(error)) = done {
            tracing::warn!(%error, "Kubernetes cannot be watched; trying again");
        }
    })
}

#[cfg(test)]
mod tests {
    use kube::Client;
    use kube::client::Body;

    use super::super::Settings;
    use super::*;
    use crate::database::grpc::Pool;
    use crate::metrics::Metrics;

    /// Kubernetes takes the question, and never answers.
    #[tokio::test(start_paused = true)]
    async fn a_reconciliation_that_hangs_is_given_up_and_comes_again() {
        let silence = tower::service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<http::Response<Body>, std::io::Error>>()
        });
        let context = Arc::new(Context::new(
            Client::new(silence, "n"),
            Arc::new(Pool::default()),
            Settings::default(),
            Arc::new(Metrics::new().unwrap()),
        ));
        let mut cluster = ChronosCluster::new("db", Default::default());
        cluster.metadata.namespace = Some("n".to_owned());
        let reconcile = cluster::reconcile;
        let ended = measured(
            "ChronosCluster",
            Arc::new(cluster),
            Arc::clone(&context),
            reconcile,
        );
        let refused = ended.await.unwrap_err();
        assert!(matches!(refused, Error::Overdue(LONGEST)), "{refused}");
        let counted = context.metrics.render().unwrap();
        assert!(counted.contains("outcome=\"Overdue\""), "{counted}");
    }
}
