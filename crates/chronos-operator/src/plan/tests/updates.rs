//! Restarts for an update, and what holds them up.

use super::*;

#[test]
fn a_roll_moves_leaders_first_and_takes_the_catalog_leader_last() {
    let mut observed = healthy(3);
    for ordinal in 0..3 {
        observed.pod_mut(ordinal).template = "old".to_owned();
    }
    observed.node_mut(0).catalog_leader = false;
    observed.node_mut(2).catalog_leader = true;
    let want = desired();
    assert_eq!(act(&observed, &want), Action::Drain(1, Drain::Leaders));
    observed.node_mut(1).drain = Drain::Leaders;
    assert_eq!(plan(&observed, &want), Step::Wait(Wait::MovingLeaders(1)));
    observed.node_mut(1).leaders = 0;
    assert_eq!(act(&observed, &want), delete(1, Disruption::RollingUpdate));

    // It comes back, is not caught up, then is.
    observed.pods.remove(&1);
    assert_eq!(plan(&observed, &want), Step::Wait(Wait::Pod(1)));
    observed.pods.insert(1, pod(1));
    observed.node_mut(1).caught_up = false;
    assert_eq!(plan(&observed, &want), Step::Wait(Wait::CatchingUp(1)));
    observed.node_mut(1).caught_up = true;
    assert_eq!(act(&observed, &want), Action::Undrain(1));
    observed.node_mut(1).drain = Drain::None;
    assert_eq!(act(&observed, &want), Action::Drain(0, Drain::Leaders));

    observed.pods.insert(0, pod(0));
    assert_eq!(act(&observed, &want), Action::Drain(2, Drain::Leaders));
}

#[test]
fn leaders_that_do_not_move_hold_up_a_roll_for_the_budget_only() {
    let mut observed = healthy(3);
    observed.pod_mut(1).template = "old".to_owned();
    observed.node_mut(1).drain = Drain::Leaders;
    observed.node_mut(1).draining_ms = 999;
    assert_eq!(
        plan(&observed, &desired()),
        Step::Wait(Wait::MovingLeaders(1))
    );
    observed.node_mut(1).draining_ms = 1000;
    assert_eq!(
        act(&observed, &desired()),
        delete(1, Disruption::RollingUpdate)
    );
}

#[test]
fn the_database_has_the_last_word_on_a_restart() {
    let mut observed = healthy(3);
    observed.pod_mut(1).template = "old".to_owned();
    observed.node_mut(1).can_stop = false;
    observed.node_mut(1).why_not = "partition 7 has one copy left".to_owned();
    let said = plan(&observed, &desired());
    let Step::Wait(Wait::CannotStop(1, why)) = said else {
        panic!("{said:?}");
    };
    assert!(why.contains("partition 7"));
}

/// A rule that can never be met would block the update that mends what is wrong.
#[test]
fn two_copies_or_one_do_not_block_a_roll_for_ever() {
    for copies in [1, 2] {
        let mut observed = healthy(3);
        for ordinal in 0..3 {
            observed.node_mut(ordinal).can_stop = false;
            observed.node_mut(ordinal).leaders = 0;
            observed.node_mut(ordinal).catalog_leader = false;
        }
        observed.pod_mut(2).template = "old".to_owned();
        observed.node_mut(2).drain = if copies == 1 {
            Drain::None
        } else {
            Drain::Leaders
        };
        let want = Desired {
            copies,
            ..desired()
        };
        assert_eq!(act(&observed, &want), delete(2, Disruption::RollingUpdate));
    }
}

