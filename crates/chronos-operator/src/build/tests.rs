//! What the built objects promise.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::*;

fn cluster(spec: Value) -> ChronosCluster {
    serde_json::from_value(json!({
        "apiVersion": "chronosdb.io/v1alpha1",
        "kind": "ChronosCluster",
        "metadata": { "name": "db", "namespace": "prod", "uid": "u-1" },
        "spec": spec,
    }))
    .unwrap()
}

fn set(spec: Value) -> StatefulSet {
    let cluster = cluster(spec);
    let record = Record::new(&cluster, "chronosdb:1");
    stateful_set(&cluster, &record, cluster.spec.replicas, None).unwrap()
}

fn pod_of(set: &StatefulSet) -> PodSpec {
    set.spec.clone().unwrap().template.spec.unwrap()
}

#[test]
fn scaling_changes_the_number_and_nothing_else() {
    let three = cluster(json!({ "replicas": 3 }));
    let five = cluster(json!({ "replicas": 5 }));
    // The record is made once, when there were three.
    let record = Record::new(&three, "chronosdb:1");
    let mut before = stateful_set(&three, &record, 3, None).unwrap();
    let after = stateful_set(&five, &record, 5, Some(&before)).unwrap();
    before.spec.as_mut().unwrap().replicas = Some(5);
    assert_eq!(before, after);
    assert_eq!(record.config_map(&three), record.config_map(&five));
}

#[test]
fn what_does_not_concern_pods_does_not_change_their_hash() {
    let record = Record::new(&cluster(json!({})), "chronosdb:1");
    let hash = |spec: Value| template_hash(&cluster(spec), &record);
    let plain = hash(json!({}));
    for same in [
        json!({ "replicas": 5 }),
        json!({ "storage": { "size": "20Gi" } }),
        json!({ "podDisruptionBudget": { "enabled": false } }),
        json!({ "monitoring": { "serviceMonitor": true } }),
        json!({ "hibernate": true }),
        json!({ "updateStrategy": { "type": "OnDelete" } }),
    ] {
        assert_eq!(hash(same.clone()), plain, "{same}");
    }
    for other in [
        json!({ "image": "chronosdb:2" }),
        json!({ "config": { "logLevel": "debug" } }),
        json!({ "resources": { "limits": { "memory": "1Gi" } } }),
        json!({ "pod": { "nodeSelector": { "disk": "ssd" } } }),
        json!({ "zoneSpread": "Required" }),
        json!({ "tls": { "secretName": "certificates" } }),
    ] {
        assert_ne!(hash(other.clone()), plain, "{other}");
    }
}

/// A pod is out of date when this differs, so it must be the same for every version of the
/// operator: a change here restarts every cluster in the world.
#[test]
fn the_hash_of_a_spec_is_the_same_in_every_version() {
    let plain = cluster(json!({}));
    let record = Record::new(&plain, "chronosdb:1");
    assert_eq!(template_hash(&plain, &record), "e495d94e55a095a1");
}

#[test]
fn a_restart_is_asked_for_by_annotation() {
    let mut asked = cluster(json!({}));
    let record = Record::new(&asked, "chronosdb:1");
    let before = template_hash(&asked, &record);
    asked.metadata.annotations =
        Some([(crate::api::RESTART_ANNOTATION.to_owned(), "now".to_owned())].into());
    assert_ne!(template_hash(&asked, &record), before);
}

#[test]
fn an_operator_with_another_image_changes_nothing() {
    let made = cluster(json!({}));
    let record = Record::new(&made, "chronosdb:1");
    let reread = Record::read(&record.config_map(&made)).unwrap();
    assert_eq!(reread, record);
    assert_eq!(reread.image(&made), "chronosdb:1");
    let set = stateful_set(&made, &record, 3, None).unwrap();
    let recovered = Record::recovered(&made, Some(&set), "chronosdb:2");
    assert_eq!(recovered.image, "chronosdb:1");
}

#[test]
fn pods_are_selected_by_labels_that_never_change() {
    let set = set(json!({ "pod": { "labels": {
        "app.kubernetes.io/instance": "stolen", "team": "a",
    } } }));
    let spec = set.spec.unwrap();
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    for (key, value) in spec.selector.match_labels.unwrap() {
        assert_eq!(labels[&key], value);
    }
    assert_eq!(labels["team"], "a");
    assert_eq!(
        selector_text("db"),
        "app.kubernetes.io/component=node,app.kubernetes.io/instance=db,app.kubernetes.io/name=chronosdb"
    );
}

