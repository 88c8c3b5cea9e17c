//! What the server and this process used: processor time, bytes written, memory, fsyncs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Linux reports processor time to user space in hundredths of a second on every architecture.
const TICK_US: u64 = 10_000;
/// The server's count of fsyncs on /metrics.
const FSYNC_COUNT_METRIC: &str = "chronos_wal_fsync_seconds_count";
/// The server's sum of fsync times on /metrics, in seconds.
const FSYNC_SUM_METRIC: &str = "chronos_wal_fsync_seconds_sum";
/// Longest page of metrics read, in bytes.
const MAX_METRICS_BYTES: u64 = 8 << 20;
/// Time allowed for reading /metrics.
const METRICS_TIMEOUT: Duration = Duration::from_secs(10);

/// Where to look.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    /// The server's process, when it runs on this machine.
    pub pid: Option<u32>,
    /// The server's metrics, `http://host:port/metrics`.
    pub metrics_url: Option<String>,
}

impl Meter {
    /// Reads everything now.
    ///
    /// # Errors
    /// When a named process or page cannot be read.
    pub(crate) async fn sample(&self) -> Result<Sample> {
        let server = match self.pid {
            Some(pid) => Some(
                ProcessUse::read(&pid.to_string())
                    .with_context(|| format!("cannot measure process {pid}"))?,
            ),
            None => None,
        };
        let fsyncs = match &self.metrics_url {
            Some(url) => {
                let page = tokio::time::timeout(METRICS_TIMEOUT, fetch(url))
                    .await
                    .with_context(|| format!("{url} did not answer within 10 s"))?
                    .with_context(|| format!("cannot read {url}"))?;
                Some(Fsyncs {
                    count: metric(&page, FSYNC_COUNT_METRIC),
                    seconds: metric(&page, FSYNC_SUM_METRIC),
                })
            }
            None => None,
        };
        Ok(Sample {
            at: Instant::now(),
            client: ProcessUse::read("self").ok(),
            server,
            fsyncs,
        })
    }
}

/// One reading.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    at: Instant,
    client: Option<ProcessUse>,
    server: Option<ProcessUse>,
    fsyncs: Option<Fsyncs>,
}

impl Sample {
    /// Memory of the server at this reading.
    pub(crate) fn memory(&self) -> Option<Memory> {
        self.server.as_ref().map(|server| server.memory)
    }

    /// What was used from `before` until this reading, over `events` events.
    pub(crate) fn since(&self, before: &Self, events: u64) -> Usage {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let per_event = |amount: f64| (events > 0).then(|| amount / events as f64);
        let cpu_us = |now: &Option<ProcessUse>, then: &Option<ProcessUse>| {
            Some(now.as_ref()?.cpu_us.saturating_sub(then.as_ref()?.cpu_us) as f64)
        };
        let server_cpu_us = cpu_us(&self.server, &before.server);
        let both = self.server.as_ref().zip(before.server.as_ref());
        let written =
            both.map(|(now, then)| now.written_bytes.saturating_sub(then.written_bytes) as f64);
        let passed =
            both.map(|(now, then)| now.passed_bytes.saturating_sub(then.passed_bytes) as f64);
        let fsyncs = self.fsyncs.zip(before.fsyncs);
        let fsync_count = fsyncs.map(|(now, then)| now.count - then.count);
        Usage {
            seconds,
            server_cpu_us_per_event: server_cpu_us.and_then(per_event),
            server_cpu_percent: server_cpu_us.map(|cpu_us| cpu_us / 1e4 / seconds),
            client_cpu_us_per_event: cpu_us(&self.client, &before.client).and_then(per_event),
            written_bytes_per_event: written.and_then(per_event),
            passed_to_write_bytes_per_event: passed.and_then(per_event),
            fsyncs: fsync_count,
            fsyncs_per_second: fsync_count.map(|count| count / seconds),
            fsyncs_per_event: fsync_count.and_then(per_event),
            fsync_mean_us: fsyncs
                .filter(|(now, then)| now.count > then.count)
                .map(|(now, then)| (now.seconds - then.seconds) * 1e6 / (now.count - then.count)),
            memory_before: before.memory(),
            memory_after: self.memory(),
        }
    }
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// Resident, files included.
    pub resident_bytes: u64,
    /// Resident and of no file: heap and stacks.
    pub anonymous_bytes: u64,
}

