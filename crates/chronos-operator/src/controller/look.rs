//! Looking at everything that belongs to a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node as Machine, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use tokio::time::Instant;

use super::tls::{Certificates, certificates, serving_secret};
use super::{Context, Error, seen};
use crate::api::ChronosCluster;
use crate::build::{Names, ordinal, selector_text};
use crate::database::{Access, Database, Status, Way};
use crate::plan::Observed;

/// How old a look may be when something is done because of it.
pub(super) const FRESH: Duration = Duration::from_secs(5);

/// What there is.
pub(super) struct Look {
    pub(super) database: Arc<dyn Database>,
    pub(super) certificates: Certificates,
    pub(super) observed: Observed,
    pub(super) status: Option<Status>,
    /// Why the database did not answer.
    pub(super) silence: Option<String>,
    pub(super) claims: BTreeMap<u32, PersistentVolumeClaim>,
    /// When it was seen.
    pub(super) at: Instant,
}

/// Looks at the pods and claims of a cluster, and asks its database. Straight from the API server:
/// what is done next must not rest on a cache.
pub(super) async fn look(
    context: &Context,
    namespace: &str,
    names: &Names,
    cluster: &ChronosCluster,
    set: Option<&StatefulSet>,
    size: u32,
) -> Result<Look, Error> {
    let (pods, _) = pods_and_claims(context, namespace, names).await?;
    let mut machines = BTreeMap::new();
    for pod in pods.values() {
        if let Some(machine) = machine(context, pod).await {
            machines.insert(machine.name_any(), machine);
        }
    }
    let certificates = certificates(context, cluster, namespace, &pods).await;
    let way = match pods.is_empty() {
        true => Way::to_all(names, size, certificates.wanted(cluster)),
        false => way(names, size, &pods, &certificates.access),
    };
    let database = context.databases.of(names, way);
    // Nobody is there to answer.
    let (status, silence) = if pods.is_empty() {
        (None, Some("no pod runs".to_owned()))
    } else {
        match database.status().await {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error.to_string())),
        }
    };
    // Once more: a silent database may have taken its time.
    let at = Instant::now();
    let (pods, claims) = pods_and_claims(context, namespace, names).await?;
    let now = Timestamp::now();
    let mut observed = Observed {
        set: set.map(seen::set),
        database: status.as_ref().map(|status| seen::database(status, names)),
        ..Observed::default()
    };
    for (ordinal, pod) in &pods {
        let on = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        let machine = on.and_then(|name| machines.get(name));
        observed.pods.insert(*ordinal, seen::pod(pod, machine, now));
    }
    for (ordinal, claim) in &claims {
        observed.claims.insert(*ordinal, seen::claim(claim));
    }
    Ok(Look {
        database,
        certificates,
        observed,
        status,
        silence,
        claims,
        at,
    })
}

type Numbered<K> = BTreeMap<u32, K>;

async fn pods_and_claims(
    context: &Context,
    namespace: &str,
    names: &Names,
) -> Result<(Numbered<Pod>, Numbered<PersistentVolumeClaim>), Error> {
    let mine = ListParams::default().labels(&selector_text(names.cluster()));
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), namespace);
    let (pods, claims) = tokio::try_join!(pods.list(&mine), claims.list(&mine))
        .map_err(Error::kubernetes("a list of pods and claims"))?;
    Ok((
        numbered(pods, &names.stateful_set()),
        numbered(claims, &names.claim_prefix()),
    ))
}

fn numbered<K: Resource>(all: impl IntoIterator<Item = K>, prefix: &str) -> Numbered<K> {
    all.into_iter()
        .filter_map(|object| Some((ordinal(&object.name_any(), prefix)?, object)))
        .collect()
}

/// The way to the nodes. While TLS is being turned on or off, or gets another Secret, pods differ; those
/// are asked of which there are most: every node answers for all.
fn way(
    names: &Names,
    size: u32,
    pods: &BTreeMap<u32, Pod>,
    access: &BTreeMap<String, Access>,
) -> Way {
    let mut alike: BTreeMap<Option<&String>, Vec<String>> = BTreeMap::new();
    for (ordinal, pod) in pods {
        let addresses = alike.entry(serving_secret(pod)).or_default();
        addresses.push(names.grpc_address(*ordinal));
    }
    let most = alike
        .into_iter()
        .max_by_key(|(_, addresses)| addresses.len());
    let (secret, addresses) = most.unwrap_or_default();
    let tls = secret.and_then(|secret| access.get(secret)).cloned();
    match addresses.len() == pods.len() {
        true => Way::to_all(names, size, tls),
        false => Way { addresses, tls },
    }
}

/// The machine that a pod runs on. An operator that may not look at machines goes without.
async fn machine(context: &Context, pod: &Pod) -> Option<Machine> {
    let name = pod.spec.as_ref()?.node_name.as_ref()?;
    if !context.settings.nodes {
        return None;
    }
    let machines: Api<Machine> = Api::all(context.client.clone());
    match machines.get_opt(name).await {
        Ok(machine) => machine,
        Err(error) => {
            tracing::debug!(%error, node = %name, "the Kubernetes node cannot be looked at");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::build::TLS_VOLUME;

    fn pod(secret: &str) -> Pod {
        let volumes = match secret {
            "" => json!([]),
            secret => json!([{ "name": TLS_VOLUME, "secret": { "secretName": secret } }]),
        };
        serde_json::from_value(json!({ "spec": { "containers": [], "volumes": volumes } })).unwrap()
    }

    #[test]
    fn those_are_asked_that_are_more_while_pods_differ() {
        let cluster: ChronosCluster = serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ChronosCluster",
            "metadata": { "name": "db", "namespace": "n" }, "spec": {},
        }))
        .unwrap();
        let names = Names::of(&cluster);
        let access = ["old", "new"].map(|secret| Access {
            ca: secret.as_bytes().to_vec(),
            server_name: "db-client.n.svc".to_owned(),
            identity: None,
        });
        let [old, new] = access.clone().map(Some);
        let known = ["old", "new"].map(str::to_owned).into_iter().zip(access);
        let known: BTreeMap<String, Access> = known.collect();
        let to = |secrets: &[&str]| {
            let pods = (0..)
                .zip(secrets.iter().map(|secret| pod(secret)))
                .collect();
            way(&names, 3, &pods, &known)
        };
        assert_eq!(to(&["old", "old"]), Way::to_all(&names, 3, old.clone()));
        assert_eq!(to(&["", ""]), Way::to_all(&names, 3, None));
        let some = |ordinals: [u32; 2], tls| Way {
            addresses: ordinals.map(|ordinal| names.grpc_address(ordinal)).into(),
            tls,
        };
        assert_eq!(to(&["new", "", ""]), some([1, 2], None));
        assert_eq!(to(&["new", "new", ""]), some([0, 1], new.clone()));
        assert_eq!(to(&["old", "old", "new"]), some([0, 1], old));
        assert_eq!(to(&["old", "new", "new"]), some([1, 2], new));
    }
}
