//! From Kubernetes' objects to what the planner looks at: pure.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node as Machine, PersistentVolumeClaim, Pod as KubePod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::quantity;
use crate::build::{CONTAINER, Names, RETIRED_ANNOTATION, TEMPLATE_ANNOTATION, ordinal};
use crate::database::Status;
use crate::plan::{Claim, Database, Pod, PodCondition, Set};

/// The label of a machine's zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// How autoscalers mark a machine that they are about to take away: Kubernetes' own, and Karpenter's,
/// the latter in its versions before 1.0 as well. They do not cordon it.
const GOING_TAINTS: [&str; 3] = [
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
];
/// How Kubernetes marks a machine that it does not hear from.
const UNREACHABLE_TAINT: &str = "node.kubernetes.io/unreachable";
/// Why a container does not run, when it is not just about to.
const BROKEN: [&str; 8] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// How long a pod's volumes and images may take. Some clouds give a disk that was in use elsewhere only
/// after six minutes.
const PREPARED: SignedDuration = SignedDuration::from_mins(15);

pub(super) fn set(set: &StatefulSet) -> Set {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas);
    let noticed = set
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    Set {
        replicas: wanted.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        noticed: noticed == set.metadata.generation,
    }
}

pub(super) fn zone_of(machine: &Machine) -> Option<&String> {
    machine.metadata.labels.as_ref()?.get(ZONE_LABEL)
}

/// Whether a machine is being emptied.
pub(super) fn is_leaving(machine: &Machine) -> bool {
    let spec = machine.spec.as_ref();
    let is_cordoned = spec.and_then(|spec| spec.unschedulable) == Some(true);
    is_cordoned || has_taint(machine, &GOING_TAINTS)
}

/// Whether a machine is not heard from.
pub(super) fn is_unreachable(machine: &Machine) -> bool {
    has_taint(machine, &[UNREACHABLE_TAINT])
}

fn has_taint(machine: &Machine, keys: &[&str]) -> bool {
    let spec = machine.spec.as_ref();
    let mut taints = spec
        .and_then(|spec| spec.taints.as_ref())
        .into_iter()
        .flatten();
    taints.any(|taint| keys.contains(&taint.key.as_str()))
}

pub(super) fn pod(pod: &KubePod, machine: Option<&Machine>, now: Timestamp) -> Pod {
    let annotations = pod.metadata.annotations.as_ref();
    let condition = condition(pod, now);
    Pod {
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        template: annotations
            .and_then(|all| all.get(TEMPLATE_ANNOTATION))
            .cloned()
            .unwrap_or_default(),
        waiting_ms: waiting_ms(pod, &condition, now),
        condition,
        zone: machine.and_then(zone_of).cloned(),
        leaving: machine.is_some_and(is_leaving),
        unreachable: machine.is_some_and(is_unreachable),
    }
}

fn condition(pod: &KubePod, now: Timestamp) -> PodCondition {
    if pod.metadata.deletion_timestamp.is_some() {
        return PodCondition::Terminating;
    }
    let Some(status) = &pod.status else {
        return PodCondition::Starting;
    };
    if let Some(phase) = status.phase.as_deref()
        && matches!(phase, "Failed" | "Succeeded")
    {
        let why = status.reason.as_deref().unwrap_or(phase);
        return PodCondition::Broken(why.to_owned());
    }
    let mut containers = status.container_statuses.iter().flatten();
    // Others may crash as they like.
    let container = containers.find(|container| container.name == CONTAINER);
    if let Some(container) = container
        && let Some(state) = &container.state
    {
        let waiting = state.waiting.as_ref().and_then(|w| w.reason.as_deref());
        if let Some(why) = waiting.filter(|why| BROKEN.contains(why)) {
            return PodCondition::Broken(why.to_owned());
        }
        // Such as a volume that cannot be mounted: Kubernetes has no word for that.
        let since = status.start_time.as_ref();
        let waited = since.map_or(SignedDuration::ZERO, |since| now.duration_since(since.0));
        if state.waiting.is_some() && container.restart_count == 0 && waited > PREPARED {
            let minutes = waited.as_mins();
            let why = format!("not begun after {minutes} minutes, its events say why");
            return PodCondition::Broken(why);
        }
        if let Some(ended) = &state.terminated {
            return PodCondition::Broken(format!("exit code {}", ended.exit_code));
        }
    }
    let holds = |name: &str| {
        let conditions = status.conditions.iter().flatten();
        conditions
            .filter(|condition| condition.type_ == name)
            .map(|condition| (condition.status == "True", condition.reason.as_deref()))
            .next()
    };
    if let Some((false, Some("Unschedulable"))) = holds("PodScheduled") {
        return PodCondition::Broken("Unschedulable".to_owned());
    }
    match holds("Ready") {
        Some((true, _)) => PodCondition::Ready,
        _ => PodCondition::Starting,
    }
}

