//! `chronosctl partition`

use chronos_client::{
    CompactRequest, Freed, PartitionInfo, RetentionRequest, SchedulerStatus, WalStatus,
};
use clap::Subcommand;
use comfy_table::Table;
use serde::Serialize;

use super::connect;
use crate::connect::Connect;
use crate::exit::Failure;
use crate::printer::{Printer, table};
use crate::when::{parse_bound_ms, show_time_ms};

const LIST_EXAMPLES: &str = "\
Examples:
  chronosctl partition list
  chronosctl partition list -o json | jq '.[].last_offset'";
const GET_EXAMPLES: &str = "\
Examples:
  chronosctl partition get 0
  chronosctl partition get 0 -o yaml";
const WAL_EXAMPLES: &str = "\
Examples:
  chronosctl partition wal 0";
const SCHEDULER_EXAMPLES: &str = "\
Examples:
  chronosctl partition scheduler 0
  watch chronosctl partition scheduler 0";
const COMPACT_EXAMPLES: &str = "\
Examples:
  chronosctl partition compact 0
  chronosctl partition compact 0 --force             # also what retention would still keep
  chronosctl partition compact 0 --before 2026-11-01T00:00:00Z";
const RETAIN_EXAMPLES: &str = "\
Examples:
  chronosctl partition retain 0                       # as the node was told
  chronosctl partition retain 0 --max-age-hours 6
  chronosctl partition retain 0 --max-size-bytes 1000000000 --min-offset 500";

/// Look at partitions, their logs and schedulers, and free space.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the partitions.
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Describe one partition. Exits with 3 when there is none of that number.
    #[command(after_help = GET_EXAMPLES)]
    Get {
        /// Number of the partition.
        partition: u32,
    },
    /// Describe the log files of one partition.
    #[command(after_help = WAL_EXAMPLES)]
    Wal {
        /// Number of the partition.
        partition: u32,
    },
    /// Free the space of events that are over. What has not fired stays.
    #[command(after_help = COMPACT_EXAMPLES)]
    Compact {
        /// Number of the partition.
        partition: u32,
        /// Only segments whose events were all published before this time.
        #[arg(long, value_parser = parse_bound_ms)]
        before: Option<i64>,
        /// Also what has fired less than the time ago for which events are kept.
        #[arg(long)]
        force: bool,
    },
    /// Apply limits now. What has not fired stays.
    #[command(after_help = RETAIN_EXAMPLES)]
    Retain {
        /// Number of the partition.
        partition: u32,
        /// Keep events this many hours after they fired.
        #[arg(long, default_value_t = 0)]
        max_age_hours: u16,
        /// Keep at most this many bytes of log, if what is over can be given up for it.
        #[arg(long, default_value_t = 0)]
        max_size_bytes: u64,
        /// Keep every event from this offset on.
        #[arg(long, default_value_t = 0)]
        min_offset: u64,
    },
    /// Describe what one partition has waiting.
    #[command(after_help = SCHEDULER_EXAMPLES)]
    Scheduler {
        /// Number of the partition.
        partition: u32,
    },
}

/// A partition in JSON and YAML, by the names of the wire.
#[derive(Debug, Serialize)]
struct PartitionView {
    partition_id: i32,
    topic: String,
    leader_id: String,
    replica_ids: Vec<String>,
    high_watermark: i64,
    last_offset: i64,
    segment_count: i32,
    disk_usage_bytes: i64,
}

impl From<PartitionInfo> for PartitionView {
    fn from(info: PartitionInfo) -> Self {
        Self {
            partition_id: info.partition_id,
            topic: info.topic,
            leader_id: info.leader_id,
            replica_ids: info.replica_ids,
            high_watermark: info.high_watermark,
            last_offset: info.last_offset,
            segment_count: info.segment_count,
            disk_usage_bytes: info.disk_usage_bytes,
        }
    }
}

impl PartitionView {
    /// Whether its leader said nothing of its log: a log that is there has a segment.
    fn is_silent(&self) -> bool {
        self.high_watermark == 0 && self.segment_count == 0 && self.disk_usage_bytes == 0
    }
}

