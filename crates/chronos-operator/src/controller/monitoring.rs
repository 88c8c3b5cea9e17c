//! Objects for the Prometheus operator, where its kinds exist. Kubernetes is asked for the kinds
//! each time they are wanted: they may come later than this operator.

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::discovery;
use serde_json::Value;

use super::apply::MANAGER;
use super::{Context, Error};
use crate::api::ChronosCluster;
use crate::build::{MonitoringKind, Names};

/// Makes what is asked for. Returns why something is missing: nothing else waits for these objects.
pub(super) async fn monitoring(
    context: &Context,
    cluster: &ChronosCluster,
    namespace: &str,
) -> Option<String> {
    let mut missing = Vec::new();
    for kind in MonitoringKind::ALL {
        let Some(object) = kind.object(cluster) else {
            continue;
        };
        match make(context, cluster, namespace, kind, object).await {
            Ok(true) => {}
            Ok(false) => missing.push(format!(
                "Kubernetes does not know {}: install the Prometheus operator.",
                kind.name()
            )),
            Err(error) => missing.push(error.to_string()),
        }
    }
    (!missing.is_empty()).then(|| missing.join(" "))
}

/// Whether the kind exists, and so the object now.
async fn make(
    context: &Context,
    cluster: &ChronosCluster,
    namespace: &str,
    kind: MonitoringKind,
    object: Value,
) -> Result<bool, Error> {
    let Some(resource) = resource(context, kind).await? else {
        return Ok(false);
    };
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), namespace, &resource);
    let name = Names::of(cluster).cluster().to_owned();
    let patch = PatchParams::apply(MANAGER).force();
    api.patch(&name, &patch, &Patch::Apply(object))
        .await
        .map_err(Error::kubernetes("an object for monitoring"))?;
    Ok(true)
}

async fn resource(context: &Context, kind: MonitoringKind) -> Result<Option<ApiResource>, Error> {
    let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", kind.name());
    match discovery::pinned_kind(&context.client, &kind).await {
        Ok((resource, _)) => Ok(Some(resource)),
        Err(kube::Error::Discovery(_)) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(Error::kubernetes("what kinds there are")(error)),
    }
}
