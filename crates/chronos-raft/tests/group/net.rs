//! A network between the groups of a test, whose links can be cut and slowed down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chronos_raft::{Group, Request, RequestKind, Transport, Unreachable};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::journal::Journal;

/// The network. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Net(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    nodes: BTreeMap<u64, Group<Journal>>,
    links: BTreeMap<(u64, u64), mpsc::UnboundedSender<Letter>>,
    cut: BTreeSet<(u64, u64)>,
    delay: Duration,
    sent: BTreeMap<u8, u64>,
}

struct Letter {
    due: Instant,
    request: Bytes,
    reply: oneshot::Sender<Bytes>,
}

/// The way out of one node.
pub(crate) struct Exit {
    net: Net,
    from: u64,
}

impl Net {
    pub(crate) fn exit(&self, from: u64) -> Arc<Exit> {
        Arc::new(Exit {
            net: self.clone(),
            from,
        })
    }

    pub(crate) fn connect(&self, node: u64, group: Group<Journal>) {
        self.0.lock().unwrap().nodes.insert(node, group);
    }

    pub(crate) fn disconnect(&self, node: u64) {
        self.0.lock().unwrap().nodes.remove(&node);
    }

    /// From now on everything takes this long in each direction.
    pub(crate) fn delay(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    /// Loses everything that `from` sends to `to`, what is under way included.
    pub(crate) fn cut_one_way(&self, from: u64, to: u64) {
        self.0.lock().unwrap().cut.insert((from, to));
    }

    /// Loses everything between these and all others.
    pub(crate) fn isolate(&self, nodes: &[u64], all: &[u64]) {
        for inside in nodes {
            for outside in all.iter().filter(|node| !nodes.contains(node)) {
                self.cut_one_way(*inside, *outside);
                self.cut_one_way(*outside, *inside);
            }
        }
    }

    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().cut.clear();
    }

    /// How many requests of a kind were sent.
    pub(crate) fn sent(&self, kind: RequestKind) -> u64 {
        let state = self.0.lock().unwrap();
        state.sent.get(&number(kind)).copied().unwrap_or(0)
    }

    fn is_cut(&self, from: u64, to: u64) -> bool {
        self.0.lock().unwrap().cut.contains(&(from, to))
    }

    fn group(&self, node: u64) -> Option<Group<Journal>> {
        self.0.lock().unwrap().nodes.get(&node).cloned()
    }

    /// Delivers the letters of one link, in order.
    async fn run_link(self, from: u64, to: u64, mut letters: mpsc::UnboundedReceiver<Letter>) {
        while let Some(letter) = letters.recv().await {
            tokio::time::sleep_until(letter.due).await;
            if self.is_cut(from, to) {
                // The sender waits until its deadline.
                tokio::spawn(hold(letter.reply));
                continue;
            }
            let Some(group) = self.group(to) else {
                continue;
            };
            let answering = group.serve(letter.request);
            let net = self.clone();
            tokio::spawn(async move {
                let answer = answering.await;
                let delay = net.0.lock().unwrap().delay;
                tokio::time::sleep(delay).await;
                if net.is_cut(to, from) {
                    hold(letter.reply).await;
                } else {
                    let _ = letter.reply.send(answer);
                }
            });
        }
    }
}

async fn hold(mut reply: oneshot::Sender<Bytes>) {
    reply.closed().await;
}

fn number(kind: RequestKind) -> u8 {
    match kind {
        RequestKind::Append => 0,
        RequestKind::Heartbeat => 1,
        RequestKind::Vote => 2,
        RequestKind::TransferLeader => 3,
        RequestKind::Seed => 4,
    }
}

impl Transport for Exit {
    fn call(
        &self,
        target: u64,
        _group: u32,
        request: Request,
    ) -> BoxFuture<'static, Result<Bytes, Unreachable>> {
        let (reply, answer) = oneshot::channel();
        {
            let mut state = self.net.0.lock().unwrap();
            *state.sent.entry(number(request.kind)).or_default() += 1;
            let letter = Letter {
                due: Instant::now() + state.delay,
                request: request.into_bytes(),
                reply,
            };
            let link = state.links.entry((self.from, target)).or_insert_with(|| {
                let (sender, letters) = mpsc::unbounded_channel();
                tokio::spawn(self.net.clone().run_link(self.from, target, letters));
                sender
            });
            // A link lives as long as the network.
            let _ = link.send(letter);
        }
        async move {
            answer
                .await
                .map_err(|_| Unreachable(format!("node {target} is down")))
        }
        .boxed()
    }
}
