//! The nodes as processes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{env, fs, io, process, thread};

use chronos_proto::cronos_db::{ClusterStatusRequest, ListPartitionsRequest, PartitionInfo};
use tempfile::TempDir;

use crate::client::Client;
use crate::patience::{PATIENCE, within};
use crate::server::{self, Error, Options, Server, free_port};

use super::proxy::{Network, Pids};

/// How long a node is waited for that may be paused.
const ANSWER: Duration = Duration::from_millis(1_500);

/// Several nodes; they are killed when this is dropped, and leave their logs if the test failed.
#[derive(Debug)]
pub struct ClusterProcesses {
    nodes: Vec<Server>,
    clients: Vec<Client>,
    paused: BTreeSet<usize>,
    pids: Pids,
    network: Network,
    _folder: TempDir,
}

impl ClusterProcesses {
    /// Founds a cluster of so many nodes, and waits until each partition has a leader.
    ///
    /// # Errors
    /// When a node does not start, or the cluster does not come together.
    pub async fn start(count: usize, args: &[&str]) -> Result<Self, Error> {
        Self::start_with(count, args, |_| vec![]).await
    }

    /// The same, with variables of the environment for some of the nodes.
    ///
    /// # Errors
    /// As with [`start`](Self::start).
    pub async fn start_with(
        count: usize,
        args: &[&str],
        variables: impl Fn(usize) -> Vec<(&'static str, &'static str)>,
    ) -> Result<Self, Error> {
        let folder = tempfile::tempdir().map_err(io_error("no temporary directory"))?;
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let targets: Vec<SocketAddr> = ports
            .iter()
            .map(|port| SocketAddr::from(([127, 0, 0, 1], *port)))
            .collect();
        let pids: Pids = Arc::new(Mutex::new(vec![None; count]));
        let network = Network::start(&targets, &pids)
            .await
            .map_err(io_error("no proxy"))?;
        let seeds: Vec<String> = (0..count)
            .map(|node| network.address(node).to_string())
            .collect();
        let nodes = targets.iter().enumerate().map(|(node, target)| {
            let name = format!("node{}", node + 1);
            let options = (variables(node).into_iter())
                .fold(Options::new(), |options, (key, value)| {
                    options.variable(key, value)
                });
            options
                .named(&name)
                .data_dir(folder.path().join(&name))
                .arg("-cluster")
                .arg(format!("-cluster-seeds={}", seeds.join(",")))
                .arg(format!("-cluster-grpc-addr={target}"))
                .arg(format!("-cluster-advertise-addr={}", seeds[node]))
                .args(args.iter().copied())
                .prepare()
        });
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let clients = nodes.iter().map(|node| client(&node.address()));
        let mut cluster = Self {
            clients: clients.collect(),
            nodes,
            paused: BTreeSet::new(),
            pids,
            network,
            _folder: folder,
        };
        cluster.start_all().await?;
        Ok(cluster)
    }

    /// How many nodes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// A node, by its place from 0.
    #[must_use]
    pub fn node(&self, node: usize) -> &Server {
        &self.nodes[node]
    }

    /// A client of a node.
    #[must_use]
    pub fn client(&self, node: usize) -> &Client {
        &self.clients[node]
    }

