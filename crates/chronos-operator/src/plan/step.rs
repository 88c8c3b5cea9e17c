//! What the planner can say.

use std::fmt;

use super::Drain;

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is nothing to do.
    Calm(Calm),
    /// Something happens by itself; look again.
    Wait(Wait),
    /// Nothing goes on until somebody decides.
    Blocked(Blocker),
    /// Do this, then look again.
    Act(Action),
}

/// Why there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calm {
    /// All is as wanted.
    Settled,
    /// The cluster is to be left alone.
    Paused,
    /// The cluster sleeps.
    Hibernated,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Kubernetes has not taken note of the set's last change.
    Controller,
    /// Pods stop.
    Stopping,
    /// The database does not answer. It was never founded, as far as is known.
    Founding,
    /// The database does not answer.
    DatabaseSilent,
    /// A pod starts, or is missing.
    Pod(u32),
    /// A node has not joined.
    Joining(u32),
    /// A node's replicas move to others.
    Draining(u32),
    /// A node's leaderships move to others.
    MovingLeaders(u32),
    /// A node's replicas lack what others have.
    CatchingUp(u32),
    /// A node cannot be stopped now: why.
    CannotStop(u32, String),
    /// A member whose pod is gone has not been given up by the others.
    LastBreath(u32),
    /// A pod that is not wanted any more stops.
    Leaving(u32),
    /// A claim disappears.
    ClaimGoing(u32),
    /// Partitions lack a copy.
    UnderReplicated(u32),
    /// Partitions lack a leader.
    Leaderless(u32),
    /// Replicas are under way.
    Moving(u32),
    /// Events are late, ms.
    Overdue(u64),
}

/// What somebody has to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// The database that answers has another id than the cluster's.
    AnotherDatabase(String),
    /// With fewer nodes there would be no place for every copy.
    TooFewNodes {
        /// Nodes that would be left.
        left: usize,
        /// Copies of each partition.
        copies: u32,
    },
    /// A pod that was updated does not come up; the others are left as they are.
    UpdateFailed(u32, String),
    /// Pods are out of date and restarting them is left to somebody.
    OnDelete(usize),
    /// A pod that is made now would not start: why.
    HeldBack(String),
    /// Somebody deletes a node's claim: its disk goes when its pod stops.
    ClaimAtRisk(u32),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the set, or change how many pods it has.
    Resize(u32, Resize),
    /// Delete a pod; the set makes it anew.
    DeletePod {
        /// Which.
        ordinal: u32,
        /// Exactly that one.
        uid: String,
        /// Why.
        why: Disruption,
    },
    /// Move work off a node.
    Drain(u32, Drain),
    /// Let a node have work again.
    Undrain(u32),
    /// Remove a member for good.
    Remove {
        /// Its ordinal.
        ordinal: u32,
        /// Its number.
        number: u64,
        /// Whether its disk is lost, and with it the replicas on it.
        lost: bool,
    },
    /// Mark a claim: its disk never serves again.
    RetireClaim {
        /// Which.
        ordinal: u32,
        /// Exactly that one.
        uid: String,
    },
    /// Take the mark away: its member lives.
    KeepClaim {
        /// Which.
        ordinal: u32,
        /// Exactly that one.
        uid: String,
    },
    /// Delete a marked claim and the pod that holds it, at once: between the two, the pod's process
    /// could begin to use the disk again.
    ReplaceDisk {
        /// Which.
        ordinal: u32,
        /// Exactly that claim.
        claim: String,
        /// Exactly that pod.
        pod: String,
    },
    /// Delete a marked claim that no pod uses.
    DeleteClaim {
        /// Which.
        ordinal: u32,
        /// Exactly that one.
        uid: String,
    },
    /// Ask for a larger disk.
    GrowClaim {
        /// Which.
        ordinal: u32,
        /// The new size, bytes.
        bytes: u64,
    },
    /// Tell the database in which zone a node stands.
    SetZone(u32, String),
}

/// Why the set changes its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// It is made.
    Create,
    /// More nodes are wanted.
    ScaleUp,
    /// A node was removed.
    ScaleDown,
    /// The cluster goes to sleep.
    Hibernate,
    /// The cluster wakes up.
    Resume,
    /// Somebody else had made it smaller while members were in it.
    Restore,
}

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disruption {
    /// It is broken, and the spec has changed since it was made.
    BrokenPod,
    /// It serves, and the spec has changed since it was made.
    RollingUpdate,
    /// Its member was given up; it is to come back as another one.
    LostDisk,
}

impl Resize {
    /// The reason of its event.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Create => "Created",
            Self::ScaleUp => "ScaledUp",
            Self::ScaleDown => "ScaledDown",
            Self::Hibernate => "Hibernating",
            Self::Resume => "Resumed",
            Self::Restore => "RestoredSize",
        }
    }
}

impl Disruption {
    /// The reason of its event, and the label of its metric.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BrokenPod => "ReplacedBrokenPod",
            Self::RollingUpdate => "RollingUpdate",
            Self::LostDisk => "ReplacedLostDisk",
        }
    }
}

impl Wait {
    /// In one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Controller => "WaitingForController",
            Self::Stopping => "PodsStopping",
            Self::Founding => "Founding",
            Self::DatabaseSilent => "DatabaseSilent",
            Self::Pod(_) => "PodNotReady",
            Self::Joining(_) => "NodeJoining",
            Self::Draining(_) => "NodeDraining",
            Self::MovingLeaders(_) => "MovingLeaders",
            Self::CatchingUp(_) => "NodeCatchingUp",
            Self::CannotStop(..) => "NodeCannotStop",
            Self::LastBreath(_) => "NodeStopping",
            Self::Leaving(_) => "PodLeaving",
            Self::ClaimGoing(_) => "ClaimTerminating",
            Self::UnderReplicated(_) => "UnderReplicated",
            Self::Leaderless(_) => "Leaderless",
            Self::Moving(_) => "ReplicasMoving",
            Self::Overdue(_) => "EventsOverdue",
        }
    }
}

