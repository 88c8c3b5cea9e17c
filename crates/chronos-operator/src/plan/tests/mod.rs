//! Named situations, random situations, and a world in which plans are carried out.

mod faults;
mod held;
mod random;
mod situations;
mod unwell;
mod updates;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::api::UpdateType;

/// How many cases a property is tried with: so many, or what `PROPTEST_CASES` says.
fn cases(usual: u32) -> u32 {
    let said = std::env::var("PROPTEST_CASES").ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(usual)
}

/// What a user of three nodes wants.
fn desired() -> Desired {
    Desired {
        replicas: 3,
        copies: 3,
        template: "new".to_owned(),
        claim_bytes: 10,
        fixed_claims: BTreeSet::new(),
        paused: false,
        hibernate: false,
        update: UpdateType::RollingUpdate,
        held_back: None,
        drain_timeout_ms: 1000,
        max_overdue_ms: 1000,
        delete_retired: false,
        replace: None,
        cluster_id: Some("id".to_owned()),
    }
}

/// What is to be done.
fn act(observed: &Observed, desired: &Desired) -> Action {
    match plan(observed, desired) {
        Step::Act(action) => action,
        other => panic!("expected something to do, not {other:?}"),
    }
}

/// The deletion of a healthy cluster's pod.
fn delete(ordinal: u32, why: Disruption) -> Action {
    Action::DeletePod {
        ordinal,
        uid: format!("pod-{ordinal}"),
        why,
    }
}

fn pod(ordinal: u32) -> Pod {
    Pod {
        uid: format!("pod-{ordinal}"),
        template: "new".to_owned(),
        condition: PodCondition::Ready,
        waiting_ms: 0,
        zone: None,
        leaving: false,
        unreachable: false,
    }
}

fn claim(ordinal: u32) -> Claim {
    Claim {
        uid: format!("claim-{ordinal}"),
        requested_bytes: 10,
        retired: false,
        terminating: false,
    }
}

fn node(ordinal: u32) -> Node {
    Node {
        number: u64::from(ordinal) + 1,
        alive: true,
        leaders: 5,
        replicas: 16,
        catalog_voter: true,
        catalog_leader: ordinal == 0,
        caught_up: true,
        can_stop: true,
        ..Node::default()
    }
}

/// A healthy cluster of so many nodes.
fn healthy(size: u32) -> Observed {
    fn each<T>(size: u32, of: impl Fn(u32) -> T) -> BTreeMap<u32, T> {
        (0..size).map(|ordinal| (ordinal, of(ordinal))).collect()
    }
    Observed {
        set: Some(Set {
            replicas: size,
            noticed: true,
        }),
        pods: each(size, pod),
        claims: each(size, claim),
        database: Some(Database {
            cluster_id: "id".to_owned(),
            nodes: each(size, node),
            ..Database::default()
        }),
    }
}

impl Observed {
    fn pod_mut(&mut self, ordinal: u32) -> &mut Pod {
        self.pods.get_mut(&ordinal).unwrap()
    }

    fn claim_mut(&mut self, ordinal: u32) -> &mut Claim {
        self.claims.get_mut(&ordinal).unwrap()
    }

    fn database_mut(&mut self) -> &mut Database {
        self.database.as_mut().unwrap()
    }

    fn node_mut(&mut self, ordinal: u32) -> &mut Node {
        self.database_mut().nodes.get_mut(&ordinal).unwrap()
    }
}
