//! The settings of a node that a cluster may choose.
//!
//! They are the node's flags, without those that the operator owns: names, addresses, folders and
//! what is fixed when a cluster is made. One that is left out is the node's default.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{duration, schema};

/// Settings of the nodes. A change restarts them, one at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.fireAheadMs) || !has(self.nearWindowMs) || self.fireAheadMs < self.nearWindowMs").message("fireAheadMs must be less than nearWindowMs"))]
pub struct Settings {
    /// How long a stop waits for open calls and streams before it cuts them off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    #[x_kube(validation = duration::between("shutdownTimeout", "0s", "1h"))]
    pub shutdown_timeout: Option<String>,
    /// Threads that run network and engine tasks. 0: one per processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1024))]
    pub runtime_threads: Option<u32>,
    /// Whether gRPC reflection answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reflection: Option<bool>,
    /// Size at which a log segment is full, such as 512MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bytes")]
    #[x_kube(validation = schema::size_between("segmentSize", "64Ki", "2Gi"))]
    pub segment_size: Option<String>,
    /// Log records between two entries of the sparse index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub index_interval: Option<u32>,
    /// When a publish is acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fsync_mode: Option<FsyncMode>,
    /// Time between two fsyncs when fsyncMode is periodic, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub flush_interval_ms: Option<u32>,
    /// How long before its time an event's firing may be written to the log, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub fire_ahead_ms: Option<u32>,
    /// Events due within this time are held in memory, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1000, max = 86_400_000))]
    pub near_window_ms: Option<u32>,
    /// How long a subscriber may hold an event without ack or nack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    #[x_kube(validation = duration::between("ackTimeout", "1ms", "24h"))]
    pub ack_timeout: Option<String>,
    /// Deliveries in all before an event is a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_retries: Option<u32>,
    /// Wait before an event is delivered again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    #[x_kube(validation = duration::between("retryBackoff", "0s", "24h"))]
    pub retry_backoff: Option<String>,
    /// How long a dead letter is kept after its last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    #[x_kube(validation = duration::between("deadLetterTtl", "1s", "876000h"))]
    pub dead_letter_ttl: Option<String>,
    /// Unanswered events that a subscription may hold when it names no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50_000))]
    pub max_credits: Option<u32>,
    /// Whether a topic begins to exist when somebody publishes or subscribes to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_create_topics: Option<bool>,
    /// How long an event is kept after it fired, hours. 0: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 876_000))]
    pub retention_max_age_hours: Option<u32>,
    /// Most space of one partition's log, GiB. 0: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_048_576))]
    pub retention_max_size_gb: Option<u32>,
    /// How long a message id is remembered after its event was due, hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 87_600))]
    pub dedup_ttl_hours: Option<u32>,
    /// How far a node's clock may be from the median of all nodes'; one that is further away leads nothing, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub clock_skew_threshold_ms: Option<u32>,
    /// Time between a leader's heartbeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration::schema")]
    #[x_kube(validation = duration::between("raftHeartbeat", "10ms", "1m"))]
    pub raft_heartbeat: Option<String>,
    /// Cache for blocks read from the index, such as 64MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bytes")]
    #[x_kube(validation = schema::size_between("blockCacheBytes", "1Mi", "1Ti"))]
    pub block_cache_bytes: Option<String>,
    /// Index changes kept in memory before they are written out, such as 64MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bytes")]
    #[x_kube(validation = schema::size_between("writeBufferBytes", "1Mi", "1Ti"))]
    pub write_buffer_bytes: Option<String>,
    /// Bytes of publishes received and not yet answered, such as 64MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bytes")]
    #[x_kube(validation = schema::size_between("maxInflightBytes", "16Mi", "1Ti"))]
    pub max_inflight_bytes: Option<String>,
    /// The form of log lines. The operator's default is json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// error, warn, info, debug, trace or off; or a list such as info,chronos_wal=debug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::log_level")]
    pub log_level: Option<String>,
}

/// When a publish is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FsyncMode {
    /// After an fsync of its own batch.
    EveryEvent,
    /// After an fsync shared by all callers that wait.
    Batch,
    /// Before any fsync: a power cut of a majority loses up to the flush interval.
    Periodic,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

