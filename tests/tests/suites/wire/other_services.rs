//! Services that are declared and not built yet, health and reflection.

use chronos_proto::cronos_db::cross_region_service_client::CrossRegionServiceClient;
use chronos_proto::cronos_db::raft_service_client::RaftServiceClient;
use chronos_proto::cronos_db::replication_service_client::ReplicationServiceClient;
use chronos_proto::cronos_db::transaction_service_client::TransactionServiceClient;
use chronos_proto::cronos_db_admin::admin_service_client::AdminServiceClient;
use chronos_proto::{cronos_db as wire, cronos_db_admin as admin};
use prost::Message;
use prost_types::FileDescriptorProto;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1 as reflection;

use crate::serve;

fn unimplemented_in_words<T>(answer: Result<T, Status>) {
    let Err(status) = answer else {
        panic!("the call is not built yet")
    };
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
    assert!(!status.message().is_empty());
}

#[tokio::test]
async fn services_that_are_not_built_yet_say_so() {
    let (server, _client) = serve(&[]).await;
    let channel = server.channel().unwrap();
    let mut transactions = TransactionServiceClient::new(channel.clone());
    unimplemented_in_words(
        transactions
            .begin_transaction(wire::BeginTransactionRequest::default())
            .await,
    );
    unimplemented_in_words(
        transactions
            .prepare_transaction(wire::PrepareTransactionRequest::default())
            .await,
    );
    unimplemented_in_words(
        transactions
            .commit_transaction(wire::CommitTransactionRequest::default())
            .await,
    );
    unimplemented_in_words(
        transactions
            .abort_transaction(wire::AbortTransactionRequest::default())
            .await,
    );
    let mut administration = AdminServiceClient::new(channel.clone());
    unimplemented_in_words(
        administration
            .list_schemas(admin::ListSchemasRequest::default())
            .await,
    );
    unimplemented_in_words(
        administration
            .get_schema(admin::GetSchemaRequest::default())
            .await,
    );
    unimplemented_in_words(
        administration
            .get_tenant_usage(admin::TenantUsage::default())
            .await,
    );
    let mut replication = ReplicationServiceClient::new(channel.clone());
    unimplemented_in_words(
        replication
            .append(wire::ReplicationAppendRequest::default())
            .await,
    );
    unimplemented_in_words(
        replication
            .sync(wire::ReplicationSyncRequest::default())
            .await,
    );
    let mut regions = CrossRegionServiceClient::new(channel);
    unimplemented_in_words(
        regions
            .replicate_events(wire::RegionReplicateRequest::default())
            .await,
    );
}

#[tokio::test]
async fn a_node_alone_tells_of_itself_as_of_a_cluster() {
    let (server, _client) = serve(&["-partition-count=3"]).await;
    let channel = server.channel().unwrap();
    let mut administration = AdminServiceClient::new(channel.clone());
    let topology = administration
        .get_cluster_topology(admin::GetClusterTopologyRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(!topology.is_cluster_mode);
    assert_eq!((topology.total_nodes, topology.alive_nodes), (1, 1));
    assert_eq!(
        (topology.total_partitions, topology.leader_partitions),
        (3, 3)
    );

    let mut raft = RaftServiceClient::new(channel);
    let status = raft.status(wire::RaftStatusRequest::default()).await;
    let status = status.unwrap().into_inner();
    assert!(status.is_leader && status.term > 0 && status.peers.is_empty());
    let joined = raft.join(wire::RaftJoinRequest::default()).await;
    let joined = joined.unwrap().into_inner();
    assert!(!joined.success && joined.error.contains("-raft-join"));
}

#[tokio::test]
async fn health_is_answered_for_the_node_and_its_services() {
    let (server, _client) = serve(&[]).await;
    let mut health = HealthClient::new(server.channel().unwrap());
    for service in [
        "",
        "cronos_db.EventService",
        "cronos_db.ConsumerGroupService",
        "cronos_db.PartitionService",
    ] {
        let request = HealthCheckRequest {
            service: service.to_string(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let request = HealthCheckRequest {
        service: "no.such.Service".to_string(),
    };
    assert_eq!(
        health.check(request).await.unwrap_err().code(),
        Code::NotFound
    );
}

async fn reflect(
    channel: tonic::transport::Channel,
    request: reflection::server_reflection_request::MessageRequest,
) -> reflection::server_reflection_response::MessageResponse {
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel);
    let request = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap();
    answer.message_response.unwrap()
}

#[tokio::test]
async fn reflection_lists_the_services_and_describes_them() {
    use reflection::server_reflection_request::MessageRequest;
    use reflection::server_reflection_response::MessageResponse;

    let (server, _client) = serve(&[]).await;
    let listed = reflect(
        server.channel().unwrap(),
        MessageRequest::ListServices(String::new()),
    )
    .await;
    let MessageResponse::ListServicesResponse(listed) = listed else {
        panic!("{listed:?}")
    };
    let names: Vec<&str> = listed.service.iter().map(|it| it.name.as_str()).collect();
    for service in [
        "cronos_db.EventService",
        "cronos_db.ConsumerGroupService",
        "cronos_db.PartitionService",
        "cronos_db.TransactionService",
        "cronos_db_admin.AdminService",
        "grpc.health.v1.Health",
    ] {
        assert!(
            names.contains(&service),
            "{service} is missing in {names:?}"
        );
    }
    let symbol = MessageRequest::FileContainingSymbol("cronos_db.EventService".to_string());
    let described = reflect(server.channel().unwrap(), symbol).await;
    let MessageResponse::FileDescriptorResponse(described) = described else {
        panic!("{described:?}")
    };
    let files = described.file_descriptor_proto.iter();
    let files: Vec<_> = files
        .map(|bytes| FileDescriptorProto::decode(bytes.as_slice()).unwrap())
        .collect();
    assert!(files.iter().any(|file| file.package() == "cronos_db"));
}

#[tokio::test]
async fn reflection_can_be_switched_off() {
    let (server, client) = serve(&["-reflection=false"]).await;
    let mut reflection = reflection::server_reflection_client::ServerReflectionClient::new(
        server.channel().unwrap(),
    );
    let request = reflection::ServerReflectionRequest::default();
    let answer = reflection
        .server_reflection_info(tokio_stream::once(request))
        .await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
    assert!(
        client
            .publish(chronos_tests::client::event("a", "t"))
            .await
            .unwrap()
            .success
    );
}
