//! Rules of the settings of TLS: which make no sense without others.

use super::Config;
use super::error::UsageError;
use super::validate::label;
use std::path::Path;

/// Refuses what would leave connections less safe than somebody meant.
pub(super) fn tls(config: &mut Config) -> Result<(), UsageError> {
    clients(config)?;
    nodes(config)
}

fn clients(config: &mut Config) -> Result<(), UsageError> {
    let tls = &config.tls;
    let files = [
        ("tls-cert-file", tls.certificate.as_path()),
        ("tls-key-file", tls.key.as_path()),
        ("tls-ca-file", tls.ca.as_path()),
    ];
    if !tls.is_enabled {
        if tls.client_auth {
            return Err(UsageError::new(format!(
                "{} is on, but -tls-enabled is off; add -tls-enabled, or leave it out",
                label(config, "tls-client-auth")
            )));
        }
        return unused(config, "tls-enabled", &files);
    }
    needed(config, "tls-enabled", &files[..2])?;
    if tls.client_auth && tls.ca.as_os_str().is_empty() {
        return Err(UsageError::new(format!(
            "{} needs -tls-ca-file: the authority that signs the certificates of clients",
            label(config, "tls-client-auth")
        )));
    }
    if !tls.client_auth && !tls.ca.as_os_str().is_empty() {
        let line = format!(
            "{} has no effect without -tls-client-auth: clients connect without a certificate",
            label(config, "tls-ca-file")
        );
        config.notices.push(line);
    }
    Ok(())
}

fn nodes(config: &Config) -> Result<(), UsageError> {
    let tls = &config.replication_tls;
    let files = [
        ("replication-tls-cert-file", tls.certificate.as_path()),
        ("replication-tls-key-file", tls.key.as_path()),
        ("replication-tls-ca-file", tls.ca.as_path()),
    ];
    match tls.is_enabled {
        true => needed(config, "replication-tls-enabled", &files),
        false => unused(config, "replication-tls-enabled", &files),
    }
}

fn needed(config: &Config, switch: &str, files: &[(&str, &Path)]) -> Result<(), UsageError> {
    match files.iter().find(|(_, path)| path.as_os_str().is_empty()) {
        None => Ok(()),
        Some((name, _)) => Err(UsageError::new(format!(
            "{} needs -{name}: a file in PEM form",
            label(config, switch)
        ))),
    }
}

/// A node that was to have TLS must not quietly go without.
fn unused(config: &Config, switch: &str, files: &[(&str, &Path)]) -> Result<(), UsageError> {
    match files.iter().find(|(_, path)| !path.as_os_str().is_empty()) {
        None => Ok(()),
        Some((name, _)) => Err(UsageError::new(format!(
            "{} names a file, but -{switch} is off; add -{switch}, or leave it out",
            label(config, name)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{refusal, serve};

    #[test]
    fn tls_takes_what_belongs_together() {
        let (on, certificate, key, ca) = (
            "-tls-enabled",
            "-tls-cert-file=tls.crt",
            "-tls-key-file=tls.key",
            "-tls-ca-file=ca.crt",
        );
        let config = serve(&[on, certificate, key], &[]).unwrap();
        assert!(config.tls.is_enabled && config.notices.is_empty());
        let config = serve(&[on, certificate, key, ca, "-tls-client-auth"], &[]).unwrap();
        assert!(config.tls.client_auth && config.notices.is_empty());
        let config = serve(&[on, certificate, key, ca], &[]).unwrap();
        assert!(config.notices[0].contains("-tls-client-auth"));
        for (args, expected) in [
            (&[on][..], "needs -tls-cert-file"),
            (&[on, certificate], "needs -tls-key-file"),
            (
                &[on, certificate, key, "-tls-client-auth"],
                "needs -tls-ca-file",
            ),
            (&["-tls-client-auth"], "-tls-enabled is off"),
            (&[certificate], "-tls-enabled is off"),
            (&[ca], "-tls-enabled is off"),
        ] {
            let error = refusal(args, &[]);
            assert!(error.contains(expected), "{args:?}: {error}");
        }
        let error = refusal(&[], &[("CRONOS_TLS_KEY_FILE", "tls.key")]);
        assert!(error.starts_with("CRONOS_TLS_KEY_FILE"), "{error}");
    }

    #[test]
    fn tls_between_nodes_takes_three_files_or_none() {
        let all = [
            "-replication-tls-enabled",
            "-replication-tls-cert-file=tls.crt",
            "-replication-tls-key-file=tls.key",
            "-replication-tls-ca-file=ca.crt",
        ];
        for left_out in 0..all.len() {
            let mut args = all.to_vec();
            let name = args.remove(left_out);
            let name = name.split('=').next().unwrap();
            let error = refusal(&args, &[]);
            assert!(error.contains(name), "{error}");
        }
        let cluster = ["-cluster", "-node-id=a", "-cluster-seeds=a:1"];
        let config = serve(&[&all[..], &cluster[..]].concat(), &[]).unwrap();
        assert!(config.replication_tls.is_enabled);
    }
}