#[test]
fn pods_fit_the_restricted_security_standard() {
    let pod = pod_of(&set(json!({})));
    let security = pod.security_context.clone().unwrap();
    assert_eq!(security.run_as_non_root, Some(true));
    assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
    for container in &pod.containers {
        let security = container.security_context.clone().unwrap();
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert_eq!(security.capabilities.unwrap().drop.unwrap(), ["ALL"]);
    }
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert!(pod.init_containers.is_none());
}

#[test]
fn probes_ask_different_questions() {
    let pod = pod_of(&set(json!({})));
    let node = &pod.containers[0];
    let path = |probe: &Option<k8s_openapi::api::core::v1::Probe>| {
        let probe = probe.clone().unwrap();
        (
            probe.http_get.unwrap().path.unwrap(),
            probe.failure_threshold,
        )
    };
    assert_eq!(path(&node.startup_probe), ("/livez".to_owned(), Some(150)));
    assert_eq!(path(&node.liveness_probe), ("/livez".to_owned(), Some(6)));
    assert_eq!(path(&node.readiness_probe), ("/readyz".to_owned(), Some(2)));
}

#[test]
fn a_stop_has_time_for_open_calls_and_no_more() {
    let grace = |spec| pod_of(&set(spec)).termination_grace_period_seconds;
    // Half of it is how late a namespace notices that it is empty, and that is to be gone soon.
    assert_eq!(grace(json!({})), Some(30));
    let patient = json!({ "config": { "shutdownTimeout": "1m" } });
    assert_eq!(grace(patient), Some(80));
    // The operator drains before it stops a node.
    let draining = json!({ "updateStrategy": { "drainTimeout": "5m" } });
    assert_eq!(grace(draining.clone()), Some(30));
    let pod = pod_of(&set(draining));
    // The node does it when it is asked to stop; a hook would do it twice.
    assert_eq!(pod.containers[0].lifecycle, None);
}

#[test]
fn seeds_are_the_first_nodes_until_the_cluster_is_founded() {
    let made = cluster(json!({ "replicas": 5 }));
    let mut record = Record::new(&made, "chronosdb:1");
    assert_eq!((record.founders, record.replication_factor), (3, 3));
    let data = record.config_map(&made).data.unwrap();
    assert_eq!(
        data["seeds"],
        "db-0.db-nodes.prod.svc:7947,db-1.db-nodes.prod.svc:7947,db-2.db-nodes.prod.svc:7947"
    );
    assert!(!data.contains_key("join"));

    record.cluster_id = Some("ab".repeat(16));
    record.joinable = 1;
    let data = record.config_map(&made).data.unwrap();
    assert!(!data.contains_key("seeds"), "nothing may found it again");
    assert_eq!(data["join"], "db-0.db-nodes.prod.svc:7947");
}

#[test]
fn a_single_node_has_one_copy_and_no_budget() {
    let one = cluster(json!({ "replicas": 1 }));
    let record = Record::new(&one, "chronosdb:1");
    assert_eq!((record.founders, record.replication_factor), (1, 1));
    assert!(disruption_budget(&one, 1).is_none());
    let budget = disruption_budget(&cluster(json!({})), 0)
        .unwrap()
        .spec
        .unwrap();
    assert_eq!(budget.selector.unwrap().match_labels, Some(selector("db")));
    let leaving = disruption_budget(&one, 3);
    assert!(leaving.is_some(), "two nodes that still vote leave");
    let off = json!({ "podDisruptionBudget": { "enabled": false } });
    assert!(disruption_budget(&cluster(off), 3).is_none());
}

#[test]
fn the_set_never_deletes_a_disk_of_a_running_cluster() {
    let spec = set(json!({ "storage": { "size": "1Gi", "whenDeleted": "Delete" } }))
        .spec
        .unwrap();
    let policy = spec.persistent_volume_claim_retention_policy.unwrap();
    assert_eq!(policy.when_scaled.as_deref(), Some("Retain"));
    assert_eq!(policy.when_deleted.as_deref(), Some("Delete"));
    assert_eq!(
        spec.update_strategy.unwrap().type_.as_deref(),
        Some("OnDelete")
    );
}