/// Differences between two readings. A figure is absent when nobody told where to look.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Usage {
    /// Time between the readings.
    pub seconds: f64,
    /// Processor time of the server per event.
    pub server_cpu_us_per_event: Option<f64>,
    /// Processor time of the server, in percent of one core.
    pub server_cpu_percent: Option<f64>,
    /// Processor time of this process per event.
    pub client_cpu_us_per_event: Option<f64>,
    /// Bytes the server caused to be written to the disk, per event.
    pub written_bytes_per_event: Option<f64>,
    /// Bytes the server passed to write calls, sockets included, per event.
    pub passed_to_write_bytes_per_event: Option<f64>,
    /// Fsyncs of the server's logs.
    pub fsyncs: Option<f64>,
    /// The same per second.
    pub fsyncs_per_second: Option<f64>,
    /// The same per event.
    pub fsyncs_per_event: Option<f64>,
    /// Mean time of one fsync.
    pub fsync_mean_us: Option<f64>,
    /// Memory of the server at the first reading.
    pub memory_before: Option<Memory>,
    /// Memory of the server at the second reading.
    pub memory_after: Option<Memory>,
}

#[derive(Clone, Copy, Debug)]
struct Fsyncs {
    count: f64,
    seconds: f64,
}

#[derive(Clone, Debug)]
struct ProcessUse {
    cpu_us: u64,
    written_bytes: u64,
    passed_bytes: u64,
    memory: Memory,
}

impl ProcessUse {
    fn read(process: &str) -> Result<Self> {
        let read = |file: &str| {
            let path: PathBuf = ["/proc", process, file].iter().collect();
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let (stat, status, io) = (read("stat")?, read("status")?, read("io")?);
        Ok(Self {
            cpu_us: cpu_us(&stat).context("the processor time is missing in stat")?,
            written_bytes: labelled(&io, "write_bytes:").unwrap_or(0),
            passed_bytes: labelled(&io, "wchar:").unwrap_or(0),
            memory: Memory {
                resident_bytes: labelled(&status, "VmRSS:").unwrap_or(0) * 1024,
                anonymous_bytes: labelled(&status, "RssAnon:").unwrap_or(0) * 1024,
            },
        })
    }
}

/// User and system time from /proc/PID/stat, whose second field is a name that may hold anything.
fn cpu_us(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user = fields.next()?.parse::<u64>().ok()?;
    let system = fields.next()?.parse::<u64>().ok()?;
    Some((user + system) * TICK_US)
}

fn labelled(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The sum of a metric over its labels.
fn metric(page: &str, name: &str) -> f64 {
    page.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| {
            rest.rsplit('}')
                .next()?
                .split_whitespace()
                .next()?
                .parse::<f64>()
                .ok()
        })
        .sum()
}

/// Reads a page by HTTP/1.0, whose answer ends with the connection.
async fn fetch(url: &str) -> Result<String> {
    let rest = url
        .strip_prefix("http://")
        .context("the address must begin with http://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nAccept: text/plain\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(MAX_METRICS_BYTES)
        .read_to_end(&mut answer)
        .await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer is not HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200") {
        bail!("the answer is {status:?}");
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(cpu_us(stat), Some(200 * TICK_US));
        assert_eq!(cpu_us("42"), None);
    }

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let page = "# HELP a_count x\na_count{log=\"0\"} 3\na_count{log=\"1\"} 4 1700000000\na_count_more 9\na_count 1\n";
        assert_eq!(metric(page, "a_count"), 8.0);
        assert_eq!(metric(page, "b"), 0.0);
    }

    #[tokio::test]
    async fn this_process_can_be_measured() {
        let meter = Meter {
            pid: Some(std::process::id()),
            metrics_url: None,
        };
        let before = meter.sample().await.unwrap();
        let after = meter.sample().await.unwrap();
        let usage = after.since(&before, 10);
        assert!(
            usage
                .memory_after
                .is_some_and(|memory| memory.resident_bytes > 0)
        );
        assert!(usage.server_cpu_us_per_event.is_some() && usage.fsyncs.is_none());
    }

    #[tokio::test]
    async fn a_page_without_an_answer_is_an_error() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /metrics HTTP/1.0\r\n"));
            stream
                .write_all(b"HTTP/1.1 500 Oops\r\n\r\nno")
                .await
                .unwrap();
        };
        let (page, ()) = tokio::join!(fetch(&url), serve);
        assert!(page.unwrap_err().to_string().contains("500"));
        assert!(fetch("127.0.0.1:1").await.is_err());
    }
}
