//! The pod of a node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapKeySelector, Container, ContainerPort, EnvVar, EnvVarSource,
    HTTPGetAction, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext, TopologySpreadConstraint, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::TEMPLATE_ANNOTATION;
use super::names::CLAIM;
use super::{GRPC_PORT, HTTP_PORT, Names, PEER_PORT, Record, given, selector, template_hash, tls};
use crate::api::{ChronosCluster, Given, Malformed, PodOverrides, ZoneSpread, duration};

/// The container that runs the node.
pub const CONTAINER: &str = "chronosdb";
/// The program, in the image.
const PROGRAM: &str = "/usr/local/bin/chronosdb";
pub(super) const DATA_DIR: &str = "/data";
/// The user of the image; a disk is made readable for it by its group.
const USER: i64 = 65532;
/// How long a stopping node waits for open calls and streams when nobody said.
const SHUTDOWN_TIMEOUT_MS: i64 = 10_000;
/// What a stopping node needs besides, to hand over what it still leads and to save its state.
const STOP_MS: i64 = 20_000;
/// The label of a Kubernetes node's zone. Newer versions put it on pods as well.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// The template of every pod, whatever its ordinal and however many there are.
pub(super) fn template(
    cluster: &ChronosCluster,
    record: &Record,
) -> Result<PodTemplateSpec, Malformed> {
    let overrides = cluster.spec.pod.clone().unwrap_or_default();
    let mut labels = overrides.labels.clone();
    labels.extend(selector(Names::of(cluster).cluster()));
    let mut annotations = overrides.annotations.clone();
    annotations.insert(
        TEMPLATE_ANNOTATION.to_owned(),
        template_hash(cluster, record),
    );
    Ok(PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(cluster, record, overrides)?),
    })
}

fn pod(
    cluster: &ChronosCluster,
    record: &Record,
    overrides: PodOverrides,
) -> Result<PodSpec, Malformed> {
    let names = Names::of(cluster);
    let mut containers = vec![container(cluster, record, &overrides)?];
    containers.extend(given::sidecars(&overrides)?);
    let mut volumes = tls::volumes(cluster);
    volumes.extend(given::volumes(&overrides)?);
    let affinity = overrides.affinity.as_ref();
    let tolerations = Given::read_all(&overrides.tolerations, "pod.tolerations")?;
    Ok(PodSpec {
        service_account_name: Some(names.cluster().to_owned()),
        // The server never calls Kubernetes.
        automount_service_account_token: Some(false),
        // Variables that Kubernetes adds for Services could look like settings.
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(grace_seconds(cluster)),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // A large disk is not walked through at every start.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(runtime_default()),
            ..PodSecurityContext::default()
        }),
        topology_spread_constraints: Some(spread(cluster)),
        affinity: affinity.map(|it| it.read("pod.affinity")).transpose()?,
        node_selector: not_empty(overrides.node_selector),
        tolerations: (!tolerations.is_empty()).then_some(tolerations),
        priority_class_name: overrides.priority_class_name,
        scheduler_name: overrides.scheduler_name,
        image_pull_secrets: (!overrides.image_pull_secrets.is_empty()).then(|| {
            let secrets = overrides.image_pull_secrets.iter();
            secrets.map(Into::into).collect()
        }),
        volumes: (!volumes.is_empty()).then_some(volumes),
        containers,
        ..PodSpec::default()
    })
}

fn container(
    cluster: &ChronosCluster,
    record: &Record,
    overrides: &PodOverrides,
) -> Result<Container, Malformed> {
    let mut mounts = vec![VolumeMount {
        name: CLAIM.to_owned(),
        mount_path: DATA_DIR.to_owned(),
        ..VolumeMount::default()
    }];
    mounts.extend(tls::mounts(cluster));
    mounts.extend(given::mounts(overrides)?);
    Ok(Container {
        name: CONTAINER.to_owned(),
        image: Some(record.image(cluster).to_owned()),
        image_pull_policy: cluster.spec.image_pull_policy.clone(),
        command: Some(vec![PROGRAM.to_owned()]),
        args: Some(arguments(cluster)),
        env: Some(environment(cluster, overrides)?),
        ports: Some(vec![
            port("grpc", GRPC_PORT),
            port("http", HTTP_PORT),
            port("peers", PEER_PORT),
        ]),
        resources: Some(resources(cluster)?),
        volume_mounts: Some(mounts),
        // Recovery of a long log answers /livez, so the time here is only for the process to come
        // up, for example on a disk that is slow to appear.
        startup_probe: Some(probe("/livez", 2, 150)),
        // Only what a restart would mend: a node that failed, or does not answer for a minute.
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        // No hook before the stop: asked to stop, the node hands its leads over itself while it still
        // serves, whoever asks.
        security_context: Some(restricted()),
        ..Container::default()
    })
}

