//! Replays whose replica goes to another node in their midst.

use super::*;
use crate::cluster::routes::Routes;
use crate::config::Config;
use crate::edge::event_service::Events;
use crate::edge::forward::{Forwarded, Forwarder};
use crate::engine::{Engine, Network};
use crate::metrics::Metrics;
use bytes::Bytes;
use chronos_core::types::route;
use chronos_proto::cronos_db::{Event, RepublishRequest};
use chronos_proto::server::replay_service_server::ReplayService;
use futures::stream::StreamExt;
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::{Code, Request};

/// No test here waits longer for anything.
const LIMIT: Duration = Duration::from_secs(30);
const PARTITIONS: u32 = 2;
/// More than is read ahead of a client.
const EVENTS: u32 = 3_000;
/// Events of a publish.
const AT_ONCE: usize = 1_000;
/// What is republished goes to the other partition by this.
const PREFIX: &str = "again-";

/// A node that stands alone, with all its events in partition 0.
struct Node {
    engine: Arc<Engine>,
    view: View,
    publisher: Arc<Forwarded<Events>>,
    _dir: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.partitions.count = PARTITIONS;
        config.wal.segment_bytes = 1 << 20;
        let metrics = Arc::new(Metrics::new());
        let network = Network::alone(PARTITIONS);
        let engine = Engine::open(&config, dir.path(), &metrics, network);
        let engine = engine.await.unwrap();
        let view = View::whole(Arc::clone(&engine));
        let events = Events::new(&view, &metrics, &config);
        let forwarder = Forwarder::new(&engine, &Arc::new(Routes::alone()), false);
        let node = Self {
            publisher: Arc::new(Forwarded::new(events, &forwarder)),
            engine,
            view,
            _dir: dir,
        };
        node.fill().await;
        node
    }

    async fn fill(&self) {
        let ids = (0..).map(|n| format!("event{n}"));
        let ids = ids.filter(|id| route(id.as_bytes(), PARTITIONS) == 0);
        let events: Vec<Bytes> = ids.take(EVENTS as usize).map(event).collect();
        for events in events.chunks(AT_ONCE) {
            let request = raw::PublishBatchRequest {
                events: events.to_vec(),
                ..raw::PublishBatchRequest::default()
            };
            let published = self.publisher.publish_anywhere(request).await.unwrap();
            assert_eq!(published.published_count as usize, events.len());
        }
    }

    /// The lead of partition 0 is lost, and the replica removed.
    fn lose(&self) {
        let handle = self.engine.partition(0).unwrap();
        handle.led_in.store(0, Ordering::Release);
        handle.events.forget();
        chronos_core::store::copy::clear(self.engine.store(), 0).unwrap();
    }
}

fn event(id: String) -> Bytes {
    let moved = format!("{PREFIX}{id}");
    assert_eq!(route(moved.as_bytes(), PARTITIONS), 1);
    let event = Event {
        message_id: id,
        schedule_ts: 1,
        payload: "payload".into(),
        topic: "t".into(),
        ..Event::default()
    };
    event.encode_to_vec().into()
}

fn everything() -> ReplayRequest {
    ReplayRequest {
        count: i64::from(EVENTS),
        ..ReplayRequest::default()
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {LIMIT:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_does_not_end_well_when_its_replica_goes() {
    let node = Node::start().await;
    let replaying = serve(&node.view, everything()).await.unwrap();
    let mut events = replaying.events.boxed();
    soon("an event", events.next()).await.unwrap().unwrap();
    node.lose();
    let rest = soon("the end", events.collect::<Vec<_>>()).await;
    let (last, before) = rest.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().code(), Code::Unavailable);
    // What was read before counts, and nothing of it is said to be gone.
    let mut before = before.iter().map(|event| event.as_ref().unwrap());
    assert!(before.all(|event| event.skipped == 0));
    node.engine.stop(LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_republish_is_not_done_when_its_replica_goes() {
    let node = Node::start().await;
    let republisher = Republisher::new(&node.view, Arc::clone(&node.publisher));
    let request = RepublishRequest {
        range: Some(everything()),
        id_prefix: PREFIX.into(),
        ..RepublishRequest::default()
    };
    let progress = republisher.republish(Request::new(request)).await;
    let mut progress = progress.unwrap().into_inner();
    soon("progress", progress.next()).await.unwrap().unwrap();
    node.lose();
    let rest = soon("the end", progress.collect::<Vec<_>>()).await;
    let (last, before) = rest.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().code(), Code::Unavailable);
    let mut before = before.iter().map(|progress| progress.as_ref().unwrap());
    assert!(before.all(|progress| !progress.done && progress.skipped == 0));
    node.engine.stop(LIMIT).await.unwrap();
}