#[test]
fn nothing_is_restarted_while_something_is_missing_or_late() {
    type Spoil = fn(&mut Observed);
    let spoil: [(Spoil, Wait); 9] = [
        (
            |o| o.set.as_mut().unwrap().noticed = false,
            Wait::Controller,
        ),
        (
            |o| o.pod_mut(0).condition = PodCondition::Terminating,
            Wait::Pod(0),
        ),
        (
            |o| o.pod_mut(0).condition = PodCondition::Starting,
            Wait::Pod(0),
        ),
        (
            |o| drop(o.database_mut().nodes.remove(&0)),
            Wait::Joining(0),
        ),
        (|o| o.node_mut(0).alive = false, Wait::CatchingUp(0)),
        (|o| o.node_mut(0).caught_up = false, Wait::CatchingUp(0)),
        (|o| o.database_mut().leaderless = 1, Wait::Leaderless(1)),
        (
            |o| o.database_mut().under_replicated = 1,
            Wait::UnderReplicated(1),
        ),
        (|o| o.database_mut().overdue_ms = 5000, Wait::Overdue(5000)),
    ];
    for (spoil, wait) in spoil {
        let mut observed = healthy(3);
        observed.pod_mut(2).template = "old".to_owned();
        // All but the last gate is passed already.
        observed.node_mut(2).drain = Drain::Leaders;
        observed.node_mut(2).leaders = 0;
        let restart = delete(2, Disruption::RollingUpdate);
        assert_eq!(act(&observed, &desired()), restart);
        spoil(&mut observed);
        assert_eq!(plan(&observed, &desired()), Step::Wait(wait));
    }
}

#[test]
fn an_update_that_fails_stops_there() {
    let mut observed = healthy(3);
    observed.pod_mut(2).condition = PodCondition::Broken("CrashLoopBackOff".to_owned());
    observed.node_mut(2).alive = false;
    observed.pod_mut(1).template = "old".to_owned();
    let said = plan(&observed, &desired());
    assert!(
        matches!(said, Step::Blocked(Blocker::UpdateFailed(2, _))),
        "{said:?}"
    );
    // The correction reaches the broken pod first, though partitions lack a copy.
    observed.database_mut().under_replicated = 16;
    let corrected = Desired {
        template: "newer".to_owned(),
        ..desired()
    };
    assert_eq!(act(&observed, &corrected), delete(2, Disruption::BrokenPod));
}

/// Its process runs: only time tells.
#[test]
fn an_update_whose_pod_does_not_get_ready_is_said_to_fail_after_a_while() {
    let mut observed = healthy(3);
    observed.pod_mut(0).template = "old".to_owned();
    observed.pod_mut(2).condition = PodCondition::Starting;
    observed.pod_mut(2).waiting_ms = 15 * 60_000;
    assert_eq!(plan(&observed, &desired()), Step::Wait(Wait::Pod(2)));
    observed.pod_mut(2).waiting_ms += 60_000;
    let why = "not ready for 16 minutes".to_owned();
    let failed = Step::Blocked(Blocker::UpdateFailed(2, why));
    assert_eq!(plan(&observed, &desired()), failed);
    let by_hand = Desired {
        update: UpdateType::OnDelete,
        ..desired()
    };
    assert_eq!(plan(&observed, &by_hand), failed, "no reason to go on");
    // Without an answer it may be waiting for others.
    observed.database = None;
    let silent = Step::Wait(Wait::DatabaseSilent);
    assert_eq!(plan(&observed, &desired()), silent);
}

/// The node that does not come back had the only vote.
#[test]
fn an_update_that_silences_the_database_is_said_to_fail() {
    let mut observed = healthy(2);
    observed.database = None;
    observed.pod_mut(0).template = "old".to_owned();
    observed.pod_mut(1).condition = PodCondition::Broken("CrashLoopBackOff".to_owned());
    let failed = Step::Blocked(Blocker::UpdateFailed(1, "CrashLoopBackOff".to_owned()));
    assert_eq!(plan(&observed, &desired()), failed);
    // All are up to date: that it crashes may have other reasons.
    observed.pod_mut(0).template = "new".to_owned();
    let silent = Step::Wait(Wait::DatabaseSilent);
    assert_eq!(plan(&observed, &desired()), silent);
}

#[test]
fn on_delete_leaves_restarts_to_somebody() {
    let mut observed = healthy(3);
    observed.pod_mut(1).template = "old".to_owned();
    let want = Desired {
        update: UpdateType::OnDelete,
        ..desired()
    };
    assert_eq!(plan(&observed, &want), Step::Blocked(Blocker::OnDelete(1)));
}
