//! Options that several modes share.

use super::ids::RunId;
use super::span::Span;
use crate::connect::Connect;
use crate::printer::Format;

/// Where the server is and how the run is called, measured and reported.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    // The same two options as the global ones, with the same types, so that they may stand before
    // or after the mode.
    #[command(flatten)]
    pub connect: Connect,
    /// How to print the result.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, help_heading = "Global options")]
    pub output: Format,
    /// Connections for publishing; each subscription has one of its own
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256), value_name = "N")]
    pub connections: u16,
    /// Name of the run: ids, topic and group carry it [default: a fresh one]
    #[arg(long, value_name = "NAME")]
    pub run: Option<RunId>,
    /// Topic [default: load-RUN]
    #[arg(long)]
    pub topic: Option<String>,
    /// Bytes of payload per event
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4_194_304), value_name = "BYTES")]
    pub payload_bytes: u32,
    /// Give up, and fail, after this time
    #[arg(long, default_value = "2m", value_name = "SPAN")]
    pub timeout: Span,
    /// Process id of a server on this machine: adds its processor time, bytes written and memory
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Metrics page of the server, http://host:port/metrics: adds its fsyncs
    #[arg(long, value_name = "URL")]
    pub metrics_url: Option<String>,
    /// Do not fail on events that came again in a further attempt
    #[arg(long)]
    pub allow_redelivery: bool,
    /// How far the server's clock may be ahead of ours before an event counts as early
    #[arg(long, default_value = "0ms", value_name = "SPAN")]
    pub early_tolerance: Span,
}

/// Who receives.
#[derive(Debug, clap::Args)]
pub(crate) struct ReceiveOptions {
    /// Consumer group [default: load-RUN]
    #[arg(long)]
    pub group: Option<String>,
    /// Consumer groups, each of which must get every event
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64), value_name = "N")]
    pub groups: u16,
    /// Subscriptions per group, which share its events
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256), value_name = "N")]
    pub members: u16,
    /// Deliveries in flight per subscription (max_buffer_size)
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=50_000), value_name = "N")]
    pub credit: u32,
    /// Events per delivery: 0 for one event per message, as plain clients get them
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000), value_name = "N")]
    pub delivery_batch: u32,
    /// Where new groups begin: 0, -1 or an offset [default: -1, or 0 with several groups]
    #[arg(long, allow_negative_numbers = true, value_name = "OFFSET")]
    pub start_offset: Option<i64>,
    /// Time to watch for duplicates once everything has arrived
    #[arg(long, default_value = "300ms", value_name = "SPAN")]
    pub linger: Span,
}

impl ReceiveOptions {
    /// The start offset to ask for. Several groups are made one after the other, so later ones must
    /// look back.
    pub(crate) fn start_offset(&self) -> i64 {
        self.start_offset
            .unwrap_or(if self.groups > 1 { 0 } else { -1 })
    }
}
