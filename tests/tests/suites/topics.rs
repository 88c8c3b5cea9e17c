//! TopicService: topics that are created, altered, described, listed and deleted, and what their
//! settings do.

use std::collections::BTreeSet;
use std::time::Duration;

use chronos_proto::cronos_db::topic_service_client::TopicServiceClient;
use chronos_proto::cronos_db::{
    AlterTopicRequest, CreateTopicRequest, DeleteTopicRequest, DescribeTopicRequest, Event,
    ListTopicsRequest, Topic, TopicSettings,
};
use chronos_tests::client::{Client, event, event_at, event_of, ids, subscription};
use chronos_tests::history::wall_ms;
use chronos_tests::patience::eventually;
use chronos_tests::server::Server;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::cli::json;
use crate::serve;

const HOUR_MS: i64 = 3_600_000;

type Topics = TopicServiceClient<Channel>;

fn topics_of(server: &Server) -> Topics {
    TopicServiceClient::new(server.channel().unwrap())
}

async fn create(topics: &Topics, name: &str, settings: TopicSettings) -> Topic {
    try_create(topics, name, settings).await.unwrap()
}

async fn try_create(topics: &Topics, name: &str, settings: TopicSettings) -> Result<Topic, Status> {
    let request = CreateTopicRequest {
        name: name.into(),
        settings: Some(settings),
    };
    let created = topics.clone().create_topic(request).await;
    created.map(tonic::Response::into_inner)
}

async fn describe(topics: &Topics, name: &str) -> Result<Topic, Status> {
    let request = DescribeTopicRequest { name: name.into() };
    let described = topics.clone().describe_topic(request).await;
    described.map(tonic::Response::into_inner)
}

async fn names(topics: &Topics, prefix: &str) -> Vec<String> {
    let request = ListTopicsRequest {
        prefix: prefix.into(),
        ..ListTopicsRequest::default()
    };
    let listed = topics.clone().list_topics(request).await.unwrap();
    let listed = listed.into_inner().topics;
    listed.into_iter().map(|topic| topic.name).collect()
}

fn altered(name: &str, settings: TopicSettings) -> AlterTopicRequest {
    AlterTopicRequest {
        name: name.into(),
        settings: Some(settings),
        ..AlterTopicRequest::default()
    }
}

fn none() -> TopicSettings {
    TopicSettings::default()
}

