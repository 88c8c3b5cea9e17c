//! The `chronosdb` server.
//!
//! Exit codes: 0 stopped as asked, 1 failed, 2 refused its command line, environment or
//! configuration file.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use chronos_node::config::{self, Config, Invocation};
use chronos_node::{logging, metrics};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of a usage error.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let invocation = match config::load(std::env::args_os().skip(1), std::env::vars_os()) {
        Ok(invocation) => invocation,
        Err(error) => {
            eprintln!("chronosdb: {error}");
            return ExitCode::from(USAGE);
        }
    };
    match follow(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chronosdb: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn follow(invocation: Invocation) -> anyhow::Result<()> {
    match invocation {
        Invocation::Help => print(&config::help()),
        Invocation::Version => print(concat!("chronosdb ", env!("CARGO_PKG_VERSION"), "\n")),
        Invocation::PrintConfig(config) => print(&config::file(&config)),
        Invocation::ConfigReference => print(&config::reference()),
        Invocation::MetricsReference => print(&metrics::reference()),
        Invocation::InspectWal(folder) => inspect_wal(&folder),
        Invocation::ForceMajority(folder) => print(&chronos_node::force_majority(&folder)?),
        Invocation::Serve(config) => serve(*config),
    }
}

/// A reader that went away, as in `chronosdb -help | head -1`, is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

fn inspect_wal(folder: &Path) -> anyhow::Result<()> {
    let report = chronos_wal::inspect(folder)
        .with_context(|| format!("cannot inspect the log in {}", folder.display()))?;
    print(&report.to_string())?;
    anyhow::ensure!(
        report.is_sound(),
        "the log in {} is damaged; the report above says where",
        folder.display()
    );
    Ok(())
}

fn serve(config: Config) -> anyhow::Result<()> {
    logging::init(&config.log)?;
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if config.node.runtime_threads > 0 {
        runtime.worker_threads(config.node.runtime_threads);
    }
    runtime
        .enable_all()
        .thread_name("chronos")
        .build()
        .context("cannot start the runtime's threads")?
        .block_on(chronos_node::run(config))
}
