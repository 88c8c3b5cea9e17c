//! One run against one server: connections, books, clock and meter.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use chronos_tls::Connector;
use tokio::time::Instant;

use super::ids::{EventIds, RunId};
use super::ledger::Ledger;
use super::options::Options;
use super::report::Report;
use super::server_usage::{Meter, Sample};
use super::wire::connection::Connection;
use super::wire::request::EventEncoder;
use super::wire::status::CallError;

/// What every part of a run shares.
pub(crate) struct Session {
    /// Bytes of payload per event.
    pub payload_bytes: u32,
    /// Whether further attempts are no failure.
    pub allow_redelivery: bool,
    /// Name of the run.
    pub run: RunId,
    /// Topic of the run.
    pub topic: String,
    /// The books.
    pub ledger: Arc<Ledger>,
    /// When to give up.
    pub deadline: Instant,
    /// Reads the server's use of the machine.
    pub meter: Meter,
    addresses: Vec<String>,
    tls: Option<Connector>,
    ids: EventIds,
    connections: Vec<Connection>,
    begun: Instant,
    before: Sample,
}

impl Session {
    /// Connects and takes the first reading. Events are expected in `groups` consumer groups.
    ///
    /// # Errors
    /// When the server cannot be reached or measured.
    pub(crate) async fn open(options: &Options, groups: usize) -> Result<Self> {
        let run = options.run.clone().unwrap_or_else(RunId::fresh);
        let topic = options
            .topic
            .clone()
            .unwrap_or_else(|| format!("load-{run}"));
        let ids = EventIds::new(&run);
        let addresses: Vec<String> = options.connect.addresses().map(str::to_owned).collect();
        let tls = options.connect.tls().map(chronos_tls::Client::load);
        let tls = tls.transpose()?.map(|client| client.connector());
        let mut connections = Vec::with_capacity(usize::from(options.connections));
        for address in addresses
            .iter()
            .cycle()
            .take(usize::from(options.connections))
        {
            let connection = Connection::open(address, tls.as_ref())
                .await
                .context("cannot reach the server; is it running? (--addr, or CHRONOS_ADDR)")?;
            connections.push(connection);
        }
        if connections.is_empty() {
            bail!("no address of a server is given (--addr, or CHRONOS_ADDR)");
        }
        let meter = Meter {
            pid: options.server_pid,
            metrics_url: options.metrics_url.clone(),
        };
        let early_tolerance_us = (options.early_tolerance.as_ms() * 1_000) as i64;
        let before = meter.sample().await?;
        let begun = Instant::now();
        Ok(Self {
            ledger: Arc::new(Ledger::new(ids.clone(), groups, early_tolerance_us)),
            deadline: begun + options.timeout.duration(),
            payload_bytes: options.payload_bytes,
            allow_redelivery: options.allow_redelivery,
            addresses,
            tls,
            run,
            topic,
            ids,
            connections,
            begun,
            before,
            meter,
        })
    }

    /// The connection of publisher `index`.
    pub(crate) fn connection(&self, index: usize) -> &Connection {
        &self.connections[index % self.connections.len()]
    }

    /// A new connection, for subscription `index`.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(crate) async fn connect(&self, index: usize) -> Result<Connection, CallError> {
        let address = &self.addresses[index % self.addresses.len()];
        Connection::open(address, self.tls.as_ref()).await
    }

    /// An encoder of the run's events.
    pub(crate) fn encoder(&self) -> EventEncoder {
        EventEncoder::new(self.ids.clone(), &self.topic, self.payload_bytes as usize)
    }

    /// Whether the time allowed is over.
    pub(crate) fn out_of_time(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Takes the last reading and opens the report, whose figures are per event of `events`.
    ///
    /// # Errors
    /// When the server can no longer be measured.
    pub(crate) async fn report(&self, mode: &'static str, events: u64) -> Result<Report> {
        let after = self.meter.sample().await?;
        Ok(Report::new(
            self,
            mode,
            self.begun.elapsed(),
            after.since(&self.before, events),
        ))
    }

    /// The reading taken at the beginning.
    pub(crate) fn before(&self) -> &Sample {
        &self.before
    }
}
