//! One situation per test, with the step that it calls for.

use super::*;

fn replace_disk(ordinal: u32) -> Action {
    Action::ReplaceDisk {
        ordinal,
        claim: format!("claim-{ordinal}"),
        pod: format!("pod-{ordinal}"),
    }
}

#[test]
fn a_healthy_cluster_is_left_alone() {
    assert_eq!(plan(&healthy(3), &desired()), Step::Calm(Calm::Settled));
}

/// Nothing is to be done, and yet it is not done.
#[test]
fn what_is_under_way_is_waited_for() {
    type Spoil = fn(&mut Observed);
    let spoil: [(Spoil, Wait); 9] = [
        (
            |o| o.set.as_mut().unwrap().noticed = false,
            Wait::Controller,
        ),
        (
            |o| o.pod_mut(1).condition = PodCondition::Starting,
            Wait::Pod(1),
        ),
        (
            |o| drop(o.database_mut().nodes.remove(&1)),
            Wait::Joining(1),
        ),
        (|o| o.node_mut(1).alive = false, Wait::CatchingUp(1)),
        (|o| o.node_mut(1).caught_up = false, Wait::CatchingUp(1)),
        (|o| o.database_mut().leaderless = 2, Wait::Leaderless(2)),
        (
            |o| o.database_mut().under_replicated = 2,
            Wait::UnderReplicated(2),
        ),
        (|o| o.database_mut().moves = 2, Wait::Moving(2)),
        // It was on its way out when the set became smaller.
        (
            |o| drop(o.database_mut().nodes.insert(3, node(3))),
            Wait::LastBreath(3),
        ),
    ];
    for (spoil, wait) in spoil {
        let mut observed = healthy(3);
        spoil(&mut observed);
        assert_eq!(plan(&observed, &desired()), Step::Wait(wait));
    }
}

#[test]
fn a_database_that_nobody_knows_is_being_founded() {
    let mut observed = healthy(3);
    observed.database = None;
    let silent = Step::Wait(Wait::DatabaseSilent);
    assert_eq!(plan(&observed, &desired()), silent);
    let unknown = Desired {
        cluster_id: None,
        ..desired()
    };
    assert_eq!(plan(&observed, &unknown), Step::Wait(Wait::Founding));
}

#[test]
fn a_paused_cluster_is_left_alone_however_broken() {
    let paused = Desired {
        paused: true,
        replicas: 5,
        ..desired()
    };
    assert_eq!(
        plan(&Observed::default(), &paused),
        Step::Calm(Calm::Paused)
    );
}

#[test]
fn a_new_cluster_starts_with_all_its_nodes() {
    let action = act(&Observed::default(), &desired());
    assert_eq!(action, Action::Resize(3, Resize::Create));
}

#[test]
fn a_cluster_made_again_over_old_disks_starts_all_of_them() {
    let mut observed = Observed {
        claims: healthy(5).claims,
        ..Observed::default()
    };
    assert_eq!(
        act(&observed, &desired()),
        Action::Resize(5, Resize::Create)
    );
    observed.claim_mut(4).retired = true;
    assert_eq!(
        act(&observed, &desired()),
        Action::Resize(4, Resize::Create)
    );
}

#[test]
fn a_broken_pod_is_replaced_though_the_database_is_silent() {
    let mut observed = healthy(3);
    observed.database = None;
    observed.pod_mut(1).template = "old".to_owned();
    assert_eq!(
        plan(&observed, &desired()),
        Step::Wait(Wait::DatabaseSilent)
    );
    observed.pod_mut(1).condition = PodCondition::Broken("ImagePullBackOff".to_owned());
    assert_eq!(act(&observed, &desired()), delete(1, Disruption::BrokenPod));
}

#[test]
fn a_setting_that_keeps_every_node_from_serving_can_be_corrected() {
    let mut observed = healthy(3);
    observed.database = None;
    for ordinal in 0..3 {
        observed.pod_mut(ordinal).template = "bad".to_owned();
        observed.pod_mut(ordinal).condition = PodCondition::Starting;
    }
    assert_eq!(act(&observed, &desired()), delete(0, Disruption::BrokenPod));
    observed.pod_mut(0).condition = PodCondition::Terminating;
    assert_eq!(
        plan(&observed, &desired()),
        Step::Wait(Wait::DatabaseSilent),
        "one after the other"
    );
}

