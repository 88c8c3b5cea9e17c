//! Topics: each setting arrives as itself, and what comes back is what there is.

use chronos_proto::server::partition_service_server::PartitionService;
use chronos_proto::server::schedule_service_server::ScheduleService;
use chronos_proto::server::topic_service_server::TopicService;

use super::*;

#[tonic::async_trait]
impl TopicService for Server {
    async fn create_topic(
        &self,
        request: Request<wire::CreateTopicRequest>,
    ) -> Result<Response<wire::Topic>, Refusal> {
        let request = request.into_inner();
        self.note(format!("create {}", request.name));
        let settings = request.settings.unwrap_or_default();
        self.topics.lock().unwrap().insert(request.name, settings);
        Ok(Response::new(wire::Topic::default()))
    }

    async fn alter_topic(
        &self,
        request: Request<wire::AlterTopicRequest>,
    ) -> Result<Response<wire::Topic>, Refusal> {
        let request = request.into_inner();
        self.note(format!("alter {} clear {:?}", request.name, request.clear));
        let settings = request.settings.unwrap_or_default();
        self.topics.lock().unwrap().insert(request.name, settings);
        Ok(Response::new(wire::Topic::default()))
    }

    async fn describe_topic(
        &self,
        request: Request<wire::DescribeTopicRequest>,
    ) -> Result<Response<wire::Topic>, Refusal> {
        let name = request.into_inner().name;
        self.note(format!("describe {name}"));
        if name == "silent" {
            return Err(Refusal::unavailable("told to be"));
        }
        let settings = self.topics.lock().unwrap().get(&name).copied();
        let Some(settings) = settings else {
            return Err(Refusal::not_found("no such topic"));
        };
        let partition = |partition_id: i32| wire::TopicPartition {
            partition_id,
            pending: 4,
            ..wire::TopicPartition::default()
        };
        Ok(Response::new(wire::Topic {
            settings: Some(settings),
            // What the node adds of its own is no setting of the topic.
            effective: Some(wire::TopicSettings::default()),
            automatic: name == "automatic",
            version: 3,
            partitions: vec![partition(1), partition(2)],
            pending: 9,
            ..wire::Topic::default()
        }))
    }

    async fn list_topics(
        &self,
        _: Request<wire::ListTopicsRequest>,
    ) -> Result<Response<wire::ListTopicsResponse>, Refusal> {
        Err(Refusal::unimplemented("nobody asks"))
    }

    async fn delete_topic(
        &self,
        request: Request<wire::DeleteTopicRequest>,
    ) -> Result<Response<wire::DeleteTopicResponse>, Refusal> {
        let request = request.into_inner();
        self.note(format!("delete {} force {}", request.name, request.force));
        match self.topics.lock().unwrap().remove(&request.name) {
            Some(_) => Ok(Response::new(wire::DeleteTopicResponse::default())),
            None => Err(Refusal::not_found("no such topic")),
        }
    }
}

/// Implements a service of which one method is called.
macro_rules! serves {
    ($service:ident, $called:ident: $asked:ident => $answered:ident by $answer:ident;
     $($method:ident: $request:ident => $response:ident;)*) => {
        #[tonic::async_trait]
        impl $service for Server {
            async fn $called(
                &self,
                request: Request<wire::$asked>,
            ) -> Result<Response<wire::$answered>, Refusal> {
                Ok(Response::new($answer(self, request.into_inner())))
            }

            $(async fn $method(
                &self,
                _: Request<wire::$request>,
            ) -> Result<Response<wire::$response>, Refusal> {
                Err(Refusal::unimplemented("nobody asks"))
            })*
        }
    };
}

serves! { PartitionService, list_partitions: ListPartitionsRequest => ListPartitionsResponse by partitions;
    get_partition: GetPartitionRequest => PartitionInfo;
    get_wal_status: GetWalStatusRequest => WalStatus;
    get_scheduler_status: GetSchedulerStatusRequest => SchedulerStatus;
    compact: CompactRequest => CompactResponse;
    run_retention: RetentionRequest => RetentionResponse;
    split_partition: SplitPartitionRequest => SplitPartitionResponse;
}

serves! { ScheduleService, list_pending: ListPendingRequest => ListPendingResponse by pending;
    get: GetScheduledRequest => ScheduleResponse;
    cancel: CancelRequest => ScheduleResponse;
    reschedule: RescheduleRequest => ScheduleResponse;
    fire_now: FireNowRequest => ScheduleResponse;
    cancel_batch: CancelBatchRequest => CancelBatchResponse;
    cancel_and_publish: CancelAndPublishRequest => CancelAndPublishResponse;
    cancel_matching: CancelMatchingRequest => ChangeMatchingResponse;
    reschedule_matching: RescheduleMatchingRequest => ChangeMatchingResponse;
    pending_by_time: PendingByTimeRequest => PendingByTimeResponse;
    count_pending: CountPendingRequest => CountPendingResponse;
}