impl Blocker {
    /// In one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::AnotherDatabase(_) => "AnotherDatabase",
            Self::TooFewNodes { .. } => "TooFewNodes",
            Self::UpdateFailed(..) => "UpdateFailed",
            Self::OnDelete(_) => "WaitingForDeletion",
            Self::HeldBack(_) => "PodsWouldNotStart",
            Self::ClaimAtRisk(_) => "ClaimDeleted",
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller => write!(f, "Kubernetes has not taken up the last change yet."),
            Self::Stopping => write!(f, "Pods are stopping."),
            Self::Founding => write!(
                f,
                "The first nodes have to be up together to found the cluster; the database does \
                 not answer yet."
            ),
            Self::DatabaseSilent => write!(
                f,
                "The database does not answer, so nothing that may serve is touched."
            ),
            Self::Pod(n) => write!(f, "Pod {n} is not ready."),
            Self::Joining(n) => write!(f, "Node {n} has not joined yet."),
            Self::Draining(n) => write!(f, "Node {n} hands its replicas to others."),
            Self::MovingLeaders(n) => write!(f, "Node {n} hands its leaderships to others."),
            Self::CatchingUp(n) => write!(f, "Node {n} catches up with the others."),
            Self::CannotStop(n, why) => write!(f, "Node {n} must not stop now: {why}"),
            Self::LastBreath(n) => write!(f, "Node {n} is stopping."),
            Self::Leaving(n) => write!(f, "Pod {n}, which is not wanted any more, is stopping."),
            Self::ClaimGoing(n) => write!(f, "The old disk of node {n} is being deleted."),
            Self::UnderReplicated(n) => write!(f, "{n} partitions lack a copy."),
            Self::Leaderless(n) => write!(f, "{n} partitions lack a leader."),
            Self::Moving(n) => write!(f, "{n} replicas are on their way to another node."),
            Self::Overdue(ms) => write!(f, "Events are {ms} ms late; the next restart waits."),
        }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnotherDatabase(id) => write!(
                f,
                "The database that answers has the id {id}, which is not this cluster's. Check \
                 what the Services select."
            ),
            Self::TooFewNodes { left, copies } => write!(
                f,
                "{left} nodes would be left for {copies} copies of each partition. Raise replicas."
            ),
            Self::UpdateFailed(n, why) => write!(
                f,
                "Pod {n} was updated and does not come up ({why}); the others are left as they \
                 are. Correct the spec, or take the change back."
            ),
            Self::OnDelete(n) => write!(
                f,
                "{n} pods are out of date. Delete them one by one, or set updateStrategy.type to \
                 RollingUpdate."
            ),
            Self::HeldBack(why) => write!(f, "Running pods are left as they are: {why}"),
            Self::ClaimAtRisk(n) => write!(
                f,
                "Somebody deleted the claim of node {n}, whose disk is lost once its pod stops. So no \
                 pod is stopped. Replace that node: see \"A claim that was deleted\" in the \
                 documentation."
            ),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resize(n, why) => {
                let why = match why {
                    Resize::Create => "the cluster is made",
                    Resize::ScaleUp => "more nodes are wanted",
                    Resize::ScaleDown => "a node was removed",
                    Resize::Hibernate => "the cluster goes to sleep",
                    Resize::Resume => "the cluster wakes up",
                    Resize::Restore => "members were left out",
                };
                write!(f, "Setting the number of pods to {n}: {why}.")
            }
            Self::DeletePod { ordinal, why, .. } => {
                let why = match why {
                    Disruption::BrokenPod => "it is broken and out of date",
                    Disruption::RollingUpdate => "it is out of date",
                    Disruption::LostDisk => "its member was given up",
                };
                write!(f, "Restarting pod {ordinal}: {why}.")
            }
            Self::Drain(n, Drain::Replicas) => write!(f, "Draining node {n} to remove it."),
            Self::Drain(n, _) => write!(f, "Moving leaderships off node {n}."),
            Self::Undrain(n) => write!(f, "Node {n} may lead again."),
            Self::Remove {
                ordinal,
                number,
                lost,
            } => {
                let lost = if *lost { ", whose disk is lost" } else { "" };
                write!(f, "Removing node {ordinal} (member {number}){lost}.")
            }
            Self::RetireClaim { ordinal, .. } => {
                write!(f, "The disk of node {ordinal} does not serve again.")
            }
            Self::KeepClaim { ordinal, .. } => {
                write!(f, "The disk of node {ordinal} is kept: its member lives.")
            }
            Self::ReplaceDisk { ordinal, .. } => {
                write!(
                    f,
                    "Restarting pod {ordinal} with a fresh disk: its member was removed."
                )
            }
            Self::DeleteClaim { ordinal, .. } => {
                write!(f, "Deleting the old disk of node {ordinal}.")
            }
            Self::GrowClaim { ordinal, bytes } => {
                let size = crate::api::quantity::Bytes(*bytes);
                write!(f, "Growing the disk of node {ordinal} to {size}.")
            }
            Self::SetZone(n, zone) => write!(f, "Node {n} stands in zone {zone}."),
        }
    }
}
