//! ConsumerGroupService.

use chronos_proto::cronos_db::{
    ConsumerGroupMetadata, CreateConsumerGroupRequest, CreateConsumerGroupResponse,
    GetConsumerGroupRequest, ListConsumerGroupsRequest, RebalanceConsumerGroupRequest,
};
use chronos_tests::client::{Client, event, ids, subscription};
use tonic::{Code, Status};

use crate::serve;

async fn create(client: &Client, group: &str, partitions: &[i32]) -> CreateConsumerGroupResponse {
    let request = CreateConsumerGroupRequest {
        group_id: group.to_string(),
        topic: "t".to_string(),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    client
        .groups
        .clone()
        .create_consumer_group(request)
        .await
        .unwrap()
        .into_inner()
}

async fn get(client: &Client, group: &str) -> Result<ConsumerGroupMetadata, Status> {
    let request = GetConsumerGroupRequest {
        group_id: group.to_string(),
    };
    Ok(client
        .groups
        .clone()
        .get_consumer_group(request)
        .await?
        .into_inner())
}

async fn list(client: &Client) -> Vec<String> {
    let request = ListConsumerGroupsRequest::default();
    let answer = client
        .groups
        .clone()
        .list_consumer_groups(request)
        .await
        .unwrap();
    answer
        .into_inner()
        .groups
        .into_iter()
        .map(|group| group.group_id)
        .collect()
}

#[tokio::test]
async fn a_group_is_created_shown_and_listed() {
    let (_server, client) = serve(&[]).await;
    assert!(list(&client).await.is_empty());
    // The partitions need not exist.
    let answer = create(&client, "g:1 ☂", &[0, 1]).await;
    assert!(answer.success, "{answer:?}");
    let group = get(&client, "g:1 ☂").await.unwrap();
    assert_eq!(
        (group.group_id.as_str(), group.topic.as_str()),
        ("g:1 ☂", "t")
    );
    assert_eq!(group.partitions, [0, 1]);
    assert!(
        group.committed_offsets.values().all(|offset| *offset == -1),
        "{group:?}"
    );
    assert!(create(&client, "h", &[0]).await.success);
    assert_eq!(list(&client).await, ["g:1 ☂", "h"]);
}

#[tokio::test]
async fn a_group_that_exists_is_refused_in_these_words() {
    let (_server, client) = serve(&[]).await;
    assert!(create(&client, "g", &[0]).await.success);
    let answer = create(&client, "g", &[0]).await;
    assert!(!answer.success);
    assert_eq!(answer.error, "group g already exists");
}

#[tokio::test]
async fn a_group_without_a_name_is_refused() {
    let (_server, client) = serve(&[]).await;
    let request = CreateConsumerGroupRequest::default();
    match client.groups.clone().create_consumer_group(request).await {
        Ok(answer) => assert!(!answer.get_ref().success && !answer.get_ref().error.is_empty()),
        Err(status) => assert_eq!(status.code(), Code::InvalidArgument),
    }
    assert!(list(&client).await.is_empty());
}

#[tokio::test]
async fn an_unknown_group_is_an_unknown_error() {
    let (_server, client) = serve(&[]).await;
    let status = get(&client, "nobody").await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    assert!(
        status.message().contains("consumer group not found"),
        "{status}"
    );
}

#[tokio::test]
async fn a_rebalance_answers_with_the_assignment() {
    let (_server, client) = serve(&[]).await;
    let rebalance = |group: &str| {
        let request = RebalanceConsumerGroupRequest {
            group_id: group.to_string(),
            member_ids: vec!["m1".into(), "m2".into()],
        };
        let mut groups = client.groups.clone();
        async move {
            groups
                .rebalance_consumer_group(request)
                .await
                .unwrap()
                .into_inner()
        }
    };
    assert!(create(&client, "g", &[0]).await.success);
    let answer = rebalance("g").await;
    assert!(answer.success, "{answer:?}");
    assert!(!answer.partition_assignments.is_empty());
    assert!(
        answer
            .partition_assignments
            .keys()
            .all(|member| member == "m1" || member == "m2")
    );
    let answer = rebalance("nobody").await;
    assert!(!answer.success && !answer.error.is_empty());
}

#[tokio::test]
async fn a_created_group_is_the_one_that_subscribes() {
    let (_server, client) = serve(&[]).await;
    assert!(create(&client, "g", &[0]).await.success);
    for id in ["a", "b", "c"] {
        assert!(client.publish(event(id, "t")).await.unwrap().success);
    }
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let deliveries = subscription.take(3).await;
    assert_eq!(ids(&deliveries), ["a", "b", "c"]);
    let mut acks = client.acks().await.unwrap();
    // Committed is the offset below which everything is settled, in whatever order it was.
    for (settled, committed) in [(1, -1), (0, 2), (2, 3)] {
        assert!(acks.settle(&deliveries[settled], true).await.success);
        let group = get(&client, "g").await.unwrap();
        assert_eq!(group.committed_offsets.get(&0), Some(&committed));
    }
    assert_eq!(list(&client).await, ["g"]);
}