/// For how long a pod should have been ready, or gone. The time until which it was to be gone is part
/// of its deletion.
fn waiting_ms(pod: &KubePod, condition: &PodCondition, now: Timestamp) -> u64 {
    let status = pod.status.as_ref();
    let started = status.and_then(|status| status.start_time.as_ref());
    let since = match condition {
        PodCondition::Ready => None,
        PodCondition::Terminating => pod.metadata.deletion_timestamp.as_ref(),
        PodCondition::Starting | PodCondition::Broken(_) => {
            let conditions = status.and_then(|status| status.conditions.as_ref());
            let mut conditions = conditions.into_iter().flatten();
            let ready = conditions.find(|condition| condition.type_ == "Ready");
            let changed = ready.and_then(|ready| ready.last_transition_time.as_ref());
            changed.or(started)
        }
    };
    let waited = since.map(|since| now.duration_since(since.0).as_millis());
    waited.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0)
}

pub(super) fn claim(claim: &PersistentVolumeClaim) -> Claim {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let annotations = claim.metadata.annotations.as_ref();
    Claim {
        uid: claim.metadata.uid.clone().unwrap_or_default(),
        requested_bytes: requests
            .and_then(|requests| quantity::bytes(&requests.get("storage")?.0))
            // A size that cannot be read is not made larger.
            .unwrap_or(u64::MAX),
        retired: annotations.is_some_and(|all| all.contains_key(RETIRED_ANNOTATION)),
        terminating: claim.metadata.deletion_timestamp.is_some(),
    }
}

