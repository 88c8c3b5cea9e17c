//! What all leaders together answer.

use super::*;
use chronos_proto::cronos_db::consumer_group_service_client::ConsumerGroupServiceClient;
use chronos_proto::cronos_db::schedule_service_client::ScheduleServiceClient;
use chronos_proto::cronos_db::topic_service_client::TopicServiceClient;
use chronos_proto::cronos_db::{
    CancelBatchRequest, CancelMatchingRequest, CancelRequest, CountPendingRequest,
    CreateConsumerGroupRequest, DeleteTopicRequest, DescribeTopicRequest, EventRef,
    GetConsumerGroupRequest, GetPartitionRequest, ListPartitionsRequest, ListPendingRequest,
    ListTopicsRequest, PendingFilter, ScheduleOutcome,
};
use tonic::Code;

/// A time that does not come while a test runs.
const LATER: i64 = 4_102_444_800_000;

fn later(partition: PartitionNumber, n: u32) -> Event {
    Event {
        schedule_ts: LATER + i64::from(n),
        ..event(partition, &format!("later{n}"))
    }
}

fn filter() -> Option<PendingFilter> {
    Some(PendingFilter {
        topic: "t".into(),
        ..PendingFilter::default()
    })
}

fn named(event: &Event) -> Option<EventRef> {
    Some(EventRef {
        topic: event.topic.clone(),
        message_id: event.message_id.clone(),
        ..EventRef::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_lists_the_same_partitions() {
    let cluster = Cluster::start().await;
    for n in 0..12 {
        let event = event(n % 4, &format!("n{n}"));
        cluster.0[0].publish(event).await.unwrap();
    }
    let mut lists = Vec::new();
    for node in &cluster.0 {
        let mut client = node.partitions();
        let list = client.list_partitions(never(ListPartitionsRequest::default()));
        lists.push(list.await.unwrap().into_inner().partitions);
    }
    let listed: Vec<_> = lists[0]
        .iter()
        .map(|it| (it.partition_id, it.leader_id.as_str(), it.high_watermark))
        .collect();
    let wanted = [
        (0, "node1", 3),
        (1, "node2", 3),
        (2, "node3", 3),
        (3, "node1", 3),
        (4, "node2", 0),
        (5, "node3", 0),
    ];
    assert_eq!(listed, wanted);
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[0], lists[2]);
    let mut client = cluster.0[0].partitions();
    let one = client.get_partition(GetPartitionRequest { partition_id: 2 });
    let one = one.await.unwrap();
    assert_eq!(leaders(one.metadata()).len(), 1);
    assert_eq!(one.into_inner(), lists[0][2]);
    // One without a leader is listed too, by whom nobody knows to lead it.
    cluster.lead(5, 2, None);
    let list = client.list_partitions(ListPartitionsRequest::default());
    let list = list.await.unwrap().into_inner().partitions;
    assert_eq!((list.len(), list[5].leader_id.as_str()), (6, ""));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_events_are_listed_page_by_page_over_all_leaders() {
    let cluster = Cluster::start().await;
    let events: Vec<Event> = (0..20).map(|n| later(n * 7 % PARTITIONS, n)).collect();
    for event in &events {
        cluster.0[0].publish(event.clone()).await.unwrap();
    }
    let mut schedules = ScheduleServiceClient::new(cluster.0[1].clients.clone());
    let (mut listed, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListPendingRequest {
            filter: filter(),
            page_size: 3,
            page_token: token,
            ..ListPendingRequest::default()
        };
        let page = schedules.list_pending(request).await.unwrap().into_inner();
        assert!(page.events.len() <= 3);
        listed.extend(page.events.into_iter().map(|it| it.message_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let sent: Vec<_> = events.iter().map(|it| it.message_id.clone()).collect();
    assert_eq!(listed, sent);
    let counted = schedules.count_pending(CountPendingRequest::default());
    assert_eq!(counted.await.unwrap().into_inner().pending, 20);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_cancelled_wherever_they_are() {
    let cluster = Cluster::start().await;
    let mut schedules = ScheduleServiceClient::new(cluster.0[1].clients.clone());
    // One that is where its id leads to, and one that a key has led elsewhere.
    let mut keyed = later(0, 1);
    let key = event(5, "key").message_id;
    keyed.meta.insert("partition_key".into(), key);
    let plain = later(2, 0);
    for event in [&plain, &keyed] {
        cluster.0[0].publish(event.clone()).await.unwrap();
        let request = CancelRequest {
            event: named(event),
            if_version: None,
        };
        let cancelled = schedules.cancel(request).await.unwrap().into_inner();
        assert_eq!(
            cancelled.outcome,
            ScheduleOutcome::Cancelled as i32,
            "{cancelled:?}"
        );
    }
    let events: Vec<Event> = (10..16).map(|n| later(n % PARTITIONS, n)).collect();
    for event in &events {
        cluster.0[0].publish(event.clone()).await.unwrap();
    }
    let mut refs: Vec<_> = events[..3].iter().filter_map(named).collect();
    refs.insert(1, named(&later(0, 99)).unwrap());
    refs.push(named(&keyed).unwrap());
    let request = CancelBatchRequest { events: refs };
    let answer = schedules.cancel_batch(request).await.unwrap().into_inner();
    let outcomes = [
        ScheduleOutcome::Cancelled,
        ScheduleOutcome::NotFound,
        ScheduleOutcome::Cancelled,
        ScheduleOutcome::Cancelled,
        ScheduleOutcome::AlreadyCancelled,
    ];
    assert_eq!(answer.outcomes, outcomes.map(|it| it as i32));
    assert_eq!(answer.cancelled, 3);
    for (limit, cancelled) in [(2, 2), (0, 1)] {
        let request = CancelMatchingRequest {
            filter: filter(),
            dry_run: false,
            limit,
        };
        let answer = schedules.cancel_matching(request).await.unwrap();
        assert_eq!(answer.into_inner().changed, cancelled);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_groups_are_what_all_leaders_know() {
    let cluster = Cluster::start().await;
    let mut groups = ConsumerGroupServiceClient::new(cluster.0[0].clients.clone());
    let create = CreateConsumerGroupRequest {
        group_id: "g".into(),
        topic: "t".into(),
        partitions: (0..PARTITIONS as i32).collect(),
        not_waited_for: false,
    };
    let created = groups.create_consumer_group(create.clone()).await.unwrap();
    assert!(created.into_inner().success);
    let again = groups.create_consumer_group(create).await.unwrap();
    assert_eq!(again.into_inner().error, "group g already exists");
    let request = GetConsumerGroupRequest {
        group_id: "g".into(),
    };
    let group = groups
        .get_consumer_group(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(group.committed_offsets.len(), PARTITIONS as usize);
    let request = GetConsumerGroupRequest {
        group_id: "none".into(),
    };
    let unknown = groups.get_consumer_group(request).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unknown);

    for n in 0..4 {
        cluster.0[0].publish(later(n, n)).await.unwrap();
    }
    let mut topics = TopicServiceClient::new(cluster.0[2].clients.clone());
    let listed = topics
        .list_topics(ListTopicsRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().topics.len(), 1);
    let describe = || DescribeTopicRequest { name: "t".into() };
    let topic = topics
        .describe_topic(describe())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(topic.pending, 4);
    let delete = |force| DeleteTopicRequest {
        name: "t".into(),
        force,
    };
    let refused = topics.delete_topic(delete(false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let deleted = topics
        .delete_topic(delete(true))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(deleted.deleted_pending, 4);
    let gone = topics.describe_topic(describe()).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    cluster.stop().await;
}
