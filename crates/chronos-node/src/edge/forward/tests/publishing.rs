//! Publishing through any node.

use super::*;
use crate::edge::status::NOT_TAKEN;
use chronos_core::catalog::topics::{Field, Mode, PutTopic};
use chronos_proto::cronos_db::{PublishBatchRequest, ReplayRequest};
use std::time::Instant;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_gets_to_its_leader_from_every_node() {
    let cluster = Cluster::start().await;
    for partition in 0..PARTITIONS {
        for (at, node) in cluster.0.iter().enumerate() {
            let event = event(partition, &format!("from{at}"));
            let answer = node.publish(event.clone()).await.unwrap();
            let leader = partition as usize % 3;
            let named = match leader == at {
                true => vec![],
                false => vec![format!(
                    "node{}={}",
                    leader + 1,
                    cluster.0[leader].info.grpc_addr
                )],
            };
            assert_eq!(leaders(answer.metadata()), named);
            let answer = answer.into_inner();
            assert!(answer.success, "{answer:?}");
            // One log for all: the offsets follow each other whoever was asked.
            assert_eq!(
                (answer.partition_id, answer.offset),
                (partition as i32, at as i64)
            );
            let again = node.publish(event).await.unwrap().into_inner();
            assert_eq!(again.error, "duplicate message_id");
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_event_is_refused_anywhere_as_on_a_node_alone() {
    let cluster = Cluster::start().await;
    let refused = cluster.0[0].publish(Event::default()).await.unwrap();
    assert_eq!(refused.into_inner().error, "message_id is required");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_to_all_leaders_and_keeps_the_order_of_each_partition() {
    let cluster = Cluster::start().await;
    let mut events: Vec<Event> = (0..60)
        .map(|n| event(n % PARTITIONS, &format!("n{n}")))
        .collect();
    events.push(Event::default());
    events.push(events[0].clone());
    let request = PublishBatchRequest {
        events: events.clone(),
        ..PublishBatchRequest::default()
    };
    let answer = cluster.0[1].events().publish_batch(request).await.unwrap();
    assert_eq!(leaders(answer.metadata()).len(), 2);
    let answer = answer.into_inner();
    let counts = (
        answer.published_count,
        answer.duplicate_count,
        answer.error_count,
    );
    assert_eq!(counts, (60, 1, 1));
    assert_eq!(
        (answer.success, answer.error.as_str()),
        (false, "message_id is required")
    );
    assert_eq!((answer.first_offset, answer.last_offset), (0, 9));

    for partition in 0..PARTITIONS {
        let request = ReplayRequest {
            partition_id: partition as i32,
            ..ReplayRequest::default()
        };
        let replayed = cluster.0[2].events().replay(request).await.unwrap();
        let from = replayed.metadata().get("chronos-available-from").unwrap();
        assert_eq!(from, "0");
        let mut replayed = replayed.into_inner();
        let mut ids = Vec::new();
        while let Some(event) = soon("a replayed event", replayed.message()).await.unwrap() {
            ids.push(event.event.unwrap().message_id);
        }
        let sent = events[..60].iter().skip(partition as usize).step_by(6);
        assert_eq!(
            ids,
            sent.map(|it| it.message_id.clone()).collect::<Vec<_>>()
        );
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_forwards_itself_is_told_the_leader() {
    let cluster = Cluster::start().await;
    let refused = cluster.0[0]
        .events()
        .publish(never(publish(event(1, "a"))))
        .await;
    let status = refused.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let leader = format!("node2={}", cluster.0[1].info.grpc_addr);
    assert_eq!(leaders(status.metadata()), [leader]);
    assert!(status.message().contains("not the leader"), "{status}");
    assert!(
        status.message().contains(&cluster.0[1].info.grpc_addr),
        "{status}"
    );
    // Nothing was taken: the leader knows no duplicate.
    let taken = cluster.0[1]
        .events()
        .publish(never(publish(event(1, "a"))))
        .await;
    assert!(taken.unwrap().into_inner().success);

    cluster.lead(1, 2, None);
    let refused = cluster.0[0]
        .events()
        .publish(never(publish(event(1, "b"))))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_a_publish_is_refused_in_time_and_taken_when_there_is_one() {
    let cluster = Cluster::leaderless().await;
    let mut request = Request::new(publish(event(3, "a")));
    request.set_timeout(Duration::from_millis(1_000));
    let began = Instant::now();
    let status = soon("an answer", cluster.0[0].events().publish(request)).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(began.elapsed() >= Duration::from_millis(900));
    assert!(status.message().contains("try again"), "{status}");

    let (taken, ()) = tokio::join!(cluster.0[0].publish(event(3, "a")), async {
        tokio::task::yield_now().await;
        cluster.lead(3, 1, Some(2));
    });
    assert!(taken.unwrap().into_inner().success);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_gone_is_waited_for_or_replaced() {
    let cluster = Cluster::start().await;
    let (_held, nowhere) = listen().await;
    drop(_held);
    let gone = NodeInfo {
        cluster_addr: nowhere.to_string(),
        ..cluster.0[1].info.clone()
    };
    cluster.0[0].routes.locate(2, &gone).unwrap();
    let (taken, ()) = tokio::join!(cluster.0[0].publish(event(1, "a")), async {
        tokio::task::yield_now().await;
        cluster.lead(1, 2, Some(2));
    });
    let taken = taken.unwrap();
    assert_eq!(
        leaders(taken.metadata()),
        [format!("node3={}", cluster.0[2].info.grpc_addr)]
    );
    assert!(taken.into_inner().success);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_call_is_served_only_by_the_leader_and_only_between_nodes() {
    let cluster = Cluster::start().await;
    let node = &cluster.0[0];
    let scoped = |partitions: &str, it: Event| {
        let mut request = Request::new(publish(it));
        let value = partitions.parse().unwrap();
        request
            .metadata_mut()
            .insert(super::super::PARTITIONS, value);
        request
    };
    let mut internal = EventServiceClient::new(node.internal.clone());
    let status = internal
        .publish(scoped("1", event(1, "a")))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.metadata().get(NOT_TAKEN).unwrap(), "1");
    // A stray one is no better for naming a partition that is led here.
    let status = internal
        .publish(scoped("0,3", event(1, "a")))
        .await
        .unwrap_err();
    assert_eq!(status.metadata().get(NOT_TAKEN).unwrap(), "1");
    let status = internal
        .publish(scoped("0-99", event(0, "a")))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let taken = internal.publish(scoped("0", event(0, "a"))).await.unwrap();
    assert!(taken.into_inner().success);
    // From a client the metadata means nothing.
    let taken = node
        .events()
        .publish(scoped("0", event(1, "a")))
        .await
        .unwrap();
    assert_eq!(leaders(taken.metadata()).len(), 1);
    assert!(taken.into_inner().success);
    cluster.stop().await;
}

/// Puts all events of the topic `one` into one partition, as far as this node knows.
async fn gather(node: &Node) -> PartitionNumber {
    let put = PutTopic {
        name: "one".into(),
        mode: Mode::Create,
        if_version: None,
        changes: vec![(Field::Partitions, Some(1))],
        now_ms: 1,
    };
    node.engine.change_catalog(&put.into()).await.unwrap();
    let topics = node.engine.topics().map();
    topics[b"one".as_slice()].partition(b"one", b"any", PARTITIONS)
}

/// A batch for all partitions but that the topic gathers its events.
fn scattered() -> PublishBatchRequest {
    let events = (0..PARTITIONS).map(|partition| Event {
        topic: "one".into(),
        ..event(partition, "scattered")
    });
    PublishBatchRequest {
        events: events.collect(),
        ..PublishBatchRequest::default()
    }
}

/// A topic is known on one node before another: whoever is asked, no event is lost on the way between
/// the two, and none is said to be published that is not.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_know_different_topics_publish_nothing_until_they_agree() {
    let cluster = Cluster::start().await;
    let goal = gather(&cluster.0[0]).await as usize;
    for asked in 0..3 {
        // The one that knows asks the leader, which does not, or the other way round.
        let mut request = Request::new(scattered());
        request.set_timeout(Duration::from_millis(600));
        let answer = cluster.0[asked].events().publish_batch(request).await;
        let alone = asked == 0 && goal.is_multiple_of(3);
        match answer {
            Ok(answer) if alone => assert_eq!(answer.into_inner().published_count, 6),
            Ok(answer) => {
                let answer = answer.into_inner();
                assert!(!answer.success, "{answer:?}");
                let told = answer.published_count + answer.duplicate_count + answer.error_count;
                assert_eq!(told, 6, "{answer:?}");
            }
            // Not in time.
            Err(_) => {}
        }
    }

    // The others hear of it while the call is under way.
    let mut events = cluster.0[1].events();
    let batch = PublishBatchRequest {
        allow_duplicate: true,
        ..scattered()
    };
    let publishing = tokio::spawn(async move { events.publish_batch(batch).await });
    for node in &cluster.0[1..] {
        gather(node).await;
    }
    let published = soon("the batch", publishing).await.unwrap().unwrap();
    let published = published.into_inner();
    assert!(published.success, "{published:?}");
    assert_eq!(published.published_count, 6);
    cluster.stop().await;
}

/// A client that hears of overload repeats nothing: so it must not hear of it when a part was taken.
#[tokio::test(flavor = "multi_thread")]
async fn overload_is_no_answer_for_a_batch_of_which_a_part_was_taken() {
    let cluster = Cluster::start().await;
    let room = Arc::clone(cluster.0[0].engine.inflight());
    let but = room.available_permits() - 400;
    let held = room.acquire_many_owned(but as u32).await.unwrap();
    let large = Event {
        payload: "x".repeat(1000).into(),
        ..event(0, "large")
    };
    let request = PublishBatchRequest {
        events: vec![large, event(3, "small")],
        ..PublishBatchRequest::default()
    };
    let answer = cluster.0[0].events().publish_batch(request).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!((answer.published_count, answer.error_count), (1, 1));
    drop(held);
    cluster.stop().await;
}
