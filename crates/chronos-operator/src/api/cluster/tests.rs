//! The rules of the schema, evaluated as an API server would.

use kube::CustomResourceExt;
use kube::core::cel::Validator;
use serde_json::{Value, json};

use super::ChronosCluster;

fn schema() -> Value {
    let crd = serde_json::to_value(ChronosCluster::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// A cluster with this spec; replicas and partitions as the API server fills them in.
fn cluster(spec: Value) -> Value {
    let mut whole = json!({ "replicas": 3, "partitions": 16 });
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    json!({ "metadata": { "name": "db" }, "spec": whole })
}

fn refusals(object: Value, old: Option<Value>) -> Vec<String> {
    match Validator::new().validate(&schema(), &object, old.as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(|error| error.to_string()).collect(),
    }
}

#[track_caller]
fn refused(object: Value, old: Option<Value>, why: &str) {
    let refusals = refusals(object, old);
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(refusals[0].contains(why), "{refusals:?}");
}

#[track_caller]
fn accepted(object: Value, old: Option<Value>) {
    assert_eq!(refusals(object, old), Vec::<String>::new());
}

#[test]
fn a_cluster_needs_nothing_but_a_name() {
    accepted(cluster(json!({})), None);
    let parsed: ChronosCluster = serde_json::from_value(json!({
        "apiVersion": "chronosdb.io/v1alpha1",
        "kind": "ChronosCluster",
        "metadata": { "name": "db" },
        "spec": {},
    }))
    .unwrap();
    assert_eq!((parsed.spec.replicas, parsed.spec.partitions), (3, 16));
}

#[test]
fn a_name_becomes_that_of_services() {
    let named =
        |name: &str| json!({ "metadata": { "name": name }, "spec": cluster(json!({}))["spec"] });
    for name in ["d", "db-1", "a2"] {
        accepted(named(name), None);
    }
    for name in ["my.db", "1db", "db-"] {
        refused(named(name), None, "begin with a letter");
    }
    refused(named(&"d".repeat(41)), None, "40 characters");
}

#[test]
fn an_even_number_of_nodes_has_to_be_meant() {
    refused(cluster(json!({ "replicas": 4 })), None, "odd");
    accepted(
        cluster(json!({ "replicas": 4, "allowEvenReplicas": true })),
        None,
    );
}

#[test]
fn every_copy_needs_a_node() {
    refused(
        cluster(json!({ "replicas": 1, "replicationFactor": 3 })),
        None,
        "must not exceed",
    );
    accepted(cluster(json!({ "replicas": 1 })), None);
    accepted(
        cluster(json!({ "replicas": 5, "replicationFactor": 5 })),
        None,
    );
}

#[test]
fn what_is_fixed_stays() {
    let old = || Some(cluster(json!({ "replicationFactor": 3 })));
    refused(
        cluster(json!({ "replicationFactor": 1 })),
        old(),
        "replicationFactor is fixed",
    );
    refused(cluster(json!({})), old(), "replicationFactor is fixed");
    refused(
        cluster(json!({ "replicationFactor": 3, "partitions": 32 })),
        old(),
        "partitions is fixed",
    );
    accepted(
        cluster(json!({ "replicas": 5, "replicationFactor": 3 })),
        old(),
    );
}

#[test]
fn a_disk_grows_and_never_shrinks() {
    let storage = |size: &str| cluster(json!({ "storage": { "size": size } }));
    accepted(storage("20Gi"), Some(storage("10Gi")));
    accepted(storage("10Gi"), Some(storage("10240Mi")));
    refused(storage("9Gi"), Some(storage("10Gi")), "can only grow");
    refused(storage("plenty"), None, "must be a quantity");
    accepted(storage("20Gi"), Some(cluster(json!({}))));
    refused(cluster(json!({})), Some(storage("20Gi")), "can only grow");
    refused(
        cluster(json!({ "storage": { "size": "10Gi", "className": "fast" } })),
        Some(storage("10Gi")),
        "className is fixed",
    );
}

#[test]
fn tls_names_a_secret_and_demands_nothing_without_one() {
    refused(cluster(json!({ "tls": {} })), None, "names no Secret");
    accepted(cluster(json!({ "tls": { "secretName": "s" } })), None);
    let demanding = json!({ "internalSecretName": "s", "clientAuth": true });
    refused(
        cluster(json!({ "tls": demanding })),
        None,
        "needs secretName",
    );
    let demanding = json!({ "secretName": "s", "clientAuth": true });
    accepted(cluster(json!({ "tls": demanding })), None);
}

#[test]
fn tls_between_nodes_changes_only_while_all_of_them_sleep() {
    let nodes = |hibernate: bool, tls: Option<&str>| {
        let mut spec = json!({ "hibernate": hibernate });
        if let Some(name) = tls {
            spec["tls"] = json!({ "internalSecretName": name });
        }
        cluster(spec)
    };
    let why = "only while hibernate is true";
    refused(nodes(false, Some("s")), Some(nodes(false, None)), why);
    refused(nodes(false, None), Some(nodes(false, Some("s"))), why);
    refused(nodes(false, Some("s")), Some(nodes(true, None)), why);
    accepted(nodes(true, Some("s")), Some(nodes(true, None)));
    accepted(nodes(false, Some("t")), Some(nodes(false, Some("s"))));
    let clients = cluster(json!({ "tls": { "secretName": "s" } }));
    accepted(clients, Some(cluster(json!({}))));
}

#[test]
fn the_crd_has_what_kubectl_shows_and_scales() {
    let crd = serde_json::to_value(ChronosCluster::crd()).unwrap();
    assert_eq!(crd["spec"]["names"]["shortNames"], json!(["chc"]));
    assert_eq!(crd["spec"]["names"]["categories"], json!(["chronos"]));
    let version = &crd["spec"]["versions"][0];
    assert_eq!(
        version["subresources"]["scale"],
        json!({
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        })
    );
    assert!(version["subresources"]["status"].is_object());
}

/// A default inside a list is seen as a difference for ever by tools that compare.
#[test]
fn no_default_is_inside_a_list() {
    fn look(value: &Value, in_list: bool, path: &str) {
        let Some(object) = value.as_object() else {
            return;
        };
        if in_list {
            assert!(!object.contains_key("default"), "{path}");
        }
        for (key, child) in object {
            look(child, in_list || key == "items", &format!("{path}/{key}"));
        }
    }
    let whole = schema();
    look(&whole["properties"]["spec"], false, "spec");
}

/// What a node would refuse as well, so that its pods do not crash instead.
#[test]
fn settings_are_within_what_a_node_takes() {
    let config = |config: Value| cluster(json!({ "config": config }));
    for (field, fine, wrong) in [
        ("segmentSize", ["64KiB", "2Gi"], ["63KiB", "3GiB"]),
        ("blockCacheBytes", ["1MiB", "1048576"], ["1023KiB", "2TiB"]),
        ("writeBufferBytes", ["64Mi", "5MB"], ["900KB", "1"]),
        ("maxInflightBytes", ["16MiB", "1TiB"], ["15MiB", "16MB"]),
        ("raftHeartbeat", ["10ms", "1m"], ["9ms", "61s"]),
        ("ackTimeout", ["1ms", "24h"], ["0s", "25h"]),
        ("retryBackoff", ["0s", "24h"], ["24h1ms", "48h"]),
        ("deadLetterTtl", ["1s", "876000h"], ["999ms", "876001h"]),
        ("shutdownTimeout", ["0s", "1h"], ["61m", "2h"]),
    ] {
        for fine in fine {
            accepted(config(json!({ field: fine })), None);
        }
        for wrong in wrong {
            refused(config(json!({ field: wrong })), None, field);
        }
    }
    accepted(
        config(json!({ "fireAheadMs": 999, "nearWindowMs": 1000 })),
        None,
    );
    refused(
        config(json!({ "fireAheadMs": 1000, "nearWindowMs": 1000 })),
        None,
        "less than nearWindowMs",
    );
}
