//! Leaders that hand over, members that come and go, and nodes that lose their disk and come back
//! as others. One change of members at a time, so that a majority always has all there is.

use super::{Kind, supervise};
use crate::network::Endpoint;
use crate::node::{Node, Process};
use crate::random::Random;
use crate::world::World;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a step of a change may take before it is tried again.
const STEP: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// The process that leads, if one says so.
#[must_use]
pub fn leader(world: &World) -> Option<Arc<Process>> {
    (world.nodes().iter())
        .filter_map(|node| node.process())
        .filter(|process| process.group.leadership().get().leads)
        .max_by_key(|process| process.group.leadership().get().term)
}

pub(super) fn inject(world: &Arc<World>, random: &mut Random, kind: Kind) {
    if world.plan.nodes < 3 {
        return;
    }
    if kind == Kind::LeaderTransfer {
        transfer(world, random);
        return;
    }
    // A change needs a cluster that is whole.
    if world.is_changing() || crate::rules::liveness::laggard(world).is_some() {
        return;
    }
    let members: Vec<u64> = world.nodes().iter().map(|node| node.number).collect();
    let goes = random.pick(&members).copied();
    let change = match kind {
        Kind::Wipe => Change {
            goes,
            comes: Some(world.next_node()),
        },
        _ if members.len() > 3 && random.percent(50) => Change { goes, comes: None },
        _ if members.len() < 5 => Change {
            goes: None,
            comes: Some(world.next_node()),
        },
        _ => Change { goes, comes: None },
    };
    world.faults.add(kind, 1);
    if kind == Kind::Wipe
        && let Some(node) = goes.and_then(|number| world.node(number))
    {
        node.kill();
        world.remove_node(node.number);
    }
    world.set_changing(true);
    tokio::spawn(change.run(Arc::clone(world)));
}

fn transfer(world: &Arc<World>, random: &mut Random) {
    let Some(leader) = leader(world) else {
        return;
    };
    let voters: Vec<u64> = leader.group.members().voters.into_iter().collect();
    let Some(to) = random
        .pick(&voters)
        .copied()
        .filter(|to| *to != leader.node)
    else {
        return;
    };
    world.faults.add(Kind::LeaderTransfer, 1);
    // Now and then it does not hear that the other one leads.
    if world.plan.faults.contains(&Kind::OneWay) && random.percent(40) {
        let deafness = Deafness {
            node: leader.node,
            after: Duration::from_millis(random.below(30)),
            lasts: Duration::from_millis(random.between(500, 3_000)),
        };
        tokio::spawn(deafness.run(Arc::clone(world)));
        world.faults.add(Kind::OneWay, 1);
    }
    tokio::spawn(async move { leader.group.transfer_lead(to).await });
}

/// A node that hears nothing of the others for a while.
struct Deafness {
    node: u64,
    after: Duration,
    lasts: Duration,
}

impl Deafness {
    async fn run(self, world: Arc<World>) {
        let here = Endpoint::Node(self.node);
        tokio::time::sleep(self.after).await;
        let others = world.nodes().into_iter().map(|node| node.number);
        let others = others.filter(|number| *number != self.node);
        let others: Vec<_> = others.map(Endpoint::Node).collect();
        for other in &others {
            world.network.cut(*other, here);
        }
        tokio::time::sleep(self.lasts).await;
        for other in &others {
            world.network.join(*other, here);
        }
    }
}

/// A change of the members.
#[derive(Debug, Clone, Copy)]
struct Change {
    goes: Option<u64>,
    comes: Option<u64>,
}

impl Change {
    async fn run(self, world: Arc<World>) {
        world.say(&"members", format_args!("{self:?}"));
        if let Some(number) = self.comes {
            let node = Node::new(&world, number);
            world.add_node(Arc::clone(&node));
            tokio::spawn(supervise(Arc::clone(&world), node));
        }
        while !self.is_done(&world) {
            if let Some(leader) = leader(&world) {
                // It goes on by itself when it takes too long.
                let (change, world) = (self, Arc::clone(&world));
                let step = tokio::spawn(async move { change.step(&world, &leader).await });
                let _ = tokio::time::timeout(STEP, step).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(node) = self.goes.and_then(|number| world.node(number)) {
            world.remove_node(node.number);
            node.kill();
        }
        world.say(&"members", format_args!("{self:?} is done"));
        world.set_changing(false);
    }

    fn is_done(&self, world: &World) -> bool {
        let Some(leader) = leader(world).filter(|leader| leader.group.holds_lease()) else {
            return false;
        };
        let members = leader.group.members();
        let has_come = self
            .comes
            .is_none_or(|comes| members.voters.contains(&comes));
        let has_gone = self.goes.is_none_or(|goes| {
            !members.voters.contains(&goes) && !members.learners.contains(&goes)
        });
        has_come && has_gone && members.old_voters.is_none()
    }

    /// Does what is next. Whatever fails is tried again, perhaps with another leader.
    async fn step(&self, world: &World, leader: &Process) {
        let group = &leader.group;
        let members = group.members();
        if let Some(comes) = self.comes
            && !members.voters.contains(&comes)
        {
            if !members.learners.contains(&comes) {
                let _ = group.add_learner(comes).await;
                return;
            }
            let matched = group
                .replication()
                .and_then(|peers| Some(peers.get(&comes)?.matched_index));
            let committed = group.status().committed_index;
            if matched.is_none_or(|matched| matched < committed) {
                return;
            }
        }
        let mut voters: BTreeSet<u64> = members.voters.clone();
        voters.extend(self.comes);
        if let Some(goes) = self.goes {
            voters.remove(&goes);
        }
        if self.goes == Some(leader.node) {
            let other = voters.iter().find(|voter| world.node(**voter).is_some());
            if let Some(other) = other {
                let _ = group.transfer_lead(*other).await;
            }
        } else if voters != members.voters || members.old_voters.is_some() {
            let _ = group.set_voters(voters).await;
        } else if let Some(goes) = self.goes {
            let _ = group.remove(goes).await;
        }
    }
}
