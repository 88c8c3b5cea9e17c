//! Rules that concern more than one value, or more than a value's type.

use tracing_subscriber::EnvFilter;

use super::Config;
use super::error::{UsageError, quoted};
use super::settings::SETTINGS;
use super::tls::tls;

/// Refuses what cannot run, and notes what has no effect.
pub(super) fn validate(config: &mut Config) -> Result<(), UsageError> {
    node(config)?;
    addresses(config)?;
    cluster(config)?;
    tls(config)?;
    replication(config)?;
    scheduler(config)?;
    log_level(config)?;
    if config.is_given("flush-interval")
        && config.wal.fsync_mode != chronos_wal::FsyncMode::Periodic
    {
        let line = format!(
            "{} has no effect: only -fsync-mode=periodic uses it",
            label(config, "flush-interval")
        );
        config.notices.push(line);
    }
    Ok(())
}

/// The setting as the user wrote it.
pub(super) fn label(config: &Config, name: &str) -> String {
    SETTINGS
        .iter()
        .find(|setting| setting.name == name)
        .map_or_else(
            || format!("-{name}"),
            |setting| config.source(name).label(setting),
        )
}

fn node(config: &Config) -> Result<(), UsageError> {
    let id = &config.node.id;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if id.len() > 128 || !id.chars().all(allowed) {
        return Err(UsageError::new(format!(
            "{} takes up to 128 letters, digits, dots, dashes and underscores, not {}",
            label(config, "node-id"),
            quoted(id)
        )));
    }
    if config.node.data_dir.as_os_str().is_empty() {
        return Err(UsageError::new(format!(
            "{} is empty; name a folder, such as ./data",
            label(config, "data-dir")
        )));
    }
    Ok(())
}

fn addresses(config: &Config) -> Result<(), UsageError> {
    let mut listens = vec![
        ("grpc-addr", &config.listen.grpc),
        ("http-addr", &config.listen.http),
    ];
    if config.cluster.is_enabled {
        listens.push(("cluster-grpc-addr", &config.cluster.listen));
    }
    for (at, (name, address)) in listens.iter().enumerate() {
        if let Some((other, taken)) =
            (listens[..at].iter()).find(|(_, taken)| taken.collides_with(address))
        {
            return Err(UsageError::new(format!(
                "-{other} {taken} and -{name} {address} cannot share a port; choose two"
            )));
        }
    }
    Ok(())
}

/// Settings that a node which stands alone does not use.
const OF_CLUSTERS: [&str; 12] = [
    "node-rack",
    "node-zone",
    "node-region",
    "grpc-advertise-addr",
    "http-advertise-addr",
    "cluster-grpc-addr",
    "cluster-advertise-addr",
    "clock-skew-threshold-ms",
    "replication-tls-enabled",
    "replication-tls-cert-file",
    "replication-tls-key-file",
    "replication-tls-ca-file",
];

/// Partitions of a cluster when nobody says how many.
const CLUSTER_PARTITIONS: u32 = 16;

fn cluster(config: &mut Config) -> Result<(), UsageError> {
    if !config.cluster.is_enabled {
        return alone(config);
    }
    if config.node.id.is_empty() {
        return Err(UsageError::new(
            "-cluster needs -node-id: a name of its own for each node",
        ));
    }
    if config.cluster.seeds.is_empty() && config.cluster.join.is_empty() {
        return Err(UsageError::new(
            "-cluster needs -cluster-seeds, the host:port of each of the first nodes, this one included; or -raft-join, members of a cluster to join",
        ));
    }
    if !config.is_given("partition-count") {
        config.partitions.count = CLUSTER_PARTITIONS;
    }
    if config.partitions.replication_factor == 1 {
        let line = "-replication-factor is 1: every partition is on one node only, and the loss of that node loses it; \
                    give -replication-factor=3 when the cluster is founded to survive the loss of a node";
        config.notices.push(line.to_owned());
    }
    Ok(())
}

/// A node that was to be one of a cluster must not quietly stand alone.
fn alone(config: &mut Config) -> Result<(), UsageError> {
    let named = [
        ("cluster-seeds", &config.cluster.seeds),
        ("raft-join", &config.cluster.join),
    ];
    for (name, addresses) in named {
        if !addresses.is_empty() {
            return Err(UsageError::new(format!(
                "{} names nodes of a cluster, but -cluster is off; add -cluster, or leave it out",
                label(config, name)
            )));
        }
    }
    for name in OF_CLUSTERS {
        if config.is_given(name) {
            let line = format!("{} has no effect without -cluster", label(config, name));
            config.notices.push(line);
        }
    }
    Ok(())
}

fn replication(config: &Config) -> Result<(), UsageError> {
    let factor = config.partitions.replication_factor;
    if factor != 1 && !config.cluster.is_enabled {
        return Err(UsageError::new(format!(
            "{} {factor} needs -cluster: one node has room for one copy; use 1 or leave it out",
            label(config, "replication-factor")
        )));
    }
    let (least, majority) = (config.partitions.min_insync_replicas, factor / 2 + 1);
    if least > majority {
        return Err(UsageError::new(format!(
            "{} {least} is more than a majority of -replication-factor {factor}, which is what an acknowledged event is on; use at most {majority}",
            label(config, "min-insync-replicas")
        )));
    }
    Ok(())
}

fn scheduler(config: &Config) -> Result<(), UsageError> {
    let (ahead, near) = (config.scheduler.fire_ahead, config.scheduler.near_window);
    if ahead >= near {
        return Err(UsageError::new(format!(
            "-fire-ahead-ms {} must be less than -near-window-ms {}",
            ahead.as_millis(),
            near.as_millis()
        )));
    }
    Ok(())
}

/// A filter takes any word for the name of a module, so that `inof` would silence everything: a
/// part without `=` has to be a level.
fn log_level(config: &Config) -> Result<(), UsageError> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level = &config.log.level;
    let is_known = |part: &str| {
        let part = part.trim();
        part.contains('=') || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part))
    };
    // Commas may stand within brackets, which only the filter itself understands.
    let parts_known = level.contains('[') || level.split(',').all(is_known);
    if parts_known && EnvFilter::builder().parse(level).is_ok() {
        return Ok(());
    }
    Err(UsageError::new(format!(
        "{} takes one of {}, or a list such as info,chronos_wal=debug, not {}",
        label(config, "log-level"),
        LEVELS.join(", "),
        quoted(level)
    )))
}
