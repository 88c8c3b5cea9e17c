//! Schemas that the derived ones do not say.

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};

/// A Kubernetes object given as it is, which is checked when it is read: see [`Given`](super::Given).
pub(super) fn as_it_is(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// A list of such objects.
pub(super) fn list_as_it_is(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true }
    })
}

/// A size as the nodes write it, such as 64MiB.
pub(super) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "pattern": "^[0-9]+(B|[KMGT](i|B|iB))?$"
    })
}

/// The rule that a size is within these, both included and as Kubernetes writes them.
pub(super) fn size_between(field: &str, least: &str, most: &str) -> Rule {
    // The nodes' way to write a size differs from Kubernetes' in the B, and in a decimal K.
    let size = "quantity(self.replace('B', '').replace('K', 'k').replace('ki', 'Ki'))";
    Rule::new(format!(
        "[{size}].all(size, size.compareTo(quantity('{least}')) >= 0 && size.compareTo(quantity('{most}')) <= 0)"
    ))
    .message(format!("{field} must be from {least}B to {most}B").as_str())
}

/// A level, or a list of levels of parts of the program.
pub(super) fn log_level(_: &mut SchemaGenerator) -> Schema {
    let one = "([A-Za-z0-9_:]+=)?(off|error|warn|info|debug|trace)";
    json_schema!({
        "type": "string",
        "maxLength": 256,
        "pattern": format!("^{one}(,{one})*$")
    })
}

/// Conditions merge by type, so that several writers could each own some.
pub(super) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let item = generator.subschema_for::<super::Condition>();
    json_schema!({
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"]
    })
}
