//! ScheduledTopic: what the operator answers.

use serde::{Deserialize, Serialize};

use super::{Condition, schema};

/// What the operator saw last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduledTopicStatus {
    /// The generation of the spec that this is about.
    pub observed_generation: i64,
    /// The topic's name in the database.
    pub topic_name: String,
    /// Partitions that its events are spread over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// The nodes that lead its partitions, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leaders: Vec<String>,
    /// Events that wait for their time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<i64>,
    /// When the next one falls due, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_fire: Option<String>,
    /// Counts the changes of the topic in the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// What is true of the topic.
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// What the conditions of a ScheduledTopic are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicConditionType {
    /// The topic is as the spec says.
    Ready,
    /// The spec makes sense to the database.
    SpecValid,
    /// Somebody else had changed the topic, and it was changed back.
    Drifted,
    /// The operator leaves the topic alone.
    Paused,
}

impl TopicConditionType {
    /// All of them, in the order of the status.
    pub const ALL: [Self; 4] = [Self::Ready, Self::SpecValid, Self::Drifted, Self::Paused];

    /// The name in the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::SpecValid => "SpecValid",
            Self::Drifted => "Drifted",
            Self::Paused => "Paused",
        }
    }
}