#[test]
fn scaling_down_drains_marks_removes_and_only_then_shrinks() {
    let mut observed = healthy(5);
    let want = desired();
    assert_eq!(act(&observed, &want), Action::Drain(4, Drain::Replicas));
    observed.node_mut(4).drain = Drain::Replicas;
    assert_eq!(plan(&observed, &want), Step::Wait(Wait::Draining(4)));
    observed.node_mut(4).replicas = 0;
    observed.node_mut(4).leaders = 0;
    assert_eq!(
        plan(&observed, &want),
        Step::Wait(Wait::Draining(4)),
        "it still votes in the catalog"
    );
    observed.node_mut(4).catalog_voter = false;
    assert_eq!(
        act(&observed, &want),
        Action::RetireClaim {
            ordinal: 4,
            uid: "claim-4".to_owned()
        }
    );
    observed.claim_mut(4).retired = true;
    assert_eq!(
        act(&observed, &want),
        Action::Remove {
            ordinal: 4,
            number: 5,
            lost: false
        }
    );
    observed.database_mut().nodes.remove(&4);
    assert_eq!(act(&observed, &want), Action::Resize(4, Resize::ScaleDown));
}

#[test]
fn a_pod_that_never_ran_is_asked_about_before_the_set_shrinks() {
    let mut observed = healthy(5);
    observed.pod_mut(4).condition = PodCondition::Broken("Unschedulable".to_owned());
    observed.node_mut(4).alive = false;
    // It is a member all the same.
    assert_eq!(
        act(&observed, &desired()),
        Action::Drain(4, Drain::Replicas)
    );
    observed.database = None;
    let said = plan(&observed, &desired());
    assert!(matches!(said, Step::Wait(_)), "{said:?}");
}

#[test]
fn every_copy_keeps_a_place() {
    let want = Desired {
        replicas: 1,
        ..desired()
    };
    let said = plan(&healthy(3), &want);
    assert_eq!(
        said,
        Step::Blocked(Blocker::TooFewNodes { left: 2, copies: 3 })
    );
}

#[test]
fn a_change_of_mind_takes_the_drain_back() {
    let mut observed = healthy(5);
    observed.node_mut(4).drain = Drain::Replicas;
    let want = Desired {
        replicas: 5,
        ..desired()
    };
    assert_eq!(act(&observed, &want), Action::Undrain(4));
}

#[test]
fn a_change_of_mind_after_the_removal_gives_the_node_a_fresh_disk() {
    let mut observed = healthy(5);
    observed.database_mut().nodes.remove(&4);
    observed.claim_mut(4).retired = true;
    let want = Desired {
        replicas: 5,
        ..desired()
    };
    assert_eq!(act(&observed, &want), replace_disk(4));
    // The operator was killed between the claim and the pod.
    observed.claim_mut(4).terminating = true;
    assert_eq!(act(&observed, &want), delete(4, Disruption::LostDisk));
}

#[test]
fn an_old_disk_is_gone_before_a_node_of_its_name_comes() {
    let mut observed = healthy(3);
    let mut old = claim(3);
    old.retired = true;
    observed.claims.insert(3, old);
    let want = Desired {
        replicas: 5,
        ..desired()
    };
    assert_eq!(
        act(&observed, &want),
        Action::DeleteClaim {
            ordinal: 3,
            uid: "claim-3".to_owned()
        }
    );
    observed.claim_mut(3).terminating = true;
    assert_eq!(plan(&observed, &want), Step::Wait(Wait::ClaimGoing(3)));
    observed.claims.remove(&3);
    assert_eq!(act(&observed, &want), Action::Resize(5, Resize::ScaleUp));
}

