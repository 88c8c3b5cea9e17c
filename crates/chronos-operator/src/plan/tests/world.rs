//! A small world in which plans are carried out: a set that makes pods, disks, a database with
//! replicas that are copied. It judges what becomes of the replicas, not what the
//! planner thought.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;

pub(super) const PARTITIONS: usize = 4;
pub(super) const COPIES: usize = 3;

/// A disk, and what is on it.
type Disk = u64;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Starting(u32),
    Ready,
    /// It serves the other nodes and never says that it is ready.
    Unready,
    Crashed,
    Terminating(u32),
    /// It should be gone, and its machine does not say that it is.
    Stuck,
}

impl Process {
    pub(super) fn stop(&mut self) {
        if !matches!(self.state, State::Terminating(_) | State::Stuck) {
            self.state = State::Terminating(1);
        }
    }
}

impl State {
    pub(super) fn runs(&self) -> bool {
        matches!(self, Self::Ready | Self::Unready)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) uid: u64,
    pub(super) template: u32,
    pub(super) state: State,
}

#[derive(Clone, Debug)]
pub(super) struct Volume {
    pub(super) uid: u64,
    pub(super) disk: Disk,
    pub(super) retired: bool,
    pub(super) terminating: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) number: u64,
    pub(super) disk: Disk,
    pub(super) drain: Drain,
    pub(super) draining_ms: u64,
    pub(super) behind: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) replicas: Option<u32>,
    pub(super) pods: BTreeMap<u32, Process>,
    pub(super) volumes: BTreeMap<u32, Volume>,
    pub(super) members: BTreeMap<u32, Member>,
    pub(super) partitions: Vec<BTreeSet<u32>>,
    pub(super) catalog: BTreeSet<u32>,
    /// Disks of members that were removed: the database refuses them for ever.
    pub(super) removed: BTreeSet<Disk>,
    /// Disks that their nodes cannot use.
    pub(super) unusable: BTreeSet<Disk>,
    pub(super) next: u64,
    pub(super) good: BTreeSet<u32>,
    /// Templates whose nodes run without ever being ready.
    pub(super) mute: BTreeSet<u32>,
    pub(super) leaving: BTreeSet<u32>,
    pub(super) silent: bool,
}

impl World {
    pub(super) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A member's node runs: its process does, and has the disk that joined.
    fn up(&self, ordinal: u32) -> bool {
        let runs = self.pods.get(&ordinal).is_some_and(|pod| pod.state.runs());
        let disk = self.volumes.get(&ordinal).map(|volume| volume.disk);
        runs && self.members.get(&ordinal).map(|member| member.disk) == disk
    }

    pub(super) fn in_step(&self, ordinal: u32) -> bool {
        self.up(ordinal) && self.members[&ordinal].behind == 0
    }

