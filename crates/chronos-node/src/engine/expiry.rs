//! Dead letters whose time is over.

use super::clock;
use super::dead_letters::ExpireError;
use super::replica::Replicas;
use std::sync::Arc;
use std::time::Duration;

/// How often letters are looked at, at the most and at the least; in between, ten times in the time
/// that a letter is kept.
const EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// Discards letters once their last failure is `ttl` ago, for ever.
pub async fn run(replicas: Arc<Replicas>, ttl: Duration) -> anyhow::Result<()> {
    let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
    let mut ticks = tokio::time::interval((ttl / 10).clamp(EVERY.0, EVERY.1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let before_ms = clock::now_ms().saturating_sub(ttl_ms);
        for handle in replicas.led() {
            match handle.expire_before(before_ms).await {
                Ok(0) => {}
                Ok(letters) => tracing::info!(
                    partition = handle.number,
                    letters,
                    "discarded dead letters whose time was over"
                ),
                // Tried again at the next tick, if the partition still serves then.
                Err(ExpireError::Refused(_)) => {}
                Err(ExpireError::Index(error)) => return Err(error.into()),
            }
        }
    }
}
