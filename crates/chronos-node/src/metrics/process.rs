//! What Linux knows of this process, read from /proc. Elsewhere the values stay 0.

use std::fs;

use prometheus::Counter;

use super::define;
use super::register::{Register, opts};
use super::{Gauge, IntGauge};

/// /proc counts processor time and the start of a process in hundredths of a second on every
/// architecture that Linux shows to programs.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct Process {
    cpu_seconds: Counter,
    resident_bytes: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    threads: IntGauge,
    start_seconds: Gauge,
}

impl Process {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self {
            cpu_seconds: register.keep(Counter::with_opts(opts(&define::PROCESS_CPU))),
            resident_bytes: register.gauge(&define::PROCESS_RESIDENT),
            open_fds: register.gauge(&define::PROCESS_FDS),
            max_fds: register.gauge(&define::PROCESS_MAX_FDS),
            threads: register.gauge(&define::PROCESS_THREADS),
            start_seconds: register.real_gauge(&define::PROCESS_START),
        }
    }

    /// Reads everything anew. What cannot be read keeps its last value.
    pub(super) fn refresh(&self) {
        if let Some(stat) = fs::read_to_string("/proc/self/stat")
            .ok()
            .and_then(|text| Stat::parse(&text))
        {
            let more = stat.cpu_seconds - self.cpu_seconds.get();
            if more > 0.0 {
                self.cpu_seconds.inc_by(more);
            }
            self.threads.set(stat.threads);
            if let Some(booted) = boot_seconds() {
                self.start_seconds.set(booted + stat.start_seconds);
            }
        }
        if let Some(bytes) = resident_bytes() {
            self.resident_bytes.set(bytes);
        }
        if let Ok(listing) = fs::read_dir("/proc/self/fd") {
            // One of them is the listing itself.
            self.open_fds.set(listing.count() as i64 - 1);
        }
        if let Some(limit) = max_fds() {
            self.max_fds.set(limit);
        }
    }
}

/// The fields that matter of /proc/self/stat; see proc_pid_stat(5).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: i64,
    start_seconds: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold anything.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // `rest` begins with the third field.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            threads: field(20)? as i64,
            start_seconds: field(22)? / TICKS_PER_SECOND,
        })
    }
}

fn boot_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn resident_bytes() -> Option<i64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn max_fds() -> Option<i64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_line_whatever_the_name() {
        let line = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 12345 1 1";
        assert_eq!(
            Stat::parse(line),
            Some(Stat {
                cpu_seconds: 3.0,
                threads: 9,
                start_seconds: 123.45
            })
        );
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }
}
