//! From what was seen and what is done next to the status: pure.

use std::collections::BTreeSet;

use super::Error;
use super::disks::Lacking;
use super::tls::Missing;
use crate::api::{
    ChronosCluster, ChronosClusterStatus, Condition, ConditionStatus, ConditionType, MemberStatus,
    Phase, seeded, set_condition,
};
use crate::build::{Names, Record, selector_text};
use crate::database::Status;
use crate::plan::{
    Action, Calm, Desired, Disruption, Drain, Observed, PodCondition, Resize, Step, Wait, plan,
};

/// What the status is made of.
pub(super) struct Seen<'a> {
    pub(super) cluster: &'a ChronosCluster,
    pub(super) record: &'a Record,
    pub(super) observed: &'a Observed,
    pub(super) desired: &'a Desired,
    pub(super) database: Option<&'a Status>,
    /// Why the database did not answer.
    pub(super) silence: Option<&'a str>,
    pub(super) step: &'a Step,
    /// What Kubernetes refused of what running pods do not need.
    pub(super) refused: Option<&'a Error>,
    /// Why the objects for the Prometheus operator are missing.
    pub(super) monitoring: Option<&'a str>,
    /// What is missing of TLS.
    pub(super) tls: Option<&'a Missing>,
    /// What the disks lack.
    pub(super) disks: Option<Lacking>,
    /// Why a claim could not be made larger.
    pub(super) not_grown: Option<&'a str>,
}

/// The status now, RFC 3339. Conditions keep the time of their last change.
pub(super) fn status(seen: &Seen<'_>, now: &str) -> ChronosClusterStatus {
    let generation = seen.cluster.metadata.generation.unwrap_or_default();
    let names = Names::of(seen.cluster);
    let observed = seen.observed;
    let count = |all: usize| u32::try_from(all).unwrap_or(u32::MAX);
    let mut status = ChronosClusterStatus {
        observed_generation: generation,
        phase: Some(phase(seen)),
        phase_reason: sentence(seen),
        replicas: count(observed.pods.len()),
        ready_replicas: count(
            observed
                .pods
                .keys()
                .filter(|n| observed.is_ready(**n))
                .count(),
        ),
        updated_replicas: count(
            observed
                .pods
                .values()
                .filter(|pod| pod.template == seen.desired.template)
                .count(),
        ),
        selector: selector_text(names.cluster()),
        cluster_id: seen.record.cluster_id.clone(),
        replication_factor: Some(seen.desired.copies),
        image: Some(seen.record.image(seen.cluster).to_owned()),
        current_version: version(seen.database),
        endpoint: Some(names.client_address()),
        under_replicated: seen.database.map(|database| database.under_replicated),
        moves: seen.database.map(|database| database.moves),
        members: members(seen, &names),
        conditions: Vec::new(),
    };
    status.conditions = before(seen.cluster, generation, now);
    for (kind, holds, reason, message) in conditions(seen) {
        set_condition(
            &mut status.conditions,
            condition(kind, holds, reason, message, generation, now),
        );
    }
    status
}

/// The status after a reconciliation that failed. What was counted stays; what was judged is not known any more.
pub(super) fn failed(cluster: &ChronosCluster, error: &Error, now: &str) -> ChronosClusterStatus {
    use ConditionType as Type;
    let generation = cluster.metadata.generation.unwrap_or_default();
    let mut status = cluster.status.clone().unwrap_or_default();
    status.phase.get_or_insert(Phase::Creating);
    status.phase_reason = error.to_string();
    status.conditions = before(cluster, generation, now);
    let failed = [Type::ReconcileSuccess, Type::Ready].map(|kind| (kind, ConditionStatus::False));
    let unknown = [
        Type::Available,
        Type::Degraded,
        Type::MembershipStable,
        Type::Progressing,
    ]
    .map(|kind| (kind, ConditionStatus::Unknown));
    for (kind, holds) in failed.into_iter().chain(unknown) {
        let (reason, why) = (error.reason(), error.to_string());
        set_condition(
            &mut status.conditions,
            condition(kind, holds, reason, why, generation, now),
        );
    }
    status
}

fn before(cluster: &ChronosCluster, generation: i64, now: &str) -> Vec<Condition> {
    let names = ConditionType::ALL.map(ConditionType::name);
    let mut all = seeded(&names, generation, now);
    for old in cluster.status.iter().flat_map(|status| &status.conditions) {
        if names.contains(&old.type_.as_str()) {
            set_condition(&mut all, old.clone());
            // The seed's time gives way to the real one.
            if let Some(kept) = all.iter_mut().find(|kept| kept.type_ == old.type_) {
                kept.last_transition_time
                    .clone_from(&old.last_transition_time);
            }
        }
    }
    all
}

