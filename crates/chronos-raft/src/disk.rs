//! Where jobs that wait for the disk run.

use crate::log_store::LogError;

/// Where a group runs what waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disk {
    /// On the runtime's threads for blocking jobs.
    #[default]
    Threads,
    /// In place, on the thread of the task that asks. For simulations, whose disk answers at once
    /// and whose steps must not depend on threads.
    Inline,
}

impl Disk {
    pub(crate) async fn run<T: Send + 'static>(
        self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LogError> {
        match self {
            Self::Inline => Ok(job()),
            Self::Threads => tokio::task::spawn_blocking(job)
                .await
                .map_err(|_| LogError::Cancelled),
        }
    }
}
