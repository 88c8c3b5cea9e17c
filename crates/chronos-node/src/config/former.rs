//! Flags and variables of the system that ChronosDB replaces, which a node knows and cannot use.
//!
//! Their names stay known so that existing start scripts either work or say why not: a flag whose
//! purpose is missing here stops the start unless it asks for what happens anyway; one that only
//! tuned the other system's inside is reported and has no effect.

use super::{duration, switch};

/// One flag or variable.
pub struct Former {
    /// The flag without dashes; for a variable without a flag, as its flag would be.
    pub name: &'static str,
    /// How its value is written.
    pub takes: Takes,
    /// Values that ask for nothing this node does not do. The first was the default.
    pub harmless: &'static [&'static str],
    /// What becomes of it.
    pub standing: Standing,
    /// Whether it is a flag, or a variable only.
    pub is_flag: bool,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// `true` or `false`; as a flag also without a value.
    Switch,
    /// A number, possibly with a fraction.
    Number,
    /// A duration as Go writes it.
    Duration,
    /// Any text.
    Text,
}

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Anything but a harmless value stops the start; the text names what is missing.
    NotAvailable(&'static str),
    /// Accepted without effect; the text says why none is needed.
    NoEffect(&'static str),
}

impl Former {
    /// Whether the value asks for nothing that this node does not do. `None`: not a value at all.
    pub(super) fn is_harmless(&self, value: &str) -> Option<bool> {
        let same = |harmless: &&str| match self.takes {
            Takes::Switch => Some(switch::parse(value)? == switch::parse(harmless)?),
            Takes::Number => Some(number(value)? == number(harmless)?),
            Takes::Duration => Some(duration::parse(value)? == duration::parse(harmless)?),
            Takes::Text => Some(value == *harmless),
        };
        let answers: Option<Vec<bool>> = self.harmless.iter().map(same).collect();
        Some(answers?.contains(&true))
    }

    /// What the value may be, to complete "takes …".
    pub(super) fn expects(&self) -> &'static str {
        match self.takes {
            Takes::Switch => "true or false",
            Takes::Number => "a number",
            Takes::Duration => "a duration with its unit, such as 1m30s or 100ms",
            Takes::Text => "a text",
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

use Standing::{NoEffect, NotAvailable};
use Takes::{Duration, Number, Switch, Text};

const AUTH: Standing = NotAvailable("authentication");
const ENCRYPTION: Standing = NotAvailable("encryption at rest");
const TRACING: Standing = NotAvailable("export of traces");
const FOLLOWER_READS: Standing = NotAvailable("reading from followers");
const REGIONS: Standing = NotAvailable("replication between regions");
const CDC: Standing = NotAvailable("change data capture");
const RATE: Standing = NotAvailable("a rate limit");
const SHEDDING: Standing = NotAvailable("load shedding by a threshold");

const GOSSIP: Standing = NoEffect(
    "nodes find each other by -cluster-seeds, and all they say goes by -cluster-grpc-addr",
);
const REPLICATION: Standing = NoEffect("replicas are sent what they can take");
const WHEEL: Standing =
    NoEffect("the timing wheel always ticks at 1 ms and grows by itself; see -near-window-ms");
const HYDRATOR: Standing =
    NoEffect("far events are paged in ahead of their time; see -near-window-ms");
const QUEUES: Standing = NoEffect("memory is bounded by bytes; see -max-inflight-bytes");
const BREAKER: Standing = NoEffect("a failing subscriber is slowed by -retry-backoff");

/// All of them.
pub const FORMER: [Former; 48] = [
    flag("cluster-gossip-addr", Text, &[":7946"], GOSSIP),
    flag("cluster-raft-addr", Text, &[":7948"], GOSSIP),
    flag("use-memberlist", Switch, &["false"], GOSSIP),
    flag("follower-reads", Switch, &["false"], FOLLOWER_READS),
    variable("regions", Text, &[""], REGIONS),
    variable("cdc-kafka-brokers", Text, &[""], CDC),
    variable("cdc-kafka-topic", Text, &["cronos-cdc"], CDC),
    variable("cdc-webhook-url", Text, &[""], CDC),
    flag("auth-enabled", Switch, &["false"], AUTH),
    flag("auth-jwt-secret", Text, &[""], AUTH),
    flag("auth-jwt-public-key", Text, &[""], AUTH),
    flag("auth-policy-file", Text, &[""], AUTH),
    flag("encryption-enabled", Switch, &["false"], ENCRYPTION),
    flag("encryption-key-file", Text, &[""], ENCRYPTION),
    flag("tracing-enabled", Switch, &["false"], TRACING),
    flag("tracing-exporter", Text, &["none"], TRACING),
    flag("tracing-otlp-endpoint", Text, &["127.0.0.1:4317"], TRACING),
    flag("tracing-sample-ratio", Number, &["0.01"], TRACING),
    flag("tracing-insecure", Switch, &["true"], TRACING),
    flag(
        "exactly-once-commits",
        Switch,
        &["false"],
        NotAvailable("exactly-once commits"),
    ),
    flag("topic-rate-limit", Number, &["0"], RATE),
    flag("topic-rate-burst", Number, &["0"], RATE),
    flag("max-ingest-rate", Number, &["0"], RATE),
    flag("ingest-burst-size", Number, &["0"], RATE),
    flag("load-shedding-threshold", Number, &["0"], SHEDDING),
    flag("max-memory-percent", Number, &["0"], SHEDDING),
    flag(
        "dev",
        Switch,
        &["false"],
        NoEffect("a node starts without TLS and authentication as it is"),
    ),
    flag("tick-ms", Number, &["10"], WHEEL),
    flag("wheel-size", Number, &["600"], WHEEL),
    flag("max-timing-wheel-size", Number, &["10000000"], WHEEL),
    flag("hot-window-minutes", Number, &["60"], HYDRATOR),
    flag("hydrator-min-interval", Number, &["5000"], HYDRATOR),
    flag("hydrator-max-interval", Number, &["300000"], HYDRATOR),
    flag("max-ready-queue", Number, &["1000000"], QUEUES),
    flag("max-in-flight", Number, &["500000"], QUEUES),
    flag("memory-check-interval", Number, &["5000"], QUEUES),
    flag("cb-failure-threshold", Number, &["0.5"], BREAKER),
    flag("cb-min-attempts", Number, &["10"], BREAKER),
    flag("cb-open-duration-ms", Number, &["30000"], BREAKER),
    flag(
        "bloom-capacity",
        Number,
        &["100000000"],
        NoEffect("the filter of message ids grows with their number"),
    ),
    flag("replication-batch", Number, &["100"], REPLICATION),
    flag("replication-timeout", Duration, &["10s"], REPLICATION),
    flag(
        "snapshot-catchup-threshold",
        Number,
        &["10000"],
        REPLICATION,
    ),
    flag(
        "raft-dir",
        Text,
        &["./raft"],
        NoEffect("the Raft log is the write-ahead log in -data-dir"),
    ),
    flag(
        "virtual-nodes",
        Number,
        &["2048"],
        NoEffect("partitions are placed without a ring of nodes"),
    ),
    flag("heartbeat-interval", Duration, &["1s"], GOSSIP),
    flag("failure-timeout", Duration, &["5s"], GOSSIP),
    flag("suspect-timeout", Duration, &["3s"], GOSSIP),
];

const fn flag(
    name: &'static str,
    takes: Takes,
    harmless: &'static [&'static str],
    standing: Standing,
) -> Former {
    Former {
        name,
        takes,
        harmless,
        standing,
        is_flag: true,
    }
}

const fn variable(
    name: &'static str,
    takes: Takes,
    harmless: &'static [&'static str],
    standing: Standing,
) -> Former {
    Former {
        is_flag: false,
        ..flag(name, takes, harmless, standing)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::settings::SETTINGS;
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_values() {
        let mut names: HashSet<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        for former in &FORMER {
            assert!(names.insert(former.name), "{}", former.name);
            for value in former.harmless {
                assert_eq!(former.is_harmless(value), Some(true), "{}", former.name);
            }
        }
    }

    #[test]
    fn compares_values_not_spellings() {
        let by_name = |name| FORMER.iter().find(|former| former.name == name).unwrap();
        assert_eq!(by_name("follower-reads").is_harmless("F"), Some(true));
        assert_eq!(by_name("follower-reads").is_harmless("1"), Some(false));
        assert_eq!(by_name("follower-reads").is_harmless("maybe"), None);
        assert_eq!(
            by_name("tracing-sample-ratio").is_harmless("0.010"),
            Some(true)
        );
        assert_eq!(
            by_name("replication-timeout").is_harmless("10000ms"),
            Some(true)
        );
        assert_eq!(by_name("replication-timeout").is_harmless("10"), None);
        assert_eq!(by_name("max-ingest-rate").is_harmless("NaN"), None);
    }
}