#[test]
fn what_a_user_adds_cannot_replace_what_a_node_needs() {
    let pod = pod_of(&set(json!({ "pod": {
        "env": [
            { "name": "CHRONOS_NODE_ID", "value": "mine" },
            { "name": "TZ", "value": "UTC" },
        ],
        "sidecars": [{ "name": "agent", "image": "agent:1" }],
    } })));
    let env = pod.containers[0].env.clone().unwrap();
    let ids: Vec<_> = env.iter().filter(|e| e.name == "CHRONOS_NODE_ID").collect();
    assert_eq!(ids.len(), 1);
    assert!(ids[0].value.is_none());
    assert!(env.iter().any(|e| e.name == "TZ"));
    assert_eq!(pod.containers[1].name, "agent");
}

#[test]
fn every_object_goes_with_its_cluster() {
    let made = cluster(json!({}));
    let record = Record::new(&made, "chronosdb:1");
    let owners = [
        record.config_map(&made).metadata,
        stateful_set(&made, &record, 3, None).unwrap().metadata,
        nodes_service(&made).metadata,
        client_service(&made).metadata,
        service_account(&made).metadata,
        disruption_budget(&made, 3).unwrap().metadata,
    ];
    for metadata in owners {
        assert_eq!(metadata.namespace.as_deref(), Some("prod"));
        let owners = metadata.owner_references.unwrap();
        assert_eq!(owners[0].uid, "u-1");
        assert_eq!(owners[0].block_owner_deletion, None);
    }
}

#[test]
fn pods_are_found_by_name_before_they_are_ready() {
    let service = nodes_service(&cluster(json!({}))).spec.unwrap();
    assert_eq!(service.publish_not_ready_addresses, Some(true));
    assert_eq!(service.cluster_ip.as_deref(), Some("None"));
}

#[test]
fn secrets_are_mounted_whole_so_that_they_can_change() {
    let pod = pod_of(&set(json!({
        "tls": { "secretName": "outside", "clientAuth": true, "internalSecretName": "inside" },
        "pod": { "volumes": [{ "name": "mine", "emptyDir": {} }] },
    })));
    let volumes = pod.volumes.unwrap();
    let secrets: Vec<_> = volumes.iter().filter_map(|it| it.secret.as_ref()).collect();
    let names: Vec<_> = secrets.iter().map(|it| it.secret_name.as_deref()).collect();
    assert_eq!(names, [Some("outside"), Some("inside")]);
    assert!(volumes.iter().any(|volume| volume.name == "mine"));
    let node = &pod.containers[0];
    for mount in node.volume_mounts.iter().flatten() {
        assert_eq!(mount.sub_path, None, "{}", mount.name);
    }
    let args = node.args.clone().unwrap();
    for flag in [
        "-tls-enabled=true",
        "-tls-cert-file=/etc/chronosdb/tls/tls.crt",
        "-tls-client-auth=true",
        "-tls-ca-file=/etc/chronosdb/tls/ca.crt",
        "-replication-tls-enabled=true",
        "-replication-tls-ca-file=/etc/chronosdb/internal-tls/ca.crt",
    ] {
        assert!(args.iter().any(|it| it == flag), "{flag} in {args:?}");
    }
    let env = node.env.clone().unwrap();
    let name = env
        .iter()
        .find(|it| it.name == "CHRONOS_CLIENT_TLS_SERVER_NAME");
    assert_eq!(name.unwrap().value.as_deref(), Some("db-client.prod.svc"));
}

/// The reference of the node's settings is generated; what is renamed there must be here.
#[test]
fn every_flag_and_variable_is_one_that_the_node_knows() {
    let reference = include_str!("../../../../docs/configuration.md");
    let all = json!({ "secretName": "a", "clientAuth": true, "internalSecretName": "b" });
    let pod = pod_of(&set(json!({ "tls": all })));
    let node = &pod.containers[0];
    let flags = node.args.iter().flatten();
    let flags = flags.map(|flag| flag.split('=').next().unwrap().to_owned());
    let variables = node.env.iter().flatten().map(|env| env.name.clone());
    // Those are `chronosctl`'s.
    let variables = variables.filter(|name| !name.starts_with("CHRONOS_CLIENT_"));
    for name in flags.chain(variables) {
        assert!(reference.contains(&format!("`{name}`")), "{name}");
    }
}

