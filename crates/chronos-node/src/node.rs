//! A node from start to stop.

use crate::cluster::cluster_file;
use crate::cluster::routes::Routes;
use crate::config::Config;
use crate::data_dir::{DataDir, Request};
use crate::edge::Edge;
use crate::engine::{Engine, Network};
use crate::http::{Check, Checks, Endpoints, Readiness};
use crate::metrics::Metrics;
use crate::{http, observe};
use anyhow::Context;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// After the engine has drained, connections get this long to end by themselves.
const GOODBYE: Duration = Duration::from_secs(1);

/// Runs a node until it is asked to stop (SIGTERM, SIGINT) or fails.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let started = Instant::now();
    anyhow::ensure!(
        !config.cluster.is_enabled,
        "-cluster is not available in this version; leave it out to start one node"
    );
    let data_dir = DataDir::open(&Request::new(&config))?;
    anyhow::ensure!(
        !cluster_file::exists(data_dir.path()),
        "the data directory {} belongs to a node of a cluster, which must not start alone; start with -cluster",
        data_dir.path().display()
    );
    let identity = data_dir.identity().clone();
    let mut config = config;
    config.partitions.count = identity.partition_count;
    let grpc = config
        .listen
        .grpc
        .bind()
        .await
        .with_context(|| format!("cannot listen on {}", config.listen.grpc))?;
    let web = config
        .listen
        .http
        .bind()
        .await
        .with_context(|| format!("cannot listen on {}", config.listen.http))?;

    let metrics = Arc::new(Metrics::new());
    let (readiness, checks) = (Readiness::new(), Checks::new());
    let endpoints = Endpoints {
        node_id: identity.node_id.clone(),
        readiness: readiness.clone(),
        checks: checks.clone(),
        metrics: Arc::clone(&metrics),
        started,
    };
    let (stop, stopped) = watch::channel(false);
    let http_server = tokio::spawn(http::serve(web, endpoints, until(stopped.clone())));

    readiness.starting("opening the data directory");
    let engine = {
        let network = Network::alone(config.partitions.count);
        Engine::open(&config, data_dir.path(), &metrics, network).await?
    };
    observe::register(&engine, &metrics);
    let watched = Arc::clone(&engine);
    checks.add("partitions", move || partitions_check(&watched));

    let grpc_server = {
        let edge = Edge {
            engine: Arc::clone(&engine),
            routes: Arc::new(Routes::alone()),
            metrics: Arc::clone(&metrics),
            config: config.clone(),
            node_id: identity.node_id.clone(),
        };
        let stopped = until(stopped.clone());
        tokio::spawn(async move { edge.serve(grpc, stopped).await })
    };
    readiness.ready();
    tracing::info!(
        node = identity.node_id,
        partitions = identity.partition_count,
        grpc = %config.listen.grpc,
        http = %config.listen.http,
        took_ms = started.elapsed().as_millis() as u64,
        "ready"
    );
    print_next_step(&config);

    let failure = wait_for_end(&engine).await?;
    match &failure {
        None => readiness.draining(),
        Some(why) => readiness.failed(why.clone()),
    }
    stop.send_replace(true);
    engine.stop(config.node.shutdown_timeout).await?;
    let goodbye = async {
        let _ = grpc_server.await;
        let _ = http_server.await;
    };
    if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
        tracing::info!("closing connections that clients kept open");
    }
    drop(data_dir);
    match failure {
        None => {
            tracing::info!("stopped");
            Ok(())
        }
        Some(why) => anyhow::bail!("{why}"),
    }
}

/// Waits for a signal (`None`) or for a partition to fail (the reason).
async fn wait_for_end(engine: &Engine) -> anyhow::Result<Option<String>> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut failed = engine.failed();
    tokio::select! {
        _ = terminate.recv() => Ok(None),
        _ = interrupt.recv() => Ok(None),
        why = failed.wait_for(Option::is_some) => Ok(why.ok().and_then(|why| why.clone())),
    }
}

fn partitions_check(engine: &Engine) -> Check {
    let failed = engine.failed().borrow().clone();
    Check {
        healthy: failed.is_none(),
        detail: failed.unwrap_or_else(|| format!("{} partitions led", engine.partitions().len())),
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone: then it is time to stop too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Tells a person at a terminal what to do next.
fn print_next_step(config: &Config) {
    use std::io::IsTerminal;
    if std::io::stdout().is_terminal() {
        let addr = config.listen.grpc.to_string();
        println!(
            "\nChronosDB is ready. In another terminal, try:\n\n  \
             chronosctl --addr {addr} subscribe hello --group first &\n  \
             chronosctl --addr {addr} publish hello --in 3s --payload 'it is time'\n"
        );
    }
}
