//! Subscriptions through one node, answers through another.

use super::*;
use chronos_proto::cronos_db::{AckRequest, Delivery, SubscribeRequest};
use futures::stream::{self, StreamExt};
use std::collections::BTreeSet;
use tokio::sync::oneshot;
use tonic::{Code, Streaming};

/// An open subscription. When it is dropped, the client's side ends too, and so the call.
struct Subscribed {
    deliveries: Streaming<Delivery>,
    _open: oneshot::Sender<()>,
}

async fn subscribe(node: &Node, request: SubscribeRequest) -> Subscribed {
    let (open, ended) = oneshot::channel();
    let until_ended = stream::once(ended).filter_map(|_| std::future::ready(None));
    let asks = stream::iter([request]).chain(until_ended);
    let subscribed = node.events().subscribe(asks).await;
    Subscribed {
        deliveries: subscribed.unwrap().into_inner(),
        _open: open,
    }
}

fn all(group: &str) -> SubscribeRequest {
    SubscribeRequest {
        consumer_group: group.into(),
        topic: "t".into(),
        partition_id: -1,
        subscription_id: "s".into(),
        max_buffer_size: 600,
        ..SubscribeRequest::default()
    }
}

async fn receive(subscribed: &mut Subscribed) -> Delivery {
    let delivery = soon("a delivery", subscribed.deliveries.message()).await;
    delivery.unwrap().expect("the stream has ended")
}

fn id(delivery: &Delivery) -> String {
    delivery.event.as_ref().unwrap().message_id.clone()
}

async fn ack(node: &Node, ids: Vec<String>) -> Vec<(bool, String)> {
    let requests: Vec<AckRequest> = (0..)
        .zip(ids)
        .map(|(n, delivery_id)| AckRequest {
            delivery_id,
            success: true,
            next_offset: n,
            ..AckRequest::default()
        })
        .collect();
    let sent = requests.len();
    let answers = node.events().ack(stream::iter(requests)).await.unwrap();
    let answers: Vec<_> = soon("the answers", answers.into_inner().collect::<Vec<_>>()).await;
    assert_eq!(answers.len(), sent);
    (0..)
        .zip(answers)
        .map(|(n, answer)| {
            let answer = answer.unwrap();
            assert!(
                !answer.success || answer.committed_offset == n,
                "{answer:?}"
            );
            (answer.success, answer.error)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_delivers_what_all_lead_and_another_takes_the_answers() {
    let cluster = Cluster::start().await;
    let mut deliveries = subscribe(&cluster.0[0], all("g")).await;
    let mut sent = BTreeSet::new();
    for n in 0..30 {
        let event = event(n % PARTITIONS, &format!("n{n}"));
        sent.insert(event.message_id.clone());
        cluster.0[2].publish(event).await.unwrap();
    }
    let (mut got, mut ids) = (BTreeSet::new(), Vec::new());
    while got.len() < sent.len() {
        let delivery = receive(&mut deliveries).await;
        assert_eq!(delivery.attempt, 1);
        assert!(got.insert(id(&delivery)), "{delivery:?}");
        ids.push(delivery.delivery_id);
    }
    assert_eq!(got, sent);
    ids.insert(7, String::new());
    ids.insert(9, "99:1:1:1:1:1".into());
    let answers = ack(&cluster.0[1], ids).await;
    for (n, (success, error)) in answers.iter().enumerate() {
        assert_eq!(*success, n != 7 && n != 9, "{n}: {error}");
    }
    assert_eq!(answers[7].1, "delivery_id is required");

    // All of it is settled: whoever comes next gets only what is new.
    drop(deliveries);
    let mut deliveries = subscribe(&cluster.0[1], all("g")).await;
    cluster.0[0].publish(event(4, "new")).await.unwrap();
    assert_eq!(
        id(&receive(&mut deliveries).await),
        event(4, "new").message_id
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_follows_a_leader_that_moves() {
    let cluster = Cluster::start().await;
    for partition_id in [-1, 1] {
        let request = SubscribeRequest {
            partition_id,
            ..all(&format!("g{partition_id}"))
        };
        let mut deliveries = subscribe(&cluster.0[0], request).await;
        // To another node, to the node itself, and away again; without a leader for a while.
        for (n, leader) in (0..).zip([1, 2, 0, 1]) {
            let term = 10 + (partition_id + 2) as u64 * 10 + n * 2;
            cluster.lead(1, term, None);
            cluster.lead(1, term + 1, Some(leader));
            let event = event(1, &format!("p{partition_id}-{n}"));
            let published = cluster.0[2].publish(event.clone()).await.unwrap();
            assert!(published.into_inner().success);
            // What is not answered may come again, and does not keep others away.
            while id(&receive(&mut deliveries).await) != event.message_id {}
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_waits_for_a_leader_and_survives_the_connection() {
    let cluster = Cluster::leaderless().await;
    let mut deliveries = subscribe(&cluster.0[0], all("g")).await;
    cluster.lead(2, 1, Some(1));
    cluster.0[1].publish(event(2, "a")).await.unwrap();
    assert_eq!(
        id(&receive(&mut deliveries).await),
        event(2, "a").message_id
    );
    // The leader's internal listener goes away with all its connections, and its partition with it.
    cluster.0[1].internal_server.abort();
    cluster.lead(2, 2, Some(2));
    cluster.0[2].publish(event(2, "b")).await.unwrap();
    assert_eq!(
        id(&receive(&mut deliveries).await),
        event(2, "b").message_id
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_subscription_is_told_as_on_a_node_alone() {
    let cluster = Cluster::start().await;
    for (request, code) in [
        (
            SubscribeRequest {
                partition_id: 99,
                ..all("g")
            },
            Code::Unknown,
        ),
        (all(""), Code::InvalidArgument),
    ] {
        let mut deliveries = subscribe(&cluster.0[0], request).await;
        let ended = soon("the end", deliveries.deliveries.message()).await;
        assert_eq!(ended.unwrap_err().code(), code);
    }
    let closed = cluster.0[0].events().subscribe(stream::empty()).await;
    let mut closed = closed.unwrap().into_inner();
    assert!(soon("the end", closed.message()).await.unwrap().is_none());

    let asks = never(stream::iter([all("g")]).chain(stream::pending()));
    let refused = cluster.0[0].events().subscribe(asks).await.unwrap();
    let status = soon("the end", refused.into_inner().message()).await;
    assert_eq!(status.unwrap_err().code(), Code::FailedPrecondition);
    cluster.stop().await;
}