fn condition(
    kind: ConditionType,
    status: ConditionStatus,
    reason: &str,
    message: String,
    generation: i64,
    now: &str,
) -> Condition {
    Condition {
        type_: kind.name().to_owned(),
        status,
        reason: reason.to_owned(),
        message,
        last_transition_time: now.to_owned(),
        observed_generation: generation,
    }
}

fn phase(seen: &Seen<'_>) -> Phase {
    let founded = seen.record.cluster_id.is_some();
    let size = seen.observed.set.map_or(0, |set| set.replicas);
    match seen.step {
        Step::Calm(Calm::Settled) => Phase::Running,
        Step::Calm(Calm::Paused) => Phase::Paused,
        Step::Calm(Calm::Hibernated) => Phase::Hibernated,
        Step::Blocked(_) => Phase::Blocked,
        Step::Wait(Wait::Stopping) => Phase::Hibernating,
        Step::Act(Action::Resize(_, Resize::Hibernate)) => Phase::Hibernating,
        _ if !founded => Phase::Creating,
        Step::Wait(Wait::Leaving(_)) => Phase::ScalingDown,
        _ if size > seen.desired.replicas => Phase::ScalingDown,
        Step::Act(Action::DeletePod {
            why: Disruption::RollingUpdate,
            ..
        }) => Phase::Updating,
        _ if !seen.observed.outdated(seen.desired).is_empty() => Phase::Updating,
        Step::Wait(Wait::Joining(_)) => Phase::ScalingUp,
        _ if size < seen.desired.replicas => Phase::ScalingUp,
        _ => Phase::Repairing,
    }
}

fn sentence(seen: &Seen<'_>) -> String {
    match seen.step {
        Step::Calm(Calm::Settled) => "All is as the spec says.".to_owned(),
        Step::Calm(Calm::Paused) => "The operator leaves this cluster alone.".to_owned(),
        Step::Calm(Calm::Hibernated) => "All nodes are stopped; their disks are kept.".to_owned(),
        Step::Wait(wait @ (Wait::DatabaseSilent | Wait::Founding)) => match broken(seen) {
            Some(broken) => format!("{wait} {broken}"),
            None => format!("{wait} ({})", seen.silence.unwrap_or("no reason is known")),
        },
        Step::Wait(wait) => wait.to_string(),
        Step::Blocked(blocker) => blocker.to_string(),
        Step::Act(action) => action.to_string(),
    }
}

/// The first pod that does not run: the likely reason when nobody answers.
fn broken(seen: &Seen<'_>) -> Option<String> {
    let mut pods = seen.observed.pods.iter();
    pods.find_map(|(ordinal, pod)| match &pod.condition {
        PodCondition::Broken(why) => {
            let name = Names::of(seen.cluster).pod(*ordinal);
            Some(format!(
                "Pod {name} does not run: {why}; its events and its log say more."
            ))
        }
        _ => None,
    })
}

/// The version that all nodes run; nothing while they differ.
fn version(database: Option<&Status>) -> Option<String> {
    let versions: BTreeSet<&str> = database?
        .nodes
        .iter()
        .map(|(_, node)| node.version.as_str())
        .collect();
    match versions.into_iter().collect::<Vec<_>>()[..] {
        [one] if !one.is_empty() => Some(one.to_owned()),
        _ => None,
    }
}

/// The nodes as the database says; while it is silent, what was known before of those that have a pod.
fn members(seen: &Seen<'_>, names: &Names) -> Vec<MemberStatus> {
    let has_pod = |name: &str| {
        let ordinal = crate::build::ordinal(name, &names.stateful_set());
        ordinal.is_some_and(|ordinal| seen.observed.pods.contains_key(&ordinal))
    };
    let Some(database) = seen.database else {
        let known = seen.cluster.status.iter().flat_map(|it| it.members.clone());
        let known = known.map(|member| match has_pod(&member.name) {
            true => member,
            false => MemberStatus {
                alive: false,
                leaders: 0,
                pod_uid: None,
                ..member
            },
        });
        return known.collect();
    };
    let member = |(name, node): &(String, crate::plan::Node)| {
        let ordinal = crate::build::ordinal(name, &names.stateful_set());
        let pod = ordinal.and_then(|ordinal| seen.observed.pods.get(&ordinal));
        MemberStatus {
            name: name.clone(),
            number: node.number,
            state: match node.drain {
                Drain::None => "active",
                Drain::Leaders | Drain::Replicas => "draining",
            }
            .to_owned(),
            alive: node.alive,
            leaders: node.leaders,
            replicas: node.replicas,
            lag_entries: node.lag_entries,
            catalog: match (node.catalog_leader, node.catalog_voter) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) => "learner",
            }
            .to_owned(),
            pod_uid: pod.map(|pod| pod.uid.clone()),
            zone: (!node.zone.is_empty()).then(|| node.zone.clone()),
        }
    };
    database.nodes.iter().map(member).collect()
}

