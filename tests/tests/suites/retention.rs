//! Retention and compaction: the log's beginning goes, what somebody needs does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chronos_proto::cronos_db::topic_service_client::TopicServiceClient;
use chronos_proto::cronos_db::{
    CompactRequest, CompactResponse, CreateTopicRequest, DeleteTopicRequest, Event,
    GetWalStatusRequest, ListPendingRequest, PendingFilter, ReplayRequest, RetentionRequest,
    SubscribeRequest, TopicSettings, WalStatus,
};
use chronos_tests::checker::{Report, Rule};
use chronos_tests::client::{Client, event_at, event_of, ids, subscription};
use chronos_tests::history::{Settings, wall_ms};
use chronos_tests::patience::{eventually, soon};
use chronos_tests::random::Random;
use chronos_tests::server::{Options, Server};
use chronos_tests::workload::{Behaviour, Consumer, ConsumerPlan, PublishPlan, Run, publish};
use tonic::Status;
use tonic::transport::Channel;

use crate::serve;

const SEGMENT_BYTES: i64 = 256 << 10;
const ARGS: &[&str] = &[
    "-partition-count=1",
    "-segment-size=262144",
    "-retry-backoff=20ms",
    "-max-retries=2",
];
const YEAR_MS: i64 = 365 * 86_400_000;
const SILENCE: Duration = Duration::from_millis(300);

