//! Service traits and servers of both packages. `PublishRequest`, `PublishBatchRequest`,
//! `Delivery` and `ReplayEvent` are those of [`crate::raw`].

pub use crate::raw::services::admin::admin_service_server;
pub use crate::raw::services::events::{
    cluster_service_server, consumer_group_service_server, cross_region_service_server,
    dead_letter_service_server, event_service_server, partition_service_server,
    pause_service_server, raft_service_server, replay_service_server, replication_service_server,
    schedule_service_server, topic_service_server, transaction_service_server,
};
