//! The Secrets of a cluster's TLS: whether they hold what they should, and how the operator itself
//! connects.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;

use super::Context;
use crate::api::ChronosCluster;
use crate::build::{Names, SECRET_KEYS, TLS_FLAG, TLS_VOLUME, demands_certificates};
use crate::database::{Access, Way};

/// What is known of the Secrets that a cluster names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Certificates {
    /// How to connect to a node that serves with TLS. `None`: none does, or the Secret is not whole.
    pub(super) access: Option<Access>,
    /// What is missing first.
    pub(super) missing: Option<Missing>,
}

/// Why TLS is not as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Missing {
    /// There is no such Secret.
    #[error("The Secret {0} does not exist; create it with tls.crt, tls.key and ca.crt.")]
    Secret(String),
    /// A key of it is not there, or empty.
    #[error("The Secret {secret} has no {key}; add it.")]
    Key {
        /// The Secret.
        secret: String,
        /// What it lacks.
        key: &'static str,
    },
    /// Kubernetes does not show it.
    #[error("The Secret {secret} cannot be read: {why}")]
    Unreadable {
        /// The Secret.
        secret: String,
        /// What Kubernetes said.
        why: String,
    },
}

impl Missing {
    /// In one word, for the condition.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Secret(_) => "SecretMissing",
            Self::Key { .. } => "SecretIncomplete",
            Self::Unreadable { .. } => "SecretUnreadable",
        }
    }
}

/// Looks at the Secrets that a cluster names. While its pods still serve with TLS that is no longer asked
/// for, theirs is looked at.
pub(super) async fn certificates(
    context: &Context,
    cluster: &ChronosCluster,
    namespace: &str,
    pods: &BTreeMap<u32, Pod>,
) -> Certificates {
    let tls = cluster.spec.tls.clone().unwrap_or_default();
    let shows_own = demands_certificates(&tls);
    let mut seen = Certificates::default();
    if let Some(name) = &tls.secret_name {
        match read(context, namespace, name).await {
            Ok(data) => seen.access = Some(access(&Names::of(cluster), &data, shows_own)),
            Err(missing) => seen.missing = Some(missing),
        }
    } else if let Some(name) = pods.values().find_map(mounted)
        && let Ok(data) = read(context, namespace, name).await
    {
        // Showing a certificate that is not demanded does no harm.
        seen.access = Some(access(&Names::of(cluster), &data, true));
    }
    if let Some(name) = &tls.internal_secret_name
        && let Err(missing) = read(context, namespace, name).await
    {
        seen.missing.get_or_insert(missing);
    }
    seen
}

/// The way to a cluster as its spec says.
pub(super) async fn way(context: &Context, names: &Names, cluster: &ChronosCluster) -> Way {
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let seen = certificates(context, cluster, namespace, &BTreeMap::new()).await;
    Way::to_all(names, cluster.spec.replicas, seen.access)
}

async fn read(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<BTreeMap<String, ByteString>, Missing> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    match secrets.get_opt(name).await {
        Ok(Some(secret)) => whole(name, secret),
        Ok(None) => Err(Missing::Secret(name.to_owned())),
        Err(error) => Err(Missing::Unreadable {
            secret: name.to_owned(),
            why: error.to_string(),
        }),
    }
}

fn whole(name: &str, secret: Secret) -> Result<BTreeMap<String, ByteString>, Missing> {
    let data = secret.data.unwrap_or_default();
    for key in SECRET_KEYS {
        if data.get(key).is_none_or(|value| value.0.is_empty()) {
            let secret = name.to_owned();
            return Err(Missing::Key { secret, key });
        }
    }
    Ok(data)
}

fn access(names: &Names, data: &BTreeMap<String, ByteString>, shows_own: bool) -> Access {
    let pem = |key: &str| data.get(key).map(|it| it.0.clone()).unwrap_or_default();
    Access {
        ca: pem("ca.crt"),
        server_name: names.client_host(),
        identity: shows_own.then(|| (pem("tls.crt"), pem("tls.key"))),
    }
}

/// Whether a pod was made to serve clients with TLS. While TLS is being turned on or off, pods differ.
pub(super) fn serves_with_tls(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .flat_map(|container| container.args.iter().flatten())
        .any(|argument| argument == TLS_FLAG)
}

/// The Secret that a pod serves clients with.
fn mounted(pod: &Pod) -> Option<&String> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let mut secrets = volumes.filter(|volume| volume.name == TLS_VOLUME);
    secrets.next()?.secret.as_ref()?.secret_name.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(keys: &[&str]) -> Secret {
        let data = keys.iter().map(|key| {
            let value = ByteString(key.as_bytes().to_vec());
            ((*key).to_owned(), value)
        });
        Secret {
            data: Some(data.collect()),
            ..Secret::default()
        }
    }

    #[test]
    fn a_secret_has_all_three() {
        assert!(whole("s", secret(&SECRET_KEYS)).is_ok());
        let missing = whole("s", secret(&["tls.crt", "tls.key"])).unwrap_err();
        assert_eq!(missing.reason(), "SecretIncomplete");
        assert!(missing.to_string().contains("no ca.crt"));
        assert_eq!(
            whole("s", Secret::default()).unwrap_err().reason(),
            "SecretIncomplete"
        );
    }

    #[test]
    fn the_operator_expects_the_service_and_shows_a_certificate_when_one_is_demanded() {
        let cluster: ChronosCluster = serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ChronosCluster",
            "metadata": { "name": "db", "namespace": "prod" }, "spec": {},
        }))
        .unwrap();
        let names = Names::of(&cluster);
        let data = whole("s", secret(&SECRET_KEYS)).unwrap();
        let open = access(&names, &data, false);
        assert_eq!(open.server_name, "db-client.prod.svc");
        assert_eq!((open.ca, open.identity), (b"ca.crt".to_vec(), None));
        assert!(access(&names, &data, true).identity.is_some());
    }

    #[test]
    fn a_pod_tells_by_its_flags_how_it_serves() {
        let pod = |flag: &str| -> Pod {
            serde_json::from_value(json!({ "spec": { "containers": [
                { "name": "chronosdb", "args": ["-cluster=true", flag] },
            ], "volumes": [{ "name": TLS_VOLUME, "secret": { "secretName": "s" } }] } }))
            .unwrap()
        };
        assert!(serves_with_tls(&pod(TLS_FLAG)));
        assert_eq!(mounted(&pod(TLS_FLAG)), Some(&"s".to_owned()));
        assert!(!serves_with_tls(&pod("-data-dir=/data")));
    }
}