    /// Where clients find the nodes.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Server::address).collect()
    }

    /// Where the nodes tell of themselves.
    #[must_use]
    pub fn http_addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Server::http_address).collect()
    }

    /// The ways between the nodes.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Starts every node that does not run, and waits until the cluster is settled.
    ///
    /// # Errors
    /// See [`settled`](Self::settled).
    pub async fn start_all(&mut self) -> Result<(), Error> {
        for node in 0..self.count() {
            self.launch(node)?;
        }
        for node in &mut self.nodes {
            node.ready().await?;
        }
        self.settled().await.map(drop)
    }

    /// Starts a node that does not run, and waits for nothing.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn launch(&mut self, node: usize) -> Result<(), Error> {
        if self.nodes[node].pid().is_none() {
            self.nodes[node].launch()?;
            self.note_pid(node);
        }
        Ok(())
    }

    fn note_pid(&self, node: usize) {
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        pids[node] = self.nodes[node].pid();
    }

    /// Ends a node as `kill -9` does.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self, node: usize) -> Result<(), Error> {
        self.nodes[node].kill().await?;
        self.paused.remove(&node);
        self.note_pid(node);
        Ok(())
    }

    /// Asks a node to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not in time, or not well.
    pub async fn stop(&mut self, node: usize) -> Result<(), Error> {
        let status = self.nodes[node].stop().await?;
        self.note_pid(node);
        match status.success() {
            true => Ok(()),
            false => Err(Error::Ended {
                status,
                log: self.nodes[node].log(),
            }),
        }
    }

    /// Stops a node's process in the midst of what it does (SIGSTOP).
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn pause(&mut self, node: usize) -> Result<(), Error> {
        self.paused.insert(node);
        self.nodes[node].signal("STOP").await
    }

    /// Lets a paused node go on (SIGCONT).
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn resume(&mut self, node: usize) -> Result<(), Error> {
        self.paused.remove(&node);
        self.nodes[node].signal("CONT").await
    }

    /// Kills a node and empties its directory.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn wipe(&mut self, node: usize) -> Result<(), Error> {
        self.kill(node).await?;
        self.nodes[node].wipe()
    }

    /// The nodes that run and are not paused.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        let runs = |node: &usize| self.nodes[*node].pid().is_some() && !self.paused.contains(node);
        (0..self.count()).filter(runs).collect()
    }

    /// The leader of each partition as one node sees it; none while one has none, or while the node
    /// does not answer.
    pub async fn leaders_by(&self, node: usize) -> Option<Vec<usize>> {
        leaders(&self.clients[node], self.count()).await
    }

    /// Whether each partition has a leader and all the copies that it is to have, and nothing is moved,
    /// as one node tells; `None` while it does not answer.
    pub async fn is_complete_by(&self, node: usize) -> Option<bool> {
        let mut cluster = self.clients[node].cluster.clone();
        let asked = cluster.cluster_status(ClusterStatusRequest::default());
        let status = tokio::time::timeout(ANSWER, asked).await.ok()?.ok()?;
        let status = status.into_inner();
        let missing = status.under_replicated + status.leaderless + status.moves;
        Some(missing == 0 && status.nodes.len() == self.count())
    }

    /// Waits until every running node is ready and all of them see the same leader of each
    /// partition, which runs; who that is.
    ///
    /// # Errors
    /// When they do not within [`PATIENCE`].
    pub async fn settled(&mut self) -> Result<Vec<usize>, Error> {
        self.settled_within(PATIENCE).await
    }

    /// The same, with another bound.
    ///
    /// # Errors
    /// When they do not within it.
    pub async fn settled_within(&mut self, limit: Duration) -> Result<Vec<usize>, Error> {
        for node in self.running() {
            self.nodes[node].ready().await?;
        }
        let running = self.running();
        let this = &*self;
        let running = &running;
        let agreed = within(limit, || async move {
            let mut views = BTreeSet::new();
            for node in running {
                views.insert(this.leaders_by(*node).await?);
            }
            let view = views.pop_first()?;
            let is_one = views.is_empty() && view.iter().all(|it| running.contains(it));
            is_one.then_some(view)
        });
        agreed.await.ok_or_else(|| Error::TooSlow {
            what: "part of a settled cluster",
            limit,
            log: self.logs(),
        })
    }

    /// The end of every node's log.
    #[must_use]
    pub fn logs(&self) -> String {
        let logs = self.nodes.iter().map(|node| {
            let log = node.log();
            let skipped = log.lines().count().saturating_sub(30);
            let end: Vec<&str> = log.lines().skip(skipped).collect();
            format!("--- {}\n{}\n", node.name(), end.join("\n"))
        });
        logs.collect()
    }
}

impl Drop for ClusterProcesses {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for node in &self.nodes {
            let kept = format!("chronos-{}-{}.log", process::id(), node.address());
            let kept = env::temp_dir().join(kept.replace(':', "-"));
            if fs::write(&kept, node.log()).is_ok() {
                eprintln!("the log of {} is in {}", node.name(), kept.display());
            }
        }
    }
}

/// The leader of each partition as the node at the other end sees it.
pub(super) async fn leaders(client: &Client, nodes: usize) -> Option<Vec<usize>> {
    let partitions = list(client).await?;
    let place = |name: &str| (0..nodes).find(|node| name == format!("node{}", node + 1));
    let leaders = partitions.iter().map(|it| place(&it.leader_id));
    leaders.collect()
}

async fn list(client: &Client) -> Option<Vec<PartitionInfo>> {
    let mut partitions = client.partitions.clone();
    let listed = partitions.list_partitions(ListPartitionsRequest::default());
    let listed = tokio::time::timeout(ANSWER, listed).await.ok()?.ok()?;
    Some(listed.into_inner().partitions)
}

pub(super) fn client(address: &str) -> Client {
    match server::watchful_channel(address) {
        Ok(channel) => Client::new(channel),
        Err(error) => panic!("{address} is no address: {error}"),
    }
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what, source }
}
