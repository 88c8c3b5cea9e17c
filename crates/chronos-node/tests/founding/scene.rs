//! Nodes with a place, a data directory and a catalog that they share.

use chronos_core::catalog::nodes::Nodes;
use chronos_core::catalog::{Catalog, Command, Outcome};
use chronos_core::partition::LogPosition;
use chronos_core::store::MemoryStore;
use chronos_core::types::NodeId;
use chronos_node::cluster::introductions::NotChanged;
use chronos_node::cluster::peers::Peers;
use chronos_node::cluster::{
    CatalogDoor, Dialer, Introductions, Membership, Ports, joining, membership_service,
};
use chronos_node::config::{Address, Config};
use chronos_node::data_dir::{DataDir, Request};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// No test here waits longer for anything.
pub const LIMIT: Duration = Duration::from_secs(60);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {LIMIT:?}"),
    }
}

/// The catalog of a cluster, in place of a Raft group: whoever is up and voted first leads.
pub struct SharedCatalog {
    catalog: Catalog<MemoryStore>,
    index: u64,
    voters_up: BTreeSet<NodeId>,
}

impl SharedCatalog {
    pub fn apply(&mut self, command: Command) -> Outcome {
        self.index += 1;
        let position = LogPosition {
            term: 1,
            index: self.index,
        };
        self.catalog.apply(position, &command.encode()).unwrap()
    }

    pub fn nodes(&self) -> Nodes {
        let cluster = self.catalog.cluster();
        cluster
            .map(|cluster| cluster.nodes.clone())
            .unwrap_or_default()
    }
}

/// The catalogs by cluster. More than one is what must not be.
pub type Catalogs = Arc<Mutex<BTreeMap<u128, Arc<Mutex<SharedCatalog>>>>>;

struct Door {
    catalog: Arc<Mutex<SharedCatalog>>,
    me: NodeId,
}

impl CatalogDoor for Door {
    fn leader(&self) -> Option<NodeId> {
        self.catalog.lock().unwrap().voters_up.first().copied()
    }

    fn nodes(&self) -> Nodes {
        self.catalog.lock().unwrap().nodes()
    }

    fn change(&self, command: Command) -> BoxFuture<'static, Result<Outcome, NotChanged>> {
        let mut catalog = self.catalog.lock().unwrap();
        let changed = match catalog.voters_up.first() == Some(&self.me) {
            true => Ok(catalog.apply(command)),
            false => Err(NotChanged("not the leader".into())),
        };
        async move { changed }.boxed()
    }
}

fn open_catalog(catalogs: &Catalogs, membership: &Membership, me: &Introductions) {
    let mut catalogs = catalogs.lock().unwrap();
    let shared = catalogs.entry(membership.cluster_id).or_insert_with(|| {
        Arc::new(Mutex::new(SharedCatalog {
            catalog: Catalog::open(MemoryStore::new()).unwrap(),
            index: 0,
            voters_up: BTreeSet::new(),
        }))
    });
    let mut catalog = shared.lock().unwrap();
    if membership.voters.contains(&membership.me) {
        catalog.voters_up.insert(membership.me);
        let command = membership.found_command(5).unwrap();
        catalog.apply(command.into());
    }
    drop(catalog);
    me.open_catalog(Arc::new(Door {
        catalog: Arc::clone(shared),
        me: membership.me,
    }));
}

/// Where a node runs, again and again.
pub struct Place {
    pub name: String,
    pub address: SocketAddr,
    pub dir: TempDir,
}

impl Place {
    pub async fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            address: free_address().await,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn wipe(&mut self) {
        self.dir = tempfile::tempdir().unwrap();
    }
}

/// An address that was free just now.
pub async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

pub async fn places(count: usize) -> Vec<Place> {
    let mut places = Vec::new();
    for at in 0..count {
        places.push(Place::new(&format!("n{at}")).await);
    }
    places
}

pub fn seeds(places: &[Place]) -> Vec<Address> {
    let addresses = places.iter().map(|place| place.address.to_string());
    addresses.map(|address| address.parse().unwrap()).collect()
}

pub fn config(seeds: &[Address]) -> Config {
    let mut config = Config::default();
    config.cluster.is_enabled = true;
    config.cluster.seeds = seeds.to_vec();
    config.partitions.count = 16;
    config.partitions.replication_factor = 3;
    config
}

/// A node that is up.
pub struct Running {
    pub me: Arc<Introductions>,
    /// Ends when the node is a member.
    pub obtaining: Option<JoinHandle<anyhow::Result<Membership>>>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    catalogs: Catalogs,
    _data_dir: DataDir,
}

impl Running {
    pub async fn start(place: &Place, config: &Config, catalogs: &Catalogs) -> Self {
        let data_dir = DataDir::open(&Request {
            path: place.dir.path().to_owned(),
            node_id: Some(place.name.clone()),
            partition_count: None,
        });
        let data_dir = data_dir.unwrap();
        let listener = TcpListener::bind(place.address).await.unwrap();
        let ports = Ports {
            cluster: place.address.port(),
            grpc: 1,
            http: 2,
        };
        let me = Introductions::open(
            config,
            data_dir.identity(),
            data_dir.path(),
            Dialer::default(),
            ports,
        )
        .unwrap();
        let server = Server::builder()
            .add_service(membership_service(Arc::clone(&me)))
            .serve_with_incoming(TcpIncoming::from(listener));
        let obtaining = {
            let (me, catalogs) = (Arc::clone(&me), Arc::clone(catalogs));
            tokio::spawn(async move {
                let membership = joining::obtain(&Peers::new(), &me).await?;
                open_catalog(&catalogs, &membership, &me);
                Ok(membership)
            })
        };
        Self {
            me,
            obtaining: Some(obtaining),
            server: tokio::spawn(server),
            catalogs: Arc::clone(catalogs),
            _data_dir: data_dir,
        }
    }

    pub async fn member(&mut self) -> Membership {
        let obtaining = self.obtaining.take().unwrap();
        soon("membership", obtaining).await.unwrap().unwrap()
    }

    /// As kill -9: what was on the disk stays, the rest is gone. A write that has begun may end.
    pub async fn kill(self) {
        if let Some(obtaining) = self.obtaining {
            obtaining.abort();
            let _ = obtaining.await;
        }
        self.server.abort();
        let _ = self.server.await;
        if let chronos_node::cluster::founding::Standing::Member(member) = self.me.standing()
            && let Some(catalog) = self.catalogs.lock().unwrap().get(&member.cluster_id)
        {
            catalog.lock().unwrap().voters_up.remove(&member.me);
        }
        let all_gone = async {
            while Arc::strong_count(&self.me) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon("the end of a node", all_gone).await;
    }
}

/// Starts a node in each place, and waits until all are members.
pub async fn found(places: &[Place], catalogs: &Catalogs) -> (Vec<Running>, Vec<Membership>) {
    let config = config(&seeds(places));
    let (mut nodes, mut members) = (Vec::new(), Vec::new());
    for place in places {
        nodes.push(Running::start(place, &config, catalogs).await);
    }
    for node in &mut nodes {
        members.push(node.member().await);
    }
    (nodes, members)
}
