//! Objects for the Prometheus operator, where its kinds exist. Kubernetes is asked for the kinds
//! each time they are wanted: they may come later than this operator.

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::discovery;

use super::apply::MANAGER;
use super::{Context, Error};
use crate::api::ChronosCluster;
use crate::build::{MonitoringKind, Names};

/// Makes what is asked for. Returns why something is missing.
pub(super) async fn monitoring(
    context: &Context,
    cluster: &ChronosCluster,
    namespace: &str,
) -> Result<Option<String>, Error> {
    let mut missing = Vec::new();
    for kind in MonitoringKind::ALL {
        let Some(object) = kind.object(cluster) else {
            continue;
        };
        let Some(resource) = resource(context, kind).await? else {
            missing.push(kind.name());
            continue;
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(context.client.clone(), namespace, &resource);
        let name = Names::of(cluster).cluster().to_owned();
        let patch = PatchParams::apply(MANAGER).force();
        api.patch(&name, &patch, &Patch::Apply(object))
            .await
            .map_err(Error::kubernetes("an object for monitoring"))?;
    }
    Ok((!missing.is_empty()).then(|| {
        let kinds = missing.join(" and ");
        format!("Kubernetes does not know {kinds}: install the Prometheus operator.")
    }))
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
