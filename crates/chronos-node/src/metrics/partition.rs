//! The metrics of one partition.

use super::define;
use super::register::Register;
use super::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

macro_rules! partition_metrics {
    ($($field:ident: $handle:ident from $family:ident, $make:ident($definition:ident) $(= $value:literal)?, $doc:literal;)*) => {
        /// The handles of one partition: cheap to clone, one atomic addition to use.
        #[derive(Clone)]
        pub struct PartitionMetrics {
            $(#[doc = $doc] pub $field: $handle,)*
        }

        pub(super) struct Families {
            $($field: $family,)*
        }

        impl Families {
            /// The handles of a partition.
            pub(super) fn of(&self, partition: u32) -> PartitionMetrics {
                let partition = partition.to_string();
                PartitionMetrics {
                    $($field: self.$field.with_label_values(&[partition.as_str() $(, $value)?]),)*
                }
            }
        }

        impl Families {
            fn with(register: &Register<'_>, published: &IntCounterVec) -> Self {
                Self {
                    $($field: partition_metrics!(@make register published $make $definition),)*
                }
            }
        }
    };
    (@make $register:ident $published:ident shared $definition:ident) => { $published.clone() };
    (@make $register:ident $published:ident $make:ident $definition:ident) => {
        $register.$make(&define::$definition)
    };
}

partition_metrics! {
    accepted: IntCounter from IntCounterVec, shared(PUBLISH_EVENTS) = "accepted", "Events published.";
    duplicate: IntCounter from IntCounterVec, shared(PUBLISH_EVENTS) = "duplicate", "Events refused as duplicates.";
    failed: IntCounter from IntCounterVec, shared(PUBLISH_EVENTS) = "failed", "Events that the log did not take, or that it is not known of.";
    wal_append_batches: IntCounter from IntCounterVec, counters(WAL_APPEND_BATCHES), "Records appended to the log.";
    wal_append_bytes: IntCounter from IntCounterVec, counters(WAL_APPEND_BYTES), "Bytes appended to the log.";
    wal_segments: IntGauge from IntGaugeVec, gauges(WAL_SEGMENTS), "Segment files.";
    wal_bytes: IntGauge from IntGaugeVec, gauges(WAL_BYTES), "Bytes in segment files.";
    log_live_bytes: IntGauge from IntGaugeVec, gauges(LOG_LIVE_BYTES), "Live bytes of the log.";
    carried_events: IntCounter from IntCounterVec, counters(CARRIED_EVENTS), "Events carried forward.";
    carried_bytes: IntCounter from IntCounterVec, counters(CARRIED_BYTES), "Their bytes.";
    retention_segments: IntCounter from IntCounterVec, counters(RETENTION_SEGMENTS), "Segments removed.";
    pending: IntGauge from IntGaugeVec, gauges(EVENTS_PENDING), "Events not yet fired.";
    overdue: IntGauge from IntGaugeVec, gauges(EVENTS_OVERDUE), "Events that were released and wait to be handed out.";
    oldest_overdue_seconds: Gauge from GaugeVec, real_gauges(OLDEST_OVERDUE), "Age of the longest overdue event, in seconds.";
    next_fire_timestamp_seconds: Gauge from GaugeVec, real_gauges(NEXT_FIRE), "Unix seconds of the next firing, 0 for none.";
    fired: IntCounter from IntCounterVec, counters(EVENTS_FIRED), "Events fired.";
    wheel_entries: IntGauge from IntGaugeVec, gauges(WHEEL_ENTRIES), "Events in the timing wheel.";
    wheel_bytes: IntGauge from IntGaugeVec, gauges(WHEEL_BYTES), "Memory of the timing wheel.";
    delivered: IntCounter from IntCounterVec, counters(EVENTS_DELIVERED), "Deliveries read to be sent.";
    acked: IntCounter from IntCounterVec, counters(EVENTS_ACKED), "Deliveries acknowledged.";
    nacked: IntCounter from IntCounterVec, counters(EVENTS_NACKED), "Deliveries refused.";
    timed_out: IntCounter from IntCounterVec, counters(ACK_TIMEOUTS), "Deliveries not answered in time.";
    retried: IntCounter from IntCounterVec, counters(EVENTS_RETRIED), "Deliveries after the first attempt.";
    dead_lettered: IntCounter from IntCounterVec, counters(EVENTS_DEAD_LETTERED), "Events moved to dead letters.";
    expired: IntCounter from IntCounterVec, counters(EVENTS_EXPIRED), "Events that expired.";
    dropped_paused: IntCounter from IntCounterVec, counters(EVENTS_DROPPED) = "paused", "Events dropped by a pause.";
    cancelled: IntCounter from IntCounterVec, counters(EVENTS_CANCELLED), "Events cancelled.";
    rescheduled: IntCounter from IntCounterVec, counters(EVENTS_RESCHEDULED), "Events moved to another time.";
    fired_by_hand: IntCounter from IntCounterVec, counters(EVENTS_FIRED_BY_REQUEST), "Events fired by request.";
    dlq_events: IntGauge from IntGaugeVec, gauges(DLQ_EVENTS), "Dead letters of all groups.";
    leads: IntGauge from IntGaugeVec, gauges(RAFT_LEADS), "Whether this node leads.";
    term: IntGauge from IntGaugeVec, gauges(RAFT_TERM), "The Raft term.";
    commit_lag: IntGauge from IntGaugeVec, gauges(RAFT_COMMIT_LAG), "Entries not known to be committed.";
    leads_won: IntCounter from IntCounterVec, counters(LEADS_WON), "Leads that began.";
    credits_in_use: IntGauge from IntGaugeVec, gauges(CREDITS_IN_USE), "Deliveries not yet answered.";
}

impl Families {
    pub(super) fn new(register: &Register<'_>) -> Self {
        // Three fields are outcomes of one family.
        let published = register.counters(&define::PUBLISH_EVENTS);
        Self::with(register, &published)
    }
}
