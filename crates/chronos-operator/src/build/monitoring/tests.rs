//! What the alerts promise.

use super::*;

/// What Prometheus and the kubelet tell, not the nodes.
const OTHERS: [&str; 3] = [
    "up",
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
];

fn rules(spec: Value) -> Vec<Value> {
    let cluster: ChronosCluster = serde_json::from_value(json!({
        "apiVersion": "chronosdb.io/v1alpha1",
        "kind": "ChronosCluster",
        "metadata": { "name": "db", "namespace": "prod", "uid": "u-1" },
        "spec": spec,
    }))
    .unwrap();
    let rule = prometheus_rule(&cluster);
    let rules = rule.data["spec"]["groups"][0]["rules"].as_array();
    rules.unwrap().clone()
}

fn is_of_a_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn is_a_metric(word: &str) -> bool {
    let prefixes = ["chronos_", "cronos_", "process_", "grpc_", "kubelet_"];
    word == "up" || prefixes.iter().any(|prefix| word.starts_with(prefix))
}

/// Each metric of an expression that has labels, with them.
fn selectors(expression: &str) -> Vec<(&str, &str)> {
    let parts = expression
        .split('}')
        .filter_map(|part| part.split_once('{'));
    parts
        .map(|(before, labels)| {
            let mut words = before.rsplit(|letter: char| !is_of_a_word(letter));
            (words.next().unwrap_or_default(), labels)
        })
        .collect()
}

#[test]
fn every_metric_of_an_alert_exists() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let reference = std::fs::read_to_string(path).unwrap();
    for rule in rules(json!({})) {
        for (metric, _) in selectors(rule["expr"].as_str().unwrap()) {
            let name = metric.strip_suffix("_bucket").unwrap_or(metric);
            let is_known = reference.contains(&format!("\n| `{name}` |"));
            assert!(is_known || OTHERS.contains(&metric), "{rule}");
        }
    }
}

/// Another namespace may have a cluster of the same name.
#[test]
fn an_alert_is_about_one_cluster() {
    for rule in rules(json!({})) {
        let expression = rule["expr"].as_str().unwrap();
        let found = selectors(expression);
        let words = expression.split(|letter: char| !is_of_a_word(letter));
        let metrics = words.filter(|word| is_a_metric(word)).count();
        assert_eq!(found.len(), metrics, "a metric of all clusters: {rule}");
        assert_ne!(metrics, 0, "{rule}");
        for (metric, labels) in found {
            let own = match metric.starts_with("kubelet_") {
                true => "persistentvolumeclaim=~\"data-db-[0-9]+\"",
                false => "service=\"db-nodes\"",
            };
            assert!(labels.contains("namespace=\"prod\""), "{rule}");
            assert!(labels.contains(own), "{rule}");
        }
        assert_eq!(rule["labels"]["namespace"], "prod");
        assert_eq!(rule["labels"]["chronos_cluster"], "db");
    }
}

#[test]
fn a_cluster_that_sleeps_is_not_missed() {
    let names = |spec| {
        let rules = rules(spec).into_iter();
        rules
            .map(|rule| rule["alert"].as_str().unwrap().to_owned())
            .collect::<Vec<String>>()
    };
    let awake = names(json!({ "hibernate": false }));
    let asleep = names(json!({ "hibernate": true }));
    assert!(awake.iter().any(|name| name == SILENCE));
    let others: Vec<&String> = awake.iter().filter(|name| *name != SILENCE).collect();
    assert_eq!(others, asleep.iter().collect::<Vec<_>>());
}
