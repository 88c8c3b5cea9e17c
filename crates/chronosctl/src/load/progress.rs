//! A line on the terminal while a run goes on.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::histogram::grouped;
use super::ledger::Ledger;

/// Shows the books on stderr until dropped; shows nothing when stderr is not a terminal.
pub(crate) struct Progress {
    shown: Option<(ProgressBar, JoinHandle<()>)>,
}

impl Progress {
    /// Shows `ledger` under the name `mode`. `total` is the number of events to come, when it is
    /// known.
    pub(crate) fn start(mode: &'static str, ledger: &Arc<Ledger>, total: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { shown: None };
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let template = match total {
            Some(_) => "{prefix} [{elapsed_precise}] {bar:30} {msg}",
            None => "{prefix} [{elapsed_precise}] {spinner} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(mode);
        let task = tokio::spawn(show(bar.clone(), ledger.clone()));
        Self {
            shown: Some((bar, task)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((bar, task)) = self.shown.take() {
            task.abort();
            bar.finish_and_clear();
        }
    }
}

async fn show(bar: ProgressBar, ledger: Arc<Ledger>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let mut last = (Instant::now(), 0);
    loop {
        ticks.tick().await;
        let accepted = ledger.accepted();
        let per_second = (accepted - last.1) as f64 / last.0.elapsed().as_secs_f64().max(0.001);
        last = (Instant::now(), accepted);
        bar.set_position(accepted);
        bar.set_message(format!(
            "published {} ({}/s), arrived {}",
            grouped(accepted),
            grouped(per_second as u64),
            grouped(ledger.arrived())
        ));
        bar.tick();
    }
}
