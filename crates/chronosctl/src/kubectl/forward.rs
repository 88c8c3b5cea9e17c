//! A way to one of a cluster's nodes: kubectl forwards ports of this machine to it.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::anyhow;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::target::{Target, not_run};
use crate::exit::Failure;

const GRPC_PORT: u16 = 9000;
const HTTP_PORT: u16 = 8080;

/// A running port-forward. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Forward {
    /// Where gRPC answers.
    pub(super) grpc: SocketAddr,
    /// Where HTTP answers, if that was asked for.
    pub(super) http: Option<SocketAddr>,
    _process: Child,
}

impl Forward {
    /// Opens one to a node of a cluster, and waits until it listens.
    pub(super) async fn open(
        target: &Target,
        cluster: &str,
        with_http: bool,
    ) -> Result<Self, Failure> {
        // Of a Service, kubectl takes a pod that runs; this one names both ports.
        let service = format!("service/{cluster}-nodes");
        let mut ports = vec![GRPC_PORT];
        ports.extend(with_http.then_some(HTTP_PORT));
        // Without a port before the colon, kubectl takes one that is free.
        let wanted: Vec<String> = ports.iter().map(|port| format!(":{port}")).collect();
        let mut words = vec!["port-forward", "--address", "127.0.0.1", &service];
        words.extend(wanted.iter().map(String::as_str));
        let mut process = target
            .kubectl(&words)
            .stdout(Stdio::piped())
            // Ctrl-C is for this program, which may need the way a little longer.
            .process_group(0)
            .spawn()
            .map_err(not_run)?;
        let said = process.stdout.take().map(BufReader::new);
        let mut said = said.ok_or_else(|| anyhow!("kubectl has no output"))?;
        let mut grpc = None;
        let mut http = None;
        while grpc.is_none() || (with_http && http.is_none()) {
            let Some(line) = next_line(&mut said).await? else {
                let status = process.wait().await?;
                return Err(
                    anyhow!("kubectl port-forward to {service} ended with {status}").into(),
                );
            };
            match listening(&line) {
                Some((local, GRPC_PORT)) => grpc = Some(local),
                Some((local, HTTP_PORT)) => http = Some(local),
                _ => {}
            }
        }
        // It goes on to tell of every connection, and would stop when nobody listened.
        tokio::spawn(async move { while let Ok(Some(_)) = next_line(&mut said).await {} });
        let grpc = grpc.ok_or_else(|| anyhow!("kubectl forwards no port"))?;
        Ok(Self {
            grpc,
            http,
            _process: process,
        })
    }
}

async fn next_line(from: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    Ok((from.read_line(&mut line).await? > 0).then_some(line))
}

/// What a line of kubectl tells: the address that it listens on, and the port that this leads to.
fn listening(line: &str) -> Option<(SocketAddr, u16)> {
    let (local, remote) = line
        .trim()
        .strip_prefix("Forwarding from ")?
        .split_once(" -> ")?;
    Some((local.parse().ok()?, remote.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_what_kubectl_says() {
        assert_eq!(
            listening("Forwarding from 127.0.0.1:40001 -> 9000\n"),
            Some(("127.0.0.1:40001".parse().unwrap(), 9000))
        );
        for other in [
            "Handling connection for 40001\n",
            "Forwarding from x -> 9000\n",
            "",
        ] {
            assert_eq!(listening(other), None, "{other}");
        }
    }
}
