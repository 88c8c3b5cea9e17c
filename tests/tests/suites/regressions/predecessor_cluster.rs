//! The predecessor's failures that concern several nodes, by their number in the wire contract.

use std::collections::BTreeSet;
use std::time::Duration;

use chronos_proto::cronos_db::{
    Event, GetConsumerGroupRequest, GetPartitionRequest, ReplayRequest,
};
use chronos_tests::client::{Client, event, event_at, event_of, subscription};
use chronos_tests::cluster::ClusterProcesses;
use chronos_tests::history::wall_ms;
use chronos_tests::patience::eventually;
use chronos_tests::routing;
use tonic::{Code, Request, Status};

use super::SILENCE;
use crate::cluster::load::{PARTITIONS, three_nodes};

/// How long a call is waited for that cannot be answered well.
const REFUSED_WITHIN: Duration = Duration::from_secs(12);

/// Publishes until that is answered, by any node that runs.
async fn publish_all(cluster: &ClusterProcesses, events: &[Event]) {
    for event in events {
        eventually("an event is published", || async {
            let node = cluster.running()[0];
            let answer = cluster.client(node).publish(event.clone()).await.ok()?;
            (answer.success || answer.error == "duplicate message_id").then_some(())
        })
        .await;
    }
}

/// Receives and acknowledges until so many different events came and no more do; their ids. What a leader
/// had handed out whose lead moved meanwhile may come twice; what was settled does not come again.
async fn receive(client: &Client, group: &str, count: usize) -> BTreeSet<String> {
    let mut deliveries = client
        .subscribe(subscription(group, "m", "t"))
        .await
        .unwrap();
    let mut acks = client.acks().await.unwrap();
    let mut came = BTreeSet::new();
    while came.len() < count {
        let delivery = deliveries.next().await;
        let event = event_of(&delivery);
        assert!(wall_ms() >= event.schedule_ts, "early: {event:?}");
        // A delivery of a leader that was followed by another one is no longer anybody's: it comes again.
        if acks.settle(&delivery, true).await.success {
            came.insert(event.message_id.clone());
        }
    }
    while let Some(delivery) = deliveries.within(SILENCE).await {
        let delivery = delivery.unwrap();
        let id = &event_of(&delivery).message_id;
        assert!(came.contains(id), "nobody published {id}");
        // It was settled before; that is no failure.
        acks.settle(&delivery, true).await;
    }
    drop(deliveries);
    let mut again = client
        .subscribe(subscription(group, "m", "t"))
        .await
        .unwrap();
    let settled = again.within(SILENCE).await;
    assert!(settled.is_none(), "it was settled: {settled:?}");
    came
}

fn batch(name: &str, count: usize, due_ms: i64) -> Vec<Event> {
    let ids = (0..count).map(|number| format!("{name}{number}"));
    ids.map(|id| event_at(&id, "t", due_ms)).collect()
}

fn ids_of(events: &[Event]) -> BTreeSet<String> {
    events
        .iter()
        .map(|event| event.message_id.clone())
        .collect()
}

/// The node that leads partition 0, and an event that belongs there.
async fn leader_of_0(cluster: &mut ClusterProcesses) -> usize {
    cluster.settled().await.unwrap()[0]
}

