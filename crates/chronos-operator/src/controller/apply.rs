//! Bringing objects to the state that was built, by server-side apply: only the fields that the
//! operator has an opinion about are its own.

use std::fmt::Debug;

use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;

/// The name under which the operator owns fields, and reports events.
pub(super) const MANAGER: &str = "chronos-operator";

/// Makes the object, or changes it. Applying the same again changes nothing.
pub(super) async fn apply<K>(client: &Client, object: &K) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let meta = object.meta();
    let (Some(name), Some(namespace)) = (&meta.name, &meta.namespace) else {
        return Err(Error::Incomplete);
    };
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let patch = PatchParams::apply(MANAGER).force();
    api.patch(name, &patch, &Patch::Apply(object))
        .await
        .map_err(Error::kubernetes("an object"))
}

/// Deletes an object that this cluster owns. One that is gone, or another's, is left.
pub(super) async fn delete_owned<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    owner_uid: &str,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = api
        .get_opt(name)
        .await
        .map_err(Error::kubernetes("an object"))?;
    let owned = found.is_some_and(|object| {
        let owners = object.meta().owner_references.as_ref();
        owners.is_some_and(|owners| owners.iter().any(|owner| owner.uid == owner_uid))
    });
    if owned {
        gone_is_fine(api.delete(name, &DeleteParams::default()).await.map(|_| ()))?;
    }
    Ok(())
}

/// What was to be deleted is gone, or is another object of the name by now.
pub(super) fn gone_is_fine(answer: Result<(), kube::Error>) -> Result<(), Error> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map_err(Error::kubernetes("a deletion")),
    }
}
