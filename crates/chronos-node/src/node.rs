//! A node from start to stop.

use crate::cluster::routes::Routes;
use crate::cluster::{self, Listening, Ports, Running, cluster_file, observing};
use crate::config::Config;
use crate::data_dir::{DataDir, Request};
use crate::edge::Edge;
use crate::engine::{Engine, Network};
use crate::http::{Check, Checks, Endpoints, Readiness};
use crate::metrics::Metrics;
use crate::tls::Tls;
use crate::{http, observe};
use anyhow::Context;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// After the engine has drained, connections get this long to end by themselves.
const GOODBYE: Duration = Duration::from_secs(1);

/// Runs a node until it is asked to stop (SIGTERM, SIGINT) or fails.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let started = Instant::now();
    let tls = Tls::load(&config)?;
    let data_dir = DataDir::open(&Request::new(&config))?;
    anyhow::ensure!(
        config.cluster.is_enabled || !cluster_file::exists(data_dir.path()),
        "the data directory {} belongs to a node of a cluster, which must not start alone; start with -cluster",
        data_dir.path().display()
    );
    let identity = data_dir.identity().clone();
    let mut config = config;
    if !config.cluster.is_enabled {
        // In a cluster it is the cluster's.
        config.partitions.count = identity.partition_count;
    }
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
    tls.observe(&metrics);
    let (readiness, checks) = (Readiness::new(), Checks::new());
    let endpoints = Endpoints {
        node_id: identity.node_id.clone(),
        readiness: readiness.clone(),
        checks: checks.clone(),
        metrics: Arc::clone(&metrics),
        started,
        is_clustered: config.cluster.is_enabled,
    };
    let web_port = web.local_addr()?.port();
    let (stop, stopped) = watch::channel(false);
    // Other nodes are served until the very end: they may be waiting for what this one still does.
    let (close, closed) = watch::channel(false);
    let http_server = tokio::spawn(http::serve(web, endpoints, until(stopped.clone())));

    let ports = (grpc.local_addr()?.port(), web_port);
    let entered = match config.cluster.is_enabled {
        false => None,
        true => {
            readiness.starting("becoming a member of a cluster");
            let ports = |cluster| Ports {
                cluster,
                grpc: ports.0,
                http: ports.1,
            };
            let until_closed = until(closed.clone());
            let listening =
                Listening::start(&config, &data_dir, tls.nodes, ports, until_closed).await?;
            Some(tokio::select! {
                entered = listening.enter() => entered?,
                () = asked_to_stop() => return Ok(()),
            })
        }
    };
    let network = match &entered {
        None => Network::alone(config.partitions.count),
        Some(entered) => entered.network(),
    };
    config.partitions.count = network.partitions;

    readiness.starting("opening the data directory");
    let engine = Engine::open(&config, data_dir.path(), &metrics, network).await?;
    observe::register(&engine, &metrics);
    let watched = Arc::clone(&engine);
    checks.add("partitions", move || partitions_check(&watched));

    let edge = Edge {
        engine: Arc::clone(&engine),
        routes: match &entered {
            None => Arc::new(Routes::alone()),
            Some(entered) => Arc::clone(&entered.routes),
        },
        metrics: Arc::clone(&metrics),
        config: config.clone(),
        node_id: identity.node_id.clone(),
        placer: OnceLock::new(),
    };
    let running = match entered {
        None => None,
        Some(entered) => Some(entered.take_part(&config, &engine, &edge).await?),
    };
    if let Some(running) = &running {
        observing::observe(&engine, &running.pulses, &metrics);
        let (engine, pulses) = (Arc::downgrade(&engine), Arc::downgrade(&running.pulses));
        checks.add("cluster", move || observing::check(&engine, &pulses));
    }
    let stopped = until(stopped.clone());
    let clients = tls.clients;
    let grpc_server =
        tokio::spawn(async move { edge.serve(grpc, clients.as_ref(), stopped).await });
    if running.is_some() {
        readiness.starting("waiting for the catalog of the cluster");
        tokio::select! {
            () = engine.knows_its_cluster() => {}
            ended = wait_for_end(&engine) => {
                engine.stop(config.node.shutdown_timeout).await?;
                return ended?.map_or(Ok(()), |why| anyhow::bail!("{why}"));
            }
        }
    }
    readiness.ready();
    tracing::info!(
        node = identity.node_id,
        partitions = config.partitions.count,
        grpc = %config.listen.grpc,
        http = %config.listen.http,
        tls = config.tls.is_enabled,
        took_ms = started.elapsed().as_millis() as u64,
        "ready"
    );
    print_next_step(&config);

    let failure = wait_for_end(&engine).await?;
    match &failure {
        None => readiness.draining(),
        Some(why) => readiness.failed(why.clone()),
    }
    if running.is_some() && failure.is_none() {
        cluster::hand_over(&engine).await;
    }
    stop.send_replace(true);
    engine.stop(config.node.shutdown_timeout).await?;
    running.iter().for_each(Running::close);
    close.send_replace(true);
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
    let mut failed = engine.failed();
    tokio::select! {
        () = asked_to_stop() => Ok(None),
        why = failed.wait_for(Option::is_some) => Ok(why.ok().and_then(|why| why.clone())),
    }
}

/// Waits for a signal. One that cannot be waited for never comes.
async fn asked_to_stop() {
    let of = async |kind| match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(error) => {
            tracing::error!(%error, "cannot wait for a signal");
            std::future::pending().await
        }
    };
    tokio::select! {
        () = of(SignalKind::terminate()) => {}
        () = of(SignalKind::interrupt()) => {}
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
        let mut addr = config.listen.grpc.to_string();
        if config.tls.is_enabled {
            addr += " --tls-ca-file ca.crt";
        }
        println!(
            "\nChronosDB is ready. In another terminal, try:\n\n  \
             chronosctl --addr {addr} subscribe hello --group first &\n  \
             chronosctl --addr {addr} publish hello --in 3s --payload 'it is time'\n"
        );
    }
}
