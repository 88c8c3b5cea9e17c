//! Objects for the Prometheus operator, where its kinds exist. Kubernetes is asked each time: the kinds may
//! come later than this operator.

use kube::api::{Api, ApiResource, DynamicObject};

use super::apply::{apply_as, delete_owned};
use super::{Context, Error};
use crate::api::ChronosCluster;
use crate::build::{MonitoringKind, Names};

/// Makes what is asked for, and deletes what no longer is. Returns why that is not so: nothing else waits
/// for these objects.
pub(super) async fn monitoring(
    context: &Context,
    cluster: &ChronosCluster,
    namespace: &str,
) -> Option<String> {
    let mut missing = Vec::new();
    for kind in MonitoringKind::ALL {
        let resource = ApiResource::from_gvk(&kind.id());
        let api = Api::namespaced_with(context.client.clone(), namespace, &resource);
        let done = match kind.object(cluster) {
            Some(object) => make(&api, kind, &object).await,
            None => unmake(&api, cluster).await,
        };
        missing.extend(done.err().map(|error| error.to_string()));
    }
    (!missing.is_empty()).then(|| missing.join(" "))
}

async fn make(
    api: &Api<DynamicObject>,
    kind: MonitoringKind,
    object: &DynamicObject,
) -> Result<(), Error> {
    match apply_as(api, kind.name(), object).await {
        Err(error) if error.is_not_found() => Err(Error::UnknownKind(kind.name())),
        done => done,
    }
}

/// An unknown kind has no objects, and an operator that may not look at a kind has made none.
async fn unmake(api: &Api<DynamicObject>, cluster: &ChronosCluster) -> Result<(), Error> {
    let uid = cluster.metadata.uid.as_deref().ok_or(Error::Incomplete)?;
    match delete_owned(api, Names::of(cluster).cluster(), uid).await {
        Err(error) if error.is_not_found() || error.is_forbidden() => Ok(()),
        done => done,
    }
}
