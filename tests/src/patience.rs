//! Waiting for something to become true, within a bound and with a clear failure.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// How long a test waits for what should take milliseconds, on a machine that may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(10);

/// Looks again and again until `probe` yields a value.
///
/// # Panics
/// When it does not within [`PATIENCE`]; `what` says what was waited for.
pub async fn eventually<T, F>(what: &str, probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    match within(PATIENCE, probe).await {
        Some(value) => value,
        None => panic!("waited {PATIENCE:?} in vain until {what}"),
    }
}

/// Looks again and again until `probe` yields a value, or until `limit` is over.
pub async fn within<T, F>(limit: Duration, mut probe: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe().await {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Awaits `future`, but not for ever.
///
/// # Panics
/// When it does not end within [`PATIENCE`]; `what` says what was waited for.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} in vain until {what}"),
    }
}
