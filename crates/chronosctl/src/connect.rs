//! Where the nodes are, and how to connect to them.

use std::path::PathBuf;

use chronos_client::{Options, Tls};
use clap::builder::FalseyValueParser;

/// The nodes, and TLS.
// Each option names its heading: one named for the struct would go on to what is declared after it.
#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// Address of a node, host:port or :port; several are tried in turn, separated by commas.
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "CHRONOS_ADDR",
        default_value = "127.0.0.1:9000",
        value_name = "ADDRESS"
    )]
    pub(crate) addr: String,
    /// Connect with TLS, trusting the authorities that this machine trusts. Each --tls- option asks for TLS
    /// too.
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "CHRONOS_CLIENT_TLS",
        value_parser = FalseyValueParser::new()
    )]
    pub(crate) tls: bool,
    /// Trust the authorities in this PEM file, and no others.
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "CHRONOS_CLIENT_TLS_CA_FILE",
        value_name = "FILE"
    )]
    pub(crate) tls_ca_file: Option<PathBuf>,
    /// Show the certificate in this PEM file to nodes that ask for one.
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "CHRONOS_CLIENT_TLS_CERT_FILE",
        value_name = "FILE"
    )]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "CHRONOS_CLIENT_TLS_KEY_FILE",
        value_name = "FILE"
    )]
    pub(crate) tls_key_file: Option<PathBuf>,
    /// Expect this name in the certificate of every node, whatever its address.
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "CHRONOS_CLIENT_TLS_SERVER_NAME",
        value_name = "NAME"
    )]
    pub(crate) tls_server_name: Option<String>,
    /// Whether leaders are called directly, or only these addresses.
    #[arg(skip = true)]
    pub(crate) direct: bool,
}

impl Connect {
    /// To these nodes, in this way.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new(self.addresses());
        options.tls = self.tls();
        options.direct = self.direct;
        options
    }

    /// What is between the commas.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        let addresses = self.addr.split(',').map(str::trim);
        addresses.filter(|address| !address.is_empty())
    }

    /// How to connect with TLS, if somebody asked for it. An empty variable asks for nothing.
    pub(crate) fn tls(&self) -> Option<Tls> {
        let given = |file: &Option<PathBuf>| file.clone().filter(|it| !it.as_os_str().is_empty());
        let (ca, certificate, key) = (
            given(&self.tls_ca_file),
            given(&self.tls_cert_file),
            given(&self.tls_key_file),
        );
        let name = self.tls_server_name.clone().filter(|it| !it.is_empty());
        let is_asked_for =
            self.tls || ca.is_some() || certificate.is_some() || key.is_some() || name.is_some();
        if !is_asked_for {
            return None;
        }
        let mut tls = Tls::new();
        if let Some(path) = ca {
            tls = tls.ca_file(path);
        }
        if let Some(path) = certificate {
            tls = tls.certificate_file(path);
        }
        if let Some(path) = key {
            tls = tls.key_file(path);
        }
        if let Some(name) = name {
            tls = tls.server_name(name);
        }
        Some(tls)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn any_option_of_tls_asks_for_it() {
        for (line, expected) in [
            ("", None),
            ("--tls", Some(Tls::new())),
            ("--tls-ca-file a", Some(Tls::new().ca_file("a"))),
            (
                "--tls --tls-server-name db",
                Some(Tls::new().server_name("db")),
            ),
            (
                "--tls-cert-file c --tls-key-file k",
                Some(Tls::new().certificate_file("c").key_file("k")),
            ),
        ] {
            let words = format!("chronosctl topic list {line}");
            let cli = Cli::try_parse_from(words.split_whitespace()).unwrap();
            assert_eq!(cli.connect.tls(), expected, "{line}");
        }
    }
}
