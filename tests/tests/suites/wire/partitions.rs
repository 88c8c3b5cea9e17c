//! PartitionService.

use chronos_proto::cronos_db::{
    CompactRequest, GetPartitionRequest, GetSchedulerStatusRequest, GetWalStatusRequest,
    ListPartitionsRequest, PartitionInfo, RetentionRequest, SplitPartitionRequest,
};
use chronos_tests::client::{Client, event, event_at, ids, subscription};
use chronos_tests::history::wall_ms;
use tonic::Code;

use crate::serve;

async fn list(client: &Client) -> Vec<PartitionInfo> {
    let request = ListPartitionsRequest::default();
    let answer = client
        .partitions
        .clone()
        .list_partitions(request)
        .await
        .unwrap();
    answer.into_inner().partitions
}

async fn get(client: &Client, partition_id: i32) -> PartitionInfo {
    let request = GetPartitionRequest { partition_id };
    client
        .partitions
        .clone()
        .get_partition(request)
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn every_partition_is_listed_in_order_with_its_leader() {
    let (_server, client) = serve(&["-partition-count=32"]).await;
    let partitions = list(&client).await;
    let numbers: Vec<i32> = partitions.iter().map(|it| it.partition_id).collect();
    assert_eq!(numbers, (0..32).collect::<Vec<_>>());
    for partition in partitions {
        assert_eq!(partition.leader_id, "node1");
        assert_eq!(partition.replica_ids, ["node1"]);
    }
}

#[tokio::test]
async fn one_partition_is_the_default() {
    let (_server, client) = serve(&[]).await;
    assert_eq!(list(&client).await.len(), 1);
}

#[tokio::test]
async fn offsets_of_a_partition_are_shown() {
    let (_server, client) = serve(&[]).await;
    let empty = get(&client, 0).await;
    assert_eq!((empty.last_offset, empty.high_watermark), (-1, 0));
    for number in 0..5 {
        assert!(
            client
                .publish(event(&format!("a{number}"), "t"))
                .await
                .unwrap()
                .success
        );
    }
    let filled = get(&client, 0).await;
    assert_eq!((filled.last_offset, filled.high_watermark), (4, 5));
    assert!(
        filled.segment_count >= 1 && filled.disk_usage_bytes > 0,
        "{filled:?}"
    );
    assert_eq!(list(&client).await[0].last_offset, 4);
}

#[tokio::test]
async fn the_log_of_a_partition_is_shown() {
    let (_server, client) = serve(&[]).await;
    let status = || async {
        let request = GetWalStatusRequest { partition_id: 0 };
        client
            .partitions
            .clone()
            .get_wal_status(request)
            .await
            .unwrap()
            .into_inner()
    };
    assert_eq!(status().await.last_offset, -1);
    assert!(client.publish(event("a", "t")).await.unwrap().success);
    let filled = status().await;
    assert_eq!((filled.first_offset, filled.last_offset), (0, 0));
    assert!(!filled.segment_files.is_empty());
    assert!(
        filled.total_size_bytes > 0 && filled.available_space_bytes > 0,
        "{filled:?}"
    );
}

#[tokio::test]
async fn pending_events_near_and_far_are_counted() {
    let (_server, client) = serve(&["-near-window-ms=1000"]).await;
    let status = || async {
        let request = GetSchedulerStatusRequest { partition_id: 0 };
        client
            .partitions
            .clone()
            .get_scheduler_status(request)
            .await
            .unwrap()
            .into_inner()
    };
    assert_eq!(status().await.active_timers, 0);
    for (id, due_in_ms) in [
        ("minute", 60_000),
        ("day", 86_400_000),
        ("decade", 315_360_000_000),
    ] {
        let event = event_at(id, "t", wall_ms() + due_in_ms);
        assert!(client.publish(event).await.unwrap().success);
    }
    let filled = status().await;
    assert_eq!(filled.active_timers, 3);
    assert!(filled.tick_ms > 0 && filled.wheel_size > 0, "{filled:?}");
}

#[tokio::test]
async fn an_unknown_partition_is_not_found() {
    let (_server, client) = serve(&[]).await;
    for (partition_id, code) in [
        (1, Code::NotFound),
        (i32::MAX, Code::NotFound),
        (-1, Code::InvalidArgument),
    ] {
        let mut partitions = client.partitions.clone();
        let codes = [
            partitions
                .get_partition(GetPartitionRequest { partition_id })
                .await
                .map(drop),
            partitions
                .get_wal_status(GetWalStatusRequest { partition_id })
                .await
                .map(drop),
            partitions
                .get_scheduler_status(GetSchedulerStatusRequest { partition_id })
                .await
                .map(drop),
        ];
        for answer in codes {
            assert_eq!(answer.unwrap_err().code(), code, "partition {partition_id}");
        }
    }
}

#[tokio::test]
async fn upkeep_by_hand_removes_nothing_that_is_still_to_come() {
    let (_server, client) = serve(&[]).await;
    assert!(
        client
            .publish(event_at("soon", "t", wall_ms() + 1_500))
            .await
            .unwrap()
            .success
    );
    let mut partitions = client.partitions.clone();
    let compact = CompactRequest {
        force: true,
        before_ts: i64::MAX,
        ..Default::default()
    };
    let retention = RetentionRequest {
        min_offset: i64::MAX,
        max_size_bytes: 1,
        ..Default::default()
    };
    // Either may be refused in words, but not by breaking.
    for status in [
        partitions.compact(compact).await.map(drop).err(),
        partitions.run_retention(retention).await.map(drop).err(),
    ] {
        let code = status.map(|it| it.code());
        assert!(
            matches!(
                code,
                None | Some(Code::Unimplemented | Code::InvalidArgument)
            ),
            "{code:?}"
        );
    }
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert_eq!(ids(&subscription.take(1).await), ["soon"]);
}

#[tokio::test]
async fn splitting_is_not_there_yet_and_says_so() {
    let (_server, client) = serve(&[]).await;
    let request = SplitPartitionRequest {
        new_partition_id: 1,
        ..Default::default()
    };
    match client.partitions.clone().split_partition(request).await {
        Ok(answer) => {
            assert!(!answer.get_ref().success && !answer.get_ref().error.is_empty());
        }
        Err(status) => {
            assert_eq!(status.code(), Code::Unimplemented);
            assert!(!status.message().is_empty());
        }
    }
}
