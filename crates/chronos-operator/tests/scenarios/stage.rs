//! A namespace of its own, the operator's reconcilers, and a stand-in for the kubelet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chronos_operator::api::ChronosCluster;
use chronos_operator::controller::{self, Context, Settings};
use chronos_operator::metrics::Metrics;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::fake::Fake;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Stage {
    pub client: Client,
    pub namespace: String,
    pub database: Fake,
    pub context: Arc<Context>,
}

static CRDS: OnceCell<()> = OnceCell::const_new();

/// A client of the API server that the environment names. There must be one.
pub async fn client() -> Client {
    let client = Client::try_default()
        .await
        .expect("no API server: run scripts/test-kubernetes");
    CRDS.get_or_init(|| install(client.clone())).await;
    client
}

/// A client with the rights that the chart gives the operator, and no others.
async fn as_operator() -> Client {
    let account = std::env::var("CHRONOS_TEST_OPERATOR")
        .expect("no CHRONOS_TEST_OPERATOR: run scripts/test-kubernetes");
    as_account(&account).await
}

/// A client with the rights of an account.
pub async fn as_account(account: &str) -> Client {
    let mut config = Config::infer().await.unwrap();
    config.auth_info.impersonate = Some(account.to_owned());
    Client::try_from(config).unwrap()
}

async fn install(client: Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    for (_, crd) in chronos_operator::crds::definitions() {
        let name = crd.name_any();
        let force = PatchParams::apply("scenarios").force();
        api.patch(&name, &force, &Patch::Apply(&crd)).await.unwrap();
        let there = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(PATIENCE, there)
            .await
            .unwrap()
            .unwrap();
    }
}

impl Stage {
    pub async fn set(name: &str) -> Self {
        let client = client().await;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = format!(
            "{name}-{}",
            &chronos_client::unique_id()[..8].to_lowercase()
        );
        let object = json!({
            "metadata": {
                "name": namespace,
                "labels": { "pod-security.kubernetes.io/enforce": "restricted" },
            },
        });
        namespaces
            .create(
                &PostParams::default(),
                &serde_json::from_value(object).unwrap(),
            )
            .await
            .unwrap();
        let database = Fake::default();
        let settings = Settings {
            default_image: "chronosdb:1".to_owned(),
            namespaces: vec![namespace.clone()],
            nodes: true,
        };
        let context = Arc::new(Context::new(
            as_operator().await,
            Arc::new(database.clone()),
            settings,
            Arc::new(Metrics::new().unwrap()),
        ));
        Self {
            client,
            namespace,
            database,
            context,
        }
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn create(&self, spec: Value) {
        self.try_create(spec).await.unwrap();
    }

    pub async fn try_create(&self, spec: Value) -> Result<ChronosCluster, kube::Error> {
        self.try_create_named("db", spec).await
    }

    /// Another cluster, beside the one that all the rest is about.
    pub async fn create_named(&self, name: &str, spec: Value) {
        self.try_create_named(name, spec).await.unwrap();
    }

    async fn try_create_named(
        &self,
        name: &str,
        spec: Value,
    ) -> Result<ChronosCluster, kube::Error> {
        let cluster: ChronosCluster = serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ChronosCluster",
            "metadata": { "name": name }, "spec": spec,
        }))
        .unwrap();
        self.api().create(&PostParams::default(), &cluster).await
    }

    pub async fn change(&self, patch: Value) {
        self.try_change(patch).await.unwrap();
    }

    pub async fn try_change(&self, patch: Value) -> Result<ChronosCluster, kube::Error> {
        let patch = Patch::Merge(patch);
        self.api()
            .patch("db", &PatchParams::default(), &patch)
            .await
    }

    pub async fn cluster(&self) -> ChronosCluster {
        self.api().get("db").await.unwrap()
    }

    pub async fn stateful_set(&self) -> StatefulSet {
        self.api().get("db").await.unwrap()
    }

    pub async fn names<K>(&self) -> BTreeSet<String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let all = self.api::<K>().list(&ListParams::default()).await.unwrap();
        all.iter().map(ResourceExt::name_any).collect()
    }

    /// What tells a pod from the one that had its name before.
    pub async fn pods(&self) -> BTreeSet<String> {
        let pods = self
            .api::<Pod>()
            .list(&ListParams::default())
            .await
            .unwrap();
        pods.iter().filter_map(ResourceExt::uid).collect()
    }

    pub async fn claim(&self, name: &str) -> PersistentVolumeClaim {
        self.api().get(name).await.unwrap()
    }

    /// Reconciles once, and lets the kubelet's stand-in work once.
    pub async fn turn(&self) {
        let cluster = Arc::new(self.cluster().await);
        controller::reconcile_cluster(cluster, Arc::clone(&self.context))
            .await
            .unwrap();
        self.kubelet().await;
    }

    /// Turns until something is so of the cluster, and returns it as it is then.
    pub async fn turn_until(
        &self,
        what: &str,
        mut is_so: impl AsyncFnMut(&ChronosCluster) -> bool,
    ) -> ChronosCluster {
        let began = Instant::now();
        loop {
            self.turn().await;
            let cluster = self.cluster().await;
            if is_so(&cluster).await {
                return cluster;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "not {what}: {:#?}",
                cluster.status
            );
        }
    }

    /// Turns until the status says so, and returns what it says then. `watch` looks at every turn.
    pub async fn until(&self, phase: &str, mut watch: impl AsyncFnMut(&Self)) -> ChronosCluster {
        self.turn_until(phase, async |cluster| {
            watch(self).await;
            let status = cluster.status.clone().unwrap_or_default();
            let now = serde_json::to_value(status.phase).unwrap();
            now == phase && Some(status.observed_generation) == cluster.metadata.generation
        })
        .await
    }

    /// Turns until the status says so in its sentence.
    pub async fn says(&self, words: &str) {
        let said = async |cluster: &ChronosCluster| {
            let status = cluster.status.as_ref();
            status.is_some_and(|status| status.phase_reason.contains(words))
        };
        self.turn_until(words, said).await;
    }

    pub async fn running(&self) -> ChronosCluster {
        self.until("Running", async |_| {}).await
    }

    /// Makes every pod ready, unless its disk was removed; nodes of pods that are gone are not alive.
    pub async fn kubelet(&self) {
        let pods: Api<Pod> = self.api();
        let all = pods.list(&ListParams::default()).await.unwrap();
        let mut there = BTreeSet::new();
        for pod in &all {
            let name = pod.name_any();
            if pod.metadata.deletion_timestamp.is_some() {
                continue;
            }
            there.insert(name.clone());
            if self.database.state().removed.contains(&name) {
                continue;
            }
            let conditions = pod.status.as_ref().and_then(|s| s.conditions.clone());
            let ready = conditions.iter().flatten().any(|c| c.type_ == "Ready");
            if !ready {
                let status = json!({ "status": {
                    "phase": "Running",
                    "conditions": [{ "type": "Ready", "status": "True" }],
                } });
                let done = pods
                    .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
                    .await;
                if done.is_err() {
                    continue;
                }
            }
            self.database.state().join(&name);
        }
        let mut state = self.database.state();
        if there.len() >= 3 {
            state.founded = true;
        }
        for (name, node) in &mut state.nodes {
            node.alive = there.contains(name);
        }
    }

    pub async fn delete_namespace(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await
            .unwrap();
    }

    pub async fn namespace_is_gone(&self) -> bool {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.get_opt(&self.namespace).await.unwrap().is_none()
    }
}