impl Settings {
    /// The flags that say these settings, in the order of the fields. A setting that was left out
    /// is not among them.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let mut flag = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                flags.push(format!("-{name}={value}"));
            }
        };
        let number = |value: &Option<u32>| value.map(|value| value.to_string());
        let switch = |value: &Option<bool>| value.map(|value| value.to_string());
        flag("shutdown-timeout", self.shutdown_timeout.clone());
        flag("runtime-threads", number(&self.runtime_threads));
        flag("reflection", switch(&self.reflection));
        flag("segment-size", self.segment_size.clone());
        flag("index-interval", number(&self.index_interval));
        flag(
            "fsync-mode",
            self.fsync_mode.map(|mode| {
                match mode {
                    FsyncMode::EveryEvent => "every_event",
                    FsyncMode::Batch => "batch",
                    FsyncMode::Periodic => "periodic",
                }
                .to_owned()
            }),
        );
        flag("flush-interval", number(&self.flush_interval_ms));
        flag("fire-ahead-ms", number(&self.fire_ahead_ms));
        flag("near-window-ms", number(&self.near_window_ms));
        flag("ack-timeout", self.ack_timeout.clone());
        flag("max-retries", number(&self.max_retries));
        flag("retry-backoff", self.retry_backoff.clone());
        flag("dead-letter-ttl", self.dead_letter_ttl.clone());
        flag("max-credits", number(&self.max_credits));
        flag("auto-create-topics", switch(&self.auto_create_topics));
        flag(
            "retention-max-age-hours",
            number(&self.retention_max_age_hours),
        );
        flag("retention-max-size-gb", number(&self.retention_max_size_gb));
        flag("dedup-ttl", number(&self.dedup_ttl_hours));
        flag(
            "clock-skew-threshold-ms",
            number(&self.clock_skew_threshold_ms),
        );
        flag("raft-heartbeat", self.raft_heartbeat.clone());
        flag("block-cache-bytes", self.block_cache_bytes.clone());
        flag("write-buffer-bytes", self.write_buffer_bytes.clone());
        flag("max-inflight-bytes", self.max_inflight_bytes.clone());
        flag(
            "log-format",
            Some(
                match self.log_format {
                    Some(LogFormat::Text) => "text",
                    Some(LogFormat::Json) | None => "json",
                }
                .to_owned(),
            ),
        );
        flag("log-level", self.log_level.clone());
        flags
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Flags of a node that a cluster does not choose: the operator does, or they have no effect.
    const OWN: [&str; 26] = [
        "-node-id",
        "-data-dir",
        "-node-rack",
        "-node-zone",
        "-node-region",
        "-grpc-addr",
        "-http-addr",
        "-grpc-advertise-addr",
        "-http-advertise-addr",
        "-tls-enabled",
        "-tls-cert-file",
        "-tls-key-file",
        "-tls-ca-file",
        "-tls-client-auth",
        "-partition-count",
        "-replication-factor",
        "-min-insync-replicas",
        "-cluster",
        "-cluster-seeds",
        "-raft-join",
        "-cluster-grpc-addr",
        "-cluster-advertise-addr",
        "-replication-tls-enabled",
        "-replication-tls-cert-file",
        "-replication-tls-key-file",
        "-replication-tls-ca-file",
    ];

    #[test]
    fn only_what_was_chosen_is_a_flag() {
        assert_eq!(Settings::default().flags(), ["-log-format=json"]);
        let settings = Settings {
            fsync_mode: Some(FsyncMode::EveryEvent),
            reflection: Some(false),
            dedup_ttl_hours: Some(24),
            log_format: Some(LogFormat::Text),
            ..Settings::default()
        };
        assert_eq!(
            settings.flags(),
            [
                "-reflection=false",
                "-fsync-mode=every_event",
                "-dedup-ttl=24",
                "-log-format=text"
            ]
        );
    }

    /// The reference of the node's flags is generated; a flag that is renamed there must be here.
    #[test]
    fn every_flag_is_one_that_the_node_knows() {
        let reference = include_str!("../../../../docs/configuration.md");
        let mut all = serde_json::Map::new();
        for (name, kind) in [
            ("shutdownTimeout", "1s"),
            ("segmentSize", "1MiB"),
            ("ackTimeout", "1s"),
            ("retryBackoff", "1s"),
            ("deadLetterTtl", "1s"),
            ("raftHeartbeat", "1s"),
            ("blockCacheBytes", "1MiB"),
            ("writeBufferBytes", "1MiB"),
            ("maxInflightBytes", "16MiB"),
            ("fsyncMode", "batch"),
            ("logFormat", "json"),
            ("logLevel", "info"),
        ] {
            all.insert(name.to_owned(), kind.into());
        }
        for name in [
            "runtimeThreads",
            "indexInterval",
            "flushIntervalMs",
            "fireAheadMs",
            "nearWindowMs",
            "maxRetries",
            "maxCredits",
            "retentionMaxAgeHours",
            "retentionMaxSizeGb",
            "dedupTtlHours",
            "clockSkewThresholdMs",
        ] {
            all.insert(name.to_owned(), 1.into());
        }
        all.insert("reflection".to_owned(), true.into());
        all.insert("autoCreateTopics".to_owned(), true.into());
        let settings: Settings = serde_json::from_value(all.clone().into()).unwrap();
        let again = serde_json::to_value(&settings).unwrap();
        assert_eq!(again.as_object(), Some(&all));
        let flags = settings.flags();
        assert_eq!(flags.len(), all.len());
        let names: BTreeSet<&str> = flags
            .iter()
            .map(|it| it.split('=').next().unwrap())
            .collect();
        // The rest is the operator's own, or has no effect there.
        let known = reference.lines().filter_map(|line| {
            let name = line.strip_prefix("| `-")?.split('`').next()?;
            line.contains("`CHRONOS_").then_some(name)
        });
        let known: BTreeSet<String> = known.map(|name| format!("-{name}")).collect();
        let offered: BTreeSet<&str> = known
            .iter()
            .map(String::as_str)
            .filter(|name| !OWN.contains(name))
            .collect();
        assert_eq!(names, offered);
    }
}
