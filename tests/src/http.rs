//! The smallest HTTP client that can ask a probe or read metrics.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The status and the body of a `GET`.
///
/// # Errors
/// When the connection fails or the answer is no HTTP.
pub async fn get(address: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|it| it.parse().ok())
        .ok_or_else(malformed)?;
    Ok((status, body.to_string()))
}

/// The sum of a metric over all its labels in a Prometheus text; 0 when it is absent.
#[must_use]
pub fn metric_sum(text: &str, name: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest,
        };
        rest.strip_prefix(' ')?
            .split(' ')
            .next()?
            .parse::<f64>()
            .ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::metric_sum;

    #[test]
    fn metrics_are_summed_by_their_exact_name() {
        let text =
            "# TYPE a_total counter\na_total{p=\"0\"} 2\na_total{p=\"} 1\"} 3\na_totals 9\nb 4\n";
        assert!((metric_sum(text, "a_total") - 5.0).abs() < 1e-9);
        assert!((metric_sum(text, "b") - 4.0).abs() < 1e-9);
        assert!(metric_sum(text, "c").abs() < 1e-9);
    }
}