/// A log in JSON and YAML, by the names of the wire.
#[derive(Debug, Serialize)]
struct WalView {
    partition_id: i32,
    segment_files: Vec<String>,
    first_offset: i64,
    last_offset: i64,
    index_entries: i64,
    oldest_segment_ts: i64,
    newest_segment_ts: i64,
    total_size_bytes: i64,
    available_space_bytes: i64,
}

impl From<WalStatus> for WalView {
    fn from(status: WalStatus) -> Self {
        Self {
            partition_id: status.partition_id,
            segment_files: status.segment_files,
            first_offset: status.first_offset,
            last_offset: status.last_offset,
            index_entries: status.index_entries,
            oldest_segment_ts: status.oldest_segment_ts,
            newest_segment_ts: status.newest_segment_ts,
            total_size_bytes: status.total_size_bytes,
            available_space_bytes: status.available_space_bytes,
        }
    }
}

/// A scheduler in JSON and YAML, by the names of the wire.
#[derive(Debug, Serialize)]
struct SchedulerView {
    partition_id: i32,
    active_timers: i64,
    ready_events: i64,
    avg_delay_ms: i64,
    max_delay_ms: i64,
    tick_ms: i32,
    wheel_size: i32,
}

impl From<SchedulerStatus> for SchedulerView {
    fn from(status: SchedulerStatus) -> Self {
        Self {
            partition_id: status.partition_id,
            active_timers: status.active_timers,
            ready_events: status.ready_events,
            avg_delay_ms: status.avg_delay_ms,
            max_delay_ms: status.max_delay_ms,
            tick_ms: status.tick_ms,
            wheel_size: status.wheel_size,
        }
    }
}

/// Freed space in JSON and YAML.
#[derive(Debug, Serialize)]
struct FreedView {
    segments: i64,
    bytes: i64,
}

impl From<Freed> for FreedView {
    fn from(freed: Freed) -> Self {
        Self {
            segments: freed.segments,
            bytes: freed.bytes,
        }
    }
}

/// No partition has a number beyond the wire's range.
fn wire_id(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// Runs the command.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    let client = connect(to).await?;
    match args.verb {
        Verb::List => {
            let partitions = client.partitions().await?;
            let views: Vec<PartitionView> =
                partitions.into_iter().map(PartitionView::from).collect();
            printer.whole(&views, || list_table(&views))?;
        }
        Verb::Get { partition } => {
            let view = PartitionView::from(client.partition(partition).await?);
            printer.whole(&view, || list_table(std::slice::from_ref(&view)))?;
        }
        Verb::Wal { partition } => {
            let view = WalView::from(client.wal_status(partition).await?);
            printer.whole(&view, || wal_table(&view))?;
        }
        Verb::Compact {
            partition,
            before,
            force,
        } => {
            let request = CompactRequest {
                partition_id: wire_id(partition),
                before_ts: before.unwrap_or(0),
                force,
            };
            let view = FreedView::from(client.compact(request).await?);
            printer.whole(&view, || freed_table(&view))?;
        }
        Verb::Retain {
            partition,
            max_age_hours,
            max_size_bytes,
            min_offset,
        } => {
            let request = RetentionRequest {
                partition_id: wire_id(partition),
                max_age_hours: max_age_hours.into(),
                max_size_bytes: i64::try_from(max_size_bytes).unwrap_or(i64::MAX),
                min_offset: i64::try_from(min_offset).unwrap_or(i64::MAX),
            };
            let view = FreedView::from(client.run_retention(request).await?);
            printer.whole(&view, || freed_table(&view))?;
        }
        Verb::Scheduler { partition } => {
            let view = SchedulerView::from(client.scheduler_status(partition).await?);
            printer.whole(&view, || scheduler_table(&view))?;
        }
    }
    Ok(())
}

fn list_table(partitions: &[PartitionView]) -> Table {
    let mut table = table([
        "PARTITION",
        "LEADER",
        "REPLICAS",
        "LAST OFFSET",
        "SEGMENTS",
        "DISK",
    ]);
    for partition in partitions {
        let log = match partition.is_silent() {
            true => ["no answer".to_string(), "-".to_string(), "-".to_string()],
            false => [
                partition.last_offset.to_string(),
                partition.segment_count.to_string(),
                show_bytes(partition.disk_usage_bytes),
            ],
        };
        let who = [
            partition.partition_id.to_string(),
            partition.leader_id.clone(),
            partition.replica_ids.join(","),
        ];
        table.add_row(who.into_iter().chain(log));
    }
    table
}