    fn has_majority(&self, voters: &BTreeSet<u32>, without: Option<u32>) -> bool {
        let there = voters
            .iter()
            .filter(|voter| Some(**voter) != without && self.in_step(**voter));
        there.count() * 2 > voters.len()
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &BTreeSet<u32>> {
        self.partitions.iter().chain([&self.catalog])
    }

    fn leader(&self, voters: &BTreeSet<u32>) -> Option<u32> {
        if !self.has_majority(voters, None) {
            return None;
        }
        let fit = |drained: bool| {
            voters.iter().copied().find(|voter| {
                self.in_step(*voter) && (self.members[voter].drain == Drain::None || drained)
            })
        };
        fit(false).or_else(|| fit(true))
    }

    fn answers(&self) -> bool {
        !self.catalog.is_empty() && !self.silent && self.has_majority(&self.catalog, None)
    }

    /// Time passes: pods start and stop, the database moves one replica.
    pub(super) fn tick(&mut self, template: u32) {
        let Some(replicas) = self.replicas else {
            return;
        };
        for (ordinal, pod) in &mut self.pods {
            if *ordinal >= replicas {
                pod.stop();
            }
        }
        self.pods
            .retain(|_, pod| pod.state != State::Terminating(0));
        let used: BTreeSet<u32> = self.pods.keys().copied().collect();
        self.volumes
            .retain(|ordinal, volume| !volume.terminating || used.contains(ordinal));
        for ordinal in 0..replicas {
            if !self.volumes.contains_key(&ordinal) {
                let (uid, disk) = (self.fresh(), self.fresh());
                let (retired, terminating) = (false, false);
                self.volumes.insert(
                    ordinal,
                    Volume {
                        uid,
                        disk,
                        retired,
                        terminating,
                    },
                );
            }
            if !self.pods.contains_key(&ordinal) && !self.volumes[&ordinal].terminating {
                let uid = self.fresh();
                let state = State::Starting(1);
                self.pods.insert(
                    ordinal,
                    Process {
                        uid,
                        template,
                        state,
                    },
                );
            }
        }
        self.found();
        let ordinals: Vec<u32> = self.pods.keys().copied().collect();
        for ordinal in ordinals {
            self.step_pod(ordinal);
        }
        for member in self.members.values_mut() {
            member.draining_ms += 100;
        }
        let behind: Vec<u32> = self.members.keys().copied().collect();
        for ordinal in behind {
            if self.up(ordinal)
                && let Some(member) = self.members.get_mut(&ordinal)
            {
                member.behind = member.behind.saturating_sub(1);
            }
        }
        self.move_a_replica();
    }

    fn found(&mut self) {
        let starting = |n: u32| {
            self.pods.get(&n).is_some_and(|p| {
                matches!(p.state, State::Starting(_)) && self.good.contains(&p.template)
            })
        };
        if !self.catalog.is_empty() || !(0..3).all(starting) {
            return;
        }
        self.catalog = (0..3).collect();
        self.partitions = vec![self.catalog.clone(); PARTITIONS];
        for ordinal in 0..3 {
            let disk = self.volumes[&ordinal].disk;
            let number = self.fresh();
            let member = Member {
                number,
                disk,
                drain: Drain::None,
                draining_ms: 0,
                behind: 0,
            };
            self.members.insert(ordinal, member);
        }
    }

    fn step_pod(&mut self, ordinal: u32) {
        let answers = !self.catalog.is_empty() && self.has_majority(&self.catalog, None);
        let disk = self.volumes.get(&ordinal).map(|volume| volume.disk);
        let member = self.members.get(&ordinal).map(|member| member.disk);
        let pod = &self.pods[&ordinal];
        let good = self.good.contains(&pod.template);
        let founded = !self.catalog.is_empty();
        let running = match self.mute.contains(&pod.template) {
            true => State::Unready,
            false => State::Ready,
        };
        let refused = disk.is_none_or(|disk| self.removed.contains(&disk));
        let unusable = disk.is_some_and(|disk| self.unusable.contains(&disk));
        let next = match &pod.state {
            State::Terminating(left) => State::Terminating(left.saturating_sub(1)),
            State::Starting(_) if !good => State::Crashed,
            State::Starting(0) if member.is_some() && member == disk => running,
            State::Starting(0) if member.is_some() && unusable => State::Crashed,
            State::Starting(0) if founded && answers && refused => State::Crashed,
            State::Starting(0) if founded && answers => running,
            State::Starting(left) => State::Starting(left.saturating_sub(1)),
            State::Ready | State::Unready if refused => State::Crashed,
            State::Ready | State::Unready => running,
            // The kubelet tries again.
            State::Crashed if good => State::Starting(0),
            other => other.clone(),
        };
        let joins = next.runs() && !pod.state.runs() && member != disk;
        self.pods.get_mut(&ordinal).unwrap().state = next;
        if joins && let Some(disk) = disk {
            // Another disk under a name that is known: the member that had it is gone.
            if let Some(gone) = self.members.get(&ordinal) {
                self.removed.insert(gone.disk);
                self.forget(ordinal);
            }
            let number = self.fresh();
            let member = Member {
                number,
                disk,
                drain: Drain::None,
                draining_ms: 0,
                behind: 1,
            };
            self.members.insert(ordinal, member);
        }
    }

    /// Whether no copy is missing, whoever runs, if this one's disk is lost.
    pub(super) fn can_lose(&self, ordinal: u32) -> bool {
        let has_all = |voter: &u32| {
            let disk = self.volumes.get(voter).map(|volume| volume.disk);
            let member = &self.members[voter];
            *voter == ordinal || (member.behind == 0 && Some(member.disk) == disk)
        };
        !self.catalog.is_empty()
            && self
                .groups()
                .all(|voters| voters.len() == COPIES && voters.iter().all(has_all))
    }

    /// The replicas of a member are no more.
    fn forget(&mut self, ordinal: u32) {
        for voters in self.partitions.iter_mut().chain([&mut self.catalog]) {
            voters.remove(&ordinal);
        }
    }

    /// Copies first, drops second; a group without majority changes nothing.
    fn move_a_replica(&mut self) {
        let target = |world: &Self, voters: &BTreeSet<u32>| {
            world.members.iter().find_map(|(ordinal, member)| {
                let free = !voters.contains(ordinal) && member.drain != Drain::Replicas;
                (free && world.in_step(*ordinal)).then_some(*ordinal)
            })
        };
        for index in 0..=PARTITIONS {
            let voters = match self.partitions.get(index) {
                Some(voters) => voters.clone(),
                None if !self.catalog.is_empty() => self.catalog.clone(),
                None => continue,
            };
            if !self.has_majority(&voters, None) {
                continue;
            }
            let mut changed = voters.clone();
            if voters.len() < COPIES {
                if let Some(new) = target(self, &voters) {
                    changed.insert(new);
                }
            } else if let Some(drained) = voters.iter().find(|voter| {
                self.members
                    .get(*voter)
                    .is_none_or(|m| m.drain == Drain::Replicas)
            }) && let Some(new) = target(self, &voters)
            {
                changed.insert(new);
                changed.remove(drained);
            }
            if changed != voters {
                match self.partitions.get_mut(index) {
                    Some(slot) => *slot = changed,
                    None => self.catalog = changed,
                }
                return;
            }
        }
    }

    pub(super) fn observe(&self) -> Observed {
        Observed {
            set: self.replicas.map(|replicas| Set {
                replicas,
                noticed: true,
            }),
            pods: self
                .pods
                .iter()
                .map(|(ordinal, pod)| {
                    let condition = match pod.state {
                        State::Starting(_) | State::Unready => PodCondition::Starting,
                        State::Ready => PodCondition::Ready,
                        State::Crashed => PodCondition::Broken("crash".to_owned()),
                        State::Terminating(_) | State::Stuck => PodCondition::Terminating,
                    };
                    let waits = pod.state == State::Stuck;
                    let seen = Pod {
                        uid: pod.uid.to_string(),
                        template: pod.template.to_string(),
                        condition,
                        waiting_ms: if waits { 3_600_000 } else { 0 },
                        zone: None,
                        leaving: self.leaving.contains(ordinal),
                        unreachable: false,
                    };
                    (*ordinal, seen)
                })
                .collect(),
            claims: self
                .volumes
                .iter()
                .map(|(ordinal, volume)| {
                    let seen = Claim {
                        uid: volume.uid.to_string(),
                        requested_bytes: 10,
                        retired: volume.retired,
                        terminating: volume.terminating,
                    };
                    (*ordinal, seen)
                })
                .collect(),
            database: self.answers().then(|| self.status()),
        }
    }

    fn status(&self) -> Database {
        let catalog_leader = self.leader(&self.catalog);
        let nodes = self.members.iter().map(|(&ordinal, member)| {
            let holds = self
                .partitions
                .iter()
                .filter(|voters| voters.contains(&ordinal));
            let leads = self
                .partitions
                .iter()
                .filter(|voters| self.leader(voters) == Some(ordinal));
            let needed = self.groups().any(|voters| {
                voters.contains(&ordinal) && !self.has_majority(voters, Some(ordinal))
            });
            let node = Node {
                number: member.number,
                drain: member.drain,
                draining_ms: member.draining_ms,
                alive: self.up(ordinal),
                leaders: u32::try_from(leads.count()).unwrap(),
                replicas: u32::try_from(holds.count()).unwrap(),
                catalog_voter: self.catalog.contains(&ordinal),
                catalog_leader: catalog_leader == Some(ordinal),
                caught_up: self.in_step(ordinal),
                can_stop: !needed,
                ..Node::default()
            };
            (ordinal, node)
        });
        let short = self
            .partitions
            .iter()
            .filter(|voters| voters.iter().filter(|voter| self.in_step(**voter)).count() < COPIES);
        Database {
            cluster_id: "id".to_owned(),
            under_replicated: u32::try_from(short.count()).unwrap(),
            nodes: nodes.collect(),
            ..Database::default()
        }
    }

    /// Carries an action out as the real world would, and judges it.
    pub(super) fn act(&mut self, action: &Action, desired: &Desired) -> Result<(), TestCaseError> {
        match action {
            Action::Resize(to, _) => {
                let shrinks = self.replicas.is_some_and(|from| *to < from);
                if shrinks && !desired.hibernate {
                    let held = self
                        .groups()
                        .any(|voters| voters.range(*to..).next().is_some());
                    prop_assert!(!held, "a node that holds something is left out");
                }
                self.replicas = Some(*to);
            }
            Action::DeletePod { ordinal, uid, .. } => {
                let before: Vec<bool> = self.groups().map(|g| self.has_majority(g, None)).collect();
                // Nodes that are not ready serve each other, and nobody else.
                let serves =
                    self.answers() || self.pods.values().any(|pod| pod.state == State::Ready);
                let volume = &self.volumes[ordinal];
                let at_risk = volume.terminating && !volume.retired;
                prop_assert!(!at_risk, "its disk goes with it");
                let pod = self.pods.get_mut(ordinal).unwrap();
                prop_assert_eq!(&pod.uid.to_string(), uid);
                pod.state = State::Terminating(1);
                let after: Vec<bool> = self.groups().map(|g| self.has_majority(g, None)).collect();
                prop_assert!(
                    !serves || before == after,
                    "a majority was stopped: {before:?}, {after:?}"
                );
                if let Some(member) = self.members.get_mut(ordinal) {
                    member.behind = 2;
                }
            }
            Action::Drain(ordinal, scope) => {
                prop_assert!(self.answers());
                let member = self.members.get_mut(ordinal).unwrap();
                (member.drain, member.draining_ms) = (*scope, 0);
            }
            Action::Undrain(ordinal) => {
                self.members.get_mut(ordinal).unwrap().drain = Drain::None;
            }
            Action::Remove {
                ordinal,
                number,
                lost,
            } => {
                prop_assert_eq!(self.members[ordinal].number, *number);
                let holds = self.groups().any(|voters| voters.contains(ordinal));
                if *lost {
                    prop_assert!(!self.up(*ordinal));
                    self.forget(*ordinal);
                } else {
                    prop_assert!(!holds, "a node that holds something is removed");
                }
                let gone = self.members.remove(ordinal).unwrap();
                self.removed.insert(gone.disk);
            }
            Action::RetireClaim { ordinal, uid } | Action::KeepClaim { ordinal, uid } => {
                let retires = matches!(action, Action::RetireClaim { .. });
                let volume = self.volumes.get_mut(ordinal).unwrap();
                prop_assert_eq!(&volume.uid.to_string(), uid);
                volume.retired = retires;
            }
            Action::ReplaceDisk { ordinal, .. } | Action::DeleteClaim { ordinal, .. } => {
                let volume = self.volumes.get_mut(ordinal).unwrap();
                let disk = volume.disk;
                volume.terminating = true;
                let member = self.members.values().any(|member| member.disk == disk);
                prop_assert!(!member, "the disk of a member is deleted");
                if let Some(pod) = self.pods.get_mut(ordinal) {
                    pod.stop();
                }
            }
            Action::GrowClaim { .. } | Action::SetZone(..) => {}
        }
        Ok(())
    }
}
