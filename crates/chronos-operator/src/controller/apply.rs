//! Bringing objects to the state that was built, by server-side apply: only the fields that the
//! operator has an opinion about are its own.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;

/// The name under which the operator owns fields, and reports events.
pub(super) const MANAGER: &str = "chronos-operator";

/// Makes the object, or changes it. Applying the same again changes nothing.
///
/// # Errors
/// There is an object of this name that somebody else made; it is left as it is.
pub(super) async fn apply<K>(client: &Client, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let namespace = object.meta().namespace.as_ref().ok_or(Error::Incomplete)?;
    apply_as(
        &Api::namespaced(client.clone(), namespace),
        &K::kind(&()),
        object,
    )
    .await
}

/// The same for a `kind` that may only be known when the program runs.
///
/// # Errors
/// As [`apply`]; an answer of 404 is of a kind that Kubernetes does not have.
pub(super) async fn apply_as<K>(api: &Api<K>, kind: &str, object: &K) -> Result<(), Error>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let meta = object.meta();
    let name = meta.name.as_ref().ok_or(Error::Incomplete)?;
    let found = api
        .get_opt(name)
        .await
        .map_err(Error::kubernetes("an object"))?;
    if found.is_some_and(|found| !is_ours(found.meta(), meta)) {
        return Err(Error::Taken(format!("{kind} {name}")));
    }
    let patch = PatchParams::apply(MANAGER).force();
    api.patch(name, &patch, &Patch::Apply(object))
        .await
        .map(|_| ())
        .map_err(Error::kubernetes(format!("{kind} {name}")))
}

/// Whether an object is what was built: it has the same owner, or none any more and our labels, as after a
/// restored backup or a deletion that left it behind.
pub(super) fn is_ours(found: &ObjectMeta, built: &ObjectMeta) -> bool {
    let owners = |meta: &ObjectMeta| meta.owner_references.clone().unwrap_or_default();
    let (theirs, ours) = (owners(found), owners(built));
    if theirs.iter().any(|owner| owner.controller == Some(true)) {
        return theirs
            .iter()
            .any(|owner| ours.iter().any(|own| own.uid == owner.uid));
    }
    let labels = |meta: &ObjectMeta| meta.labels.clone().unwrap_or_default();
    let there = labels(found);
    labels(built)
        .iter()
        .all(|(key, value)| there.get(key) == Some(value))
}

/// Deletes an object that this cluster owns. One that is gone, or another's, is left.
pub(super) async fn delete_owned<K>(api: &Api<K>, name: &str, owner_uid: &str) -> Result<(), Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(owner: Option<&str>, labels: &[(&str, &str)]) -> ObjectMeta {
        let owners = owner.map(|uid| {
            json!({
                "apiVersion": "v1", "kind": "K", "name": "db", "uid": uid, "controller": true,
            })
        });
        let labels: std::collections::BTreeMap<_, _> = labels.iter().copied().collect();
        let owners = Vec::from_iter(owners);
        serde_json::from_value(json!({ "ownerReferences": owners, "labels": labels })).unwrap()
    }

    #[test]
    fn an_object_of_somebody_else_is_not_ours() {
        let label = ("app.kubernetes.io/managed-by", "chronos-operator");
        let built = meta(Some("u"), &[label]);
        assert!(is_ours(&meta(Some("u"), &[]), &built));
        assert!(is_ours(&meta(None, &[label, ("more", "x")]), &built));
        assert!(!is_ours(&meta(None, &[]), &built));
        assert!(!is_ours(&meta(Some("before"), &[label]), &built));
        assert!(!is_ours(&meta(None, &[("app", "orders")]), &built));
    }
}
