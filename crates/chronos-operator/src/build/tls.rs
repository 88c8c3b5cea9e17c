//! What TLS adds to a node: mounted Secrets and the flags that name their files.

use k8s_openapi::api::core::v1::{EnvVar, SecretVolumeSource, Volume, VolumeMount};

use super::Names;
use crate::api::{ChronosCluster, Tls};

/// The keys that every Secret of a cluster has.
pub const SECRET_KEYS: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// The flag by which a pod is seen to serve clients with TLS.
pub const TLS_FLAG: &str = "-tls-enabled=true";

/// The volume of the Secret that clients are served with.
pub const TLS_VOLUME: &str = "tls";

/// Where a Secret is mounted, and the name of its volume.
const CLIENTS: (&str, &str) = ("/etc/chronosdb/tls", TLS_VOLUME);
const NODES: (&str, &str) = ("/etc/chronosdb/internal-tls", "internal-tls");

/// Both places.
pub(super) const PLACES: [(&str, &str); 2] = [CLIENTS, NODES];

/// Readable for the group of the pod's volumes.
const MODE: i32 = 0o440;

pub(super) fn volumes(cluster: &ChronosCluster) -> Vec<Volume> {
    let volume = |(secret, (_, name)): (&String, (&str, &str))| Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.clone()),
            default_mode: Some(MODE),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    secrets(cluster).map(volume).collect()
}

pub(super) fn mounts(cluster: &ChronosCluster) -> Vec<VolumeMount> {
    // A whole folder: files that are mounted one by one never change.
    let mount = |(_, (path, name)): (&String, (&str, &str))| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    secrets(cluster).map(mount).collect()
}

pub(super) fn arguments(cluster: &ChronosCluster) -> Vec<String> {
    let Some(tls) = &cluster.spec.tls else {
        return Vec::new();
    };
    let mut all = Vec::new();
    if tls.secret_name.is_some() {
        let (path, _) = CLIENTS;
        all.push(TLS_FLAG.to_owned());
        all.push(format!("-tls-cert-file={path}/tls.crt"));
        all.push(format!("-tls-key-file={path}/tls.key"));
        if demands_certificates(tls) {
            all.push("-tls-client-auth=true".to_owned());
            all.push(format!("-tls-ca-file={path}/ca.crt"));
        }
    }
    if tls.internal_secret_name.is_some() {
        let (path, _) = NODES;
        all.push("-replication-tls-enabled=true".to_owned());
        all.push(format!("-replication-tls-cert-file={path}/tls.crt"));
        all.push(format!("-replication-tls-key-file={path}/tls.key"));
        all.push(format!("-replication-tls-ca-file={path}/ca.crt"));
    }
    all
}

/// So that `chronosctl` works inside the pod without further options.
pub(super) fn environment(cluster: &ChronosCluster) -> Vec<EnvVar> {
    let tls = cluster.spec.tls.as_ref();
    let Some(tls) = tls.filter(|tls| tls.secret_name.is_some()) else {
        return Vec::new();
    };
    let (path, _) = CLIENTS;
    let mut all = vec![
        ("CA_FILE", format!("{path}/ca.crt")),
        ("SERVER_NAME", Names::of(cluster).client_host()),
    ];
    if demands_certificates(tls) {
        all.push(("CERT_FILE", format!("{path}/tls.crt")));
        all.push(("KEY_FILE", format!("{path}/tls.key")));
    }
    let variable = |(name, value): (&str, String)| EnvVar {
        name: format!("CHRONOS_CLIENT_TLS_{name}"),
        value: Some(value),
        ..EnvVar::default()
    };
    all.into_iter().map(variable).collect()
}

/// Whether clients have to show a certificate.
fn demands_certificates(tls: &Tls) -> bool {
    tls.client_auth.unwrap_or(false)
}

/// The Secrets of a cluster, each with its place.
fn secrets(
    cluster: &ChronosCluster,
) -> impl Iterator<Item = (&String, (&'static str, &'static str))> {
    let tls = cluster.spec.tls.as_ref();
    let clients = tls.and_then(|tls| tls.secret_name.as_ref());
    let nodes = tls.and_then(|tls| tls.internal_secret_name.as_ref());
    clients
        .map(|secret| (secret, CLIENTS))
        .into_iter()
        .chain(nodes.map(|secret| (secret, NODES)))
}
