//! What this node says of itself, and how far it is on the way into a cluster.
//!
//! Every change of its standing is one step: compared with what it was, written to the disk, and only
//! then seen by anybody. A write that fails leaves it unknown what the disk holds, so the node says
//! nothing any more and has to be started again.

use super::Dialer;
use super::cluster_file::{self, FileError};
use super::founding::{Founding, Heard, Stance, Standing};
use super::own_addresses::{OwnAddresses, Ports};
use super::wire::Introduced;
use crate::config::{Address, Config};
use crate::data_dir::Identity;
use crate::engine::clock::now_ms;
use chronos_core::catalog::nodes::Nodes;
use chronos_core::catalog::{Command, NodeInfo, NodeState, Outcome};
use chronos_core::types::NodeId;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// The way to the catalog of this node's cluster, once it is open.
pub trait CatalogDoor: Send + Sync {
    /// The node that leads the catalog, as far as this one knows.
    fn leader(&self) -> Option<NodeId>;
    /// The nodes that this node's replica of the catalog knows.
    fn nodes(&self) -> Nodes;
    /// Changes the catalog, which only its leader can.
    fn change(&self, command: Command) -> BoxFuture<'static, Result<Outcome, NotChanged>>;
}

/// Why the catalog was not changed, or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotChanged(pub String);

/// Why a node cannot say who it is.
#[derive(Debug, thiserror::Error)]
pub enum IntroductionError {
    /// See [`FileError`].
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory's identity cannot be a disk's.
    #[error(
        "identity.toml in {} has no valid cluster_id (32 hexadecimal digits); restore it from a backup",
        path.display()
    )]
    NoDisk {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory holds the data of a node that stands alone.
    #[error(
        "the data directory {} holds the data of a node that stands alone, which cannot become one of a cluster; \
         start without -cluster, or choose an empty -data-dir",
        path.display()
    )]
    StandsAlone {
        /// The data directory.
        path: PathBuf,
    },
    /// What the node promised could not be written.
    #[error("{0}; start the node again when that is mended")]
    NotWritten(String),
}

/// Names in a data directory that a node makes only when it is a member, or stands alone.
const DATA: [&str; 2] = ["index", "partitions"];

/// Callers that are kept in mind at most.
const MOST_CALLERS: usize = 1_024;

/// What this node says of itself.
pub struct Introductions {
    config: Config,
    dialer: Dialer,
    ports: Ports,
    name: String,
    disk: u128,
    dir: PathBuf,
    standing: watch::Sender<Standing>,
    /// Held while the standing changes. `Some`: a write failed, and why.
    changing: Mutex<Option<String>>,
    /// The disks behind the seeds when all of them were asked last.
    seen: Mutex<BTreeSet<u128>>,
    /// The seed that turned out to be this node.
    found_as: watch::Sender<Option<Address>>,
    /// Whether this node, a member that came back, has stopped waiting for its seeds to show where it is.
    has_looked: AtomicBool,
    /// Members that said hello, and where they said they are.
    callers: Mutex<BTreeMap<NodeId, NodeInfo>>,
    catalog: OnceLock<Arc<dyn CatalogDoor>>,
}

impl Introductions {
    /// Reads in the data directory `dir` how far this node is. It asks others by `dialer`.
    ///
    /// # Errors
    /// See [`IntroductionError`].
    pub fn open(
        config: &Config,
        identity: &Identity,
        dir: &Path,
        dialer: Dialer,
        ports: Ports,
    ) -> Result<Arc<Self>, IntroductionError> {
        let path = dir.to_owned();
        let Some(disk) = identity.disk() else {
            return Err(IntroductionError::NoDisk { path });
        };
        let standing = cluster_file::read(dir, disk)?;
        let is_member = matches!(standing, Standing::Member(_));
        if !is_member && DATA.iter().any(|name| dir.join(name).exists()) {
            return Err(IntroductionError::StandsAlone { path });
        }
        Ok(Arc::new(Self {
            config: config.clone(),
            dialer,
            ports,
            name: identity.node_id.clone(),
            disk,
            dir: path,
            standing: watch::Sender::new(standing),
            changing: Mutex::default(),
            seen: Mutex::default(),
            found_as: watch::Sender::new(None),
            has_looked: AtomicBool::new(false),
            callers: Mutex::default(),
            catalog: OnceLock::new(),
        }))
    }

    /// The catalog is open from now on. Later calls change nothing.
    pub fn open_catalog(&self, catalog: Arc<dyn CatalogDoor>) {
        let _ = self.catalog.set(catalog);
    }

