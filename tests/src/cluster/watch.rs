//! Writes down when leads change: a reason for redeliveries that clients do not see by themselves. A
//! leader that lost its lead and won it again is one, too, and only its own count tells.

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Duration;

use crate::client::Client;
use crate::history::{Op, Outcome};
use crate::http;
use crate::workload::Run;

use super::ClusterProcesses;
use super::processes::{client, leaders};

/// How often each node is asked.
const INTERVAL: Duration = Duration::from_millis(100);

/// Asks every node again and again who leads what, and writes each change of what it says down as a
/// fault, from when it was last seen unchanged until it was seen changed.
#[derive(Debug)]
pub struct LeadWatch {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl LeadWatch {
    /// Begins.
    #[must_use]
    pub fn start(run: &Run, cluster: &ClusterProcesses) -> Self {
        let (stop, stopped) = watch::channel(false);
        let nodes = cluster.count();
        let addresses = cluster.addresses().into_iter();
        let watches = addresses
            .zip(cluster.http_addresses())
            .map(|(address, http)| {
                let (run, mut stopped) = (run.clone(), stopped.clone());
                tokio::spawn(async move {
                    let client = client(&address);
                    let (mut last, mut begin) = (None, run.recorder.now());
                    while !*stopped.borrow() {
                        let now = run.recorder.now();
                        if let Some(seen) = seen(&client, &http, nodes).await {
                            let changed = last.as_ref().is_some_and(|last| *last != seen);
                            if changed {
                                let kind = "leads changed".to_string();
                                let fault = Op::Fault { kind };
                                run.recorder.record(0, begin, Outcome::Ok, fault);
                            }
                            (last, begin) = (Some(seen), now);
                        }
                        let _ = tokio::time::timeout(INTERVAL, stopped.changed()).await;
                    }
                })
            });
        Self {
            tasks: watches.collect(),
            stop,
        }
    }

    /// Ends.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

/// Who leads what, as a node tells, and how often it has begun to lead itself.
async fn seen(client: &Client, http: &str, nodes: usize) -> Option<(Vec<usize>, f64)> {
    let leaders = leaders(client, nodes).await?;
    let (_, metrics) = http::get(http, "/metrics").await.ok()?;
    let won = http::metric_sum(&metrics, "chronos_raft_leads_won_total");
    Some((leaders, won))
}
