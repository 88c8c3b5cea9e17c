//! Random situations: whatever they look like, one step keeps what is promised.

use proptest::prelude::*;

use super::*;

const MOST: u32 = 5;

fn condition() -> impl Strategy<Value = PodCondition> {
    prop_oneof![
        4 => Just(PodCondition::Ready),
        1 => Just(PodCondition::Starting),
        1 => Just(PodCondition::Broken("CrashLoopBackOff".to_owned())),
        1 => Just(PodCondition::Terminating),
    ]
}

fn drain() -> impl Strategy<Value = Drain> {
    prop_oneof![
        3 => Just(Drain::None),
        1 => Just(Drain::Leaders),
        1 => Just(Drain::Replicas),
    ]
}

prop_compose! {
    fn any_pod()(
        condition in condition(), waiting_ms in prop_oneof![Just(0u64), Just(3_600_000)], old in any::<bool>(), leaving in prop::bool::weighted(0.1),
        unreachable in prop::bool::weighted(0.1),
    ) -> Pod {
        let template = if old { "old" } else { "new" }.to_owned();
        Pod { uid: "p".to_owned(), template, condition, waiting_ms, zone: None, leaving, unreachable }
    }
}

prop_compose! {
    fn any_claim()(
        requested_bytes in prop_oneof![4 => Just(10u64), 1 => Just(5u64)],
        retired in prop::bool::weighted(0.2),
        terminating in prop::bool::weighted(0.1),
    ) -> Claim {
        Claim { uid: "c".to_owned(), requested_bytes, retired, terminating }
    }
}

prop_compose! {
    fn any_node()(
        number in 1u64..4, drain in drain(), draining_ms in 0u64..2000,
        alive in prop::bool::weighted(0.8), leaders in 0u32..2, replicas in 0u32..2,
        catalog_voter in any::<bool>(), catalog_leader in prop::bool::weighted(0.2),
        caught_up in prop::bool::weighted(0.9), can_stop in prop::bool::weighted(0.8),
    ) -> Node {
        Node {
            number, drain, draining_ms, alive, leaders, replicas, catalog_voter, catalog_leader,
            caught_up, can_stop, ..Node::default()
        }
    }
}

fn some<T: Clone + std::fmt::Debug>(
    one: impl Strategy<Value = T>,
    share: f64,
) -> impl Strategy<Value = BTreeMap<u32, T>> {
    prop::collection::vec(prop::option::weighted(share, one), MOST as usize + 1).prop_map(|all| {
        let filled = all.into_iter().zip(0u32..);
        filled.filter_map(|(one, n)| Some((n, one?))).collect()
    })
}

prop_compose! {
    fn any_observed()(
        set in prop::option::weighted(0.95, (0u32..=MOST, prop::bool::weighted(0.95))),
        pods in some(any_pod(), 0.8),
        claims in some(any_claim(), 0.8),
        nodes in prop::option::weighted(0.85, some(any_node(), 0.8)),
        under_replicated in prop_oneof![4 => Just(0u32), 1 => Just(1u32)],
    ) -> Observed {
        Observed {
            set: set.map(|(replicas, noticed)| Set { replicas, noticed }),
            pods,
            claims,
            database: nodes.map(|nodes| Database {
                cluster_id: "id".to_owned(), under_replicated, nodes, ..Database::default()
            }),
        }
    }
}

prop_compose! {
    fn any_desired()(
        replicas in 1u32..=MOST, copies in 1u32..=3, hibernate in prop::bool::weighted(0.1),
        delete_retired in any::<bool>(), known in any::<bool>(),
        replace in prop::option::of((0u32..MOST, 1u64..4)),
    ) -> Desired {
        Desired {
            replicas, copies, hibernate, delete_retired,
            cluster_id: known.then(|| "id".to_owned()),
            replace: replace.map(|(ordinal, number)| Replace { ordinal, number }),
            ..desired()
        }
    }
}

/// Whether a node may be restarted for an update.
fn judge_restart(
    observed: &Observed,
    desired: &Desired,
    ordinal: u32,
) -> Result<(), TestCaseError> {
    let database = observed.database.as_ref().expect("an answer");
    let is_well = |ordinal: u32| {
        let node = database.nodes.get(&ordinal);
        observed.is_ready(ordinal) && node.is_some_and(|node| node.alive && node.caught_up)
    };
    let size = observed.size();
    let mut others = (0..size).filter(|other| *other != ordinal && !is_well(*other));
    let several = others.clone().next().is_some();
    if let Some(node) = database.nodes.get(&ordinal) {
        prop_assert!((desired.copies < 3 && !several) || node.can_stop);
        prop_assert!(desired.copies < 2 || node.drain != Drain::None);
    }
    if is_well(ordinal) {
        prop_assert!(!several, "another node is unwell");
        prop_assert_eq!(database.under_replicated, 0, "a copy is missing");
    } else {
        let outdated = observed.outdated(desired);
        let known = others.all(|other| outdated.contains(&other));
        prop_assert!(known, "another pod is missing, or may get well by itself");
    }
    Ok(())
}

