//! The network between nodes: a proxy in front of each node's internal listener, which holds back
//! and delays what goes from one node to another.
//!
//! What is held back is not lost: it arrives when the way is open again, as with TCP after a
//! partition. New connections wait like everything else.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::opener;

/// Bytes that a connection holds back in each direction, besides what the system buffers.
const BUFFER_BYTES: usize = 64 << 10;

/// How the way from one node to another is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Nothing gets through.
    pub is_cut: bool,
    /// How long everything takes.
    pub delay: Duration,
}

/// The processes of the nodes, by which a proxy knows who connects.
pub(super) type Pids = Arc<Mutex<Vec<Option<u32>>>>;

/// The ways between all nodes.
#[derive(Debug)]
pub struct Network {
    /// `ways[from][to]`
    ways: Arc<Vec<Vec<watch::Sender<Way>>>>,
    addresses: Vec<SocketAddr>,
    _proxies: JoinSet<()>,
}

impl Network {
    /// A proxy for each of these listeners.
    ///
    /// # Errors
    /// When there is no port.
    pub(super) async fn start(targets: &[SocketAddr], pids: &Pids) -> io::Result<Self> {
        let nodes = targets.len();
        let row = || (0..nodes).map(|_| watch::Sender::default()).collect();
        let ways: Arc<Vec<Vec<_>>> = Arc::new((0..nodes).map(|_| row()).collect());
        let mut addresses = Vec::with_capacity(nodes);
        let mut proxies = JoinSet::new();
        for (to, target) in targets.iter().copied().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            addresses.push(listener.local_addr()?);
            let proxy = Proxy {
                to,
                target,
                ways: Arc::clone(&ways),
                pids: Arc::clone(pids),
            };
            proxies.spawn(proxy.serve(listener));
        }
        Ok(Self {
            ways,
            addresses,
            _proxies: proxies,
        })
    }

    /// Where the other nodes find this one.
    #[must_use]
    pub fn address(&self, node: usize) -> SocketAddr {
        self.addresses[node]
    }

    /// Changes the way from one node to another; that back stays as it is.
    pub fn set(&self, from: usize, to: usize, way: Way) {
        self.ways[from][to].send_replace(way);
    }

    /// Cuts a node off from all others, both ways.
    pub fn isolate(&self, node: usize) {
        let cut = Way {
            is_cut: true,
            ..Way::default()
        };
        for other in (0..self.ways.len()).filter(|other| *other != node) {
            self.set(node, other, cut);
            self.set(other, node, cut);
        }
    }

    /// Makes every way as it was in the beginning.
    pub fn heal(&self) {
        for way in self.ways.iter().flatten() {
            way.send_replace(Way::default());
        }
    }
}

struct Proxy {
    to: usize,
    target: SocketAddr,
    ways: Arc<Vec<Vec<watch::Sender<Way>>>>,
    pids: Pids,
}

impl Proxy {
    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    if let Some((there, back)) = self.ways_of(&stream) {
                        connections.spawn(connect(stream, self.target, there, back));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// The ways that a connection's bytes take; none if its opener is gone already.
    fn ways_of(&self, stream: &TcpStream) -> Option<(watch::Receiver<Way>, watch::Receiver<Way>)> {
        let pids = self
            .pids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let from = opener::find(stream.peer_addr().ok()?, stream.local_addr().ok()?, &pids)?;
        let there = self.ways[from][self.to].subscribe();
        Some((there, self.ways[self.to][from].subscribe()))
    }
}

async fn connect(
    stream: TcpStream,
    target: SocketAddr,
    mut there: watch::Receiver<Way>,
    mut back: watch::Receiver<Way>,
) {
    let is_open = |way: &Way| !way.is_cut;
    if there.wait_for(is_open).await.is_err() || back.wait_for(is_open).await.is_err() {
        return;
    }
    let Ok(onward) = TcpStream::connect(target).await else {
        return;
    };
    let _ = (stream.set_nodelay(true), onward.set_nodelay(true));
    let (client_out, client_in) = stream.into_split();
    let (server_out, server_in) = onward.into_split();
    tokio::join!(
        carry(client_out, server_in, there),
        carry(server_out, client_in, back),
    );
}

/// Carries bytes to the end of the stream, and then its end.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut way: watch::Receiver<Way>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        // A connection that was reset ends like one that was closed.
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let delay = way.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if way.wait_for(|way| !way.is_cut).await.is_err() {
            return;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    async fn echo(listener: TcpListener) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).await.is_ok() {
            stream.write_all(&byte).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_cut_one_way_arrives_after_the_heal() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(echo(listener));
        // This process stands for node 1, which connects to node 0.
        let pids: Pids = Arc::new(Mutex::new(vec![None, Some(process::id())]));
        let network = Network::start(&[target, target], &pids).await.unwrap();
        let mut stream = TcpStream::connect(network.address(0)).await.unwrap();
        let mut byte = [0];
        stream.write_all(b"a").await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"a");
        let cut = Way {
            is_cut: true,
            ..Way::default()
        };
        for (from, to) in [(0, 1), (1, 0)] {
            network.set(from, to, cut);
            stream.write_all(b"b").await.unwrap();
            let held =
                tokio::time::timeout(Duration::from_millis(100), stream.read_exact(&mut byte));
            assert!(held.await.is_err(), "from {from} to {to}");
            network.heal();
            stream.read_exact(&mut byte).await.unwrap();
            assert_eq!(&byte, b"b");
        }
    }
}
