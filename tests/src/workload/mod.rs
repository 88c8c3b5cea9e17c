//! Seeded clients that write down what they do and see.
//!
//! ```text
//! Run ── publisher ─┐
//!  │  ── consumers ─┼─► Recorder ──► checker
//!  │  ── observer  ─┘
//!  └─ drain: waits until every group has settled what it is owed, or nothing more comes
//! ```

mod consumer;
mod drain;
mod observer;
mod publisher;
mod redrive;

use std::io::BufWriter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, fs};

pub use consumer::{Behaviour, Consumer, ConsumerPlan};
pub use publisher::{PublishPlan, publish};

use crate::checker::{self, Report};
use crate::client::Client;
use crate::history::{self, Moment, Op, Outcome, Recorder, Settings};
use crate::server::Server;

/// How long a client waits for an answer before it calls the outcome unknown.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);

/// One run against a server or a cluster: where its clients connect, and what they write down.
#[derive(Clone, Debug)]
pub struct Run {
    /// `host:port` of gRPC, of each node.
    pub addresses: Arc<[String]>,
    /// The history.
    pub recorder: Arc<Recorder>,
    /// What the server was told.
    pub settings: Settings,
    /// Where all choices of the run come from.
    pub seed: u64,
    next_process: Arc<AtomicU32>,
    next_node: Arc<AtomicUsize>,
}

impl Run {
    /// A run that has not begun.
    #[must_use]
    pub fn new(server: &Server, settings: Settings, seed: u64) -> Self {
        Self::over(&[server.address()], settings, seed)
    }

    /// A run whose clients go to any of these nodes, and to another one when that does not answer.
    #[must_use]
    pub fn over(addresses: &[String], settings: Settings, seed: u64) -> Self {
        Self {
            addresses: addresses.into(),
            recorder: Arc::new(Recorder::new(settings.clone())),
            settings,
            seed,
            next_process: Arc::new(AtomicU32::new(1)),
            next_node: Arc::default(),
        }
    }

    /// A new client's number.
    fn process(&self) -> u32 {
        self.next_process.fetch_add(1, Ordering::Relaxed)
    }

    /// A connection to the next node in turn.
    fn client(&self) -> Client {
        let turn = self.next_node.fetch_add(1, Ordering::Relaxed);
        Self::client_of(&self.addresses[turn % self.addresses.len()])
    }

    fn client_of(address: &str) -> Client {
        match crate::server::watchful_channel(address) {
            Ok(channel) => Client::new(channel),
            Err(error) => panic!("{address} is no address: {error}"),
        }
    }

    /// A connection to the next node in turn at whose address something listens; waits for one as
    /// long as a restart may take.
    async fn reachable(&self) -> Client {
        crate::patience::eventually("a server listens", || async {
            let turn = self.next_node.fetch_add(1, Ordering::Relaxed);
            let address = &self.addresses[turn % self.addresses.len()];
            tokio::net::TcpStream::connect(address).await.ok()?;
            Some(Self::client_of(address))
        })
        .await
    }

    /// Writes down a fault that began at `begin` and has just ended.
    pub fn fault(&self, kind: &str, begin: Moment) {
        self.recorder.record(
            0,
            begin,
            Outcome::Ok,
            Op::Fault {
                kind: kind.to_string(),
            },
        );
    }

    /// Kills the server and starts it again on the same data.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn kill_and_restart(&self, server: &mut Server) -> Result<(), crate::server::Error> {
        let begin = self.recorder.now();
        server.kill().await?;
        server.restart().await?;
        self.fault("kill", begin);
        Ok(())
    }

    /// Stops the server gracefully and starts it again on the same data.
    ///
    /// # Errors
    /// When it does not end or does not come back.
    pub async fn restart(&self, server: &mut Server) -> Result<(), crate::server::Error> {
        let begin = self.recorder.now();
        server.stop().await?;
        server.restart().await?;
        self.fault("terminate", begin);
        Ok(())
    }

    /// Checks the history.
    #[must_use]
    pub fn report(&self) -> Report {
        checker::check(&self.recorder.records())
    }

    /// Checks the history and hands the report back.
    ///
    /// # Panics
    /// When a promise was broken; the history is kept in a file that the message names.
    pub fn verify(&self) -> Report {
        let records = self.recorder.records();
        let report = checker::check(&records);
        if report.is_clean() {
            return report;
        }
        let kept = self.keep().unwrap_or_default();
        panic!(
            "seed {}, history in {kept}\n{}",
            self.seed,
            report.explain(&records)
        );
    }

    /// Writes the history into a file and names it; none when that fails.
    #[must_use]
    pub fn keep(&self) -> Option<String> {
        let path = env::temp_dir().join(format!("chronos-history-{}.jsonl", self.seed));
        let file = fs::File::create(&path).ok()?;
        history::write_lines(&self.recorder.records(), BufWriter::new(file)).ok()?;
        Some(path.display().to_string())
    }
}