/// What a step must never do in a situation.
fn judge(observed: &Observed, desired: &Desired, action: &Action) -> Result<(), TestCaseError> {
    let size = observed.set.map(|set| set.replicas);
    let member = |ordinal: &u32| {
        let database = observed.database.as_ref();
        database.is_some_and(|database| database.nodes.contains_key(ordinal))
    };
    match action {
        Action::DeletePod { ordinal, why, .. } => {
            let pod = &observed.pods[ordinal];
            prop_assert_ne!(&pod.condition, &PodCondition::Terminating);
            let alive = observed.is_alive(*ordinal);
            let claim = observed.claims.get(ordinal);
            let at_risk = claim.is_some_and(|claim| claim.terminating && !claim.retired);
            prop_assert!(!at_risk, "its disk goes with it");
            match why {
                Disruption::BrokenPod => {
                    prop_assert!(!alive, "the database hears from it");
                    let is_unknown = pod.unreachable && pod.condition == PodCondition::Starting;
                    prop_assert!(!is_unknown, "nobody knows how it is");
                    prop_assert_ne!(&pod.condition, &PodCondition::Ready);
                    prop_assert_ne!(&pod.template, &desired.template);
                }
                Disruption::RollingUpdate => {
                    prop_assert_ne!(&pod.template, &desired.template);
                    judge_restart(observed, desired, *ordinal)?;
                }
                Disruption::LostDisk => {
                    prop_assert!(observed.database.is_some());
                    prop_assert!(!member(ordinal), "its disk may hold something");
                    prop_assert!(observed.claims[ordinal].retired);
                }
            }
        }
        Action::ReplaceDisk { ordinal, .. } | Action::DeleteClaim { ordinal, .. } => {
            let pod = observed.pods.get(ordinal).map(|pod| &pod.condition);
            if matches!(action, Action::DeleteClaim { .. }) {
                prop_assert!(
                    matches!(pod, None | Some(PodCondition::Terminating)),
                    "a pod's disk"
                );
            } else {
                prop_assert_ne!(pod, Some(&PodCondition::Starting), "it may be joining");
            }
            prop_assert!(observed.database.is_some(), "nobody was asked");
            prop_assert!(!member(ordinal), "a member's disk");
            prop_assert!(observed.claims[ordinal].retired, "not marked before");
        }
        Action::RetireClaim { ordinal, .. } => {
            prop_assert!(observed.database.is_some(), "nobody was asked");
            let holds = observed.node(*ordinal).is_some_and(|node| {
                node.alive && (node.replicas > 0 || node.leaders > 0 || node.catalog_voter)
            });
            prop_assert!(!holds, "a disk that serves");
        }
        Action::Remove {
            ordinal,
            number,
            lost,
        } => {
            let node = observed.node(*ordinal).expect("a member");
            prop_assert_eq!(node.number, *number);
            if *lost {
                prop_assert!(!node.alive);
                let named = desired
                    .replace
                    .map(|replace| (replace.ordinal, replace.number));
                prop_assert_eq!(named, Some((*ordinal, *number)), "nobody said so");
            } else {
                prop_assert!(node.replicas == 0 && node.leaders == 0 && !node.catalog_voter);
                prop_assert!(
                    *ordinal >= desired.replicas.min(observed.size()),
                    "it is wanted"
                );
            }
        }
        Action::Drain(ordinal, Drain::Replicas) => {
            prop_assert!(
                *ordinal >= desired.replicas.min(observed.size()),
                "it is wanted"
            );
        }
        Action::Resize(to, _) => {
            let from = size.unwrap_or(0);
            for claim in observed
                .claims
                .range((*to).min(from)..from)
                .map(|(_, claim)| claim)
            {
                prop_assert!(
                    !desired.hibernate || claim.retired || !claim.terminating,
                    "its disk goes with it"
                );
            }
            if *to < from && !desired.hibernate {
                prop_assert_eq!(*to, from - 1, "one at a time");
                prop_assert!(observed.database.is_some(), "nobody was asked");
                prop_assert!(!member(to), "a member is left out");
                prop_assert!(*to >= desired.replicas);
            }
            for ordinal in from..*to {
                let old = observed.claims.get(&ordinal);
                let waking = from == 0;
                prop_assert!(
                    waking
                        || observed.database.is_none()
                        || old.is_none_or(|claim| !claim.retired)
                        || member(&ordinal)
                        || size.is_none(),
                    "a node would come up with an old disk"
                );
            }
        }
        Action::GrowClaim { ordinal, bytes } => {
            prop_assert!(observed.claims[ordinal].requested_bytes < *bytes);
        }
        Action::Undrain(ordinal) => {
            prop_assert!(observed.database.is_some());
            let marked = observed
                .claims
                .get(ordinal)
                .is_some_and(|claim| claim.retired);
            prop_assert!(!marked, "a marked disk is given work");
        }
        Action::Drain(..) | Action::KeepClaim { .. } | Action::SetZone(..) => {
            prop_assert!(observed.database.is_some());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(20_000), ..ProptestConfig::default() })]

    #[test]
    fn no_step_breaks_a_promise(observed in any_observed(), desired in any_desired()) {
        if let Step::Act(action) = plan(&observed, &desired) {
            judge(&observed, &desired, &action)?;
        }
    }

    #[test]
    fn a_paused_cluster_is_never_touched(observed in any_observed(), desired in any_desired()) {
        let paused = Desired { paused: true, ..desired };
        prop_assert_eq!(plan(&observed, &paused), Step::Calm(Calm::Paused));
    }

    #[test]
    fn without_an_answer_nothing_that_serves_is_touched(
        observed in any_observed(), desired in any_desired(),
    ) {
        let silent = Observed { database: None, ..observed };
        let awake = Desired { hibernate: false, ..desired };
        if let Step::Act(action) = plan(&silent, &awake) {
            match action {
                Action::Resize(to, _) => prop_assert!(to >= silent.size()),
                Action::GrowClaim { .. } => {}
                Action::DeletePod { ordinal, .. } => prop_assert!(!silent.is_ready(ordinal)),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    /// The last word of an operator that was killed is planned again.
    #[test]
    fn the_same_situation_gives_the_same_step(
        observed in any_observed(), desired in any_desired(),
    ) {
        prop_assert_eq!(plan(&observed, &desired), plan(&observed.clone(), &desired.clone()));
    }
}
