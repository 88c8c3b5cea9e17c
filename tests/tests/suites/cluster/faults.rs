//! What is done to a cluster of three: each fault leaves a majority, except that all may be killed.

use std::time::Duration;

use chronos_tests::cluster::{ClusterProcesses, Way};
use chronos_tests::random::Random;

use super::load::Load;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of a node that leads.
    KillLeader,
    /// kill -9 of the node that leads the fewest partitions.
    KillFollower,
    /// kill -9 of all nodes at once.
    KillAll,
    /// SIGSTOP of a node that leads, for longer than an election takes, and SIGCONT.
    Pause,
    /// A node that leads is cut off from the others.
    Isolate,
    /// A node that leads is heard by the others, and hears nothing.
    Deaf,
    /// A node that leads hears the others, and is not heard.
    Mute,
    /// Everything between nodes takes longer.
    Delay,
    /// SIGTERM and a new start of each node, one after the other.
    Roll,
}

/// All of them.
pub const FAULTS: [Fault; 9] = [
    Fault::KillLeader,
    Fault::KillFollower,
    Fault::KillAll,
    Fault::Pause,
    Fault::Isolate,
    Fault::Deaf,
    Fault::Mute,
    Fault::Delay,
    Fault::Roll,
];

const CUT: Way = Way {
    is_cut: true,
    delay: Duration::ZERO,
};

impl Fault {
    /// Does it, heals it, waits until the cluster is settled again, and writes it down.
    pub async fn strike(self, cluster: &mut ClusterProcesses, load: &Load, random: &mut Random) {
        let leaders = cluster.settled().await.unwrap();
        let victim = leaders[random.range(0, leaders.len() as u64) as usize];
        let lasting = Duration::from_millis(random.range(2_500, 4_500));
        let begin = load.run.recorder.now();
        match self {
            Self::KillLeader => kill(cluster, victim, random).await,
            Self::KillFollower => {
                let leads = |node: &usize| leaders.iter().filter(|it| **it == *node).count();
                let fewest = (0..cluster.count()).min_by_key(leads).unwrap();
                kill(cluster, fewest, random).await;
            }
            Self::KillAll => {
                for node in 0..cluster.count() {
                    cluster.kill(node).await.unwrap();
                }
                cluster.start_all().await.unwrap();
            }
            Self::Pause => {
                cluster.pause(victim).await.unwrap();
                tokio::time::sleep(lasting).await;
                cluster.resume(victim).await.unwrap();
            }
            Self::Isolate => {
                cluster.network().isolate(victim);
                tokio::time::sleep(lasting).await;
            }
            Self::Deaf | Self::Mute => {
                for other in (0..cluster.count()).filter(|other| *other != victim) {
                    match self {
                        Self::Deaf => cluster.network().set(other, victim, CUT),
                        _ => cluster.network().set(victim, other, CUT),
                    }
                }
                tokio::time::sleep(lasting).await;
            }
            Self::Delay => {
                let delay = Duration::from_millis(random.range(5, 60));
                for from in 0..cluster.count() {
                    for to in 0..cluster.count() {
                        cluster.network().set(
                            from,
                            to,
                            Way {
                                delay,
                                ..Way::default()
                            },
                        );
                    }
                }
                tokio::time::sleep(lasting).await;
            }
            Self::Roll => {
                for node in 0..cluster.count() {
                    cluster.stop(node).await.unwrap();
                    cluster.launch(node).unwrap();
                    cluster.settled().await.unwrap();
                }
            }
        }
        cluster.network().heal();
        cluster.settled().await.unwrap();
        load.run
            .fault(&format!("{self:?} of node {}", victim + 1), begin);
    }
}

/// The others go on without it; then it comes back.
pub async fn kill(cluster: &mut ClusterProcesses, node: usize, random: &mut Random) {
    cluster.kill(node).await.unwrap();
    cluster.settled().await.unwrap();
    let alone_ms = random.range(0, 1_500);
    tokio::time::sleep(Duration::from_millis(alone_ms)).await;
    cluster.launch(node).unwrap();
}
