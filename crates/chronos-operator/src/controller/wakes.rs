//! What wakes the reconcilers: changes of what they heed, and not their own status or a report that says
//! nothing new.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::{Stream, TryStreamExt};
use k8s_openapi::api::core::v1::Node as Machine;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{Predicate, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::seen;
use crate::api::ChronosCluster;

/// What happens to objects, as far as `what` differs, and a copy of all of them. `gone` is told of those that are
/// deleted: without a finalizer nobody reconciles them any more.
pub(super) fn reflected<K>(
    api: Api<K>,
    what: impl Predicate<K> + Send + 'static,
    gone: impl Fn(&K) + Send + 'static,
) -> (
    impl Stream<Item = Result<K, watcher::Error>> + Send,
    Store<K>,
)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (known, copy) = reflector::store();
    let changes = watcher(api, watcher::Config::default())
        .default_backoff()
        .reflect(copy)
        .inspect_ok(move |event| {
            if let watcher::Event::Delete(object) = event {
                gone(object);
            }
        })
        .applied_objects()
        .predicate_filter(what, PredicateConfig::default());
    (changes, known)
}

/// What happens to objects, as far as `what` differs.
pub(super) fn changes_of<K>(
    api: Api<K>,
    what: impl Predicate<K> + Send + 'static,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, watcher::Config::default())
        .default_backoff()
        .touched_objects()
        .predicate_filter(what, PredicateConfig::default())
}

/// All but the status: an operator that woke up by what it wrote itself would never rest.
pub(super) fn wishes<K: Resource>() -> impl Predicate<K> {
    predicates::generation
        .combine(predicates::annotations)
        .combine(predicates::finalizers)
}

/// What topics heed of their cluster.
pub(super) fn wish_and_phase(cluster: &ChronosCluster) -> Option<u64> {
    let phase = cluster.status.as_ref().and_then(|status| status.phase);
    let gone = cluster.metadata.deletion_timestamp.is_some();
    Some(hash(&(cluster.metadata.generation, gone, phase)))
}

/// What clusters heed of a machine.
pub(super) fn place(machine: &Machine) -> Option<u64> {
    let is_leaving = seen::is_leaving(machine);
    let is_unreachable = seen::is_unreachable(machine);
    Some(hash(&(is_leaving, is_unreachable, seen::zone_of(machine))))
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cluster(metadata: Value, status: Value) -> ChronosCluster {
        let mut whole = json!({ "name": "db", "namespace": "n", "generation": 1 });
        for (key, value) in metadata.as_object().unwrap() {
            whole[key] = value.clone();
        }
        serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ChronosCluster",
            "metadata": whole, "spec": {}, "status": status,
        }))
        .unwrap()
    }

    fn status(phase: &str, late: &str) -> Value {
        json!({ "phase": phase, "phaseReason": late })
    }

    /// An operator that its own status wakes up never rests while a number in it moves.
    #[test]
    fn what_the_operator_writes_does_not_wake_it() {
        let seen =
            |metadata, late| wishes().hash_property(&cluster(metadata, status("Running", late)));
        let before = seen(json!({}), "5 ms late");
        assert_eq!(before, seen(json!({ "resourceVersion": "2" }), "6 ms late"));
        for wish in [
            json!({ "generation": 2 }),
            json!({ "annotations": { "chronosdb.io/paused": "true" } }),
            json!({ "finalizers": ["chronosdb.io/topic"] }),
        ] {
            assert_ne!(before, seen(wish.clone(), "5 ms late"), "{wish}");
        }
    }

    #[test]
    fn topics_heed_whether_their_cluster_runs() {
        let seen = |status| wish_and_phase(&cluster(json!({}), status));
        let before = seen(status("Running", "1"));
        assert_eq!(before, seen(status("Running", "2")));
        assert_ne!(before, seen(status("Hibernated", "1")));
    }

    #[test]
    fn a_machine_that_only_reports_wakes_nobody() {
        let machine = |unschedulable: bool, zone: &str, heard: &str| -> Machine {
            serde_json::from_value(json!({
                "metadata": {
                    "name": "m", "labels": { "topology.kubernetes.io/zone": zone },
                    "annotations": { "heard": heard },
                },
                "spec": { "unschedulable": unschedulable },
            }))
            .unwrap()
        };
        let before = place(&machine(false, "a", "1"));
        assert_eq!(before, place(&machine(false, "a", "2")));
        assert_ne!(before, place(&machine(true, "a", "1")));
        assert_ne!(before, place(&machine(false, "b", "1")));
        let tainted = |key: &str| {
            let taint = json!({ "key": key, "effect": "NoSchedule" });
            let mut machine = machine(false, "a", "1");
            let spec = machine.spec.as_mut().unwrap();
            spec.taints = Some(vec![serde_json::from_value(taint).unwrap()]);
            place(&machine)
        };
        assert_eq!(before, tainted("dedicated"));
        assert_ne!(before, tainted("karpenter.sh/disrupted"));
        assert_ne!(before, tainted("node.kubernetes.io/unreachable"));
    }
}
