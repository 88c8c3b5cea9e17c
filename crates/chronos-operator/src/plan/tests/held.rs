//! What is not touched though it would be time: disks that somebody deletes, pods that could not start
//! again, disks that do not grow.

use super::*;

/// Kubernetes keeps the disk of a deleted claim as long as its pod is there.
#[test]
fn a_disk_that_somebody_deletes_lives_as_long_as_its_pod() {
    let at_risk = Step::Blocked(Blocker::ClaimAtRisk(1));
    let mut observed = healthy(3);
    observed.claim_mut(1).terminating = true;
    assert_eq!(plan(&observed, &desired()), at_risk, "all is not well");
    let asleep = Desired {
        hibernate: true,
        ..desired()
    };
    assert_eq!(plan(&observed, &asleep), at_risk);
    observed.pod_mut(2).template = "old".to_owned();
    assert_eq!(plan(&observed, &desired()), at_risk);
    observed.pod_mut(1).template = "old".to_owned();
    observed.pod_mut(1).condition = PodCondition::Broken("CrashLoopBackOff".to_owned());
    observed.node_mut(1).alive = false;
    assert_eq!(plan(&observed, &desired()), at_risk);
    // One whose member was given up goes its way.
    observed.claim_mut(1).retired = true;
    assert_eq!(act(&observed, &desired()), delete(1, Disruption::BrokenPod));
}

/// Whoever is told that pods are out of date may delete the one whose disk goes with it.
#[test]
fn a_disk_at_risk_is_said_before_pods_that_are_out_of_date() {
    let mut observed = healthy(3);
    observed.claim_mut(1).terminating = true;
    observed.pod_mut(1).template = "old".to_owned();
    for want in [
        Desired {
            update: UpdateType::OnDelete,
            ..desired()
        },
        Desired {
            held_back: Some("no Secret".to_owned()),
            ..desired()
        },
    ] {
        let at_risk = Step::Blocked(Blocker::ClaimAtRisk(1));
        assert_eq!(plan(&observed, &want), at_risk);
    }
}

#[test]
fn nobody_is_stopped_for_a_pod_that_could_not_start() {
    let mut observed = healthy(3);
    observed.pod_mut(2).template = "old".to_owned();
    let want = Desired {
        held_back: Some("no Secret".to_owned()),
        ..desired()
    };
    let said = plan(&observed, &want);
    assert_eq!(
        said,
        Step::Blocked(Blocker::HeldBack("no Secret".to_owned()))
    );
    assert_eq!(
        plan(&healthy(3), &want),
        Step::Calm(Calm::Settled),
        "all pods are as the spec says"
    );
}

#[test]
fn a_disk_that_cannot_grow_keeps_no_other_from_growing() {
    let mut observed = healthy(3);
    observed.claim_mut(0).requested_bytes = 5;
    observed.claim_mut(2).requested_bytes = 5;
    let want = Desired {
        fixed_claims: BTreeSet::from([0]),
        ..desired()
    };
    let grow = Action::GrowClaim {
        ordinal: 2,
        bytes: 10,
    };
    assert_eq!(act(&observed, &want), grow);
}