/// Whatever a spec may say has a place in the hash; so a field that is renamed, or written in another way when it
/// is set, restarts the clusters that set it.
#[test]
fn the_hash_of_a_spec_that_says_everything_is_the_same_in_every_version() {
    let full = cluster(json!({
        "resources": { "requests": { "cpu": 2 }, "limits": { "memory": "1Gi" } },
        "config": {
            "shutdownTimeout": "5s", "runtimeThreads": 2, "reflection": true, "segmentSize": "64MiB",
            "indexInterval": 16, "fsyncMode": "periodic", "flushIntervalMs": 10, "fireAheadMs": 5,
            "nearWindowMs": 60000, "ackTimeout": "30s", "maxRetries": 5, "retryBackoff": "1s",
            "deadLetterTtl": "24h", "maxCredits": 100, "autoCreateTopics": false,
            "retentionMaxAgeHours": 24, "retentionMaxSizeGb": 1, "dedupTtlHours": 24,
            "raftHeartbeat": "100ms", "blockCacheBytes": "64MiB", "writeBufferBytes": "64MiB",
            "maxInflightBytes": "64MiB", "logFormat": "text", "logLevel": "debug",
        },
        "pod": {
            "labels": { "team": "a" }, "annotations": { "note": "b" },
            "nodeSelector": { "disk": "ssd" },
            "tolerations": [{ "key": "only", "operator": "Exists", "tolerationSeconds": 60 }],
            "affinity": { "nodeAffinity": {} },
            "priorityClassName": "high", "schedulerName": "mine",
            "imagePullSecrets": [{ "name": "registry" }],
            "env": [{ "name": "A", "value": "1" }],
            "sidecars": [{ "name": "beside", "image": "beside:1" }],
            "volumes": [{ "name": "scratch", "emptyDir": {} }],
            "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }],
        },
        "zoneSpread": "Required",
        "tls": { "secretName": "clients", "clientAuth": true, "internalSecretName": "nodes" },
    }));
    let record = Record::new(&full, "chronosdb:1");
    assert_eq!(template_hash(&full, &record), "30aac86ad9e046d6");
    stateful_set(&full, &record, 3, None).unwrap();
}

#[test]
fn names_of_the_operators_own_are_refused() {
    for (spec, place) in [
        (
            json!({ "sidecars": [{ "name": "chronosdb" }] }),
            "pod.sidecars",
        ),
        (
            json!({ "volumes": [{ "name": "tls", "emptyDir": {} }] }),
            "pod.volumes",
        ),
        (
            json!({ "volumes": [{ "name": "data", "emptyDir": {} }] }),
            "pod.volumes",
        ),
        (
            json!({ "volumeMounts": [{ "name": "x", "mountPath": "/data/" }] }),
            "pod.volumeMounts",
        ),
        (
            json!({ "env": [{ "name": "PORT", "value": 8080 }] }),
            "pod.env[0]",
        ),
        (
            json!({ "tolerations": [{ "opertor": "Exists" }] }),
            "pod.tolerations[0]",
        ),
    ] {
        let made = cluster(json!({ "pod": spec }));
        let record = Record::new(&made, "chronosdb:1");
        let refused = stateful_set(&made, &record, 3, None).unwrap_err();
        assert_eq!(refused.place, place, "{refused}");
    }
}

#[test]
fn a_container_beside_the_nodes_is_restricted_unless_it_says_otherwise() {
    let plain = json!({ "name": "plain", "image": "a:1" });
    let own = json!({ "name": "own", "image": "a:1", "securityContext": { "runAsUser": 7 } });
    let pod = pod_of(&set(json!({ "pod": { "sidecars": [plain, own] } })));
    let [node, plain, own] = pod.containers.as_slice() else {
        panic!("{:?}", pod.containers);
    };
    assert_eq!(plain.security_context, node.security_context);
    let own = own.security_context.as_ref().unwrap();
    assert_eq!(
        (own.run_as_user, own.read_only_root_filesystem),
        (Some(7), None)
    );
}
