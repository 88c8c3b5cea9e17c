//! The custom resources: what a user writes, and what the operator answers in the status.
//!
//! Whatever can be known at admission is a CEL rule of the schema, so that no webhook is needed.
//! Defaults are few and scalar, and none is inside a list: tools that compare what was applied
//! with what is stored would see a difference for ever.

mod cluster;
mod cluster_status;
mod condition;
pub mod duration;
mod given;
mod pod;
pub mod quantity;
mod schema;
mod settings;
mod tls;
mod topic;
mod topic_status;

pub use cluster::{
    ChronosCluster, ChronosClusterSpec, ClientService, DisruptionBudget, Monitoring, ServiceType,
    Storage, UpdateStrategy, UpdateType, WhenGone, ZoneSpread,
};
pub use cluster_status::{ChronosClusterStatus, MemberStatus, Phase};
pub use condition::{Condition, ConditionStatus, ConditionType, seeded, set_condition};
pub use given::{Given, Malformed};
pub use pod::{PodOverrides, PullSecret};
pub use settings::{FsyncMode, LogFormat, Settings};
pub use tls::Tls;
pub use topic::{
    Backoff, ClusterReference, DeletionPolicy, Limits, Retention, ScheduledTopic,
    ScheduledTopicSpec,
};
pub use topic_status::{ScheduledTopicStatus, TopicConditionType};

/// The group of the custom resources, and the prefix of labels and annotations.
pub const GROUP: &str = "chronosdb.io";
/// Annotation: `"true"` makes the operator leave a resource alone.
pub const PAUSE_ANNOTATION: &str = "chronosdb.io/pause-reconciliation";
/// Annotation: any new value restarts every pod of a cluster, one at a time.
pub const RESTART_ANNOTATION: &str = "chronosdb.io/restart-at";
/// Annotation: `<pod>:<member number>` gives up a member whose disk is lost. It names the member,
/// so that it does nothing once the pod has come back as another one.
pub const FORCE_REPLACE_ANNOTATION: &str = "chronosdb.io/force-replace";
