//! TLS on a node's listeners, as its settings say.

use crate::config::Config;
use crate::metrics::Metrics;
use anyhow::Context;
use chronos_tls::{Peers, Server, ServerOptions};
use std::sync::Arc;

/// What the listeners make handshakes with. `None`: they make none.
pub struct Tls {
    /// For clients.
    pub clients: Option<Arc<Server>>,
    /// Between nodes, in both directions.
    pub nodes: Option<Peers>,
}

impl Tls {
    /// Reads the certificates, and reads them again when they change. Has to be called on a runtime.
    ///
    /// # Errors
    /// A file is missing or no good.
    pub fn load(config: &Config) -> anyhow::Result<Self> {
        let tls = &config.tls;
        let clients = tls.is_enabled.then(|| {
            let mut options = ServerOptions::new(&tls.certificate, &tls.key);
            if tls.client_auth {
                options = options.client_ca(&tls.ca);
            }
            Server::load(options).context("cannot serve clients with TLS")
        });
        let tls = &config.replication_tls;
        let is_enabled = tls.is_enabled && config.cluster.is_enabled;
        let nodes = is_enabled.then(|| {
            Peers::load(&tls.certificate, &tls.key, &tls.ca)
                .context("cannot connect to other nodes with TLS")
        });
        Ok(Self {
            clients: clients.transpose()?,
            nodes: nodes.transpose()?,
        })
    }

    /// Brings the metrics up to date at every scrape.
    pub fn observe(&self, metrics: &Metrics) {
        let clients = self.clients.iter().map(|server| ("clients", server));
        let nodes = self.nodes.iter().map(|peers| ("nodes", &peers.server));
        for (listener, server) in clients.chain(nodes) {
            let (of, server) = (metrics.tls(listener), Arc::clone(server));
            metrics.on_scrape(move || {
                of.expiry_seconds.set(server.expires_at());
                let failed = server.failed_handshakes();
                of.failed.inc_by(failed.saturating_sub(of.failed.get()));
            });
        }
    }
}
