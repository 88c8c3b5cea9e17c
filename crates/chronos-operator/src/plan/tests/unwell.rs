//! Nodes that are unwell while their pods are out of date: what they lack themselves is not waited for.

use super::*;

fn spoil(observed: &mut Observed, ordinal: u32) {
    let pod = observed.pod_mut(ordinal);
    pod.template = "bad".to_owned();
    pod.condition = PodCondition::Starting;
}

/// A change whose node joins and never says that it is ready, taken back.
#[test]
fn a_node_that_never_gets_ready_is_restarted_though_the_database_hears_it() {
    let mut observed = healthy(3);
    spoil(&mut observed, 2);
    observed.node_mut(2).leaders = 0;
    observed.node_mut(2).drain = Drain::Leaders;
    observed.database_mut().under_replicated = 16;
    let restart = delete(2, Disruption::RollingUpdate);
    assert_eq!(act(&observed, &desired()), restart);

    observed.node_mut(2).can_stop = false;
    let said = plan(&observed, &desired());
    assert!(
        matches!(said, Step::Wait(Wait::CannotStop(2, _))),
        "{said:?}"
    );
    observed.node_mut(2).can_stop = true;
    observed.claim_mut(2).terminating = true;
    let at_risk = Step::Blocked(Blocker::ClaimAtRisk(2));
    assert_eq!(plan(&observed, &desired()), at_risk);
}

#[test]
fn a_process_that_ended_and_is_still_heard_hands_over_what_it_leads() {
    let mut observed = healthy(3);
    spoil(&mut observed, 1);
    observed.pod_mut(1).condition = PodCondition::Broken("exit code 1".to_owned());
    assert_eq!(act(&observed, &desired()), Action::Drain(1, Drain::Leaders));
    observed.node_mut(1).alive = false;
    assert_eq!(act(&observed, &desired()), delete(1, Disruption::BrokenPod));
}

#[test]
fn a_node_that_never_catches_up_is_restarted_first() {
    let mut observed = healthy(3);
    for ordinal in 0..3 {
        observed.pod_mut(ordinal).template = "old".to_owned();
    }
    observed.node_mut(1).caught_up = false;
    observed.node_mut(1).leaders = 0;
    observed.database_mut().under_replicated = 16;
    assert_eq!(act(&observed, &desired()), Action::Drain(1, Drain::Leaders));
    observed.node_mut(1).drain = Drain::Leaders;
    let restart = delete(1, Disruption::RollingUpdate);
    assert_eq!(act(&observed, &desired()), restart);
    // Whether it helped is seen before the next one.
    observed.pods.insert(1, pod(1));
    let waits = Step::Wait(Wait::CatchingUp(1));
    assert_eq!(plan(&observed, &desired()), waits);
}

#[test]
fn the_only_node_is_restarted_though_nothing_is_as_it_should_be() {
    let mut observed = healthy(1);
    spoil(&mut observed, 0);
    observed.node_mut(0).can_stop = false;
    observed.node_mut(0).caught_up = false;
    observed.database_mut().leaderless = 16;
    observed.database_mut().under_replicated = 16;
    let want = Desired {
        replicas: 1,
        copies: 1,
        ..desired()
    };
    assert_eq!(act(&observed, &want), delete(0, Disruption::RollingUpdate));
}

/// Its machine is lost, and its pod never goes.
#[test]
fn a_pod_that_never_goes_does_not_keep_others_from_being_replaced() {
    let mut observed = healthy(3);
    observed.pod_mut(0).condition = PodCondition::Terminating;
    observed.node_mut(0).alive = false;
    for ordinal in [1, 2] {
        spoil(&mut observed, ordinal);
        observed.node_mut(ordinal).alive = false;
    }
    let replace = delete(1, Disruption::BrokenPod);
    let silent = Observed {
        database: None,
        ..observed.clone()
    };
    for mut observed in [observed, silent] {
        for (waiting_ms, stops) in [(0, true), (30_000, true), (30_001, false)] {
            observed.pod_mut(0).waiting_ms = waiting_ms;
            match plan(&observed, &desired()) {
                Step::Act(action) if !stops => assert_eq!(action, replace),
                Step::Wait(_) if stops => {}
                other => panic!("{other:?} after {waiting_ms} ms"),
            }
        }
        // The next one only when this one is through.
        observed.pod_mut(1).condition = PodCondition::Terminating;
        let said = plan(&observed, &desired());
        assert!(matches!(said, Step::Wait(_)), "{said:?}");
    }
}

