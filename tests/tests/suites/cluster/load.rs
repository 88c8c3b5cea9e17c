//! A load over all nodes: publishers that retry, groups that share, and what is checked at the end.

use std::time::Duration;

use chronos_tests::checker::Report;
use chronos_tests::cluster::{ClusterProcesses, LeadWatch};
use chronos_tests::history::{Settings, wall_ms};
use chronos_tests::patience::eventually;
use chronos_tests::random::Random;
use chronos_tests::workload::{Behaviour, Consumer, ConsumerPlan, PublishPlan, Run, publish};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Partitions of the clusters here.
pub const PARTITIONS: u32 = 4;
/// The latest time of an event, from its publish.
const FARTHEST_MS: i64 = 4_000;
const GROUPS: [&str; 2] = ["shared", "alone"];

/// Three nodes with short timeouts of deliveries.
pub async fn three_nodes() -> ClusterProcesses {
    three_nodes_with(&[], |_| vec![]).await
}

/// The same with further flags, and with variables for some of the nodes.
pub async fn three_nodes_with(
    flags: &[&str],
    variables: impl Fn(usize) -> Vec<(&'static str, &'static str)>,
) -> ClusterProcesses {
    let partitions = format!("-partition-count={PARTITIONS}");
    let args = [
        &partitions,
        "-replication-factor=3",
        "-ack-timeout=6s",
        "-retry-backoff=50ms",
        "-max-retries=20",
    ];
    let args = [&args, flags].concat();
    ClusterProcesses::start_with(3, &args, variables)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Clients at work.
pub struct Load {
    /// Their run.
    pub run: Run,
    stop: watch::Sender<bool>,
    publishers: Vec<JoinHandle<()>>,
    consumers: Vec<Consumer>,
    leads: LeadWatch,
}

impl Load {
    /// Begins.
    pub fn start(cluster: &ClusterProcesses, seed: u64) -> Self {
        let settings = Settings {
            partition_count: PARTITIONS,
            ack_timeout_ms: 6_000,
            max_attempts: 20,
            ..Settings::default()
        };
        let run = Run::over(&cluster.addresses(), settings, seed);
        let leads = LeadWatch::start(&run, cluster);
        let behaviour = Behaviour {
            nack_percent: 3,
            ignore_percent: 1,
            hold_percent: 20,
            ..Behaviour::default()
        };
        let members = [("shared", "m1"), ("shared", "m2"), ("alone", "m3")];
        let consumers = members.map(|(group, member)| {
            let plan = ConsumerPlan::new(group, member).behaving(behaviour);
            Consumer::start(&run, plan.credits(200))
        });
        let (stop, stopped) = watch::channel(false);
        let publishers = [
            ("near", -100..300),
            ("mid", 200..1_500),
            ("far", 500..FARTHEST_MS),
        ];
        let publishers = publishers.map(|(name, due_in_ms)| {
            let (run, stopped) = (run.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut random = Random::new(seed);
                for round in 0.. {
                    if *stopped.borrow() {
                        return;
                    }
                    let plan = PublishPlan {
                        name: format!("{name}{round}"),
                        events: 40,
                        due_in_ms: due_in_ms.clone(),
                        ..PublishPlan::default()
                    };
                    publish(run.clone(), plan).await;
                    // Not synchronisation: two cores have to do, for the clients as well.
                    tokio::time::sleep(Duration::from_millis(random.range(50, 200))).await;
                }
            })
        });
        Self {
            run,
            stop,
            publishers: publishers.into(),
            consumers: consumers.into(),
            leads,
        }
    }

    /// Reads how far the groups are.
    pub async fn observe(&self) {
        for group in GROUPS {
            eventually("a group's progress is told", || async {
                self.run.observe_group(group).await.ok()
            })
            .await;
        }
    }

    /// Ends the publishers, waits until the groups have all they are owed, and checks the history.
    pub async fn finish(mut self, cluster: &mut ClusterProcesses) -> Report {
        let _ = self.stop.send(true);
        for publisher in self.publishers.drain(..) {
            publisher.await.unwrap();
        }
        cluster.settled().await.unwrap();
        // A client may tell of a connection that a node refused before it was back.
        self.observe().await;
        self.run.drain(wall_ms() + FARTHEST_MS + 100, 1_000).await;
        eventually("the partitions are told of", || async {
            self.run.observe_partitions().await.ok()
        })
        .await;
        for consumer in self.consumers {
            consumer.stop().await;
        }
        self.leads.stop().await;
        self.run.verify()
    }
}
