//! Rust client of ChronosDB.
//!
//! ```text
//! Client ──► nodes (channels) ──► topology (partition → leader)
//!   ├─ publish, publish_batch      retried, routed by key
//!   ├─ Producer                    many sends, few requests
//!   ├─ Subscription ──► Delivery ──► AckHandle
//!   ├─ replay                      stored events, read again
//!   ├─ scheduled, cancel, …        what is scheduled, and changing it
//!   ├─ pause, resume, pauses       stopping deliveries for a while
//!   ├─ dead letters                looking, editing, redriving
//!   └─ groups, partitions          looking and managing
//! ```
//!
//! ```no_run
//! use chronos_client::{Client, NewEvent, Options, SubscribeOptions};
//! use futures::StreamExt;
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), chronos_client::Error> {
//! let client = Client::connect(Options::new(["127.0.0.1:9000"])).await?;
//! client
//!     .publish(NewEvent::new("invoices", "invoice-17-reminder", "pay me").after(Duration::from_secs(60)))
//!     .await?;
//!
//! let mut due = client.subscribe(SubscribeOptions::new("mailer", "invoices"));
//! while let Some(delivery) = due.next().await {
//!     let (event, handle) = delivery?.into_parts();
//!     println!("{} is due", event.message_id);
//!     handle.ack().await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Payloads, ids and meta values are never logged.

mod address;
mod batch;
mod client;
mod cluster;
mod dead_letters;
mod error;
mod event;
mod groups;
mod nodes;
mod options;
mod partitions;
mod pauses;
mod producer;
mod publish;
mod replay;
mod retry;
mod routing;
mod schedules;
mod subscription;
mod topics;
mod topology;
mod unique;

pub use address::{DEFAULT_PORT, InvalidAddress, endpoint_uri};
pub use batch::{BatchOutcome, EventOutcome};
pub use chronos_proto::cronos_db::{
    CompactRequest, ConsumerGroupMetadata, DeadLetter, DeadLetterFilter, DeadLetterState,
    DiscardDeadLettersRequest, DiscardDeadLettersResponse, EditDeadLetterRequest, Event,
    ExistingEvent, ListDeadLettersRequest, ListDeadLettersResponse, MetaEdit, PartitionInfo,
    RedriveDeadLettersRequest, RedriveProgress, ReplayEvent, ReplayOrder, ReplayRequest,
    RepublishProgress, RepublishRequest, RetentionRequest, SchedulerStatus, WalStatus,
};
/// Requests and answers about scheduled events, as in `proto/cronos_db/schedule.proto`.
pub mod schedule {
    pub use chronos_proto::cronos_db::{
        CancelAndPublishRequest, CancelAndPublishResponse, CancelMatchingRequest, CancelRequest,
        ChangeMatchingResponse, CountPendingRequest, CountPendingResponse, EventRef,
        FireNowRequest, GetScheduledRequest, ListPendingRequest, ListPendingResponse,
        PendingByTimeRequest, PendingByTimeResponse, PendingFilter, RescheduleMatchingRequest,
        RescheduleRequest, ScheduleOutcome, ScheduleResponse, ScheduleState, ScheduledEvent,
    };
}
/// Requests and answers about pauses, as in `proto/cronos_db/pause.proto`.
pub mod pause {
    pub use chronos_proto::cronos_db::pause_target::Target;
    pub use chronos_proto::cronos_db::{PauseInfo, PauseRequest, PauseTarget, WhilePaused};
}
/// Settings of topics, as in `proto/cronos_db/topics.proto`.
pub mod topic {
    pub use chronos_proto::cronos_db::{AlterTopicRequest, Topic, TopicPartition, TopicSettings};
}
/// Requests and answers about nodes, as in `proto/cronos_db/cluster.proto`.
pub mod cluster_service {
    pub use chronos_proto::cronos_db::{
        ClusterNode, ClusterStatusResponse, DrainScope, NodeState, RemoveNodeRequest,
    };
}
pub use chronos_tls::ClientOptions as Tls;
pub use client::Client;
pub use error::Error;
pub use event::{NewEvent, now_ms};
pub use options::Options;
pub use partitions::Freed;
pub use producer::{Producer, ProducerOptions, Receipt};
pub use publish::{IfPast, PublishAnswer, PublishOptions, Published};
pub use replay::ReplayRange;
pub use retry::RetryPolicy;
pub use routing::{fnv1a_64, partition_in_topic, partition_of, routing_key};
pub use subscription::{
    AckHandle, AckReceipt, Batch, BatchEvent, Delivery, Start, SubscribeOptions, Subscription,
};
pub use unique::unique_id;

#[cfg(test)]
mod fake;
