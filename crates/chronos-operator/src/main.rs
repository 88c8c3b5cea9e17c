//! `chronos-operator`: looks after ChronosDB clusters in Kubernetes.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chronos_operator::cli::{Cli, Command, Run};
use chronos_operator::controller::{self, Context, Leadership, Settings};
use chronos_operator::database::grpc::Pool;
use chronos_operator::metrics::Metrics;
use chronos_operator::traces::Traces;
use chronos_operator::{crds, http, log};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(arguments) => run(arguments).await,
        Command::Crds => print_crds(),
    }
}

fn print_crds() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for (_, yaml) in crds::crds()? {
        writeln!(out, "---\n{yaml}")?;
    }
    Ok(())
}

async fn run(arguments: Run) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let traces = Traces::wanted()?;
    tracing_subscriber::registry()
        .with(log::lines(arguments.log_format, filter, io::stderr))
        .with(traces.as_ref().map(Traces::layer))
        .init();
    let client = client()
        .await
        .context("Kubernetes cannot be reached: no service account, and no usable kubeconfig")?;
    let metrics = Arc::new(Metrics::new()?);
    let listener = TcpListener::bind(arguments.http)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.http))?;
    let leadership = Leadership::new(
        client.clone(),
        &arguments.lease_namespace,
        &arguments.lease_name,
        &arguments.identity,
    );
    let namespaces = arguments.watch_namespaces.into_iter();
    let settings = Settings {
        default_image: arguments.default_image,
        namespaces: namespaces.filter(|name| !name.is_empty()).collect(),
        nodes: arguments.watch_nodes,
    };
    let databases = Arc::new(Pool::default());
    let context = Arc::new(Context::new(
        client,
        databases,
        settings,
        Arc::clone(&metrics),
    ));

    let (stopping, stop) = watch::channel(false);
    let (holding, held) = watch::channel(false);
    let serving = tokio::spawn(axum::serve(listener, http::router(metrics)).into_future());
    let (giving_back, give_back) = watch::channel(false);
    let tenure = Arc::clone(&context.tenure);
    let lease = tokio::spawn(controller::hold(leadership, tenure, holding, give_back));
    let mut work = tokio::spawn(controller::run(context, held, stop));

    tokio::select! {
        asked = asked_to_stop() => asked?,
        // Kubernetes starts another operator, which may have more luck.
        ended = &mut work => return ended.context("the reconcilers have failed"),
    }
    tracing::info!("stopping");
    stopping.send_replace(true);
    // First the work, then the Lease: nobody else acts while this one does.
    work.await?;
    giving_back.send_replace(true);
    lease.await?;
    serving.abort();
    if let Some(traces) = traces {
        tokio::task::spawn_blocking(|| traces.end()).await?;
    }
    Ok(())
}

/// Fails at once where the reconcilers try again by themselves: what is done next must rest on what was seen just
/// now. A connection that died without a word is noticed too; watches end sooner than that by themselves.
async fn client() -> anyhow::Result<kube::Client> {
    let mut config = kube::Config::infer().await?;
    config.default_retry = false;
    config.read_timeout = Some(Duration::from_secs(300));
    Ok(kube::Client::try_from(config)?)
}

async fn asked_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
