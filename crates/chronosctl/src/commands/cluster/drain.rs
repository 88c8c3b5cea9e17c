//! Draining a node, and waiting until it is.

use std::io::IsTerminal;
use std::time::Duration;

use chronos_client::cluster_service::{ClusterNode, ClusterStatusResponse, DrainScope};
use chronos_client::{Client, Error};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::{no_such_node, status_with};
use crate::exit::Failure;

/// How often the cluster is asked how far it is.
const EVERY: Duration = Duration::from_millis(500);

/// A drain.
pub(super) struct Drain<'a> {
    client: &'a Client,
    node: &'a str,
    scope: DrainScope,
}

impl<'a> Drain<'a> {
    pub(super) fn new(client: &'a Client, node: &'a str, leaders: bool) -> Self {
        let scope = match leaders {
            true => DrainScope::DrainLeaders,
            false => DrainScope::DrainReplicas,
        };
        Self {
            client,
            node,
            scope,
        }
    }

    /// Begins it, and warns when there are not nodes enough for what is moved.
    pub(super) async fn begin(&self) -> Result<(), Failure> {
        let status = status_with(self.client, self.node).await?;
        self.client.drain_node(self.node, self.scope).await?;
        if let Some(warning) = self.warning(&status) {
            eprintln!("warning: {warning}");
        }
        Ok(())
    }

    /// What somebody should know who drains a node of this cluster.
    fn warning(&self, status: &ClusterStatusResponse) -> Option<String> {
        let is_other = |node: &&ClusterNode| {
            node.name != self.node && node.drain() != DrainScope::DrainReplicas
        };
        let others = status.nodes.iter().filter(is_other).count();
        let wanted = status.replication_factor as usize;
        let too_few = self.scope == DrainScope::DrainReplicas && others < wanted;
        too_few.then(|| {
            format!(
                "{others} other nodes cannot hold {wanted} copies of each partition: add a node, or \
                 partitions have fewer"
            )
        })
    }

    /// Waits until the node has nothing any more of what it is to lose.
    pub(super) async fn wait(&self, limit: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + limit;
        let progress = Progress::start(self.node);
        loop {
            match self.left().await {
                Ok(Left { left: 0, .. }) => return Ok(()),
                Ok(left) => progress.show(&left),
                // An election of the catalog's leader, which a drain brings about, is soon over.
                Err(Error::Unavailable { .. }) if Instant::now() < deadline => {}
                Err(error) => return Err(error.into()),
            }
            if Instant::now() >= deadline {
                return Err(anyhow::anyhow!(
                    "node {} is not drained after {limit:?}; the drain goes on, `chronosctl cluster \
                     nodes` shows how far it is",
                    self.node
                )
                .into());
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn left(&self) -> Result<Left, Error> {
        let status = self.client.cluster_status().await?;
        let node = status.nodes.iter().find(|node| node.name == self.node);
        Ok(Left::of(
            node.ok_or_else(|| no_such_node(self.node))?,
            self.scope,
        ))
    }
}

/// What a node still has to lose.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    left: u64,
    words: String,
}

impl Left {
    fn of(node: &ClusterNode, scope: DrainScope) -> Self {
        let mut parts = vec![
            (u64::from(node.leaders), "leaders"),
            (u64::from(node.catalog_leader), "lead of the catalog"),
        ];
        if scope == DrainScope::DrainReplicas {
            parts.push((u64::from(node.replicas), "replicas"));
            parts.push((u64::from(node.catalog_voter), "vote in the catalog"));
        }
        parts.retain(|(count, _)| *count > 0);
        let words: Vec<String> = (parts.iter())
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        Self {
            left: parts.iter().map(|(count, _)| count).sum(),
            words: words.join(", "),
        }
    }
}

/// Shows on stderr what is left, if that is a terminal.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn start(node: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(0);
        let template = "draining {prefix} [{elapsed_precise}] {bar:30} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(node.to_owned());
        Self(Some(bar))
    }

    fn show(&self, left: &Left) {
        if let Some(bar) = &self.0 {
            let most = bar.length().unwrap_or(0).max(left.left);
            bar.set_length(most);
            bar.set_position(most - left.left);
            bar.set_message(format!("{} left", left.words));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_depends_on_what_is_moved() {
        let node = ClusterNode {
            replicas: 3,
            catalog_voter: true,
            ..ClusterNode::default()
        };
        assert_eq!(Left::of(&node, DrainScope::DrainLeaders).left, 0);
        let left = Left::of(&node, DrainScope::DrainReplicas);
        assert_eq!(left.left, 4);
        assert_eq!(left.words, "3 replicas, 1 vote in the catalog");
    }
}
