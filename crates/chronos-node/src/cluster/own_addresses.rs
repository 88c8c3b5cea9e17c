//! Where this node tells others to find it.

use crate::config::{Address, Config};

/// The ports that the node listens on, which the system chose where the configuration says 0.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// For other nodes.
    pub cluster: u16,
    /// For clients.
    pub grpc: u16,
    /// For people and probes.
    pub http: u16,
}

/// Where others find this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnAddresses {
    pub cluster: String,
    pub grpc: String,
    pub http: String,
}

impl OwnAddresses {
    /// What was told explicitly counts; then the host that is listened on, if it is one; then the seed
    /// that turned out to be this node; then the machine's name.
    pub(super) fn new(config: &Config, ports: Ports, found_as: Option<&Address>) -> Self {
        let (cluster, listen) = (&config.cluster, &config.listen);
        let concrete = |address: &Address, port| {
            let host = address.host.clone();
            (!address.is_wildcard()).then_some(Address { host, port })
        };
        let reached = (cluster.advertised.clone())
            .or_else(|| concrete(&cluster.listen, ports.cluster))
            .or_else(|| found_as.cloned())
            .unwrap_or_else(|| Address {
                host: machine_name(),
                port: ports.cluster,
            });
        let beside = |advertised: &Option<Address>, address, port| {
            let host = reached.host.clone();
            (advertised.clone())
                .or_else(|| concrete(address, port))
                .unwrap_or(Address { host, port })
                .to_string()
        };
        Self {
            grpc: beside(&listen.grpc_advertised, &listen.grpc, ports.grpc),
            http: beside(&listen.http_advertised, &listen.http, ports.http),
            cluster: reached.to_string(),
        }
    }
}

fn machine_name() -> String {
    let from_system = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = from_system.or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.map(|name| name.trim().to_owned());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports {
        cluster: 7,
        grpc: 8,
        http: 9,
    };

    fn own(config: &Config, found_as: Option<&str>) -> [String; 3] {
        let found_as = found_as.map(|address| address.parse().unwrap());
        let own = OwnAddresses::new(config, PORTS, found_as.as_ref());
        [own.cluster, own.grpc, own.http]
    }

    #[test]
    fn the_first_that_is_known_counts() {
        let mut config = Config::default();
        let [cluster, grpc, http] = own(&config, None);
        let name = machine_name();
        assert_eq!(
            [cluster, grpc, http],
            [7, 8, 9].map(|port| format!("{name}:{port}"))
        );
        assert_eq!(own(&config, Some("seed:1")), ["seed:1", "seed:8", "seed:9"]);
        config.cluster.listen = "[::1]:0".parse().unwrap();
        assert_eq!(
            own(&config, Some("seed:1")),
            ["[::1]:7", "[::1]:8", "[::1]:9"]
        );
        config.listen.http = "127.0.0.1:0".parse().unwrap();
        config.cluster.advertised = "db:10".parse().ok();
        config.listen.grpc_advertised = "lb:11".parse().ok();
        assert_eq!(own(&config, None), ["db:10", "lb:11", "127.0.0.1:9"]);
    }
}
