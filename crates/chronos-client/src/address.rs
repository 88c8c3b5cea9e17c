//! Addresses as people write them.

/// The port of a node's gRPC listener when an address names none.
pub const DEFAULT_PORT: u16 = 9000;

/// An address that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} is not an address ({reason}); expected host:port, :port or http://host:port")]
pub struct InvalidAddress {
    address: String,
    reason: String,
}

/// Turns `host:port`, `host`, `:port` (this machine) or `http://host:port` into a URI.
///
/// # Errors
/// [`InvalidAddress`] for an empty or ill-formed address, or a scheme other than http.
pub fn endpoint_uri(address: &str) -> Result<http::Uri, InvalidAddress> {
    let invalid = |reason: &str| InvalidAddress {
        address: address.to_string(),
        reason: reason.to_string(),
    };
    let rest = match address.trim().split_once("://") {
        Some(("http", rest)) => rest.trim_end_matches('/'),
        Some(("https", _)) => {
            return Err(invalid("give host:port and ask for TLS by its own option"));
        }
        Some((scheme, _)) => return Err(invalid(&format!("scheme {scheme} is not supported"))),
        None => address.trim(),
    };
    if rest.is_empty() {
        return Err(invalid("it is empty"));
    }
    if rest.contains(['/', '@', '?', '#']) {
        return Err(invalid("it holds more than a host and a port"));
    }
    let authority: http::uri::Authority = match rest.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None => rest.to_string(),
    }
    .parse()
    .map_err(|_| invalid("host is ill-formed"))?;
    let port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => DEFAULT_PORT,
        Some(port) => port
            .trim_start_matches(':')
            .parse()
            .map_err(|_| invalid("port is not a number from 1 to 65535"))?,
        None => return Err(invalid("host is ill-formed")),
    };
    if port == 0 {
        return Err(invalid("port is not a number from 1 to 65535"));
    }
    format!("http://{}:{port}", authority.host())
        .parse()
        .map_err(|_| invalid("host is ill-formed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_what_people_write() {
        for (address, uri) in [
            ("localhost:9000", "http://localhost:9000/"),
            (":9000", "http://127.0.0.1:9000/"),
            ("db.example", "http://db.example:9000/"),
            ("http://10.0.0.1:7000", "http://10.0.0.1:7000/"),
            ("http://10.0.0.1:7000/", "http://10.0.0.1:7000/"),
            ("[::1]:9000", "http://[::1]:9000/"),
            (" a:1 ", "http://a:1/"),
        ] {
            assert_eq!(endpoint_uri(address).unwrap().to_string(), uri, "{address}");
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for address in [
            "",
            ":",
            "a:",
            "a:0",
            "a:99999",
            "a:b",
            "https://a:1",
            "http://",
            "a b:1",
            "a:1/x",
            "user@a:1",
        ] {
            assert!(endpoint_uri(address).is_err(), "{address}");
        }
    }
}
