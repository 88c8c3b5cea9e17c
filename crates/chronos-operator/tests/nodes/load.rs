//! Clients at work on a cluster, through its Service, for as long as a scenario lasts, and the
//! checker that judges what they saw.

use std::collections::HashMap;
use std::time::Duration;

use chronos_proto::cronos_db::ListPartitionsRequest;
use chronos_tests::checker::Report;
use chronos_tests::client::Client;
use chronos_tests::history::{Op, Outcome, Settings, wall_ms};
use chronos_tests::patience::within;
use chronos_tests::random::Random;
use chronos_tests::server::watchful_channel;
use chronos_tests::workload::{Behaviour, Consumer, ConsumerPlan, PublishPlan, Run, publish};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::stage::{PARTITIONS, PATIENCE, Stage, TOPIC};

/// The latest time of an event, from its publish.
const FARTHEST_MS: i64 = 4_000;
/// How often it is asked who leads.
const LOOK: Duration = Duration::from_millis(100);
/// How long an answer to that may take.
const ANSWER: Duration = Duration::from_secs(1);

/// Clients at work.
pub struct Load {
    run: Run,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    leads: (watch::Sender<bool>, JoinHandle<()>),
    consumers: Vec<Consumer>,
}

impl Load {
    /// Begins: two publishers that try again until they have an answer, and two groups.
    pub async fn start(stage: &Stage) -> Self {
        let address = stage.address().await;
        let settings = Settings {
            partition_count: PARTITIONS,
            ack_timeout_ms: 6_000,
            max_attempts: 20,
            ..Settings::default()
        };
        let seed = chronos_tests::routing::fnv1a_64(stage.namespace.as_bytes());
        let run = Run::over(std::slice::from_ref(&address), settings, seed);
        let behaviour = Behaviour {
            nack_percent: 3,
            hold_percent: 20,
            ..Behaviour::default()
        };
        let members = [("shared", "m1"), ("shared", "m2"), ("alone", "m3")];
        let consumers = members.map(|(group, member)| {
            let plan = ConsumerPlan {
                topic: TOPIC.to_owned(),
                ..ConsumerPlan::new(group, member)
            };
            Consumer::start(&run, plan.behaving(behaviour).credits(200))
        });
        let (stop, stopped) = watch::channel(false);
        let publishers = [("near", -100..500), ("far", 500..FARTHEST_MS)];
        let tasks = publishers.map(|(name, due_in_ms)| {
            let plan = PublishPlan {
                name: name.to_owned(),
                topic: TOPIC.to_owned(),
                events: 15,
                due_in_ms,
                ..PublishPlan::default()
            };
            tokio::spawn(keep_publishing(run.clone(), plan, stopped.clone()))
        });
        let (end, ended) = watch::channel(false);
        let leads = tokio::spawn(watch_leads(run.clone(), address, ended));
        Self {
            run,
            stop,
            tasks: tasks.into(),
            leads: (end, leads),
            consumers: consumers.into(),
        }
    }

    /// Does something that may cost redeliveries, until it is over.
    pub async fn during<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let begin = self.run.recorder.now();
        let done = work.await;
        self.run.fault(what, begin);
        done
    }

    /// Ends the publishers, waits until the groups have all that they are owed, and checks the
    /// history. No publish may have waited longer than `patience` for its answer, tries included.
    pub async fn finish(self, patience: Duration) -> Report {
        // A short scenario on a busy machine: some load has to be there for the checker.
        let enough = within(PATIENCE, async || (published(&self.run) > 50).then_some(()));
        assert!(enough.await.is_some(), "{}", self.run.report());
        self.stop.send_replace(true);
        for task in self.tasks {
            ends("a publisher", task).await.unwrap();
        }
        let drain = self.run.drain(wall_ms() + FARTHEST_MS + 100, 1_000);
        ends("the drain", drain).await;
        let observation = self.run.observe_partitions();
        ends("a replay", observation).await.unwrap();
        for consumer in self.consumers {
            ends("a consumer", consumer.stop()).await;
        }
        self.leads.0.send_replace(true);
        ends("the watch of leads", self.leads.1).await.unwrap();
        let longest = longest_wait(&self.run);
        let report = self.run.verify();
        println!("{report}\nlongest wait for an answer: {longest:?}");
        assert!(
            longest <= patience,
            "a publish was not answered for {longest:?}; history in {:?}",
            self.run.keep()
        );
        report
    }
}

/// Awaits what must not take for ever.
async fn ends<T>(what: &str, work: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} has not ended within {PATIENCE:?}"),
    }
}

async fn keep_publishing(run: Run, plan: PublishPlan, stopped: watch::Receiver<bool>) {
    let mut random = Random::new(run.seed);
    for round in 0.. {
        if *stopped.borrow() {
            return;
        }
        let plan = PublishPlan {
            name: format!("{}{round}", plan.name),
            ..plan.clone()
        };
        publish(run.clone(), plan).await;
        // Not synchronisation: two cores have to do for clients, nodes and Kubernetes.
        tokio::time::sleep(Duration::from_millis(random.range(100, 300))).await;
    }
}

/// Writes each change of leads down as a fault: it is a reason for redeliveries that clients do not
/// see by themselves.
async fn watch_leads(run: Run, address: String, mut ended: watch::Receiver<bool>) {
    let client = Client::new(watchful_channel(&address).unwrap());
    let (mut last, mut begin) = (None, run.recorder.now());
    while !*ended.borrow() {
        let now = run.recorder.now();
        if let Some(seen) = leaders(&client).await {
            if last.as_ref().is_some_and(|last| *last != seen) {
                let kind = "leads changed".to_owned();
                run.recorder
                    .record(0, begin, Outcome::Ok, Op::Fault { kind });
            }
            (last, begin) = (Some(seen), now);
        }
        let _ = timeout(LOOK, ended.changed()).await;
    }
}

async fn leaders(client: &Client) -> Option<Vec<String>> {
    let mut partitions = client.partitions.clone();
    let listed = partitions.list_partitions(ListPartitionsRequest::default());
    let listed = timeout(ANSWER, listed).await.ok()?.ok()?.into_inner();
    let leaders = listed.partitions.into_iter().map(|it| it.leader_id);
    Some(leaders.collect())
}

/// Publishes that were acknowledged.
fn published(run: &Run) -> usize {
    let records = run.recorder.records().into_iter();
    let published = records
        .filter(|record| matches!(record.op, Op::Publish(_)) && record.outcome == Outcome::Ok);
    published.count()
}

/// The longest time from the first call about an event to the first answer.
fn longest_wait(run: &Run) -> Duration {
    let mut first_calls = HashMap::new();
    let mut longest = 0;
    for record in run.recorder.records() {
        let Op::Publish(publish) = record.op else {
            continue;
        };
        let first = *first_calls.entry(publish.id).or_insert(record.t_inv_us);
        if record.outcome != Outcome::Info {
            longest = longest.max(record.t_ret_us.saturating_sub(first));
        }
    }
    Duration::from_micros(longest)
}
