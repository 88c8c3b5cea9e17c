//! Log lines on standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Log, LogFormat};

/// Why log lines cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is not one, or not a list of `target=level`.
    #[error("the log level {level:?} cannot be used: {reason}")]
    Level {
        /// The level as configured.
        level: String,
        /// What the parser said.
        reason: String,
    },
    /// Something else in this process writes the log already.
    #[error("the log is already being written by something else in this process")]
    AlreadyStarted,
}

/// Sends every log line of this process to standard error from now on.
///
/// # Errors
/// The level is malformed, or a log was started before.
pub fn init(log: &Log) -> Result<(), Error> {
    // The consensus library tells at info what only its authors need. A level that names it wins.
    let level = match log.level.contains("openraft") {
        true => log.level.clone(),
        false => format!("openraft=warn,{}", log.level),
    };
    let filter = EnvFilter::builder()
        .parse(&level)
        .map_err(|error| Error::Level {
            level: log.level.clone(),
            reason: error.to_string(),
        })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
        LogFormat::Text => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            lines
                .with_ansi(std::io::stderr().is_terminal() && !plain)
                .try_init()
        }
    };
    started.map_err(|_| Error::AlreadyStarted)
}
