//! What every reconciliation shares.

use std::sync::Arc;

use kube::Client;
use kube::runtime::events::{Recorder, Reporter};

use super::topic::Known;
use super::{Backoff, Tenure};
use crate::database::Databases;
use crate::metrics::Metrics;

/// How the operator was started.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The image of clusters that name none.
    pub default_image: String,
    /// The namespaces to look after. Empty: all.
    pub namespaces: Vec<String>,
    /// Whether it may look at Kubernetes nodes: for zones, and nodes that are being emptied.
    pub nodes: bool,
}

/// What every reconciliation shares.
pub struct Context {
    /// Kubernetes.
    pub client: Client,
    /// The databases of the clusters.
    pub databases: Arc<dyn Databases>,
    /// How the operator was started.
    pub settings: Settings,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Failures in a row.
    pub backoff: Backoff,
    /// All ScheduledTopics.
    pub topics: Known,
    /// Until when it may act.
    pub tenure: Arc<Tenure>,
    pub(super) recorder: Recorder,
}

impl Context {
    /// A context.
    pub fn new(
        client: Client,
        databases: Arc<dyn Databases>,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Self {
        let recorder = Recorder::new(client.clone(), Reporter::from(super::apply::MANAGER));
        Self {
            client,
            databases,
            settings,
            metrics,
            backoff: Backoff::default(),
            topics: Known::default(),
            tenure: Arc::default(),
            recorder,
        }
    }
}
