//! The way from one process to the others: what the replication sends goes over the simulated
//! network, on one line for each pair of nodes.

use crate::network::{Endpoint, Fate};
use crate::world::World;
use bytes::Bytes;
use chronos_raft::{Request, RequestKind, Transport, Unreachable};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// The lines between the processes. One lasts as long as the process that sends.
#[derive(Debug)]
pub struct Exit {
    world: Weak<World>,
    node: u64,
    is_open: Arc<AtomicBool>,
    lines: Mutex<BTreeMap<u64, mpsc::UnboundedSender<Letter>>>,
}

#[derive(Debug)]
struct Letter {
    arrives: Instant,
    request: Bytes,
    reply: oneshot::Sender<Bytes>,
}

impl Exit {
    /// The way out of a process of a node.
    #[must_use]
    pub fn new(world: &Arc<World>, node: u64) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::downgrade(world),
            node,
            is_open: Arc::new(AtomicBool::new(true)),
            lines: Mutex::default(),
        })
    }

    /// The process is dead: nothing leaves it any more, and nothing reaches it.
    pub fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
    }

    fn send(
        &self,
        world: &Arc<World>,
        target: u64,
        request: Request,
        reply: oneshot::Sender<Bytes>,
    ) {
        let (from, to) = (Endpoint::Node(self.node), Endpoint::Node(target));
        let may_overtake = request.kind != RequestKind::Append;
        let request = request.into_bytes();
        let fate = world.network.send(from, to, may_overtake);
        let Fate::Arrives {
            after,
            again,
            early,
        } = fate
        else {
            tokio::spawn(hold(reply));
            return;
        };
        let carry = Carry {
            world: Arc::clone(world),
            is_open: Arc::clone(&self.is_open),
            from: self.node,
            to: target,
        };
        if let Some(again) = again {
            let (reply, _) = oneshot::channel();
            let letter = Letter {
                arrives: Instant::now() + again,
                request: request.clone(),
                reply,
            };
            tokio::spawn(carry.clone().deliver(letter));
        }
        let letter = Letter {
            arrives: Instant::now() + after,
            request,
            reply,
        };
        if early {
            tokio::spawn(carry.deliver(letter));
            return;
        }
        let mut lines = self.lines.lock();
        let line = lines.entry(target).or_insert_with(|| {
            let (line, letters) = mpsc::unbounded_channel();
            tokio::spawn(carry.run(letters));
            line
        });
        // It ends after the exit does.
        let _ = line.send(letter);
    }
}

#[derive(Clone)]
struct Carry {
    world: Arc<World>,
    is_open: Arc<AtomicBool>,
    from: u64,
    to: u64,
}

impl Carry {
    async fn run(self, mut letters: mpsc::UnboundedReceiver<Letter>) {
        while let Some(letter) = letters.recv().await {
            self.clone().deliver(letter).await;
        }
    }

    /// Hands a letter over when it arrives; its answer travels by itself.
    async fn deliver(self, letter: Letter) {
        tokio::time::sleep_until(letter.arrives).await;
        if let Some(sender) = self.world.node(self.from).and_then(|node| node.process()) {
            sender.resumed().await;
        }
        let target = self.world.node(self.to).and_then(|node| node.process());
        let (Some(target), true) = (target, self.is_open.load(Ordering::Relaxed)) else {
            return;
        };
        target.resumed().await;
        let answering = target.group.serve(letter.request);
        tokio::spawn(async move {
            let answer = answering.await;
            target.resumed().await;
            let (from, to) = (Endpoint::Node(self.to), Endpoint::Node(self.from));
            match self.world.network.send(from, to, true) {
                Fate::Arrives { after, .. } if self.is_open.load(Ordering::Relaxed) => {
                    tokio::time::sleep(after).await;
                    let _ = letter.reply.send(answer);
                }
                _ => hold(letter.reply).await,
            }
        });
    }
}

/// Whoever waits for an answer that was lost waits until its own deadline.
async fn hold(mut reply: oneshot::Sender<Bytes>) {
    reply.closed().await;
}

impl Transport for Exit {
    fn call(
        &self,
        target: u64,
        _group: u32,
        request: Request,
    ) -> BoxFuture<'static, Result<Bytes, Unreachable>> {
        let (reply, answer) = oneshot::channel();
        if let Some(world) = self.world.upgrade()
            && self.is_open.load(Ordering::Relaxed)
        {
            self.send(&world, target, request, reply);
        }
        async move {
            answer
                .await
                .map_err(|_| Unreachable(format!("node {target} is down")))
        }
        .boxed()
    }
}