/// Three partitions; nobody leads the last one.
fn partitions(_: &Server, _: wire::ListPartitionsRequest) -> wire::ListPartitionsResponse {
    let partition = |(partition_id, leader): (i32, &str)| wire::PartitionInfo {
        partition_id,
        leader_id: leader.to_owned(),
        ..wire::PartitionInfo::default()
    };
    let all = [(0, "b"), (1, "a"), (2, "")];
    wire::ListPartitionsResponse {
        partitions: all.into_iter().map(partition).collect(),
    }
}

/// An event of `orders`, and none of others.
fn pending(server: &Server, request: wire::ListPendingRequest) -> wire::ListPendingResponse {
    let filter = request.filter.unwrap_or_default();
    server.note(format!("pending {} of {}", request.page_size, filter.topic));
    let event = wire::ScheduledEvent {
        schedule_ts: 1_234,
        published_schedule_ts: 1_000,
        ..wire::ScheduledEvent::default()
    };
    wire::ListPendingResponse {
        events: (filter.topic == "orders")
            .then_some(event)
            .into_iter()
            .collect(),
        ..wire::ListPendingResponse::default()
    }
}

/// No two are alike.
fn settings() -> TopicSettings {
    TopicSettings {
        partitions: Some(1),
        retention_age_ms: Some(2),
        retention_bytes: Some(3),
        dedup_window_ms: Some(4),
        ack_timeout_ms: Some(5),
        max_retries: Some(6),
        backoff_first_ms: Some(7),
        backoff_factor: Some(8.5),
        backoff_max_ms: Some(9),
        backoff_jitter: Some(0.25),
        max_horizon_ms: Some(11),
        events_per_second: Some(12),
        bytes_per_second: Some(13),
        max_pending_events: Some(14),
        max_pending_bytes: Some(15),
    }
}

/// The same, as the node takes them.
fn on_the_wire() -> wire::TopicSettings {
    wire::TopicSettings {
        partitions: Some(1),
        retention_age_ms: Some(2),
        retention_bytes: Some(3),
        dedup_window_ms: Some(4),
        ack_timeout_ms: Some(5),
        max_retries: Some(6),
        backoff_first_ms: Some(7),
        backoff_factor: Some(8.5),
        backoff_max_ms: Some(9),
        backoff_jitter: Some(0.25),
        max_horizon_ms: Some(11),
        events_per_second: Some(12),
        bytes_per_second: Some(13),
        max_pending_events: Some(14),
        max_pending_bytes: Some(15),
    }
}

#[tokio::test]
async fn each_setting_arrives_as_itself() {
    let (database, server) = served().await;
    database.create_topic("orders", &settings()).await.unwrap();
    database
        .alter_topic("letters", &settings(), &["max_retries", "backoff_max_ms"])
        .await
        .unwrap();
    for name in ["orders", "letters"] {
        let arrived = server.topics.lock().unwrap().get(name).copied();
        assert_eq!(arrived, Some(on_the_wire()), "{name}");
        let there = database.topic(name).await.unwrap().unwrap();
        assert_eq!(there.settings, settings(), "{name}");
    }
    assert_eq!(
        *server.calls.lock().unwrap(),
        [
            "create orders",
            r#"alter letters clear ["max_retries", "backoff_max_ms"]"#,
            "describe orders",
            "describe letters",
        ]
    );
    // What is left out is left out on the way as well.
    let few = TopicSettings {
        max_retries: Some(3),
        ..TopicSettings::default()
    };
    database.create_topic("few", &few).await.unwrap();
    assert_eq!(database.topic("few").await.unwrap().unwrap().settings, few);
}

#[tokio::test]
async fn a_topic_says_what_it_holds() {
    let (database, server) = served().await;
    let settings = TopicSettings::default();
    assert_eq!(database.topic("orders").await.unwrap(), None);
    for (name, automatic) in [("orders", false), ("automatic", true)] {
        database.create_topic(name, &settings).await.unwrap();
        let there = database.topic(name).await.unwrap().unwrap();
        assert_eq!(there.automatic, automatic);
        assert_eq!((there.version, there.pending), (3, 9));
        assert_eq!(there.partitions, [1, 2]);
    }
    assert_eq!(database.next_fire_ms("orders").await.unwrap(), Some(1_234));
    assert_eq!(database.next_fire_ms("letters").await.unwrap(), None);
    assert_eq!(database.leaders().await.unwrap(), ["b", "a", ""]);
    let calls = server.calls.lock().unwrap().clone();
    assert_eq!(
        calls[calls.len() - 2..],
        ["pending 1 of orders", "pending 1 of letters"]
    );
}

#[tokio::test]
async fn a_topic_goes_with_its_events_and_may_be_gone_already() {
    let (database, server) = served().await;
    let settings = TopicSettings::default();
    database.create_topic("orders", &settings).await.unwrap();
    database.delete_topic("orders").await.unwrap();
    assert_eq!(database.topic("orders").await.unwrap(), None);
    // The answer to an earlier try was lost.
    database.delete_topic("orders").await.unwrap();
    let calls = server.calls.lock().unwrap().clone();
    let deletions = calls
        .iter()
        .filter(|call| *call == "delete orders force true");
    assert_eq!(deletions.count(), 2);
}
