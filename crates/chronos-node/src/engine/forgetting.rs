//! Forgetting message ids of partitions that nobody publishes to.
//!
//! What is forgotten is a matter of the log: a publish says how long ids are remembered, and moves the
//! time before which they do not count. Without publishes that time would stand still, and with it the
//! oldest ids of this node, which leave in the order in which they came, whatever their partition. So
//! a section without events is published now and then.

use super::clock;
use super::message::Message;
use super::replica::Replicas;
use chronos_core::command::{Kind, publish};
use std::sync::Arc;
use std::time::Duration;

/// How often partitions are looked at, at the most and at the least; in between, sixteen times in the
/// time that an id is remembered.
const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// Lets partitions forget ids `ttl` after they began to age, for ever.
pub async fn run(replicas: Arc<Replicas>, ttl: Duration) -> anyhow::Result<()> {
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let mut ticks = tokio::time::interval((ttl / 16).clamp(EVERY.0, EVERY.1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for handle in replicas.led() {
            let forgets_from_ms = clock::now_ms().saturating_sub_unsigned(ttl_ms / 8 * 9);
            let is_behind = {
                let state = handle.state.lock();
                state.next_offset() > 0 && state.forgotten_ms() < forgets_from_ms
            };
            if is_behind {
                let section = publish::Builder::new(0, 0).finish(ttl_ms);
                // Tried again at the next tick when it is refused.
                let _ = (handle.ask(|reply| Message::Retain(Kind::Publish, section, reply))).await;
            }
        }
    }
}