    /// What the cluster is to know of this node.
    pub fn info(&self) -> NodeInfo {
        let found_as = self.found_as.borrow().clone();
        let own = OwnAddresses::new(&self.config, self.ports, found_as.as_ref());
        let node = &self.config.node;
        NodeInfo {
            name: self.name.clone(),
            disk: self.disk,
            cluster_addr: own.cluster,
            grpc_addr: own.grpc,
            http_addr: own.http,
            rack: node.rack.clone(),
            zone: node.zone.clone(),
            region: node.region.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// How far this node is.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    pub(super) fn disk(&self) -> u128 {
        self.disk
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    pub(super) fn joins_only(&self) -> bool {
        !self.config.cluster.join.is_empty()
    }

    pub(super) fn catalog(&self) -> Option<&Arc<dyn CatalogDoor>> {
        self.catalog.get()
    }

    /// Changes of the standing from now on.
    pub(super) fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// These disks were found behind the seeds.
    pub(super) fn see(&self, seen: BTreeSet<u128>) {
        *self.seen.lock() = seen;
    }

    /// This seed turned out to be this node.
    pub(super) fn found_as(&self, seed: &Address) {
        self.found_as.send_if_modified(|found_as| {
            let is_news = found_as.as_ref() != Some(seed);
            *found_as = Some(seed.clone());
            is_news
        });
    }

    /// Whether another look at the seeds could show better where this node is.
    pub(super) fn seeks_itself(&self) -> bool {
        let cluster = &self.config.cluster;
        cluster.advertised.is_none()
            && cluster.listen.is_wildcard()
            && self.found_as.borrow().is_none()
    }

    /// What is known now of where this node is has to do.
    pub(super) fn has_looked(&self) {
        self.has_looked.store(true, Ordering::Relaxed);
    }

    /// Changes of where this node is, from now on.
    pub(super) fn moves(&self) -> watch::Receiver<Option<Address>> {
        self.found_as.subscribe()
    }

    /// Takes note of who said hello, if it is of the same cluster. It is to be asked itself before it
    /// is believed.
    pub(super) fn called_by(&self, caller: Heard) {
        let Stance::Member { cluster_id, number } = caller.stance else {
            return;
        };
        if self.standing.borrow().stance().cluster() != Some(cluster_id) {
            return;
        }
        let mut callers = self.callers.lock();
        if callers.len() < MOST_CALLERS || callers.contains_key(&number) {
            callers.insert(number, caller.node);
        }
    }

    /// Members that said hello, and where they said they are.
    pub(super) fn callers(&self) -> BTreeMap<NodeId, NodeInfo> {
        self.callers.lock().clone()
    }

    /// What the node says to whoever asks, and when it asks.
    pub(super) fn introduce(&self) -> Result<Introduced, IntroductionError> {
        let stance = self.standing.borrow().stance();
        self.check()?;
        let catalog = self.catalog();
        let is_there = |node: &&chronos_core::catalog::Node| node.state != NodeState::Gone;
        let nodes = catalog.map(|catalog| catalog.nodes()).unwrap_or_default();
        let mut node = self.info();
        if stance.cluster().is_some()
            && self.seeks_itself()
            && !self.has_looked.load(Ordering::Relaxed)
        {
            // Rather nothing than a name that others may not know: they ask again soon.
            node.cluster_addr.clear();
        }
        Ok(Introduced {
            heard: Heard {
                node,
                stance,
                seen: self.seen.lock().clone(),
                joins_only: self.joins_only(),
            },
            now_ms: now_ms(),
            leader: catalog.and_then(|catalog| catalog.leader()),
            nodes: (nodes.values().filter(is_there))
                .map(|node| (node.id, node.info.clone()))
                .collect(),
        })
    }

    /// Whether what the node says is what its disk holds. Does not wait for a write.
    pub(super) fn check(&self) -> Result<(), IntroductionError> {
        // While somebody writes, what was written before still holds.
        let Some(failed) = self.changing.try_lock() else {
            return Ok(());
        };
        match failed.as_ref() {
            None => Ok(()),
            Some(why) => Err(IntroductionError::NotWritten(why.clone())),
        }
    }

    /// Makes one step from a standing to the next, if the node still is as far as `from`. Returns
    /// whether it was.
    pub(super) async fn advance(
        self: &Arc<Self>,
        from: Standing,
        to: Standing,
    ) -> Result<bool, IntroductionError> {
        let this = Arc::clone(self);
        let step = move || {
            this.step(|standing| match *standing == from {
                true => Ok(Some(to)),
                false => Err(()),
            })
        };
        Ok(on_a_thread(step).await?.is_ok())
    }

    /// Accepts a founding, or says where the node belongs instead.
    pub(super) async fn accept(
        self: &Arc<Self>,
        founding: Founding,
    ) -> Result<Result<(), Stance>, IntroductionError> {
        if self.joins_only() {
            return Ok(Err(self.standing().stance()));
        }
        let this = Arc::clone(self);
        on_a_thread(move || this.step(|standing| standing.accept(this.disk, &founding))).await
    }

    /// One step: the next standing if there is one, and why not otherwise.
    fn step<E>(
        &self,
        next: impl FnOnce(&Standing) -> Result<Option<Standing>, E>,
    ) -> Result<Result<(), E>, IntroductionError> {
        let mut failed = self.changing.lock();
        if let Some(why) = failed.as_ref() {
            return Err(IntroductionError::NotWritten(why.clone()));
        }
        let standing = self.standing();
        let next = match next(&standing) {
            Ok(Some(next)) => next,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = cluster_file::write(&self.dir, self.disk, &next) {
            *failed = Some(error.to_string());
            return Err(error.into());
        }
        self.standing.send_replace(next);
        Ok(Ok(()))
    }
}

/// Writing waits for the disk.
async fn on_a_thread<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, IntroductionError> + Send + 'static,
) -> Result<T, IntroductionError> {
    match tokio::task::spawn_blocking(step).await {
        Ok(done) => done,
        Err(error) => Err(IntroductionError::NotWritten(error.to_string())),
    }
}
