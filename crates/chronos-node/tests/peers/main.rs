//! The connections between nodes, over real sockets on loopback.

mod carrying;
mod replicating;

use chronos_node::cluster::exchange::{Served, service};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// No test here waits longer for anything.
const LIMIT: Duration = Duration::from_secs(30);

/// The internal listener of a node. Its connections break when it is dropped.
struct Listening {
    address: SocketAddr,
    served: Arc<Served>,
    server: AbortHandle,
}

impl Listening {
    async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(Served::default());
        let server = Server::builder()
            .add_service(service(Arc::clone(&served)))
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
        let server = tokio::spawn(server).abort_handle();
        Self {
            address,
            served,
            server,
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {LIMIT:?}"),
    }
}
