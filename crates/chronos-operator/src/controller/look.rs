//! Looking at everything that belongs to a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node as Machine, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::{Context, Error, seen};
use crate::build::{Names, ordinal, selector_text};
use crate::database::{Database, Status};
use crate::plan::Observed;

/// What there is.
pub(super) struct Look {
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
    set: Option<&StatefulSet>,
    database: &Arc<dyn Database>,
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
        observed,
        status,
        silence,
        claims,
    })
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