async fn compact(client: &Client, force: bool) -> Result<CompactResponse, Status> {
    let request = CompactRequest {
        partition_id: 0,
        before_ts: 0,
        force,
    };
    let answer = client.partitions.clone().compact(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn compacted(client: &Client) -> CompactResponse {
    let done = soon("a compaction ends", compact(client, true)).await;
    let done = done.unwrap();
    assert!(done.success, "{}", done.error);
    done
}

async fn log_of(client: &Client) -> WalStatus {
    let request = GetWalStatusRequest { partition_id: 0 };
    let status = client.partitions.clone().get_wal_status(request).await;
    status.unwrap().into_inner()
}

fn with_payload(mut event: Event, bytes: usize) -> Event {
    let mut payload = event.payload.to_vec();
    payload.resize(bytes, b'.');
    event.payload = payload.into();
    event
}

/// Publishes `count` events that are due at once, of 500 bytes each.
async fn publish_now(client: &Client, topic: &str, from: usize, count: usize) {
    for begin in (from..from + count).step_by(250) {
        let events = (begin..(begin + 250).min(from + count))
            .map(|n| with_payload(event_at(&format!("{topic}-{n}"), topic, wall_ms()), 500));
        let done = client.publish_batch(events.collect()).await.unwrap();
        assert!(done.success, "{done:?}");
    }
}

async fn pending_ids(client: &Client, topic: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut token = String::new();
    loop {
        let request = ListPendingRequest {
            filter: Some(PendingFilter {
                topic: topic.into(),
                ..PendingFilter::default()
            }),
            page_token: token,
            ..ListPendingRequest::default()
        };
        let page = client.schedules.clone().list_pending(request).await;
        let page = page.unwrap().into_inner();
        ids.extend(page.events.into_iter().map(|event| event.message_id));
        token = page.next_page_token;
        if token.is_empty() {
            return ids;
        }
    }
}

async fn replayed(client: &Client, topic: &str) -> Vec<Event> {
    let request = ReplayRequest {
        topic: topic.into(),
        partition_id: 0,
        start_offset: 0,
        count: 100_000,
        ..ReplayRequest::default()
    };
    let events = client.replay(request).await.unwrap();
    events.into_iter().filter_map(|event| event.event).collect()
}

/// Years of horizon: what has not fired outlives everything around it, and takes no more space than
/// twice itself and two segments.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_fired_stays_and_the_rest_goes() {
    let (mut server, client) = serve(ARGS).await;
    let mut far = Vec::new();
    for round in 0..20 {
        let at_ms = wall_ms() + (round + 1) * YEAR_MS;
        let id = format!("far-{round}");
        let event = with_payload(event_at(&id, "far", at_ms), 2_000);
        client.publish(event).await.unwrap();
        far.push(id);
        publish_now(&client, "now", round as usize * 500, 500).await;
    }
    let before = log_of(&client).await;
    assert!(before.total_size_bytes > 5 << 20, "{before:?}");
    // Within the time that events are kept nothing goes.
    let kept = compact(&client, false).await.unwrap();
    assert_eq!((kept.success, kept.segments_compacted), (true, 0));

    let done = compacted(&client).await;
    assert!(done.segments_compacted > 10, "{done:?}");
    let after = log_of(&client).await;
    let live = 20 * 2_200;
    assert!(
        after.total_size_bytes <= 2 * live + 2 * SEGMENT_BYTES,
        "{after:?}"
    );
    assert!(done.bytes_reclaimed > 4 << 20, "{done:?}");
    assert_eq!(after.last_offset, before.last_offset);
    assert_eq!(pending_ids(&client, "far").await, far);

    // Again and again, over restarts of both kinds.
    for round in 0..4 {
        match round % 2 {
            0 => server.kill().await.unwrap(),
            _ => drop(server.stop().await.unwrap()),
        }
        server.restart().await.unwrap();
        let client = Client::new(server.channel().unwrap());
        assert_eq!(pending_ids(&client, "far").await, far);
        publish_now(&client, "now", 10_000 + round * 2_000, 2_000).await;
        compacted(&client).await;
        let log = log_of(&client).await;
        assert!(
            log.total_size_bytes <= 2 * live + 2 * SEGMENT_BYTES,
            "{log:?}"
        );
    }

    // They fire as what they were.
    let client = Client::new(server.channel().unwrap());
    let mut subscription = client
        .subscribe(subscription("g", "m", "far"))
        .await
        .unwrap();
    for id in &far {
        let request = chronos_proto::cronos_db::FireNowRequest {
            event: Some(chronos_proto::cronos_db::EventRef {
                topic: "far".into(),
                message_id: id.clone(),
                ..Default::default()
            }),
            if_version: None,
        };
        client.schedules.clone().fire_now(request).await.unwrap();
        let delivery = subscription.next().await;
        let event = event_of(&delivery);
        assert_eq!(event.message_id, *id);
        let payload = with_payload(event_at(id, "far", 0), 2_000).payload;
        assert_eq!(event.payload, payload);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_are_waited_for_get_everything_and_others_what_is_left() {
    let (mut server, client) = serve(ARGS).await;
    let lagging = subscription("lagging", "m", "now");
    drop(client.subscribe(lagging.clone()).await.unwrap());
    let careless = SubscribeRequest {
        not_waited_for: true,
        ..subscription("careless", "m", "other")
    };
    drop(client.subscribe(careless.clone()).await.unwrap());
    publish_now(&client, "now", 0, 2_000).await;
    publish_now(&client, "other", 0, 2_000).await;
    // So that the segments above are full.
    publish_now(&client, "filler", 0, 1_000).await;
    let done = compacted(&client).await;
    assert!(done.segments_compacted > 5, "{done:?}");
    server.kill().await.unwrap();
    server.restart().await.unwrap();

    let client = Client::new(server.channel().unwrap());
    let mut stream = client.subscribe(lagging).await.unwrap();
    let deliveries = stream.take(2_000).await;
    let expected: Vec<_> = (0..2_000).map(|n| format!("now-{n}")).collect();
    assert_eq!(ids(&deliveries), expected);
    let mut acks = client.acks().await.unwrap();
    for delivery in &deliveries {
        acks.settle(delivery, true).await;
    }
    // The other group goes on with what is there; nothing of it is stuck or dead.
    let mut stream = client.subscribe(careless).await.unwrap();
    client
        .publish(event_at("last", "other", wall_ms()))
        .await
        .unwrap();
    loop {
        let delivery = stream.next().await;
        acks.settle(&delivery, true).await;
        if event_of(&delivery).message_id == "last" {
            break;
        }
    }
    assert!(stream.within(SILENCE).await.is_none());
    assert_eq!(server.metric("chronos_dlq_events").await.unwrap(), 0.0);

    // Now nobody needs anything.
    publish_now(&client, "filler", 1_000, 1_000).await;
    compacted(&client).await;
    assert!(replayed(&client, "now").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_keep_their_events() {
    let (mut server, client) = serve(ARGS).await;
    let mut stream = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    client
        .publish(event_at("poison", "t", wall_ms()))
        .await
        .unwrap();
    let mut acks = client.acks().await.unwrap();
    for _ in 0..2 {
        let delivery = stream.next().await;
        acks.settle(&delivery, false).await;
    }
    publish_now(&client, "filler", 0, 3_000).await;
    assert!(compacted(&client).await.segments_compacted > 3);
    server.kill().await.unwrap();
    server.restart().await.unwrap();

    let channel = server.channel().unwrap();
    let mut stream = Client::new(channel.clone())
        .subscribe(subscription("g", "m", "t"))
        .await
        .unwrap();
    let mut letters =
        chronos_proto::cronos_db::dead_letter_service_client::DeadLetterServiceClient::new(channel);
    let request = chronos_proto::cronos_db::RedriveDeadLettersRequest {
        filter: Some(chronos_proto::cronos_db::DeadLetterFilter {
            consumer_group: "g".into(),
            until_ts: wall_ms() + 60_000,
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut progress = letters
        .redrive_dead_letters(request)
        .await
        .unwrap()
        .into_inner();
    while progress.message().await.unwrap().is_some() {}
    let delivery = stream.next().await;
    assert_eq!(event_of(&delivery).payload, &b"payload of poison"[..]);
}

/// A cancelled event stays cancelled when its bytes and the record of its end are gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_or_moved_stays_so() {
    let (mut server, client) = serve(ARGS).await;
    let named = |id: &str| {
        Some(chronos_proto::cronos_db::EventRef {
            topic: "t".into(),
            message_id: id.into(),
            ..Default::default()
        })
    };
    let in_ms = |ms| wall_ms() + ms;
    for id in ["cancelled", "moved"] {
        client
            .publish(event_at(id, "t", in_ms(5_000)))
            .await
            .unwrap();
    }
    let cancel = chronos_proto::cronos_db::CancelRequest {
        event: named("cancelled"),
        if_version: None,
    };
    client.schedules.clone().cancel(cancel).await.unwrap();
    let moved = chronos_proto::cronos_db::RescheduleRequest {
        event: named("moved"),
        schedule_ts: in_ms(YEAR_MS),
        ..Default::default()
    };
    client.schedules.clone().reschedule(moved).await.unwrap();
    publish_now(&client, "filler", 0, 3_000).await;
    assert!(compacted(&client).await.segments_compacted > 3);
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let client = Client::new(server.channel().unwrap());
    assert_eq!(pending_ids(&client, "t").await, ["moved"]);
    let mut stream = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    // Longer than the cancelled event had to wait.
    assert!(stream.within(Duration::from_millis(5_500)).await.is_none());
    publish_now(&client, "filler", 3_000, 3_000).await;
    compacted(&client).await;
    assert_eq!(pending_ids(&client, "t").await, ["moved"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_one_run() {
    let (_server, client) = serve(ARGS).await;
    publish_now(&client, "now", 0, 4_000).await;
    let run = |request: RetentionRequest| {
        let mut partitions = client.partitions.clone();
        async move { partitions.run_retention(request).await }
    };
    // An hour: nothing is that old.
    let hour = RetentionRequest {
        max_age_hours: 1,
        ..RetentionRequest::default()
    };
    let done = run(hour).await.unwrap().into_inner();
    assert_eq!((done.success, done.segments_deleted), (true, 0));
    let limited = RetentionRequest {
        max_size_bytes: 1 << 20,
        min_offset: 500,
        ..RetentionRequest::default()
    };
    let done = run(limited).await.unwrap().into_inner();
    assert!(done.success && done.bytes_freed > 0, "{done:?}");
    let log = log_of(&client).await;
    assert!(log.first_offset > 0 && log.first_offset <= 500, "{log:?}");
    let limited = RetentionRequest {
        max_size_bytes: 1 << 19,
        ..RetentionRequest::default()
    };
    assert!(run(limited).await.unwrap().into_inner().success);
    let log = log_of(&client).await;
    assert!(
        log.total_size_bytes <= (1 << 19) + 2 * SEGMENT_BYTES,
        "{log:?}"
    );
    let first = replayed(&client, "now").await[0].offset;
    assert!(first >= 500 && first == log.first_offset, "{first} {log:?}");
    for (limits, field) in [
        (
            RetentionRequest {
                max_age_hours: -1,
                ..limited
            },
            "max_age_hours",
        ),
        (
            RetentionRequest {
                min_offset: -1,
                ..limited
            },
            "min_offset",
        ),
        (
            RetentionRequest {
                partition_id: 7,
                ..limited
            },
            "partition 7",
        ),
    ] {
        let refused = run(limits).await.unwrap_err();
        assert!(refused.message().contains(field), "{refused}");
    }
}

type Topics = TopicServiceClient<Channel>;

async fn create_topic(server: &Server, name: &str, settings: TopicSettings) -> Topics {
    let mut topics = TopicServiceClient::new(server.channel().unwrap());
    let request = CreateTopicRequest {
        name: name.into(),
        settings: Some(settings),
    };
    topics.create_topic(request).await.unwrap();
    topics
}

/// Without being asked: the log of a topic that keeps nothing stays small, and what other topics keep
/// and what is scheduled stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_a_time_of_its_own_frees_its_space_by_itself() {
    let (server, client) = serve(ARGS).await;
    let settings = TopicSettings {
        retention_age_ms: Some(1),
        ..TopicSettings::default()
    };
    create_topic(&server, "brief", settings).await;
    publish_now(&client, "kept", 0, 200).await;
    let far = event_at("far", "brief", wall_ms() + 100 * YEAR_MS);
    client.publish(far).await.unwrap();
    publish_now(&client, "brief", 0, 10_000).await;
    let live = 201 * 700;
    eventually("the log is small", || async {
        let log = log_of(&client).await;
        (log.total_size_bytes <= 2 * live + 2 * SEGMENT_BYTES).then_some(())
    })
    .await;
    assert_eq!(replayed(&client, "kept").await.len(), 200);
    assert_eq!(pending_ids(&client, "brief").await, ["far"]);
    assert!(
        server
            .metric("chronos_retention_carried_events_total")
            .await
            .unwrap()
            > 0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_kept_up_to_its_size() {
    let (server, client) = serve(ARGS).await;
    let settings = TopicSettings {
        retention_bytes: Some(1 << 20),
        ..TopicSettings::default()
    };
    create_topic(&server, "sized", settings).await;
    publish_now(&client, "kept", 0, 200).await;
    publish_now(&client, "sized", 0, 10_000).await;
    let done = compact(&client, false).await.unwrap();
    assert!(done.success && done.segments_compacted > 5, "{done:?}");
    let left = replayed(&client, "sized").await.len();
    // Of about 600 bytes each; what is being written is not looked at.
    assert!((1_400..3_500).contains(&left), "{left}");
    assert_eq!(replayed(&client, "kept").await.len(), 200);
}

/// The space of a deleted topic is free at once, not when its events are old.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_frees_its_space() {
    let (mut server, client) = serve(ARGS).await;
    let mut topics = create_topic(&server, "gone", TopicSettings::default()).await;
    publish_now(&client, "gone", 0, 5_000).await;
    let later = (0..500).map(|n| {
        let at_ms = wall_ms() + YEAR_MS;
        with_payload(event_at(&format!("later-{n}"), "gone", at_ms), 500)
    });
    client.publish_batch(later.collect()).await.unwrap();
    publish_now(&client, "kept", 0, 500).await;
    let delete = |force| DeleteTopicRequest {
        name: "gone".into(),
        force,
    };
    let refused = topics.delete_topic(delete(false)).await.unwrap_err();
    assert!(refused.message().contains("500 events"), "{refused}");
    let deleted = topics.delete_topic(delete(true)).await.unwrap();
    assert_eq!(deleted.into_inner().deleted_pending, 500);
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let client = Client::new(server.channel().unwrap());
    assert!(replayed(&client, "gone").await.is_empty());
    let done = compact(&client, false).await.unwrap();
    // Some of it may have gone by itself.
    assert!(done.success, "{done:?}");
    let log = log_of(&client).await;
    assert!(
        log.total_size_bytes <= 2 * 500 * 700 + 2 * SEGMENT_BYTES,
        "{log:?}"
    );
    assert_eq!(replayed(&client, "kept").await.len(), 500);
    assert!(pending_ids(&client, "gone").await.is_empty());
}

/// Compactions one after the other while events are published, delivered and replayed, and while the
/// server is killed.
async fn under_fire(mutant: Option<&str>, seed: u64, removed: &Arc<AtomicU64>) -> Report {
    let settings = Settings {
        ack_timeout_ms: 2_000,
        max_attempts: 20,
        ..Settings::default()
    };
    let options = Options::new().args([
        "-partition-count=1",
        "-segment-size=65536",
        "-ack-timeout=2s",
        "-retry-backoff=50ms",
        "-max-retries=20",
        "-near-window-ms=1000",
    ]);
    let mut server = options
        .mutant(mutant)
        .start()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let run = Run::new(&server, settings, seed);
    let mut random = Random::new(seed);
    let behaviour = Behaviour {
        nack_percent: 3,
        hold_percent: 20,
        ..Behaviour::default()
    };
    let plan = ConsumerPlan::new("g", "m").behaving(behaviour).credits(100);
    let consumer = Consumer::start(&run, plan);
    let compacting = tokio::spawn({
        let client = Client::new(server.channel().unwrap());
        let removed = Arc::clone(removed);
        async move {
            loop {
                match compact(&client, true).await {
                    Ok(done) => {
                        let segments = u64::try_from(done.segments_compacted).unwrap_or(0);
                        removed.fetch_add(segments, Ordering::Relaxed);
                    }
                    // The server is killed now and then.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
                let request = ReplayRequest {
                    topic: "filler".into(),
                    ..ReplayRequest::default()
                };
                let _ = client.replay(request).await;
            }
        }
    });
    for cycle in 0..6 {
        let publisher = tokio::spawn(publish(
            run.clone(),
            PublishPlan {
                name: format!("p{cycle}"),
                events: 150,
                due_in_ms: -100..3_000,
                ..PublishPlan::default()
            },
        ));
        let client = Client::new(server.channel().unwrap());
        let filling = tokio::spawn(async move {
            for n in 0..40 {
                let events = (0..50).map(|m| {
                    let id = format!("filler-{cycle}-{n}-{m}");
                    with_payload(event_at(&id, "filler", wall_ms()), 300)
                });
                let _ = client.publish_batch(events.collect()).await;
            }
        });
        tokio::time::sleep(Duration::from_millis(random.range(200, 900))).await;
        run.kill_and_restart(&mut server).await.unwrap();
        publisher.await.unwrap();
        filling.await.unwrap();
    }
    run.drain(wall_ms() + 3_100, 1_000).await;
    compacting.abort();
    consumer.stop().await;
    match mutant {
        Some(_) => run.report(),
        None => run.verify(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_log_is_compacted_and_the_server_killed() {
    let removed = Arc::default();
    let report = under_fire(None, crate::seed(31), &removed).await;
    assert!(report.statistics.acked > 500, "{report}");
    let removed = removed.load(Ordering::Relaxed);
    assert!(removed > 0, "nothing was ever removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_loses_what_it_should_carry_is_caught() {
    let report = under_fire(Some("forget-carried"), crate::seed(32), &Arc::default()).await;
    assert!(
        report.broken_rules().contains(&Rule::Lost),
        "the checker did not notice: {report}"
    );
}
