//! A namespace of its own with one cluster, and waiting for what the API server and the database say
//! of it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use chronos_operator::api::{ChronosCluster, Condition, ConditionStatus, ScheduledTopic};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long anything may take on a machine that other work keeps busy.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// How long it may take until all of a namespace is gone.
pub const ALL_GONE: Duration = Duration::from_secs(60);
/// How long one question to the API server may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two tries to reach an API server that refuses connections.
const AGAIN: Duration = Duration::from_millis(200);

/// The cluster's name.
pub const CLUSTER: &str = "db";
/// The topic's.
pub const TOPIC: &str = "orders";
/// Partitions of the clusters here.
pub const PARTITIONS: u32 = 8;

pub struct Stage {
    pub client: Client,
    pub namespace: String,
}

impl Stage {
    /// An empty namespace that takes only restricted pods.
    pub async fn set(name: &str) -> Self {
        let client = Client::try_default()
            .await
            .expect("no Kubernetes: run scripts/test-kubernetes-nodes");
        let unique = chronos_client::unique_id()[24..].to_lowercase();
        let namespace = format!("{name}-{unique}");
        let object = json!({ "metadata": {
            "name": namespace,
            "labels": { "pod-security.kubernetes.io/enforce": "restricted" },
        } });
        let object: Namespace = serde_json::from_value(object).unwrap();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        Self { client, namespace }
    }

    /// The same with a cluster and a topic, both ready.
    pub async fn with_cluster(name: &str, spec: Value) -> Self {
        let stage = Self::set(name).await;
        stage.create_cluster(spec).await;
        stage.create_topic(json!({})).await;
        stage.ready().await;
        stage.topic_ready().await;
        stage
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A small cluster; `spec` adds to it.
    pub async fn create_cluster(&self, spec: Value) {
        let mut whole = json!({
            "partitions": PARTITIONS,
            "storage": { "size": "1Gi" },
            "resources": { "requests": { "cpu": "20m", "memory": "64Mi" } },
            "config": { "segmentSize": "16MiB" },
        });
        merge(&mut whole, spec);
        let cluster: ChronosCluster = serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ChronosCluster",
            "metadata": { "name": CLUSTER }, "spec": whole,
        }))
        .unwrap();
        self.api()
            .create(&PostParams::default(), &cluster)
            .await
            .unwrap();
    }

    /// The topic of the load, with short waits; `spec` adds to it.
    pub async fn create_topic(&self, spec: Value) {
        let mut whole = json!({
            "clusterRef": { "name": CLUSTER },
            "ackTimeout": "6s",
            "maxRetries": 20,
            "backoff": { "first": "50ms", "max": "1s" },
        });
        merge(&mut whole, spec);
        let topic: ScheduledTopic = serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ScheduledTopic",
            "metadata": { "name": TOPIC }, "spec": whole,
        }))
        .unwrap();
        self.api()
            .create(&PostParams::default(), &topic)
            .await
            .unwrap();
    }

    pub async fn change(&self, patch: Value) {
        let clusters: Api<ChronosCluster> = self.api();
        clusters
            .patch(CLUSTER, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub async fn cluster(&self) -> ChronosCluster {
        self.api().get(CLUSTER).await.unwrap()
    }

    /// Waits until an object is so. An API server that is away for a while is no failure.
    pub async fn until<K>(&self, name: &str, what: &str, is_so: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let api: Api<K> = self.api();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let holds = |object: Option<&K>| object.is_some_and(&is_so);
            match timeout_at(deadline, await_condition(api.clone(), name, holds)).await {
                Ok(Ok(Some(object))) => return object,
                Ok(_) => sleep(AGAIN).await,
                Err(_) => panic!(
                    "waited {PATIENCE:?} in vain until {name} of {} {what}; it is {:#?}",
                    self.namespace,
                    timeout(ANSWER, api.get(name)).await
                ),
            }
        }
    }

    /// Waits until an object is no more.
    pub async fn until_gone<K>(&self, name: &str, limit: Duration)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let gone = await_condition(self.api::<K>(), name, |object: Option<&K>| object.is_none());
        if timeout(limit, gone).await.is_err() {
            panic!(
                "{name} of {} is still there: {:#?}",
                self.namespace,
                self.api::<K>().get_opt(name).await
            );
        }
    }

    /// Waits until the operator says that all is as the spec says now.
    pub async fn ready(&self) -> ChronosCluster {
        self.until(CLUSTER, "is ready", |cluster: &ChronosCluster| {
            let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
            holds(conditions, "Ready", cluster.metadata.generation)
        })
        .await
    }

    /// Waits until the operator says that the topic is as its spec says now.
    pub async fn topic_ready(&self) -> ScheduledTopic {
        self.until(TOPIC, "is ready", |topic: &ScheduledTopic| {
            let conditions = topic.status.iter().flat_map(|status| &status.conditions);
            holds(conditions, "Ready", topic.metadata.generation)
        })
        .await
    }

    /// What tells objects from others of their names.
    pub async fn uids<K>(&self) -> BTreeSet<String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let all = self.api::<K>().list(&ListParams::default()).await.unwrap();
        all.iter().filter_map(ResourceExt::uid).collect()
    }

    pub async fn pod(&self, name: &str) -> Pod {
        self.api().get(name).await.unwrap()
    }

    /// Waits until a pod of this name is ready that is not the one with `old_uid`.
    pub async fn replaced(&self, name: &str, old_uid: &str) {
        self.until(name, "is replaced and ready", |pod: &Pod| {
            pod.metadata.uid.as_deref() != Some(old_uid) && is_ready(pod)
        })
        .await;
    }

    /// Where the Service of the clients is, for one who does not know the cluster's names.
    pub async fn address(&self) -> String {
        let service: Service = self.api().get(&format!("{CLUSTER}-client")).await.unwrap();
        let address = service.spec.unwrap().cluster_ip.unwrap();
        format!("{address}:9000")
    }

    pub async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        self.api::<K>()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// Deletes the namespace and waits until it is gone.
    pub async fn strike(self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .delete(&self.namespace, &DeleteParams::background())
            .await
            .unwrap();
        let gone = await_condition(
            namespaces.clone(),
            &self.namespace,
            |object: Option<&Namespace>| object.is_none(),
        );
        if timeout(ALL_GONE, gone).await.is_err() {
            panic!(
                "still there: {:#?}",
                namespaces.get_opt(&self.namespace).await
            );
        }
    }
}

fn merge(whole: &mut Value, more: Value) {
    for (key, value) in more.as_object().unwrap() {
        whole[key] = value.clone();
    }
}

/// Whether a condition is true of the generation that there is.
fn holds<'a>(
    mut conditions: impl Iterator<Item = &'a Condition>,
    name: &str,
    generation: Option<i64>,
) -> bool {
    conditions.any(|condition| {
        condition.type_ == name
            && condition.status == ConditionStatus::True
            && Some(condition.observed_generation) == generation
    })
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What tells a pod from the next one of its name.
pub fn uid(pod: &Pod) -> String {
    pod.uid().unwrap_or_default()
}
