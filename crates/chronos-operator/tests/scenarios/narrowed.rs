//! An operator that may look at one namespace, with the rights that the chart gives it then.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chronos_operator::api::{ChronosCluster, Phase, ScheduledTopic};
use chronos_operator::controller::{self, Context, Leadership, Settings};
use chronos_operator::log;
use chronos_operator::metrics::Metrics;
use chronos_tests::captured::Captured;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::conditions::is_deleted;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;

use crate::stage::{Stage, as_account};
use crate::topics::{make_named, ready};

const PATIENCE: Duration = Duration::from_secs(90);
const CHART: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../charts/chronosdb-operator"
);
/// The name of the release, of the ServiceAccount and of the Lease.
const NAME: &str = "chronosdb-operator";

#[tokio::test]
#[ignore = "needs an API server: scripts/test-kubernetes"]
async fn an_operator_of_one_namespace_leaves_others_alone() {
    let home = Stage::set("operator").await;
    let watched = Stage::set("watched").await;
    let other = Stage::set("other").await;
    install(&home.namespace, &watched.namespace).await;
    let account = format!("system:serviceaccount:{}:{NAME}", home.namespace);
    let client = as_account(&account).await;
    rights_hold(&client, &home.namespace, &watched.namespace).await;
    let beyond: Api<ChronosCluster> = Api::namespaced(client.clone(), &other.namespace);
    assert!(is_forbidden(beyond.list(&ListParams::default()).await));

    let log = Captured::with(|written| {
        let filter = EnvFilter::new("info,chronos_operator=debug");
        tracing_subscriber::registry().with(log::lines(log::Format::Json, filter, move || {
            written.clone()
        }))
    });
    watched.create(json!({})).await;
    other.create(json!({})).await;
    let operator = Operator::start(client, &home, &watched);
    let began = Instant::now();
    loop {
        watched.kubelet().await;
        let status = watched.cluster().await.status.unwrap_or_default();
        if status.phase == Some(Phase::Running) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{}", log.text());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    topics_are_told_apart(&watched, &other).await;
    operator.stop().await;

    assert!(other.cluster().await.status.is_none(), "it was looked at");
    assert!(other.names::<StatefulSet>().await.is_empty());
    let text = log.text();
    assert!(!text.to_lowercase().contains("forbidden"), "{text}");
    // Whoever reads the log can follow each reconciliation.
    let lines = log.objects();
    let acted = lines
        .iter()
        .find(|line| line["fields"]["reason"] == "Created");
    let span = &acted.expect("the set was made")["span"];
    assert_eq!(span["kind"], "ChronosCluster");
    assert_eq!(span["namespace"], watched.namespace.as_str());
    assert_eq!(span["generation"], 1);
    let same = |line: &&serde_json::Value| line["span"]["id"] == span["id"];
    assert!(lines.iter().filter(same).count() > 1, "{text}");

    for stage in [home, watched, other] {
        stage.delete_namespace().await;
    }
}

/// Of two that are about one topic the older one has it. A cluster that the operator may not look at is
/// named, and holds up no deletion.
async fn topics_are_told_apart(watched: &Stage, other: &Stage) {
    make_named(watched, "orders", json!({})).await;
    says(watched, "orders", "Agrees").await;
    let same = json!({ "topicName": "orders", "deletionPolicy": "Delete" });
    // The API server tells ages in seconds.
    let made = watched.api::<ScheduledTopic>().get("orders").await.unwrap();
    let made = made.metadata.creation_timestamp.unwrap().0;
    while Timestamp::now().as_second() == made.as_second() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    make_named(watched, "again", same).await;
    says(watched, "again", "NameTaken").await;
    let elsewhere = json!({ "name": "db", "namespace": other.namespace });
    let unseen = json!({ "clusterRef": elsewhere, "deletionPolicy": "Delete" });
    make_named(watched, "unseen", unseen).await;
    says(watched, "unseen", "ClusterUnreadable").await;
    for name in ["again", "unseen"] {
        let topics: Api<ScheduledTopic> = watched.api();
        let topic = topics.get(name).await.unwrap();
        topics.delete(name, &DeleteParams::default()).await.unwrap();
        let uid = topic.uid().unwrap();
        let gone = await_condition(topics, name, is_deleted(&uid));
        tokio::time::timeout(PATIENCE, gone).await.unwrap().unwrap();
    }
    let there = watched.database.state().topics.contains_key("orders");
    assert!(there, "another's topic was deleted");
}

/// Waits until a topic's Ready says so.
async fn says(stage: &Stage, name: &str, reason: &str) {
    let said = |topic: Option<&ScheduledTopic>| {
        topic.is_some_and(|topic| topic.status.is_some() && ready(topic).1 == reason)
    };
    let topics: Api<ScheduledTopic> = stage.api();
    let said = await_condition(topics, name, said);
    tokio::time::timeout(PATIENCE, said).await.unwrap().unwrap();
}

/// Applies what the chart makes for an operator of one namespace, except the operator.
async fn install(home: &str, watched: &str) {
    let rendered = Command::new("helm")
        .args(["template", NAME, CHART, "--namespace", home])
        .args(["--kube-version", "1.34.0", "--set", "replicas=0"])
        .args(["--set", "crds.enabled=false", "--set", "watchNodes=false"])
        .args(["--set", &format!("watchNamespaces={{{watched}}}")])
        .stderr(Stdio::inherit())
        .output()
        .await
        .expect("helm is missing");
    assert!(rendered.status.success());
    let mut apply = Command::new("kubectl")
        .args(["apply", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("kubectl is missing");
    let mut input = apply.stdin.take().unwrap();
    input.write_all(&rendered.stdout).await.unwrap();
    drop(input);
    assert!(apply.wait().await.unwrap().success());
}

/// The API server takes up new rights a moment after they were made.
async fn rights_hold(client: &Client, home: &str, watched: &str) {
    let clusters: Api<ChronosCluster> = Api::namespaced(client.clone(), watched);
    let leases: Api<Lease> = Api::namespaced(client.clone(), home);
    let began = Instant::now();
    while is_forbidden(clusters.list(&ListParams::default()).await)
        || is_forbidden(leases.get_opt(NAME).await)
    {
        assert!(began.elapsed() < PATIENCE, "the rights never came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_forbidden<T>(answer: kube::Result<T>) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.code == 403)
}

struct Operator {
    stop: watch::Sender<bool>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Operator {
    fn start(client: Client, home: &Stage, watched: &Stage) -> Self {
        let settings = Settings {
            default_image: "chronosdb:1".to_owned(),
            namespaces: vec![watched.namespace.clone()],
            nodes: false,
        };
        let context = Context::new(
            client.clone(),
            Arc::new(watched.database.clone()),
            settings,
            Arc::new(Metrics::new().unwrap()),
        );
        let (stop, stopped) = watch::channel(false);
        let (holding, held) = watch::channel(false);
        let leadership = Leadership::new(client, &home.namespace, NAME, "one");
        let tenure = Arc::clone(&context.tenure);
        let lease = tokio::spawn(controller::hold(
            leadership,
            tenure,
            holding,
            stopped.clone(),
        ));
        let work = tokio::spawn(controller::run(Arc::new(context), held, stopped));
        Self {
            stop,
            tasks: [lease, work],
        }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
        }
    }
}
