//! The result as text.

use std::fmt::Write as _;

use super::histogram::{Summary, grouped, human};
use super::report::{MemoryFigures, Rate, Report};

/// The report as lines of text, histograms included.
pub(crate) fn text(report: &Report) -> String {
    let mut page = Page(String::new());
    page.line(
        "run",
        format!("{} {} on topic {}", report.mode, report.run, report.topic),
    );
    if let Some(publish) = &report.publish {
        let how = match (publish.batch, publish.in_flight) {
            (batch, 0) => format!("open loop, up to {batch} per call"),
            (1, in_flight) => format!("one per call, {in_flight} calls in flight"),
            (batch, in_flight) => format!("{batch} per call, {in_flight} calls in flight"),
        };
        page.line(
            "published",
            format!("{}, {how}, due {}", rate(&publish.rate), publish.due),
        );
        page.summary("publish latency", publish.latency.as_ref());
        for (reason, count) in &publish.errors {
            page.line("failed calls", format!("{} × {reason}", grouped(*count)));
        }
    }
    if let Some(delivery) = &report.delivery {
        page.line("delivered", rate(&delivery.rate));
        page.summary("lateness", delivery.lateness.as_ref());
        page.line("acked", grouped(delivery.acked));
        page.summary("ack latency", delivery.ack_latency.as_ref());
    }
    if let Some(life) = &report.life {
        page.line("whole lives", rate(life));
    }
    if let Some(herd) = &report.herd {
        let time = |us: Option<i64>| us.map_or("-".to_owned(), signed);
        page.line(
            "herd",
            format!(
                "first after {}, last after {}; published {} ms ahead",
                time(herd.first_us),
                time(herd.last_us.map(|us| us as i64)),
                herd.published_ahead_ms
            ),
        );
    }
    if let Some(open_loop) = &report.open_loop {
        page.line(
            "open loop",
            format!(
                "{:.0} events/s intended, due {} ms after that; sent up to {} late",
                open_loop.intended_per_second,
                open_loop.delay_ms,
                human(open_loop.sent_late_max_us)
            ),
        );
    }
    if let Some(memory) = &report.memory {
        page.memory(memory);
    }
    page.usage(report);
    page.verdict(report);
    for (title, times) in &report.histograms {
        let drawn = times.draw(title);
        if !drawn.is_empty() {
            page.0.push('\n');
            page.0.push_str(&drawn);
        }
    }
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, name: &str, value: String) {
        // Writing into a string does not fail.
        writeln!(self.0, "{name:<16} {value}").ok();
    }

    fn summary(&mut self, name: &str, summary: Option<&Summary>) {
        if let Some(summary) = summary {
            self.line(
                name,
                format!(
                    "p50 {}  p99 {}  p99.9 {}  max {}",
                    human(summary.p50_us),
                    human(summary.p99_us),
                    human(summary.p99_9_us),
                    human(summary.max_us)
                ),
            );
        }
    }

    fn memory(&mut self, memory: &MemoryFigures) {
        for stage in &memory.stages {
            self.line(
                "memory",
                format!(
                    "{} with {} pending ({} of it anonymous)",
                    mebibytes(stage.memory.resident_bytes),
                    grouped(stage.events),
                    mebibytes(stage.memory.anonymous_bytes)
                ),
            );
        }
        if let Some((resident, anonymous)) = memory
            .resident_bytes_per_event
            .zip(memory.anonymous_bytes_per_event)
        {
            self.line(
                "slope",
                format!("{resident:.2} B per pending event ({anonymous:.2} B anonymous)"),
            );
        }
    }

    fn usage(&mut self, report: &Report) {
        let usage = &report.usage;
        if let Some((cpu_us, percent)) = usage.server_cpu_us_per_event.zip(usage.server_cpu_percent)
        {
            self.line(
                "server",
                format!("{cpu_us:.2} µs of processor time per event ({percent:.0} % of a core)"),
            );
        }
        if let Some((written, beyond)) = usage
            .written_bytes_per_event
            .zip(report.written_beyond_own_bytes_per_event)
        {
            self.line(
                "written",
                format!(
                    "{written:.0} B per event, {beyond:.0} B beyond its own {}",
                    report.event_bytes
                ),
            );
        }
        if let Some((fsyncs, (per_second, per_event))) = usage
            .fsyncs
            .zip(usage.fsyncs_per_second.zip(usage.fsyncs_per_event))
        {
            let mean = usage.fsync_mean_us.map_or(0, |mean_us| mean_us as u64);
            self.line(
                "fsyncs",
                format!(
                    "{fsyncs:.0}, {per_second:.0} per second, {per_event:.5} per event, {} each",
                    human(mean)
                ),
            );
        }
        if let Some(memory) = usage.memory_after {
            self.line("server memory", mebibytes(memory.resident_bytes));
        }
        if let Some(cpu_us) = usage.client_cpu_us_per_event {
            self.line(
                "this client",
                format!("{cpu_us:.2} µs of processor time per event"),
            );
        }
    }

    fn verdict(&mut self, report: &Report) {
        let books = &report.verification;
        if books.foreign > 0 {
            self.line(
                "strangers",
                format!("{} events of others", grouped(books.foreign)),
            );
        }
        if books.refused > 0 {
            self.line("refused", format!("{} publishes", grouped(books.refused)));
        }
        if !report.passed {
            self.line(
                "verified",
                format!("FAILED: {}", report.failures.join("; ")),
            );
        } else if books.groups == 0 {
            self.line("verified", format!("{} accepted", grouped(books.accepted)));
        } else {
            let groups = if books.groups == 1 {
                String::new()
            } else {
                format!(" in each of {} groups", books.groups)
            };
            self.line(
                "verified",
                format!(
                    "{} accepted, each arrived exactly once{groups}, none early, all intact",
                    grouped(books.accepted)
                ),
            );
        }
    }
}

fn rate(rate: &Rate) -> String {
    format!(
        "{} events in {:.2} s, {} events/s",
        grouped(rate.events),
        rate.seconds,
        grouped(rate.per_second as u64)
    )
}

fn signed(time_us: i64) -> String {
    let sign = if time_us < 0 { "-" } else { "" };
    format!("{sign}{}", human(time_us.unsigned_abs()))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
