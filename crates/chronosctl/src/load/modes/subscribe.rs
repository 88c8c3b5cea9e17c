//! `subscribe`: only receive.

use std::sync::Arc;

use anyhow::Result;

use crate::load::ledger::Outcome;
use crate::load::options::{Options, ReceiveOptions};
use crate::load::progress::Progress;
use crate::load::report::Report;
use crate::load::session::Session;
use crate::load::span::Span;
use crate::load::subscriber::{Strangers, Subscribers};

/// Options of `subscribe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    receive: ReceiveOptions,
    /// Check that the events 0 to N-1 of an earlier run (--run) arrive, each once
    #[arg(long, value_name = "N", requires = "run")]
    expect: Option<u64>,
    /// Without --expect: stop when nothing has arrived for this time
    #[arg(long, default_value = "3s", value_name = "SPAN")]
    idle: Span,
}

impl Args {
    /// The options that all modes share.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
}

/// Receives and acks; with `--expect`, checks that every event of the earlier run arrived once in
/// every group.
///
/// # Errors
/// When the server cannot be reached or measured.
pub(crate) async fn run(args: &Args) -> Result<Report> {
    let mut session = Session::open(&args.options, usize::from(args.receive.groups)).await?;
    if args.options.run.is_none() && args.options.topic.is_none() {
        // Nothing was published under a fresh name: take every topic.
        session.topic = String::new();
    }
    let session = Arc::new(session);
    if let Some(expected) = args.expect
        && let Some(events) = session.ledger.issue(expected, expected)
    {
        session.ledger.settle(events, Outcome::Accepted);
    }
    let subscribers = Subscribers::start(&session, &args.receive, Strangers::Record).await?;
    let progress = Progress::start("subscribe", &session.ledger, args.expect);
    let complete = match args.expect {
        Some(_) => subscribers.wait(&session).await,
        None => {
            subscribers
                .wait_until_idle(&session, args.idle.duration())
                .await
        }
    };
    drop(progress);
    let report = session
        .report("subscribe", subscribers.deliveries())
        .await?;
    let received = subscribers.stop().await;
    Ok(report.with_delivery(received, complete))
}
