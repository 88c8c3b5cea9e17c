//! The Secrets of a cluster's TLS: whether they hold what they should, and how the operator itself
//! connects.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;

use super::Context;
use crate::api::ChronosCluster;
use crate::build::{Names, SECRET_KEYS, TLS_VOLUME};
use crate::database::{Access, Way};

/// What is known of the Secrets that a cluster names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Certificates {
    /// How to connect to nodes that serve with TLS, by their Secret. One that is not whole is left out.
    pub(super) access: BTreeMap<String, Access>,
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

impl Certificates {
    /// How to connect to nodes that are as the spec says.
    pub(super) fn wanted(&self, cluster: &ChronosCluster) -> Option<Access> {
        let secret = cluster.spec.tls.as_ref()?.secret_name.as_ref()?;
        self.access.get(secret).cloned()
    }
}

/// Looks at the Secrets that a cluster names, and at those that its pods serve with: until all have been
/// restarted, another one than the spec's, or one though TLS is no longer asked for.
pub(super) async fn certificates(
    context: &Context,
    cluster: &ChronosCluster,
    namespace: &str,
    pods: &BTreeMap<u32, Pod>,
) -> Certificates {
    let tls = cluster.spec.tls.clone().unwrap_or_default();
    let mut seen = Certificates::default();
    let mut named: BTreeSet<&String> = pods.values().filter_map(serving_secret).collect();
    named.extend(&tls.secret_name);
    for name in named {
        match read(context, namespace, name).await {
            Ok(data) => {
                let access = access(&Names::of(cluster), &data);
                seen.access.insert(name.clone(), access);
            }
            Err(missing) if tls.secret_name.as_ref() == Some(name) => seen.missing = Some(missing),
            Err(_) => {}
        }
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
    Way::to_all(names, cluster.spec.replicas, seen.wanted(cluster))
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

/// A certificate is shown whether it is demanded or not: whether pods demand one may be about to change.
fn access(names: &Names, data: &BTreeMap<String, ByteString>) -> Access {
    let pem = |key: &str| data.get(key).map(|it| it.0.clone()).unwrap_or_default();
    Access {
        ca: pem("ca.crt"),
        server_name: names.client_host(),
        identity: Some((pem("tls.crt"), pem("tls.key"))),
    }
}

/// The Secret that a pod serves clients with. `None`: it serves without TLS.
pub(super) fn serving_secret(pod: &Pod) -> Option<&String> {
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
    fn the_operator_expects_the_service_and_shows_a_certificate() {
        let cluster: ChronosCluster = serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ChronosCluster",
            "metadata": { "name": "db", "namespace": "prod" }, "spec": {},
        }))
        .unwrap();
        let names = Names::of(&cluster);
        let data = whole("s", secret(&SECRET_KEYS)).unwrap();
        let access = access(&names, &data);
        assert_eq!(access.server_name, "db-client.prod.svc");
        assert_eq!(access.ca, b"ca.crt");
        let identity = (b"tls.crt".to_vec(), b"tls.key".to_vec());
        assert_eq!(access.identity, Some(identity));
    }

    #[test]
    fn a_pod_tells_by_its_volumes_how_it_serves() {
        let pod = |volume: &str| -> Pod {
            serde_json::from_value(json!({ "spec": { "containers": [], "volumes": [
                { "name": volume, "secret": { "secretName": "s" } },
            ] } }))
            .unwrap()
        };
        assert_eq!(serving_secret(&pod(TLS_VOLUME)), Some(&"s".to_owned()));
        assert_eq!(serving_secret(&pod("other")), None);
    }
}
