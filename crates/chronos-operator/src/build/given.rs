//! What a cluster adds to its pods beside the operator's own. A name that is the operator's would make Kubernetes
//! refuse the whole set, or take the place of a certificate.

use k8s_openapi::api::core::v1::{Container, Volume, VolumeMount};

use super::names::CLAIM;
use super::pod::{CONTAINER, DATA_DIR, restricted};
use super::tls;
use crate::api::{Given, Malformed, PodOverrides};

pub(super) fn sidecars(overrides: &PodOverrides) -> Result<Vec<Container>, Malformed> {
    let mut all = Given::read_all(&overrides.sidecars, "pod.sidecars")?;
    refuse(all.iter().map(|it| &it.name), &[CONTAINER], "pod.sidecars")?;
    for container in &mut all {
        container.security_context.get_or_insert_with(restricted);
    }
    Ok(all)
}

pub(super) fn volumes(overrides: &PodOverrides) -> Result<Vec<Volume>, Malformed> {
    let all = Given::read_all(&overrides.volumes, "pod.volumes")?;
    let [clients, nodes] = tls::PLACES.map(|(_, name)| name);
    let own = [CLAIM, clients, nodes];
    refuse(all.iter().map(|it: &Volume| &it.name), &own, "pod.volumes")?;
    Ok(all)
}

pub(super) fn mounts(overrides: &PodOverrides) -> Result<Vec<VolumeMount>, Malformed> {
    let all = Given::read_all(&overrides.volume_mounts, "pod.volumeMounts")?;
    let [clients, nodes] = tls::PLACES.map(|(path, _)| path);
    let own = [DATA_DIR, clients, nodes];
    let paths = all.iter().map(|it: &VolumeMount| &it.mount_path);
    refuse(paths, &own, "pod.volumeMounts")?;
    Ok(all)
}

fn refuse<'a>(
    mut theirs: impl Iterator<Item = &'a String>,
    own: &[&str],
    place: &str,
) -> Result<(), Malformed> {
    match theirs.find(|name| own.contains(&name.trim_end_matches('/'))) {
        None => Ok(()),
        Some(name) => Err(Malformed {
            place: place.to_owned(),
            why: format!("{name} is the operator's own; take another one"),
        }),
    }
}