/// The database may be silent because of it; who serves is left alone.
#[test]
fn a_pod_that_never_goes_costs_nobody_who_serves() {
    let mut observed = healthy(3);
    observed.pod_mut(0).condition = PodCondition::Terminating;
    observed.pod_mut(0).waiting_ms = 3_600_000;
    observed.node_mut(0).alive = false;
    spoil(&mut observed, 2);
    observed.node_mut(2).drain = Drain::Leaders;
    observed.node_mut(2).leaders = 0;
    assert_eq!(plan(&observed, &desired()), Step::Wait(Wait::Pod(0)));
    observed.database = None;
    let silent = Step::Wait(Wait::DatabaseSilent);
    assert_eq!(plan(&observed, &desired()), silent);
}

/// The control plane may be cut off, and all others be well.
#[test]
fn a_pod_whose_machine_is_not_heard_from_is_left_alone() {
    let mut observed = healthy(3);
    for ordinal in 0..3 {
        spoil(&mut observed, ordinal);
        observed.pod_mut(ordinal).unreachable = true;
    }
    assert_eq!(plan(&observed, &desired()), Step::Wait(Wait::Pod(0)));
    observed.database = None;
    let silent = Step::Wait(Wait::DatabaseSilent);
    assert_eq!(plan(&observed, &desired()), silent);
    observed.pod_mut(1).unreachable = false;
    assert_eq!(act(&observed, &desired()), delete(1, Disruption::BrokenPod));
}

/// Its pod is ready, and still it is none of the members.
#[test]
fn a_node_that_never_joins_is_restarted() {
    let mut observed = healthy(4);
    observed.pod_mut(3).template = "old".to_owned();
    observed.database_mut().nodes.remove(&3);
    let want = Desired {
        replicas: 4,
        ..desired()
    };
    assert_eq!(act(&observed, &want), delete(3, Disruption::RollingUpdate));
}

#[test]
fn of_several_that_are_unwell_one_that_can_be_spared_is_restarted() {
    let mut observed = healthy(3);
    spoil(&mut observed, 1);
    spoil(&mut observed, 2);
    observed.node_mut(1).caught_up = false;
    observed.node_mut(1).leaders = 0;
    // Without node 2, only node 0 would have everything.
    observed.node_mut(2).can_stop = false;
    assert_eq!(act(&observed, &desired()), Action::Drain(1, Drain::Leaders));
    observed.node_mut(1).drain = Drain::Leaders;
    let restart = delete(1, Disruption::RollingUpdate);
    assert_eq!(act(&observed, &desired()), restart);
    // With two copies the database is asked as well.
    observed.node_mut(1).can_stop = false;
    let want = Desired {
        copies: 2,
        ..desired()
    };
    let said = plan(&observed, &want);
    assert!(matches!(said, Step::Wait(Wait::CannotStop(..))), "{said:?}");
    // One that is up to date may get well by itself.
    observed.node_mut(1).can_stop = true;
    observed.pod_mut(2).template = "new".to_owned();
    assert_eq!(plan(&observed, &desired()), Step::Wait(Wait::Pod(1)));
}

#[test]
fn late_events_hold_up_a_restart_unless_the_node_may_be_why() {
    let mut observed = healthy(3);
    spoil(&mut observed, 2);
    observed.database_mut().overdue_ms = 5000;
    assert_eq!(act(&observed, &desired()), Action::Drain(2, Drain::Leaders));
    observed.node_mut(2).drain = Drain::Leaders;
    observed.node_mut(2).leaders = 0;
    let waits = Step::Wait(Wait::Overdue(5000));
    assert_eq!(plan(&observed, &desired()), waits);
}
