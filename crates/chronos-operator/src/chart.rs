//! The parts of the chart that are generated: the definitions as templates, and the table of values.
//! Only tests are here, which compare and write.

use serde_json::Value;

use crate::crds::{GENERATED, crds};

const CHART: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../charts/chronosdb-operator"
);

/// A definition that is installed when the values say so, and stays when the chart goes: with it
/// would go every cluster.
fn template(yaml: &str) -> String {
    let kept = "metadata:\n  {{- if .Values.crds.keep }}\n  annotations:\n    \
                helm.sh/resource-policy: keep\n  {{- end }}\n";
    let yaml = yaml.replacen("metadata:\n", kept, 1);
    format!("{{{{- if .Values.crds.enabled }}}}\n{GENERATED}{yaml}{{{{- end }}}}\n")
}

/// The table of values: whatever has a comment in values.yaml.
fn values_table(text: &str) -> String {
    let values: Value = serde_yaml_ng::from_str(text).unwrap();
    let mut table = String::from("| Value | Default | Meaning |\n|---|---|---|\n");
    let mut path: Vec<&str> = Vec::new();
    let mut comment = Vec::new();
    for line in text.lines() {
        let word = line.trim_start();
        let depth = (line.len() - word.len()) / 2;
        if let Some(text) = word.strip_prefix("# ") {
            comment.push(text);
            continue;
        }
        if let Some((key, _)) = word.split_once(':') {
            path.truncate(depth);
            path.push(key);
            if !comment.is_empty() {
                let pointer = format!("/{}", path.join("/"));
                let default = values.pointer(&pointer).unwrap();
                table.push_str(&format!(
                    "| `{}` | `{default}` | {} |\n",
                    path.join("."),
                    comment.join(" ")
                ));
            }
        }
        comment.clear();
    }
    table
}

/// Writes the file instead of comparing it when CHRONOS_REGENERATE is set.
fn compare(path: &str, wanted: &str) {
    let path = format!("{CHART}/{path}");
    if std::env::var_os("CHRONOS_REGENERATE").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == wanted,
        "{path} is out of date; run scripts/generated"
    );
}

#[test]
fn chart_reference_is_current() {
    for (name, yaml) in crds().unwrap() {
        compare(&format!("templates/crd-{name}.yaml"), &template(&yaml));
    }
    let values = std::fs::read_to_string(format!("{CHART}/values.yaml")).unwrap();
    let readme = format!(
        "# The chart of the operator of ChronosDB\n\n\
         <!-- Generated from values.yaml by scripts/generated. -->\n\n\
         ```sh\n\
         helm install chronosdb-operator charts/chronosdb-operator -n chronosdb-system --create-namespace\n\
         ```\n\n\
         No registry has the images ready-made. Build them with `docker build` or `scripts/images`, push them to a\n\
         registry that Kubernetes pulls from, and name them by `image.repository` and `nodeImage.repository`.\n\
         Where that registry wants a password, `imagePullSecrets` is for the operator's pod, and\n\
         `spec.pod.imagePullSecrets` of each ChronosCluster for the cluster's pods.\n\n\
         `helm upgrade` upgrades the CustomResourceDefinitions as well, and restarts no cluster.\n\
         `helm uninstall` leaves them, and so every cluster, where they are. Before it, delete ScheduledTopics with\n\
         `deletionPolicy: Delete`: without an operator nobody takes their finalizer away.\n\
         [docs/kubernetes.md](../../docs/kubernetes.md) says what to do with clusters and topics.\n\n\
         ## Values\n\n{}",
        values_table(&values)
    );
    compare("README.md", &readme);
}

/// Whoever pastes an indented here-document waits for its end for ever.
#[test]
fn notes_can_be_pasted() {
    let notes = std::fs::read_to_string(format!("{CHART}/templates/NOTES.txt")).unwrap();
    assert!(!notes.contains("<<"), "{notes}");
}
