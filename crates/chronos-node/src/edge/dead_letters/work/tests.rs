//! Calls that lose the lead of a partition in their midst, or before they begin.

use super::*;
use crate::config::Config;
use crate::edge::ack;
use crate::edge::dead_letters::DeadLetters;
use crate::edge::event_service::Events;
use crate::engine::{Engine, Network};
use crate::metrics::Metrics;
use bytes::Bytes;
use chronos_core::types::route;
use chronos_proto::cronos_db::{
    AckRequest, DiscardDeadLettersRequest, Event, ListDeadLettersRequest,
    RedriveDeadLettersRequest, SubscribeRequest,
};
use chronos_proto::raw;
use chronos_proto::server::dead_letter_service_server::DeadLetterService;
use chronos_proto::server::event_service_server::EventService;
use futures::stream::StreamExt;
use prost::Message;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tonic::Request;

/// No test here waits longer for anything.
const LIMIT: Duration = Duration::from_secs(30);
const PARTITIONS: u32 = 2;
/// Dead letters of each partition: more than are redriven before a client hears of the first.
const LETTERS: usize = 6;
/// One letter at a time.
const RATE: f64 = 15.0;

/// A node with dead letters of one group, and the service as another node's calls reach it.
struct Node {
    engine: Arc<Engine>,
    letters: DeadLetters,
    _dir: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.partitions.count = PARTITIONS;
        config.wal.segment_bytes = 1 << 20;
        config.delivery.max_retries = 1;
        let metrics = Arc::new(Metrics::new());
        let network = Network::alone(PARTITIONS);
        let engine = Engine::open(&config, dir.path(), &metrics, network);
        let engine = engine.await.unwrap();
        let view = View::whole(Arc::clone(&engine));
        bury(&view, &Events::new(&view, &metrics, &config)).await;
        let named: BTreeSet<PartitionNumber> = (0..PARTITIONS).collect();
        Self {
            letters: DeadLetters(View::only(Arc::clone(&engine), named)),
            engine,
            _dir: dir,
        }
    }

    /// The ids of all letters, by partition.
    async fn ids(&self) -> Vec<String> {
        let request = ListDeadLettersRequest {
            filter: filter(),
            ..ListDeadLettersRequest::default()
        };
        let listed = self.letters.list_dead_letters(Request::new(request)).await;
        let letters = listed.unwrap().into_inner().letters;
        assert_eq!(letters.len(), LETTERS * PARTITIONS as usize);
        letters.into_iter().map(|letter| letter.id).collect()
    }

    /// Another node leads partition 0 from now on.
    fn lose(&self) {
        let handle = self.engine.partition(0).unwrap();
        handle.led_in.store(0, Ordering::Release);
    }

    /// What a redrive is told until it ends, if the lead is lost after the first of it.
    async fn redrive_and_lose(
        &self,
        request: RedriveDeadLettersRequest,
    ) -> Vec<Result<RedriveProgress, Status>> {
        let redriving = self.letters.redrive_dead_letters(Request::new(request));
        let mut progress = redriving.await.unwrap().into_inner();
        let first = soon("progress", progress.next()).await.unwrap().unwrap();
        assert_eq!((first.redriven, first.done), (1, false));
        self.lose();
        soon("the end", progress.collect::<Vec<_>>()).await
    }
}

/// Publishes events and lets a group fail them.
async fn bury(view: &View, events: &Events) {
    let bodies = (0..PARTITIONS).flat_map(|partition| {
        let ids = (0..).map(|n| format!("event{n}"));
        let ids = ids.filter(move |id| route(id.as_bytes(), PARTITIONS) == partition);
        ids.take(LETTERS)
    });
    let bodies = bodies.map(|message_id| {
        let event = Event {
            message_id,
            schedule_ts: 1,
            payload: "payload".into(),
            topic: "t".into(),
            ..Event::default()
        };
        Bytes::from(event.encode_to_vec())
    });
    let request = raw::PublishBatchRequest {
        events: bodies.collect(),
        ..raw::PublishBatchRequest::default()
    };
    let published = events.publish_batch(Request::new(request)).await.unwrap();
    assert!(published.get_ref().success, "{published:?}");
    let subscribe = SubscribeRequest {
        consumer_group: "g".into(),
        topic: "t".into(),
        partition_id: -1,
        subscription_id: "undertaker".into(),
        ..SubscribeRequest::default()
    };
    let mut deliveries = events.subscriber().open(subscribe).await.unwrap();
    for _ in 0..LETTERS * PARTITIONS as usize {
        let delivery = soon("a delivery", deliveries.next()).await;
        let delivery = delivery.unwrap().unwrap();
        let failed = AckRequest {
            delivery_id: String::from_utf8(delivery.delivery_id.to_vec()).unwrap(),
            error: "boom".into(),
            ..AckRequest::default()
        };
        let answers = ack::answer(view, vec![failed]).await.unwrap();
        assert!(answers[0].success, "{answers:?}");
    }
}

fn filter() -> Option<DeadLetterFilter> {
    Some(DeadLetterFilter {
        consumer_group: "g".into(),
        until_ts: i64::MAX,
        ..DeadLetterFilter::default()
    })
}

fn redrive_ids(ids: Vec<String>) -> RedriveDeadLettersRequest {
    RedriveDeadLettersRequest {
        ids,
        events_per_second: RATE,
        ..RedriveDeadLettersRequest::default()
    }
}

fn redrive_matching() -> RedriveDeadLettersRequest {
    RedriveDeadLettersRequest {
        filter: filter(),
        events_per_second: RATE,
        ..RedriveDeadLettersRequest::default()
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {LIMIT:?}"),
    }
}

/// Part is done, and nobody was told that letters are missing or that all is done.
fn assert_broken_off(told: &[Result<RedriveProgress, Status>]) {
    let (last, before) = told.split_last().unwrap();
    let status = last.as_ref().unwrap_err();
    assert_eq!(status.code(), Code::Aborted, "{status:?}");
    assert!(!status.metadata().contains_key(status::NOT_TAKEN));
    let mut before = before.iter().map(|progress| progress.as_ref().unwrap());
    assert!(before.all(|progress| progress.missing == 0 && !progress.done));
}

fn assert_untaken(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(status.metadata().get(status::NOT_TAKEN).unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_letters_are_not_missing_when_the_lead_is_lost_midway() {
    let node = Node::start().await;
    let request = redrive_ids(node.ids().await);
    assert_broken_off(&node.redrive_and_lose(request).await);
    node.engine.stop(LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_is_not_done_when_the_lead_is_lost_midway() {
    let node = Node::start().await;
    assert_broken_off(&node.redrive_and_lose(redrive_matching()).await);
    node.engine.stop(LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_did_nothing_before_the_lead_was_lost_says_so() {
    let node = Node::start().await;
    let ids = node.ids().await;
    node.lose();
    for (ids, filter) in [(ids.clone(), None), (vec![], filter())] {
        let request = DiscardDeadLettersRequest {
            ids,
            filter,
            dry_run: false,
        };
        let discarded = node.letters.discard_dead_letters(Request::new(request));
        assert_untaken(&discarded.await.unwrap_err());
    }
    for request in [redrive_ids(ids), redrive_matching()] {
        let redriving = node.letters.redrive_dead_letters(Request::new(request));
        let mut progress = redriving.await.unwrap().into_inner();
        let told = soon("an answer", progress.next()).await.unwrap();
        assert_untaken(&told.unwrap_err());
    }
    node.engine.stop(LIMIT).await.unwrap();
}