/// The [restricted](https://kubernetes.io/docs/concepts/security/pod-security-standards/) standard.
pub(super) fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        seccomp_profile: Some(runtime_default()),
        ..SecurityContext::default()
    }
}

/// `$(CHRONOS_NODE_ID)` is replaced by the kubelet.
fn arguments(cluster: &ChronosCluster) -> Vec<String> {
    let host = Names::of(cluster).pod_host("$(CHRONOS_NODE_ID)");
    let mut arguments = vec![
        "-cluster=true".to_owned(),
        format!("-data-dir={DATA_DIR}"),
        format!("-grpc-addr=:{GRPC_PORT}"),
        format!("-http-addr=:{HTTP_PORT}"),
        format!("-cluster-grpc-addr=:{PEER_PORT}"),
        format!("-grpc-advertise-addr={host}:{GRPC_PORT}"),
        format!("-http-advertise-addr={host}:{HTTP_PORT}"),
        format!("-cluster-advertise-addr={host}:{PEER_PORT}"),
        format!("-partition-count={}", cluster.spec.partitions),
    ];
    arguments.extend(tls::arguments(cluster));
    let settings = cluster.spec.config.clone().unwrap_or_default();
    arguments.extend(settings.flags());
    arguments
}

/// The operator's variables last: the last one of a name wins.
fn environment(
    cluster: &ChronosCluster,
    overrides: &PodOverrides,
) -> Result<Vec<EnvVar>, Malformed> {
    let record = Names::of(cluster).record();
    let mut all = Given::read_all(&overrides.env, "pod.env")?;
    let mut own = vec![
        from_field("CHRONOS_NODE_ID", "metadata.name"),
        from_field(
            "CHRONOS_NODE_ZONE",
            &format!("metadata.labels['{ZONE_LABEL}']"),
        ),
        from_record("CHRONOS_REPLICATION_FACTOR", &record, "replicationFactor"),
        from_record("CHRONOS_CLUSTER_SEEDS", &record, "seeds"),
        from_record("CHRONOS_RAFT_JOIN", &record, "join"),
    ];
    own.extend(tls::environment(cluster));
    all.retain(|theirs| own.iter().all(|ours| ours.name != theirs.name));
    all.extend(own);
    Ok(all)
}

fn from_field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// Read when a container starts; a key that is not there leaves the variable out.
fn from_record(name: &str, record: &str, key: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            config_map_key_ref: Some(ConfigMapKeySelector {
                name: record.to_owned(),
                key: key.to_owned(),
                optional: Some(matches!(key, "seeds" | "join")),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

fn resources(cluster: &ChronosCluster) -> Result<ResourceRequirements, Malformed> {
    if let Some(resources) = &cluster.spec.resources {
        return resources.read("resources");
    }
    let requests = [("cpu", "250m"), ("memory", "512Mi")]
        .map(|(key, value)| (key.to_owned(), Quantity(value.to_owned())));
    Ok(ResourceRequirements {
        requests: Some(requests.into()),
        ..ResourceRequirements::default()
    })
}

/// Over Kubernetes nodes where possible, and over zones as the spec says.
fn spread(cluster: &ChronosCluster) -> Vec<TopologySpreadConstraint> {
    let constraint = |key: &str, when: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: when.to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(selector(Names::of(cluster).cluster())),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    };
    let mut all = vec![constraint("kubernetes.io/hostname", "ScheduleAnyway")];
    match cluster.spec.zone_spread.unwrap_or_default() {
        ZoneSpread::Preferred => all.push(constraint(ZONE_LABEL, "ScheduleAnyway")),
        ZoneSpread::Required => all.push(constraint(ZONE_LABEL, "DoNotSchedule")),
        ZoneSpread::Disabled => {}
    }
    all
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        ..SeccompProfile::default()
    }
}

/// How long a node may take to stop. The time to drain is not in it: the operator drains before it
/// stops a node, and whoever else stops one does not wait for long. A namespace that is deleted looks
/// again only after half of this time.
fn grace_seconds(cluster: &ChronosCluster) -> i64 {
    let config = cluster.spec.config.as_ref();
    let timeout_ms = config
        .and_then(|config| duration::milliseconds(config.shutdown_timeout.as_deref()?))
        .unwrap_or(SHUTDOWN_TIMEOUT_MS);
    timeout_ms.saturating_add(STOP_MS).div_euclid(1000)
}

fn not_empty(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then_some(map)
}