type Said = (ConditionType, ConditionStatus, &'static str, String);

fn conditions(seen: &Seen<'_>) -> Vec<Said> {
    use ConditionType as Type;
    let (true_, false_) = (ConditionStatus::True, ConditionStatus::False);
    let why = sentence(seen);
    let reason = match seen.step {
        Step::Calm(Calm::Settled) => "Settled",
        Step::Calm(Calm::Paused) => "Paused",
        Step::Calm(Calm::Hibernated) => "Hibernated",
        Step::Wait(wait) => wait.reason(),
        Step::Blocked(blocker) => blocker.reason(),
        Step::Act(action) => super::events::reason(action),
    };
    let settled = *seen.step == Step::Calm(Calm::Settled);
    let paused = *seen.step == Step::Calm(Calm::Paused);
    let changing = matches!(seen.step, Step::Wait(_) | Step::Act(_));
    let blocked = matches!(seen.step, Step::Blocked(_));

    let mut all: Vec<Said> = vec![
        match seen.refused {
            None => (Type::ReconcileSuccess, true_, "Reconciled", String::new()),
            Some(error) => {
                let why = error.to_string();
                (Type::ReconcileSuccess, false_, error.reason(), why)
            }
        },
        (
            Type::Paused,
            paused.into(),
            if paused { "Paused" } else { "NotPaused" },
            String::new(),
        ),
        (Type::Progressing, changing.into(), reason, why.clone()),
        if blocked {
            (Type::UpgradeBlocked, true_, reason, why.clone())
        } else {
            (Type::UpgradeBlocked, false_, "NotBlocked", String::new())
        },
    ];
    all.push(if paused {
        left_alone(seen)
    } else if let (true, Some(why)) = (settled, seen.not_grown) {
        (Type::Ready, false_, "GrowthRefused", why.to_owned())
    } else if let (true, Some(error)) = (settled, seen.refused) {
        (Type::Ready, false_, error.reason(), error.to_string())
    } else {
        (Type::Ready, settled.into(), reason, why)
    });
    all.push(match seen.database {
        Some(database) if database.leaderless == 0 => {
            (Type::Available, true_, "Serving", String::new())
        }
        Some(database) => (
            Type::Available,
            false_,
            "Leaderless",
            Wait::Leaderless(database.leaderless).to_string(),
        ),
        None => (
            Type::Available,
            false_,
            "DatabaseSilent",
            seen.silence.unwrap_or_default().to_owned(),
        ),
    });
    let unknown = |kind| {
        let why = seen.silence.unwrap_or_default().to_owned();
        (kind, ConditionStatus::Unknown, "DatabaseSilent", why)
    };
    match seen.database {
        None => all.extend([Type::Degraded, Type::MembershipStable].map(unknown)),
        Some(database) => all.extend(judged(database, seen.desired.replicas)),
    }
    all.push(if let Some(why) = seen.not_grown {
        (Type::StorageReady, false_, "GrowthRefused", why.to_owned())
    } else if let Some(lacking) = &seen.disks {
        (
            Type::StorageReady,
            false_,
            lacking.reason,
            lacking.why.clone(),
        )
    } else {
        (Type::StorageReady, true_, "SizesReached", String::new())
    });
    // Nobody looks while the cluster is left alone.
    if !paused {
        all.push(match seen.monitoring {
            None => (Type::MonitoringReady, true_, "AsAskedFor", String::new()),
            Some(missing) => {
                let reason = "MonitoringUnavailable";
                (Type::MonitoringReady, false_, reason, missing.to_owned())
            }
        });
    }
    all.push(match seen.tls {
        None => (Type::TlsReady, true_, "AsAskedFor", String::new()),
        Some(missing) => (
            Type::TlsReady,
            false_,
            missing.reason(),
            missing.to_string(),
        ),
    });
    all
}

/// Whether a cluster that is left alone is ready: as if it were not.
fn left_alone(seen: &Seen<'_>) -> Said {
    let cared_for = Desired {
        paused: false,
        ..seen.desired.clone()
    };
    let why = "The operator leaves this cluster alone.".to_owned();
    match plan(seen.observed, &cared_for) {
        Step::Calm(Calm::Settled) => (ConditionType::Ready, ConditionStatus::True, "Paused", why),
        _ => (ConditionType::Ready, ConditionStatus::False, "Paused", why),
    }
}

/// What follows from what the database says.
fn judged(database: &Status, replicas: u32) -> [Said; 2] {
    let missing = database.nodes.iter().find(|(_, node)| !node.alive);
    let (whole, reason, why) = match missing {
        Some((name, _)) => (false, "NodeDown", format!("{name} is not heard from.")),
        None if database.under_replicated > 0 => {
            let why = Wait::UnderReplicated(database.under_replicated).to_string();
            (false, "UnderReplicated", why)
        }
        None => (true, "Whole", String::new()),
    };
    let mut nodes = database.nodes.iter();
    let stable = database.moves == 0
        && u32::try_from(database.nodes.len()) == Ok(replicas)
        && nodes.all(|(_, node)| node.drain == Drain::None);
    [
        (ConditionType::Degraded, (!whole).into(), reason, why),
        (
            ConditionType::MembershipStable,
            stable.into(),
            if stable { "Stable" } else { "Changing" },
            String::new(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::Blocker;

    fn cluster() -> ChronosCluster {
        serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ChronosCluster",
            "metadata": { "name": "db", "namespace": "n", "generation": 4 }, "spec": {},
        }))
        .unwrap()
    }

    fn of(cluster: &ChronosCluster, step: &Step, now: &str) -> ChronosClusterStatus {
        with_tls(cluster, step, now, None)
    }

    fn with_tls(
        cluster: &ChronosCluster,
        step: &Step,
        now: &str,
        tls: Option<&Missing>,
    ) -> ChronosClusterStatus {
        let record = Record::new(cluster, "i");
        let desired = super::super::wanted::desired(cluster, &record, tls);
        let seen = Seen {
            cluster,
            record: &record,
            observed: &Observed::default(),
            desired: &desired,
            database: None,
            silence: Some("connection refused"),
            step,
            refused: None,
            monitoring: None,
            tls,
            disks: None,
            not_grown: None,
        };
        status(&seen, now)
    }

    fn get<'a>(status: &'a ChronosClusterStatus, name: &str) -> &'a Condition {
        let mut all = status.conditions.iter();
        all.find(|condition| condition.type_ == name).unwrap()
    }

    #[test]
    fn every_condition_is_there_from_the_first_look_on() {
        let status = of(&cluster(), &Step::Wait(Wait::Founding), "t1");
        assert_eq!(status.conditions.len(), ConditionType::ALL.len());
        assert_eq!(get(&status, "Degraded").status, ConditionStatus::Unknown);
        assert_eq!(get(&status, "Degraded").reason, "DatabaseSilent");
        assert_eq!(get(&status, "Ready").status, ConditionStatus::False);
        assert_eq!(get(&status, "Ready").observed_generation, 4);
        assert_eq!(status.phase, Some(Phase::Creating));
        assert!(status.phase_reason.contains("connection refused"));
    }

    #[test]
    fn the_same_again_is_the_same() {
        let mut cluster = cluster();
        let step = Step::Wait(Wait::Pod(1));
        let first = of(&cluster, &step, "t1");
        cluster.status = Some(first.clone());
        assert_eq!(of(&cluster, &step, "t2"), first);
        let settled = of(&cluster, &Step::Calm(Calm::Settled), "t3");
        assert_eq!(get(&settled, "Ready").last_transition_time, "t3");
        assert_eq!(get(&settled, "Paused").last_transition_time, "t1");
    }

    #[test]
    fn a_database_that_falls_silent_is_not_said_to_be_whole() {
        let mut cluster = cluster();
        let heard = judged(&Status::default(), 0);
        let [degraded, _] =
            heard.map(|(kind, holds, reason, why)| condition(kind, holds, reason, why, 4, "t1"));
        assert_eq!(degraded.status, ConditionStatus::False);
        cluster.status = Some(ChronosClusterStatus {
            conditions: vec![degraded],
            ..ChronosClusterStatus::default()
        });
        let status = of(&cluster, &Step::Wait(Wait::DatabaseSilent), "t2");
        assert_eq!(get(&status, "Degraded").status, ConditionStatus::Unknown);
        assert_eq!(get(&status, "MembershipStable").reason, "DatabaseSilent");
    }

    #[test]
    fn a_cluster_that_is_left_alone_is_ready_only_if_it_is() {
        let mut cluster = cluster();
        cluster.status = Some(of(&cluster, &Step::Calm(Calm::Settled), "t1"));
        let ready = cluster
            .status
            .as_ref()
            .map(|status| get(status, "Ready").status);
        assert_eq!(ready, Some(ConditionStatus::True));
        // There is no set, and nobody answers.
        let status = of(&cluster, &Step::Calm(Calm::Paused), "t2");
        assert_eq!(get(&status, "Ready").status, ConditionStatus::False);
        assert_eq!(get(&status, "Ready").reason, "Paused");
    }

    #[test]
    fn a_secret_that_is_missing_is_named() {
        let (cluster, calm) = (cluster(), Step::Calm(Calm::Settled));
        let missing = Missing::Secret("certificates".to_owned());
        let status = with_tls(&cluster, &calm, "t1", Some(&missing));
        let tls = get(&status, "TLSReady");
        assert_eq!(tls.status, ConditionStatus::False);
        assert_eq!(tls.reason, "SecretMissing");
        assert!(tls.message.contains("certificates"), "{}", tls.message);
        let tls = of(&cluster, &calm, "t2");
        assert_eq!(get(&tls, "TLSReady").status, ConditionStatus::True);
    }

    #[test]
    fn a_blocker_is_said_in_a_sentence() {
        let step = Step::Blocked(Blocker::TooFewNodes { left: 2, copies: 3 });
        let status = of(&cluster(), &step, "t");
        assert_eq!(status.phase, Some(Phase::Blocked));
        let blocked = get(&status, "UpgradeBlocked");
        assert_eq!(blocked.status, ConditionStatus::True);
        assert_eq!(blocked.reason, "TooFewNodes");
        assert!(blocked.message.contains("Raise replicas"));
    }

    #[test]
    fn a_failure_keeps_what_was_counted_and_takes_back_what_was_judged() {
        let mut cluster = cluster();
        let mut known = of(&cluster, &Step::Calm(Calm::Settled), "t1");
        known.ready_replicas = 3;
        cluster.status = Some(known);
        let status = failed(&cluster, &Error::Incomplete, "t2");
        assert_eq!(status.ready_replicas, 3);
        assert_eq!(status.phase_reason, Error::Incomplete.to_string());
        for (name, holds) in [
            ("Ready", ConditionStatus::False),
            ("ReconcileSuccess", ConditionStatus::False),
            ("Available", ConditionStatus::Unknown),
        ] {
            assert_eq!(get(&status, name).status, holds, "{name}");
            assert_eq!(get(&status, name).reason, "Incomplete");
        }
        let new = failed(&self::cluster(), &Error::Incomplete, "t");
        assert_eq!(
            new.phase,
            Some(Phase::Creating),
            "it says something at once"
        );
    }

    #[test]
    fn a_member_without_a_pod_does_not_live() {
        let mut cluster = cluster();
        let member = json!({
            "name": "db-0", "number": 1, "state": "active", "alive": true, "leaders": 4,
            "replicas": 4, "lagEntries": 0, "catalog": "leader", "podUid": "u",
        });
        cluster.status = Some(ChronosClusterStatus {
            members: vec![serde_json::from_value(member).unwrap()],
            ..ChronosClusterStatus::default()
        });
        let status = of(&cluster, &Step::Calm(Calm::Hibernated), "t");
        let member = &status.members[0];
        assert_eq!((member.alive, member.leaders), (false, 0));
        assert_eq!((member.pod_uid.as_deref(), member.replicas), (None, 4));
    }

    #[test]
    fn nobody_looks_at_monitoring_while_the_cluster_is_left_alone() {
        let status = of(&cluster(), &Step::Calm(Calm::Paused), "t");
        assert_eq!(
            get(&status, "MonitoringReady").status,
            ConditionStatus::Unknown
        );
        let status = of(&cluster(), &Step::Calm(Calm::Settled), "t");
        assert_eq!(
            get(&status, "MonitoringReady").status,
            ConditionStatus::True
        );
    }
}