fn freed_table(freed: &FreedView) -> Table {
    let mut table = table(["SEGMENTS FREED", "SPACE FREED"]);
    table.add_row([freed.segments.to_string(), show_bytes(freed.bytes)]);
    table
}

fn wal_table(wal: &WalView) -> Table {
    let time = |ms: i64| match ms {
        0 => "-".to_string(),
        ms => show_time_ms(ms),
    };
    let mut table = table(["FIELD", "VALUE"]);
    table.add_rows([
        ["partition", &wal.partition_id.to_string()],
        [
            "offsets",
            &format!("{} to {}", wal.first_offset, wal.last_offset),
        ],
        ["segments", &wal.segment_files.len().to_string()],
        ["size", &show_bytes(wal.total_size_bytes)],
        ["free space", &show_bytes(wal.available_space_bytes)],
        ["index entries", &wal.index_entries.to_string()],
        ["oldest segment", &time(wal.oldest_segment_ts)],
        ["newest segment", &time(wal.newest_segment_ts)],
    ]);
    for file in &wal.segment_files {
        table.add_row(["file", file]);
    }
    table
}

fn scheduler_table(scheduler: &SchedulerView) -> Table {
    // By its name on the wire it is a delay; it is the time until the next event in the wheel.
    let next = match scheduler.avg_delay_ms {
        0 => "-".to_string(),
        ms => format!("{ms} ms"),
    };
    let mut table = table(["FIELD", "VALUE"]);
    table.add_rows([
        ["partition", &scheduler.partition_id.to_string()],
        ["waiting", &scheduler.active_timers.to_string()],
        ["ready", &scheduler.ready_events.to_string()],
        ["next event in", &next],
        ["tick", &format!("{} ms", scheduler.tick_ms)],
        ["wheel slots", &scheduler.wheel_size.to_string()],
    ]);
    table
}

/// A size with a binary unit and one decimal.
fn show_bytes(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut shown = None;
    for unit in UNITS {
        if value.abs() < 1024.0 {
            break;
        }
        value /= 1024.0;
        shown = Some(unit);
    }
    match shown {
        None => format!("{bytes} B"),
        Some(unit) => format!("{value:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536 * 1024, "1.5 MiB"),
            (i64::MAX, "8192.0 PiB"),
        ] {
            assert_eq!(show_bytes(bytes), text);
        }
    }

    #[test]
    fn tables_hold_what_matters() {
        let view = PartitionView::from(PartitionInfo {
            partition_id: 3,
            leader_id: "node1".into(),
            last_offset: -1,
            disk_usage_bytes: 2048,
            ..PartitionInfo::default()
        });
        let text = list_table(&[view]).to_string();
        for part in ["3", "node1", "-1", "2.0 KiB"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let silent = PartitionView::from(PartitionInfo {
            last_offset: -1,
            ..PartitionInfo::default()
        });
        let text = list_table(&[silent]).to_string();
        assert!(text.contains("no answer"), "{text}");
        assert!(!text.contains("-1") && !text.contains("0 B"), "{text}");
        for (avg_delay_ms, expected) in [(0, "-"), (1500, "1500 ms")] {
            let view = SchedulerView::from(SchedulerStatus {
                avg_delay_ms,
                max_delay_ms: avg_delay_ms,
                ..SchedulerStatus::default()
            });
            let text = scheduler_table(&view).to_string();
            let row = text.lines().find(|line| line.contains("next event in"));
            assert!(row.is_some_and(|row| row.contains(expected)), "{text}");
        }
        let view = WalView::from(WalStatus {
            segment_files: vec!["0.log".into()],
            oldest_segment_ts: 1000,
            ..WalStatus::default()
        });
        let text = wal_table(&view).to_string();
        assert!(
            text.contains("0.log") && text.contains("1970-01-01T00:00:01.000Z"),
            "{text}"
        );
    }
}