/// Sorts the nodes by the ordinals of their pods.
pub(super) fn database(status: &Status, names: &Names) -> Database {
    let mut database = Database {
        cluster_id: status.cluster_id.clone(),
        under_replicated: status.under_replicated,
        leaderless: status.leaderless,
        moves: status.moves,
        overdue_ms: status.overdue_ms,
        ..Database::default()
    };
    for (name, node) in &status.nodes {
        match ordinal(name, &names.stateful_set()) {
            Some(ordinal) => {
                database.nodes.insert(ordinal, node.clone());
            }
            None => database.strangers.push(name.clone()),
        }
    }
    database
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(status: Value) -> PodCondition {
        let object = json!({ "metadata": { "name": "db-0", "uid": "u" }, "status": status });
        pod(&serde_json::from_value(object).unwrap(), None, now()).condition
    }

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn container(name: &str, state: Value) -> Value {
        json!({
            "name": name, "state": state, "image": "", "imageID": "", "ready": false,
            "restartCount": 0,
        })
    }

    #[test]
    fn a_pod_serves_when_it_says_so() {
        let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
        assert_eq!(seen(ready), PodCondition::Ready);
        assert_eq!(seen(json!({})), PodCondition::Starting);
        let recovering = json!({
            "conditions": [{ "type": "Ready", "status": "False" }],
            "containerStatuses": [container("chronosdb", json!({ "running": {} }))],
        });
        assert_eq!(seen(recovering), PodCondition::Starting);
    }

    #[test]
    fn a_pod_whose_node_does_not_run_is_broken() {
        let crash = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let broken = json!({ "containerStatuses": [container("chronosdb", crash.clone())] });
        assert_eq!(
            seen(broken),
            PodCondition::Broken("CrashLoopBackOff".to_owned())
        );
        let sidecar = json!({ "containerStatuses": [container("agent", crash)] });
        assert_eq!(seen(sidecar), PodCondition::Starting);
        let creating = json!({ "waiting": { "reason": "ContainerCreating" } });
        let creating = |since: &str| {
            let status = container("chronosdb", creating.clone());
            seen(json!({ "startTime": since, "containerStatuses": [status] }))
        };
        assert_eq!(creating("2026-01-01T00:50:00Z"), PodCondition::Starting);
        let never = creating("2026-01-01T00:40:00Z");
        assert!(matches!(never, PodCondition::Broken(why) if why.contains("20 minutes")));
        assert_eq!(
            seen(json!({ "phase": "Failed", "reason": "Evicted" })),
            PodCondition::Broken("Evicted".to_owned())
        );
        let nowhere = json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable" },
        ] });
        assert_eq!(
            seen(nowhere),
            PodCondition::Broken("Unschedulable".to_owned())
        );
    }

    #[test]
    fn a_pod_that_is_being_deleted_is_nothing_else() {
        let object = json!({
            "metadata": { "name": "db-0", "deletionTimestamp": "2026-01-01T00:00:00Z" },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        let pod = pod(&serde_json::from_value(object).unwrap(), None, now());
        assert_eq!(pod.condition, PodCondition::Terminating);
    }

    #[test]
    fn a_pod_says_for_how_long_it_should_have_been_ready_or_gone() {
        let waits = |metadata: Value, status: Value| {
            let object = json!({ "metadata": metadata, "status": status });
            pod(&serde_json::from_value(object).unwrap(), None, now()).waiting_ms
        };
        let ready = |status: &str| {
            json!({
                "startTime": "2026-01-01T00:10:00Z",
                "conditions": [{
                    "type": "Ready", "status": status,
                    "lastTransitionTime": "2026-01-01T00:59:00Z",
                }],
            })
        };
        assert_eq!(waits(json!({}), ready("True")), 0);
        assert_eq!(waits(json!({}), ready("False")), 60_000);
        let begun = json!({ "startTime": "2026-01-01T00:59:30Z" });
        assert_eq!(waits(json!({}), begun), 30_000);
        assert_eq!(waits(json!({}), json!({})), 0);
        let going = |until: &str| waits(json!({ "deletionTimestamp": until }), ready("False"));
        assert_eq!(going("2026-01-01T00:59:50Z"), 10_000);
        assert_eq!(going("2026-01-01T01:00:30Z"), 0, "it has time until then");
    }

    #[test]
    fn a_machine_says_zone_and_whether_it_is_emptied() {
        let machine = json!({
            "metadata": { "name": "m", "labels": { "topology.kubernetes.io/zone": "z" } },
            "spec": { "unschedulable": true },
        });
        let machine: Machine = serde_json::from_value(machine).unwrap();
        let object = json!({ "metadata": { "name": "db-0" } });
        let pod = pod(
            &serde_json::from_value(object).unwrap(),
            Some(&machine),
            now(),
        );
        assert_eq!(pod.zone.as_deref(), Some("z"));
        assert!(pod.leaving);
    }

    #[test]
    fn taints_say_whether_a_machine_goes_or_is_gone() {
        let machine = |key: &str| -> Machine {
            let machine = json!({
                "metadata": { "name": "m" },
                "spec": { "taints": [
                    { "key": "dedicated", "value": "db", "effect": "NoSchedule" },
                    { "key": key, "effect": "NoSchedule" },
                ] },
            });
            serde_json::from_value(machine).unwrap()
        };
        assert!(!is_leaving(&machine(
            "DeletionCandidateOfClusterAutoscaler"
        )));
        for key in GOING_TAINTS {
            assert!(is_leaving(&machine(key)), "{key}");
            assert!(!is_unreachable(&machine(key)), "{key}");
        }
        assert!(is_unreachable(&machine(UNREACHABLE_TAINT)));
    }

    #[test]
    fn nodes_of_other_names_are_strangers() {
        let cluster = serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ChronosCluster",
            "metadata": { "name": "db", "namespace": "n" }, "spec": {},
        }));
        let names = Names::of(&cluster.unwrap());
        let status = Status {
            nodes: ["db-1", "laptop"]
                .map(|name| (name.to_owned(), Default::default()))
                .into(),
            ..Status::default()
        };
        let database = database(&status, &names);
        assert!(database.nodes.contains_key(&1));
        assert_eq!(database.strangers, ["laptop"]);
    }
}
