//! Rules that concern more than one value, or more than a value's type.

use tracing_subscriber::EnvFilter;

use super::Config;
use super::error::{UsageError, quoted};
use super::settings::SETTINGS;

/// Refuses what cannot run, and notes what has no effect.
pub(super) fn validate(config: &mut Config) -> Result<(), UsageError> {
    node(config)?;
    addresses(config)?;
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
fn label(config: &Config, name: &str) -> String {
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
    let (grpc, http) = (&config.listen.grpc, &config.listen.http);
    if grpc.collides_with(http) {
        return Err(UsageError::new(format!(
            "-grpc-addr {grpc} and -http-addr {http} cannot share a port; choose two"
        )));
    }
    Ok(())
}

fn replication(config: &Config) -> Result<(), UsageError> {
    let factor = config.partitions.replication_factor;
    if factor != 1 {
        return Err(UsageError::new(format!(
            "{} {factor} is not available in this version, which runs on one node; use 1 or leave it out",
            label(config, "replication-factor")
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