#[test]
fn a_set_that_somebody_made_smaller_gets_its_members_back() {
    let mut observed = healthy(5);
    observed.set = Some(Set {
        replicas: 3,
        noticed: true,
    });
    observed.pods.remove(&4);
    observed.pods.remove(&3);
    assert_eq!(
        act(&observed, &desired()),
        Action::Resize(5, Resize::Restore)
    );
    // Two are a majority no more.
    observed.database = None;
    assert_eq!(
        act(&observed, &desired()),
        Action::Resize(5, Resize::Restore)
    );
}

/// It woke up with two nodes, or somebody made the set smaller as well.
#[test]
fn a_member_that_is_wanted_comes_back_though_its_disk_is_gone() {
    let mut observed = healthy(3);
    observed.set = Some(Set {
        replicas: 2,
        noticed: true,
    });
    observed.pods.remove(&2);
    observed.claims.remove(&2);
    observed.node_mut(2).alive = false;
    observed.node_mut(2).caught_up = false;
    let grow = Action::Resize(3, Resize::ScaleUp);
    assert_eq!(act(&observed, &desired()), grow);
    // One that was taken out, but for the removal, is wanted again with what is on its disk.
    let mut old = claim(2);
    old.retired = true;
    observed.claims.insert(2, old);
    *observed.node_mut(2) = Node {
        drain: Drain::Replicas,
        replicas: 0,
        leaders: 0,
        catalog_voter: false,
        alive: false,
        ..node(2)
    };
    let want = Desired {
        delete_retired: true,
        ..desired()
    };
    assert_eq!(act(&observed, &want), grow);
}

#[test]
fn sleeping_stops_all_and_waking_starts_as_many_as_there_were() {
    let mut observed = healthy(5);
    let mut want = Desired {
        hibernate: true,
        ..desired()
    };
    assert_eq!(act(&observed, &want), Action::Resize(0, Resize::Hibernate));
    observed.set = Some(Set {
        replicas: 0,
        noticed: true,
    });
    observed.database = None;
    assert_eq!(plan(&observed, &want), Step::Wait(Wait::Stopping));
    observed.pods.clear();
    assert_eq!(plan(&observed, &want), Step::Calm(Calm::Hibernated));
    // Three are wanted now, but five are members: they decide about it.
    want.hibernate = false;
    assert_eq!(act(&observed, &want), Action::Resize(5, Resize::Resume));
}

#[test]
fn disks_grow_while_nodes_are_down_and_never_shrink() {
    let mut observed = healthy(3);
    observed.database = None;
    let mut want = Desired {
        claim_bytes: 20,
        ..desired()
    };
    observed.claim_mut(0).requested_bytes = 20;
    observed.claim_mut(1).requested_bytes = 30;
    assert_eq!(
        act(&observed, &want),
        Action::GrowClaim {
            ordinal: 2,
            bytes: 20
        }
    );
    want.claim_bytes = 5;
    assert_eq!(plan(&observed, &want), Step::Wait(Wait::DatabaseSilent));
}

#[test]
fn leaders_leave_a_kubernetes_node_before_it_is_emptied() {
    let mut observed = healthy(3);
    observed.pod_mut(1).leaving = true;
    assert_eq!(act(&observed, &desired()), Action::Drain(1, Drain::Leaders));
    observed.node_mut(1).drain = Drain::Leaders;
    assert_eq!(plan(&observed, &desired()), Step::Calm(Calm::Settled));
    observed.pod_mut(1).leaving = false;
    assert_eq!(act(&observed, &desired()), Action::Undrain(1));
}

#[test]
fn a_kubernetes_cluster_that_is_emptied_everywhere_keeps_its_leaders() {
    let mut observed = healthy(3);
    for ordinal in 0..3 {
        observed.pod_mut(ordinal).leaving = true;
    }
    assert_eq!(plan(&observed, &desired()), Step::Calm(Calm::Settled));
}

