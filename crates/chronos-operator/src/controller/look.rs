//! Looking at everything that belongs to a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node as Machine, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::tls::{Certificates, certificates, serves_with_tls};
use super::{Context, Error, seen};
use crate::api::ChronosCluster;
use crate::build::{Names, ordinal, selector_text};
use crate::database::{Access, Database, Status, Way};
use crate::plan::Observed;

/// What there is.
pub(super) struct Look {
    pub(super) database: Arc<dyn Database>,
    pub(super) certificates: Certificates,
    pub(super) observed: Observed,
    pub(super) status: Option<Status>,
    /// Why the database did not answer.
    pub(super) silence: Option<String>,
    pub(super) claims: BTreeMap<u32, PersistentVolumeClaim>,
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
    let mine = ListParams::default().labels(&selector_text(names.cluster()));
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), namespace);
    let (pods, claims) = tokio::try_join!(pods.list(&mine), claims.list(&mine))
        .map_err(Error::kubernetes("a list of pods and claims"))?;
    let prefix = names.claim_prefix();
    let pods: BTreeMap<u32, Pod> = pods
        .into_iter()
        .filter_map(|pod| Some((ordinal(&pod.name_any(), &names.stateful_set())?, pod)))
        .collect();
    let claims: BTreeMap<u32, PersistentVolumeClaim> = claims
        .into_iter()
        .filter_map(|claim| Some((ordinal(&claim.name_any(), &prefix)?, claim)))
        .collect();

    let mut observed = Observed {
        set: set.map(seen::set),
        ..Observed::default()
    };
    for (ordinal, pod) in &pods {
        let machine = machine(context, pod).await;
        let seen = seen::pod(pod, machine.as_ref());
        observed.pods.insert(*ordinal, seen);
    }
    for (ordinal, claim) in &claims {
        observed.claims.insert(*ordinal, seen::claim(claim));
    }
    let certificates = certificates(context, cluster, namespace, &pods).await;
    let way = way(names, size, &pods, certificates.access.clone());
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
    observed.database = status.as_ref().map(|status| seen::database(status, names));
    Ok(Look {
        database,
        certificates,
        observed,
        status,
        silence,
        claims,
    })
}

/// The way to the nodes. While TLS is being turned on or off, those are asked that are more: every node
/// answers for all.
fn way(names: &Names, size: u32, pods: &BTreeMap<u32, Pod>, access: Option<Access>) -> Way {
    let serves = |tls: bool| {
        let pods = pods
            .iter()
            .filter(move |(_, pod)| serves_with_tls(pod) == tls);
        pods.map(|(ordinal, _)| names.grpc_address(*ordinal))
            .collect()
    };
    let (secured, open): (Vec<String>, Vec<String>) = (serves(true), serves(false));
    let (addresses, tls) = match pods.is_empty() || secured.len() > open.len() {
        true => (secured, access),
        false => (open, None),
    };
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
    use crate::build::TLS_FLAG;

    fn pod(tls: bool) -> Pod {
        let flag = if tls { TLS_FLAG } else { "-tls-enabled=false" };
        serde_json::from_value(json!({ "spec": { "containers": [
            { "name": "chronosdb", "args": [flag] },
        ] } }))
        .unwrap()
    }

    #[test]
    fn those_are_asked_that_are_more_while_pods_differ() {
        let cluster: ChronosCluster = serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ChronosCluster",
            "metadata": { "name": "db", "namespace": "n" }, "spec": {},
        }))
        .unwrap();
        let names = Names::of(&cluster);
        let access = Access {
            ca: Vec::new(),
            server_name: "db-client.n.svc".to_owned(),
            identity: None,
        };
        let to = |pods: &[bool]| {
            let pods = (0..).zip(pods.iter().map(|tls| pod(*tls))).collect();
            way(&names, 3, &pods, Some(access.clone()))
        };
        let tls = Some(access.clone());
        assert_eq!(to(&[]), Way::to_all(&names, 3, tls.clone()));
        assert_eq!(to(&[true, true]), Way::to_all(&names, 3, tls.clone()));
        assert_eq!(to(&[false, false]), Way::to_all(&names, 3, None));
        let before = Way {
            addresses: vec![names.grpc_address(1), names.grpc_address(2)],
            tls: None,
        };
        assert_eq!(to(&[true, false, false]), before);
        let after = Way {
            addresses: vec![names.grpc_address(0), names.grpc_address(1)],
            tls,
        };
        assert_eq!(to(&[true, true, false]), after);
    }
}