fn event_of_0(name: &str) -> Event {
    let ids = (0..).map(|number| format!("{name}-{number}"));
    let mut ids = ids.filter(|id| routing::partition("", id, PARTITIONS) == 0);
    event(&ids.next().unwrap(), "t")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_1_and_8_timers_survive_every_failover() {
    let mut cluster = three_nodes().await;
    let events = batch("a", 100, wall_ms() + 12_000);
    publish_all(&cluster, &events).await;
    // Every node fails once, so every partition changes its leader.
    for node in 0..cluster.count() {
        cluster.kill(node).await.unwrap();
        cluster.settled().await.unwrap();
        cluster.start_all().await.unwrap();
    }
    let victim = leader_of_0(&mut cluster).await;
    cluster.kill(victim).await.unwrap();
    let survivor = cluster.running()[0];
    let came = receive(cluster.client(survivor), "g", events.len()).await;
    assert_eq!(came, ids_of(&events));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_5_what_fired_for_nobody_waits_over_a_failover() {
    let mut cluster = three_nodes().await;
    let due_ms = wall_ms() + 300;
    let events = batch("a", 60, due_ms);
    publish_all(&cluster, &events).await;
    super::wait_until(due_ms + 200).await;
    let victim = leader_of_0(&mut cluster).await;
    cluster.kill(victim).await.unwrap();
    let survivor = cluster.running()[0];
    cluster.settled().await.unwrap();
    let came = receive(cluster.client(survivor), "g", events.len()).await;
    assert_eq!(came, ids_of(&events));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_7_what_was_nacked_comes_again_after_a_failover() {
    let mut cluster = three_nodes().await;
    let events = batch("a", 40, wall_ms());
    publish_all(&cluster, &events).await;
    let victim = leader_of_0(&mut cluster).await;
    let survivor = (victim + 1) % cluster.count();
    let client = cluster.client(survivor).clone();
    let mut deliveries = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let mut acks = client.acks().await.unwrap();
    let mut kept = BTreeSet::new();
    let mut nacked = BTreeSet::new();
    // Every second one is processed; what came after a failed one does not settle it.
    for delivery in deliveries.take(events.len()).await {
        let id = event_of(&delivery).message_id.clone();
        let succeeds = delivery.attempt == 1 && !nacked.contains(&id) && kept.len() <= nacked.len();
        assert!(acks.settle(&delivery, succeeds).await.success);
        match succeeds {
            true => kept.insert(id),
            false => nacked.insert(id),
        };
    }
    cluster.kill(victim).await.unwrap();
    drop(deliveries);
    cluster.settled().await.unwrap();
    let missing: BTreeSet<String> = ids_of(&events).difference(&kept).cloned().collect();
    let came = receive(&client, "g", missing.len()).await;
    assert_eq!(came, missing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_9_a_publish_without_a_quorum_leaves_no_ghost() {
    let mut cluster = three_nodes().await;
    let leader = leader_of_0(&mut cluster).await;
    let client = cluster.client(leader).clone();
    let before = event_of_0("before");
    assert!(client.publish(before.clone()).await.unwrap().success);
    for other in (0..cluster.count()).filter(|other| *other != leader) {
        cluster.kill(other).await.unwrap();
    }
    let ghost = event_of_0("ghost");
    let refused = tokio::time::timeout(REFUSED_WITHIN, client.publish(ghost.clone())).await;
    let code = match refused {
        Ok(Ok(answer)) => panic!("stored without a quorum: {answer:?}"),
        Ok(Err(status)) => status.code(),
        Err(_) => Code::DeadlineExceeded,
    };
    cluster.start_all().await.unwrap();
    let again = cluster.client(leader).publish(ghost.clone()).await.unwrap();
    match code {
        Code::Unavailable => assert!(again.success, "surely not stored before: {again:?}"),
        Code::Aborted | Code::DeadlineExceeded => {
            assert!(
                again.success || again.error == "duplicate message_id",
                "{again:?}"
            );
        }
        other => panic!("{other:?} does not tell a client to try again"),
    }
    // Whatever was told, it is there once.
    let came = receive(cluster.client(leader), "g", 2).await;
    assert_eq!(came, ids_of(&[before, ghost]));
}

/// Publishes at this node and nowhere else.
async fn publish_here(client: &Client, event: Event) -> Result<bool, Status> {
    let mut request = Request::new(chronos_proto::cronos_db::PublishRequest {
        event: Some(event),
        ..Default::default()
    });
    let never = "never".parse().unwrap();
    request.metadata_mut().insert("chronos-forward", never);
    let mut events = client.events.clone();
    match tokio::time::timeout(REFUSED_WITHIN, events.publish(request)).await {
        Ok(answer) => answer.map(|answer| answer.into_inner().success),
        Err(_) => Err(Status::deadline_exceeded("not answered")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_13_only_what_a_majority_has_counts_as_stored() {
    let mut cluster = three_nodes().await;
    let old = leader_of_0(&mut cluster).await;
    let stored = event_of_0("stored");
    assert!(
        cluster
            .client(old)
            .publish(stored.clone())
            .await
            .unwrap()
            .success
    );
    cluster.network().isolate(old);
    // The leader that is cut off takes it into its log and must not say that it is stored.
    let lonely = publish_here(cluster.client(old), event_of_0("lonely")).await;
    assert!(lonely.is_err(), "{lonely:?}");
    let other = (old + 1) % cluster.count();
    let led_by_others = || async {
        let leaders = cluster.leaders_by(other).await?;
        leaders.iter().all(|leader| *leader != old).then_some(())
    };
    eventually("the majority leads", led_by_others).await;
    let majority = event_of_0("majority");
    let answer = cluster
        .client(other)
        .publish(majority.clone())
        .await
        .unwrap();
    assert!(answer.success);
    cluster.network().heal();
    cluster.settled().await.unwrap();
    // All agree on what is stored, and its offsets have no hole.
    for node in 0..cluster.count() {
        let request = ReplayRequest {
            partition_id: 0,
            ..ReplayRequest::default()
        };
        let events = cluster.client(node).replay(request).await.unwrap();
        let events: Vec<&Event> = events.iter().filter_map(|it| it.event.as_ref()).collect();
        let offsets: Vec<i64> = events.iter().map(|event| event.offset).collect();
        assert_eq!(offsets, (0..events.len() as i64).collect::<Vec<_>>());
        let there = |wanted: &Event| events.iter().any(|it| it.message_id == wanted.message_id);
        assert!(there(&stored) && there(&majority), "{events:?}");
        let at = events
            .iter()
            .find(|it| it.message_id == majority.message_id);
        assert_eq!(at.unwrap().offset, answer.offset);
        let info = GetPartitionRequest { partition_id: 0 };
        let mut partitions = cluster.client(node).partitions.clone();
        let info = partitions.get_partition(info).await.unwrap().into_inner();
        assert_eq!(info.high_watermark, events.len() as i64);
    }
}

async fn committed(client: &Client, group: &str) -> Vec<(i32, i64)> {
    let request = GetConsumerGroupRequest {
        group_id: group.into(),
    };
    let answer = client.groups.clone().get_consumer_group(request).await;
    let mut committed: Vec<_> = answer
        .unwrap()
        .into_inner()
        .committed_offsets
        .into_iter()
        .collect();
    committed.sort_unstable();
    committed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_14_a_group_is_one_group_on_all_nodes() {
    let mut cluster = three_nodes().await;
    let events = batch("a", 60, wall_ms());
    publish_all(&cluster, &events).await;
    let first = cluster.client(0).clone();
    assert_eq!(receive(&first, "g", events.len()).await, ids_of(&events));
    let progress = committed(&first, "g").await;
    for node in 1..cluster.count() {
        assert_eq!(
            committed(cluster.client(node), "g").await,
            progress,
            "node {node}"
        );
        let again = cluster
            .client(node)
            .subscribe(subscription("g", "m2", "t"))
            .await;
        let came = again.unwrap().within(SILENCE).await;
        assert!(came.is_none(), "it was settled at another node: {came:?}");
    }
    cluster.kill(0).await.unwrap();
    cluster.settled().await.unwrap();
    assert_eq!(committed(cluster.client(1), "g").await, progress);
    let mut members = [1, 2].map(|node| cluster.client(node).clone());
    let more = batch("b", 20, wall_ms());
    let (one, two) = members.split_at_mut(1);
    let mut one = one[0]
        .subscribe(subscription("g", "m3", "t"))
        .await
        .unwrap();
    let mut two = two[0]
        .subscribe(subscription("g", "m4", "t"))
        .await
        .unwrap();
    publish_all(&cluster, &more).await;
    // Members at different nodes share what comes.
    // What a leader that changed meanwhile had handed out may come again.
    let mut came = BTreeSet::new();
    while came.len() < more.len() {
        let delivery = tokio::select! {
            delivery = one.next() => delivery,
            delivery = two.next() => delivery,
        };
        came.insert(event_of(&delivery).message_id.clone());
    }
    assert_eq!(came, ids_of(&more));
}
