//! A cluster over mutual TLS.

use chronos_tests::client::{Client, event, event_of, subscription};
use chronos_tests::patience::{eventually, soon};
use chronos_tests::server::{Options, Server, free_port};

use super::{Authority, Secret};

/// How nodes connect to each other.
#[derive(Clone, Copy)]
pub enum PlainOr<'a> {
    Plain,
    Tls(&'a Secret),
}

impl PlainOr<'_> {
    fn flags(self) -> Vec<String> {
        let Self::Tls(secret) = self else {
            return vec![];
        };
        vec![
            "-replication-tls-enabled".to_owned(),
            format!("-replication-tls-cert-file={}", secret.path("tls.crt")),
            format!("-replication-tls-key-file={}", secret.path("tls.key")),
            format!("-replication-tls-ca-file={}", secret.path("ca.crt")),
        ]
    }
}

/// Nodes of one cluster.
pub struct Nodes {
    servers: Vec<Server>,
    seeds: String,
}

impl Nodes {
    pub fn all(&self) -> &[Server] {
        &self.servers
    }

    pub fn grpc_port(&self, node: usize) -> String {
        let address = self.servers[node].address();
        address.rsplit(':').next().unwrap().to_owned()
    }

    /// One more, which is not started.
    fn further(&self, name: &str, between: PlainOr<'_>) -> Server {
        let options = Options::new()
            .named(name)
            .arg("-cluster")
            .arg(format!("-raft-join={}", self.seeds))
            .arg(format!("-cluster-grpc-addr=127.0.0.1:{}", free_port()));
        let options = between.flags().into_iter().fold(options, Options::arg);
        options.prepare().unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Founds a cluster and waits until every node is ready.
pub async fn found(count: usize, flags: &[String], between: PlainOr<'_>) -> Nodes {
    let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
    let seeds: Vec<String> = ports.iter().map(|it| format!("127.0.0.1:{it}")).collect();
    let seeds = seeds.join(",");
    let mut servers = Vec::new();
    for (place, port) in ports.iter().enumerate() {
        let options = Options::new()
            .named(&format!("node{}", place + 1))
            .args(["-cluster", "-replication-factor=3", "-partition-count=8"])
            .arg(format!("-cluster-seeds={seeds}"))
            .arg(format!("-cluster-grpc-addr=127.0.0.1:{port}"));
        let flags = flags.iter().cloned().chain(between.flags());
        let options = flags.fold(options, Options::arg);
        let mut server = options.prepare().unwrap_or_else(|error| panic!("{error}"));
        server.launch().unwrap();
        servers.push(server);
    }
    for server in &mut servers {
        server
            .ready()
            .await
            .unwrap_or_else(|error| panic!("{error}"));
    }
    Nodes { servers, seeds }
}

/// Publishes by one node what is delivered by another.
async fn works(nodes: &Nodes, id: &str) {
    let [from, to] = [0, 1].map(|node| Client::new(nodes.all()[node].channel().unwrap()));
    eventually("a publish is answered", || async {
        from.publish(event(id, id))
            .await
            .ok()?
            .success
            .then_some(())
    })
    .await;
    let mut events = to.subscribe(subscription(id, "m", id)).await.unwrap();
    assert_eq!(event_of(&events.next().await).message_id, id);
}

#[tokio::test]
async fn only_who_has_a_certificate_of_the_cluster_joins_it() {
    let (ca, other) = (Authority::new(), Authority::new());
    let secret = Secret::new(&ca.sign(&["node"]), &ca);
    let nodes = found(3, &[], PlainOr::Tls(&secret)).await;
    works(&nodes, "before").await;

    let foreign = Secret::new(&other.sign(&["node"]), &ca);
    for (name, between) in [
        ("plain", PlainOr::Plain),
        ("foreign", PlainOr::Tls(&foreign)),
    ] {
        let before = failed(&nodes.all()[0]).await;
        let mut stranger = nodes.further(name, between);
        stranger.launch().unwrap();
        eventually("the stranger's handshake fails", || async {
            (failed(&nodes.all()[0]).await > before + 1.0).then_some(())
        })
        .await;
        eventually("the stranger says that it waits", || async {
            let waits = "waiting to become a member";
            stranger.log().contains(waits).then_some(())
        })
        .await;
        assert!(stranger.is_running());
    }
    let mut fourth = nodes.further("fourth", PlainOr::Tls(&secret));
    fourth.launch().unwrap();
    soon("the fourth node joins", fourth.ready()).await.unwrap();
    works(&nodes, "after").await;
}

#[tokio::test]
async fn nodes_go_on_with_a_renewed_certificate() {
    let ca = Authority::new();
    let secret = Secret::new(&ca.sign_until(&["node"], 2049), &ca);
    let mut nodes = found(3, &[], PlainOr::Tls(&secret)).await;
    works(&nodes, "before").await;
    let renewed = ca.sign_until(&["node"], 2051);
    secret.put(&renewed.certificate, &renewed.key, &ca.pem());
    for node in nodes.all() {
        eventually("the renewed certificate is served", || async {
            let metric = "chronos_tls_certificate_expiry_timestamp_seconds";
            (node.metric(metric).await.ok()? == 2_556_144_000.0).then_some(())
        })
        .await;
    }
    // Comes back by new connections.
    nodes.servers[2].restart().await.unwrap();
    works(&nodes, "after").await;
}

async fn failed(server: &Server) -> f64 {
    let metric = "chronos_tls_handshakes_failed_total";
    server.metric(metric).await.unwrap()
}
