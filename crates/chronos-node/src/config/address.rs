//! An address to listen on.

use std::fmt;
use std::io;
use std::str::FromStr;

use tokio::net::TcpListener;

/// `host:port`, `[v6]:port`, or `:port` for all interfaces. Port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address without brackets. Empty: every interface, IPv6 and IPv4.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Address {
    /// `:port`.
    pub fn all_interfaces(port: u16) -> Self {
        Self {
            host: String::new(),
            port,
        }
    }

    /// Whether the host stands for every interface.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }

    /// Whether listening on both at once must fail.
    pub fn collides_with(&self, other: &Address) -> bool {
        self.port != 0
            && self.port == other.port
            && (self.host == other.host || self.is_wildcard() || other.is_wildcard())
    }

    /// Starts to listen.
    ///
    /// # Errors
    /// The system's, for example when the port is taken or the name has no address.
    pub async fn bind(&self) -> io::Result<TcpListener> {
        if !self.host.is_empty() {
            return TcpListener::bind((self.host.as_str(), self.port)).await;
        }
        // One IPv6 socket also takes IPv4 connections, unless the machine has no IPv6 at all.
        match TcpListener::bind(("::", self.port)).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind(("0.0.0.0", self.port)).await
            }
            bound => bound,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The text is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not host:port or :port")]
pub struct NotAnAddress;

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAnAddress)?;
        let host = match host.strip_prefix('[') {
            Some(inside) => {
                let inside = inside.strip_suffix(']').ok_or(NotAnAddress)?;
                inside
                    .parse::<std::net::Ipv6Addr>()
                    .map_err(|_| NotAnAddress)?;
                inside
            }
            None => host,
        };
        let bracketed = text.starts_with('[');
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !bracketed && !host.chars().all(plain) {
            return Err(NotAnAddress);
        }
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotAnAddress);
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| NotAnAddress)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows_addresses() {
        for (text, host, port) in [
            (":9000", "", 9000),
            ("127.0.0.1:0", "127.0.0.1", 0),
            ("localhost:8080", "localhost", 8080),
            ("[::1]:9000", "::1", 9000),
            (
                "chronos-0.chronos.svc:65535",
                "chronos-0.chronos.svc",
                65535,
            ),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in [
            "",
            "9000",
            ":",
            ":x",
            ":65536",
            ":+1",
            "::1:9000",
            "[::1:9000",
            "[x]:1",
            "a b:1",
            "http://x:1",
            "[]:1",
        ] {
            assert_eq!(text.parse::<Address>(), Err(NotAnAddress), "{text:?}");
        }
    }

    #[test]
    fn sees_collisions() {
        let collide = |a: &str, b: &str| {
            a.parse::<Address>()
                .unwrap()
                .collides_with(&b.parse().unwrap())
        };
        assert!(collide(":9000", "127.0.0.1:9000"));
        assert!(collide("localhost:9000", "localhost:9000"));
        assert!(collide("127.0.0.1:9000", "0.0.0.0:9000"));
        assert!(!collide("127.0.0.1:9000", "127.0.0.2:9000"));
        assert!(!collide(":9000", ":9001"));
        assert!(!collide(":0", ":0"));
    }

    #[tokio::test]
    async fn an_empty_host_takes_ipv4_connections() {
        let listener = Address::all_interfaces(0).bind().await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (client, accepted) = tokio::join!(
            tokio::net::TcpStream::connect(("127.0.0.1", port)),
            listener.accept()
        );
        client.unwrap();
        accepted.unwrap();
    }
}
