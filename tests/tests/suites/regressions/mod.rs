//! What went wrong with scheduled messages in other systems, by project and number of the issue: each
//! is shown not to happen here. So are the predecessor's failures that concern several nodes.
//! docs/testing.md has the table, with the tests of other levels.

mod nats;
mod predecessor_cluster;
mod pulsar;
mod rabbitmq;
mod rocketmq;
mod sidekiq;

use chronos_proto::cronos_db::topic_service_client::TopicServiceClient;
use chronos_proto::cronos_db::{CreateTopicRequest, TopicSettings};
use chronos_tests::client::Client;
use chronos_tests::history::wall_ms;
use chronos_tests::patience::eventually;
use chronos_tests::server::Server;
use std::time::Duration;

const HOUR_MS: i64 = 3_600_000;
const SILENCE: Duration = Duration::from_millis(300);

/// Kills the server, starts it again, and connects anew.
async fn killed(server: &mut Server) -> Client {
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    Client::new(server.channel().unwrap())
}

async fn wait_until(at_ms: i64) {
    eventually("it is time", || async {
        (wall_ms() >= at_ms).then_some(())
    })
    .await;
}

async fn create_topic(server: &Server, name: &str, settings: TopicSettings) {
    let mut topics = TopicServiceClient::new(server.channel().unwrap());
    let request = CreateTopicRequest {
        name: name.into(),
        settings: Some(settings),
    };
    topics.create_topic(request).await.unwrap();
}
