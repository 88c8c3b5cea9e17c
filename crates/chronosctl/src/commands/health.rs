//! `chronosctl health`

use std::io;
use std::time::Duration;

use chronos_client::Error;
use comfy_table::Cell;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connect;
use crate::connect::Connect;
use crate::exit::Failure;
use crate::printer::{Printer, table, verdict};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer read, bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
const DEFAULT_HTTP_PORT: u16 = 8080;

const EXAMPLES: &str = "\
Examples:
  chronosctl health
  chronosctl health --addr db-1:9000
  chronosctl health --addr db-1:9000 --http db-1:8081
  chronosctl health -o json";

/// Ask whether a node is well: alive and ready over HTTP, and answering over gRPC.
///
/// Exits with 5 when any of them is not.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Address of the node's HTTP listener, host:port or :port; if not given, port 8080 of the host of --addr.
    #[arg(long, env = "CHRONOS_HTTP", value_name = "ADDRESS")]
    pub(crate) http: Option<String>,
}

/// One question and its answer.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    healthy: bool,
    detail: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, to: &Connect, printer: &Printer) -> Result<(), Failure> {
    let http = match &args.http {
        Some(given) => authority(given)?,
        None => beside(to)?,
    };
    let (health, ready, grpc) = tokio::join!(
        check_http("health", &http, "/health"),
        check_http("ready", &http, "/readyz"),
        check_grpc(to),
    );
    let checks = [health, ready, grpc?];
    printer.whole(&checks, || {
        let mut table = table(["CHECK", "STATE", "DETAIL"]);
        for check in &checks {
            table.add_row([
                Cell::new(check.check),
                verdict(check.healthy, if check.healthy { "ok" } else { "failed" }),
                Cell::new(&check.detail),
            ]);
        }
        table
    })?;
    if checks.iter().all(|check| check.healthy) {
        Ok(())
    } else {
        Err(Failure::Unhealthy)
    }
}

async fn check_http(check: &'static str, authority: &str, path: &str) -> Check {
    let answer = tokio::time::timeout(TIMEOUT, get(authority, path))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let (healthy, detail) = match answer {
        Ok((200, body)) => (true, body.lines().next().unwrap_or_default().to_string()),
        Ok((status, body)) => {
            let first = body.lines().next().unwrap_or_default();
            (
                false,
                format!("HTTP {status} {first}").trim_end().to_string(),
            )
        }
        Err(error) => (false, format!("{authority}: {error}")),
    };
    Check {
        check,
        healthy,
        detail,
    }
}

async fn check_grpc(to: &Connect) -> Result<Check, Failure> {
    let (healthy, detail) = match connect(to).await.map_err(Failure::from) {
        Ok(client) => (true, format!("{} partitions", client.partition_count())),
        Err(Failure::Client(error)) => (false, error.to_string()),
        Err(failure) => return Err(failure),
    };
    Ok(Check {
        check: "grpc",
        healthy,
        detail,
    })
}

/// One GET by HTTP/1.0, whose answer ends with the connection: enough for a few lines of
/// text from a node, without an HTTP client in the binary.
async fn get(authority: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(authority).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(MAX_ANSWER_BYTES)
        .read_to_end(&mut answer)
        .await?;
    parse_answer(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer"))
}

fn parse_answer(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status_line = head.lines().next()?;
    let mut words = status_line.split_whitespace();
    words
        .next()
        .filter(|version| version.starts_with("HTTP/"))?;
    Some((words.next()?.parse().ok()?, body.to_string()))
}

/// `host:port` of what a person wrote.
fn authority(address: &str) -> Result<String, Failure> {
    let rest = address
        .trim()
        .trim_start_matches("http://")
        .trim_end_matches('/');
    let with_port = if rest.starts_with(':') || rest.contains("]:") || has_port(rest) {
        rest.to_string()
    } else {
        format!("{rest}:{DEFAULT_HTTP_PORT}")
    };
    let uri = chronos_client::endpoint_uri(&with_port)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(uri.authority().map(ToString::to_string).unwrap_or_default())
}

/// Where the node that is named first listens for HTTP, unless it was told otherwise.
fn beside(to: &Connect) -> Result<String, Failure> {
    let address = to.addresses().next().ok_or(Error::NoAddress)?;
    let uri = chronos_client::endpoint_uri(address).map_err(Error::from)?;
    let host = uri.host().unwrap_or_default();
    Ok(format!("{host}:{DEFAULT_HTTP_PORT}"))
}

fn has_port(address: &str) -> bool {
    !address.ends_with(']') && address.contains(':')
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn addresses() {
        for (address, expected) in [
            (":8080", "127.0.0.1:8080"),
            ("db", "db:8080"),
            ("http://db:81/", "db:81"),
            ("[::1]", "[::1]:8080"),
            ("[::1]:81", "[::1]:81"),
        ] {
            assert_eq!(authority(address).unwrap(), expected);
        }
        assert!(matches!(authority("a:b"), Err(Failure::Usage(_))));
    }

    #[test]
    fn http_is_on_the_host_of_grpc() {
        for (addr, expected) in [
            ("db-1:9000", "db-1:8080"),
            (":9000", "127.0.0.1:8080"),
            ("[::1]:9000,db-2:9000", "[::1]:8080"),
        ] {
            let words = ["chronosctl", "health", "--addr", addr];
            let cli = crate::cli::Cli::try_parse_from(words).unwrap();
            assert_eq!(beside(&cli.connect).unwrap(), expected);
        }
    }

    #[test]
    fn answers() {
        assert_eq!(
            parse_answer("HTTP/1.1 200 OK\r\na: b\r\n\r\nOK - Standalone Mode\n"),
            Some((200, "OK - Standalone Mode\n".to_string()))
        );
        assert_eq!(
            parse_answer("HTTP/1.0 503 \r\n\r\n"),
            Some((503, String::new()))
        );
        assert_eq!(parse_answer("SSH-2.0-OpenSSH\r\n\r\n"), None);
        assert_eq!(parse_answer(""), None);
    }

    #[tokio::test]
    async fn a_check_tells_well_from_unwell() {
        for (answer, healthy, detail) in [
            (
                "HTTP/1.0 200 OK\r\n\r\nOK - Standalone Mode\n",
                true,
                "OK - Standalone Mode",
            ),
            (
                "HTTP/1.0 503 x\r\n\r\nstarting\n",
                false,
                "HTTP 503 starting",
            ),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let authority = listener.local_addr().unwrap().to_string();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /health HTTP/1.0\r\n"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
            let check = check_http("health", &authority, "/health").await;
            assert_eq!((check.healthy, check.detail.as_str()), (healthy, detail));
            server.await.unwrap();
        }
    }
}