fn later(id: &str, topic: &str) -> Event {
    event_at(id, topic, wall_ms() + HOUR_MS)
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_altered_described_listed_and_survive() {
    let (mut server, client) = serve(&[]).await;
    let topics = topics_of(&server);
    let settings = TopicSettings {
        max_retries: Some(7),
        retention_age_ms: Some(HOUR_MS),
        ..none()
    };
    let topic = create(&topics, "orders", settings).await;
    assert_eq!((topic.version, topic.automatic), (1, false));
    let again = try_create(&topics, "orders", none()).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    client.publish(later("a", "by-use")).await.unwrap();
    client.publish(later("b", "orders")).await.unwrap();
    assert_eq!(names(&topics, "").await, ["by-use", "orders"]);
    assert_eq!(names(&topics, "o").await, ["orders"]);

    let topic = describe(&topics, "orders").await.unwrap();
    assert_eq!((topic.pending, topic.settings), (1, Some(settings)));
    let effective = topic.effective.unwrap();
    assert_eq!(
        (effective.max_retries, effective.ack_timeout_ms),
        (Some(7), Some(30_000))
    );
    assert!(describe(&topics, "by-use").await.unwrap().automatic);
    let missing = describe(&topics, "missing").await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);

    // Only what is named changes; a version that is not the present one refuses.
    let two = TopicSettings {
        ack_timeout_ms: Some(5_000),
        ..none()
    };
    let mut request = altered("orders", two);
    request.if_version = Some(7);
    let refused = topics
        .clone()
        .alter_topic(request.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    (request.if_version, request.clear) = (Some(1), vec!["max_retries".into()]);
    let topic = topics
        .clone()
        .alter_topic(request)
        .await
        .unwrap()
        .into_inner();
    let expected = TopicSettings {
        max_retries: None,
        ack_timeout_ms: Some(5_000),
        ..settings
    };
    assert_eq!((topic.version, topic.settings), (2, Some(expected)));

    for (settings, field) in [
        (
            TopicSettings {
                max_retries: Some(0),
                ..none()
            },
            "max_retries",
        ),
        (
            TopicSettings {
                partitions: Some(99),
                ..none()
            },
            "partitions",
        ),
        (
            TopicSettings {
                backoff_factor: Some(0.5),
                ..none()
            },
            "backoff_factor",
        ),
        (
            TopicSettings {
                retention_age_ms: Some(-1),
                ..none()
            },
            "retention_age_ms",
        ),
    ] {
        let refused = try_create(&topics, "bad", settings).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(field), "{refused}");
    }

    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let topics = topics_of(&server);
    let topic = describe(&topics, "orders").await.unwrap();
    assert_eq!(
        (topic.version, topic.settings, topic.pending),
        (2, Some(expected), 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_one_partition_has_one_order() {
    let (server, client) = serve(&["-partition-count=8"]).await;
    let topics = topics_of(&server);
    let one = TopicSettings {
        partitions: Some(1),
        ..none()
    };
    create(&topics, "ledger", one).await;
    let mut partitions = BTreeSet::new();
    for n in 0..40 {
        let published = client
            .publish(event(&format!("{n:02}"), "ledger"))
            .await
            .unwrap();
        partitions.insert(published.partition_id);
    }
    assert_eq!(partitions.len(), 1, "{partitions:?}");
    let mut stream = client
        .subscribe(subscription("g", "m", "ledger"))
        .await
        .unwrap();
    let delivered = ids(&stream.take(40).await);
    assert!(delivered.is_sorted(), "{delivered:?}");
    // By id alone it is found and cancelled there.
    client.publish(later("pending", "ledger")).await.unwrap();
    let cancel = chronos_proto::cronos_db::CancelRequest {
        event: Some(chronos_proto::cronos_db::EventRef {
            topic: "ledger".into(),
            message_id: "pending".into(),
            ..Default::default()
        }),
        if_version: None,
    };
    let cancelled = client
        .schedules
        .clone()
        .cancel(cancel)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        cancelled.outcome(),
        chronos_proto::cronos_db::ScheduleOutcome::Cancelled
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_follow_the_topic_and_its_changes() {
    let (server, client) = serve(&["-partition-count=1"]).await;
    let topics = topics_of(&server);
    let hasty = TopicSettings {
        ack_timeout_ms: Some(200),
        max_retries: Some(2),
        backoff_first_ms: Some(10),
        ..none()
    };
    create(&topics, "hasty", hasty).await;
    let mut stream = client
        .subscribe(subscription("g", "m", "hasty"))
        .await
        .unwrap();
    client.publish(event("a", "hasty")).await.unwrap();
    let first = stream.next().await;
    assert_eq!((first.attempt, first.ack_timeout_ms), (1, 200));
    let second = stream.next().await;
    assert_eq!(second.attempt, 2, "the first was not answered");
    eventually("the letter is dead", || async {
        let dead = server.metric("chronos_dlq_events").await.ok()?;
        (dead == 1.0).then_some(())
    })
    .await;
    // The group that is there takes the change over.
    let patient = TopicSettings {
        max_retries: Some(50),
        ..none()
    };
    topics
        .clone()
        .alter_topic(altered("hasty", patient))
        .await
        .unwrap();
    client.publish(event("b", "hasty")).await.unwrap();
    let deliveries = stream.take(4).await;
    let attempts: Vec<_> = deliveries.iter().map(|delivery| delivery.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_refuse_the_whole_request_and_say_when_to_come_again() {
    let (server, client) = serve(&[]).await;
    let topics = topics_of(&server);
    let limits = [
        (
            "events",
            TopicSettings {
                events_per_second: Some(5),
                ..none()
            },
        ),
        (
            "bytes",
            TopicSettings {
                bytes_per_second: Some(1_000),
                ..none()
            },
        ),
        (
            "pending-events",
            TopicSettings {
                max_pending_events: Some(3),
                ..none()
            },
        ),
        (
            "pending-bytes",
            TopicSettings {
                max_pending_bytes: Some(600),
                ..none()
            },
        ),
    ];
    for (name, settings) in limits {
        create(&topics, name, settings).await;
        let mut refused = None;
        for n in 0..200 {
            let mut event = later(&format!("{name}-{n}"), name);
            event.payload = vec![b'.'; 200].into();
            match client.publish(event).await {
                Ok(published) => assert!(published.success),
                Err(status) => {
                    refused = Some(status);
                    break;
                }
            }
        }
        let refused = refused.unwrap_or_else(|| panic!("{name} refused nothing"));
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(
            refused.message().contains(name.split('-').next().unwrap()),
            "{refused}"
        );
        let wait = refused.metadata().get("retry-after-ms").unwrap();
        assert!(wait.to_str().unwrap().parse::<u64>().unwrap() > 0);
        // Nothing of a batch that goes beyond.
        let pending = describe(&topics, name).await.unwrap().pending;
        let events = (0..100).map(|n| later(&format!("{name}-batch-{n}"), name));
        let refused = client.publish_batch(events.collect()).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(describe(&topics, name).await.unwrap().pending, pending);
        // Others are not concerned.
        client
            .publish(later(&format!("{name}-other"), "other"))
            .await
            .unwrap();
    }
    // The rates admit again after a while, and the pending ones when something is cancelled.
    for name in ["events", "bytes"] {
        eventually("a rate admits again", || async {
            client
                .publish(later(&format!("{name}-again"), name))
                .await
                .ok()
        })
        .await;
    }
    let cancel = chronos_proto::cronos_db::CancelRequest {
        event: Some(chronos_proto::cronos_db::EventRef {
            topic: "pending-events".into(),
            message_id: "pending-events-0".into(),
            ..Default::default()
        }),
        if_version: None,
    };
    client.schedules.clone().cancel(cancel).await.unwrap();
    eventually("there is room again", || async {
        client.publish(later("room", "pending-events")).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn horizon_and_deduplication_are_the_topics() {
    let (server, client) = serve(&["-partition-count=1"]).await;
    let topics = topics_of(&server);
    let settings = TopicSettings {
        max_horizon_ms: Some(HOUR_MS / 2),
        dedup_window_ms: Some(1),
        ..none()
    };
    create(&topics, "t", settings).await;
    let refused = client.publish(later("far", "t")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("max_horizon_ms"), "{refused}");
    client
        .publish(event_at("here", "t", wall_ms() + 60_000))
        .await
        .unwrap();
    let move_on = chronos_proto::cronos_db::RescheduleRequest {
        event: Some(chronos_proto::cronos_db::EventRef {
            topic: "t".into(),
            message_id: "here".into(),
            ..Default::default()
        }),
        schedule_ts: wall_ms() + HOUR_MS,
        ..Default::default()
    };
    let refused = client
        .schedules
        .clone()
        .reschedule(move_on)
        .await
        .unwrap_err();
    assert!(refused.message().contains("max_horizon_ms"), "{refused}");
    // An id is known for a millisecond after its event, and as long as the event is pending.
    assert!(client.publish(event("id", "t")).await.unwrap().success);
    eventually("the id is forgotten", || async {
        let published = client.publish(event("id", "t")).await.unwrap();
        published.success.then_some(())
    })
    .await;
    let near = event_at("near", "t", wall_ms() + 60_000);
    assert!(client.publish(near.clone()).await.unwrap().success);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!client.publish(near).await.unwrap().success);
    // Elsewhere ids are known for a week.
    assert!(client.publish(event("id", "u")).await.unwrap().success);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!client.publish(event("id", "u")).await.unwrap().success);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auto_create_only_created_topics_are_used() {
    let (server, client) = serve(&["-auto-create-topics=false"]).await;
    let refused = client.publish(event("a", "t")).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(
        refused.message().contains("chronosctl topic create t"),
        "{refused}"
    );
    let refused = client
        .publish_batch(vec![event("a", "t")])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let requests = futures::stream::iter([subscription("g", "m", "t")]);
    let refused = client.events.clone().subscribe(requests).await;
    let refused = match refused {
        Err(status) => status,
        Ok(stream) => stream.into_inner().message().await.unwrap_err(),
    };
    assert_eq!(refused.code(), Code::NotFound);
    create(&topics_of(&server), "t", none()).await;
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    let mut stream = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert_eq!(event_of(&stream.next().await).message_id, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_gone_and_may_begin_again() {
    let (mut server, client) = serve(&[]).await;
    let mut topics = topics_of(&server);
    let mut stream = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    for n in 0..30 {
        let soon = event_at(&format!("old-{n}"), "t", wall_ms() + 2_500);
        client.publish(soon).await.unwrap();
    }
    client.publish(later("other", "u")).await.unwrap();
    let delete = |force| DeleteTopicRequest {
        name: "t".into(),
        force,
    };
    let refused = topics.delete_topic(delete(false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("30 events"), "{refused}");
    let deleted = topics
        .delete_topic(delete(true))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(deleted.deleted_pending, 30);
    assert_eq!(
        describe(&topics, "t").await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(names(&topics, "").await, ["u"]);
    // The stream that is open goes on with what is published from now on.
    client.publish(event("new", "t")).await.unwrap();
    assert_eq!(event_of(&stream.next().await).message_id, "new");
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let client = Client::new(server.channel().unwrap());
    let mut stream = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    // It was not answered; nothing else comes, though all the others were due meanwhile.
    assert_eq!(event_of(&stream.next().await).message_id, "new");
    assert!(stream.within(Duration::from_millis(2_600)).await.is_none());
    let topics = topics_of(&server);
    assert_eq!(describe(&topics, "t").await.unwrap().pending, 0);
    assert_eq!(describe(&topics, "u").await.unwrap().pending, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn chronosctl_manages_topics() {
    let (server, client) = serve(&["-partition-count=1"]).await;
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    let create = "topic create t --max-retries 3 --backoff-first 1s --retention-age 1h";
    let topic = json(&server, &words(create)).await;
    assert_eq!(topic["settings"]["max_retries"], 3);
    assert_eq!(topic["settings"]["retention_age_ms"], 3_600_000);
    let alter = "topic alter t --ack-timeout 2s --clear max_retries";
    let topic = json(&server, &words(alter)).await;
    assert_eq!(topic["settings"]["ack_timeout_ms"], 2_000);
    assert_eq!(topic["version"], 2);
    client.publish(later("a", "t")).await.unwrap();
    let topic = json(&server, &words("topic describe t")).await;
    assert_eq!(
        (&topic["pending"], &topic["partitions"][0][1]),
        (&1.into(), &1.into())
    );
    let listed = json(&server, &words("topic list --prefix t")).await;
    assert_eq!(listed[0]["settings"]["ack_timeout_ms"], 2_000);
    let deleted = json(&server, &words("topic delete t --force")).await;
    assert_eq!(deleted["deleted_pending"], 1);
    assert_eq!(names(&topics_of(&server), "").await, Vec::<String>::new());
}