#[test]
fn a_lost_disk_is_marked_removed_and_replaced() {
    let mut observed = healthy(3);
    let want = Desired {
        replace: Some(Replace {
            ordinal: 1,
            number: 2,
        }),
        ..desired()
    };
    assert_eq!(
        plan(&observed, &want),
        Step::Calm(Calm::Settled),
        "a member that lives is not given up"
    );
    observed.pod_mut(1).condition = PodCondition::Broken("CrashLoopBackOff".to_owned());
    observed.node_mut(1).alive = false;
    observed.node_mut(1).caught_up = false;
    let uid = "claim-1".to_owned();
    assert_eq!(
        act(&observed, &want),
        Action::RetireClaim { ordinal: 1, uid }
    );
    observed.claim_mut(1).retired = true;
    assert_eq!(
        act(&observed, &want),
        Action::Remove {
            ordinal: 1,
            number: 2,
            lost: true
        }
    );
    observed.database_mut().nodes.remove(&1);
    assert_eq!(act(&observed, &want), replace_disk(1));
    // Its successor has another number: the annotation that is still there means nothing.
    observed.pods.insert(1, pod(1));
    observed.claims.insert(1, claim(1));
    observed.database_mut().nodes.insert(
        1,
        Node {
            number: 9,
            alive: false,
            ..node(1)
        },
    );
    assert_eq!(plan(&observed, &want), Step::Wait(Wait::CatchingUp(1)));
}

#[test]
fn a_wiped_disk_that_joins_again_is_kept() {
    let mut observed = healthy(3);
    observed.claim_mut(1).retired = true;
    observed.database_mut().nodes.remove(&1);
    observed.pod_mut(1).condition = PodCondition::Starting;
    assert_eq!(plan(&observed, &desired()), Step::Wait(Wait::Pod(1)));
    observed.database_mut().nodes.insert(1, node(1));
    let uid = "claim-1".to_owned();
    assert_eq!(
        act(&observed, &desired()),
        Action::KeepClaim { ordinal: 1, uid }
    );
}

/// It was to be removed, and is to stay now. Whether it is up does not matter: with the mark, a cluster
/// that sleeps would wake without it.
#[test]
fn a_mark_is_taken_back_before_a_drained_member_has_work_again() {
    let mut observed = healthy(3);
    observed.claim_mut(2).retired = true;
    observed.node_mut(2).drain = Drain::Replicas;
    observed.node_mut(2).alive = false;
    observed.pod_mut(2).condition = PodCondition::Starting;
    let uid = "claim-2".to_owned();
    assert_eq!(
        act(&observed, &desired()),
        Action::KeepClaim { ordinal: 2, uid }
    );
    observed.claim_mut(2).retired = false;
    assert_eq!(act(&observed, &desired()), Action::Undrain(2));
}

/// What is not wanted any more is gone before all is said to be done.
#[test]
fn a_pod_that_leaves_is_waited_for() {
    let mut observed = healthy(3);
    let leaving = Pod {
        condition: PodCondition::Terminating,
        template: "old".to_owned(),
        ..pod(3)
    };
    observed.pods.insert(3, leaving);
    assert_eq!(plan(&observed, &desired()), Step::Wait(Wait::Leaving(3)));
    observed.pods.remove(&3);
    assert_eq!(plan(&observed, &desired()), Step::Calm(Calm::Settled));
}

#[test]
fn a_mark_is_taken_back_when_the_member_lives() {
    let mut observed = healthy(3);
    observed.claim_mut(1).retired = true;
    assert_eq!(
        act(&observed, &desired()),
        Action::KeepClaim {
            ordinal: 1,
            uid: "claim-1".to_owned()
        }
    );
}

#[test]
fn nodes_of_another_database_are_not_touched() {
    let mut observed = healthy(3);
    observed.database_mut().cluster_id = "other".to_owned();
    observed.pod_mut(0).template = "old".to_owned();
    assert_eq!(
        plan(&observed, &desired()),
        Step::Blocked(Blocker::AnotherDatabase("other".to_owned()))
    );
}

#[test]
fn the_database_learns_where_its_nodes_stand() {
    let mut observed = healthy(3);
    observed.pod_mut(2).zone = Some("zone-b".to_owned());
    assert_eq!(
        act(&observed, &desired()),
        Action::SetZone(2, "zone-b".to_owned())
    );
    observed.node_mut(2).zone = "zone-b".to_owned();
    assert_eq!(plan(&observed, &desired()), Step::Calm(Calm::Settled));
}
