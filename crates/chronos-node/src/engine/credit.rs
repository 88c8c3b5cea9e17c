//! The credit of a subscription: how many unanswered deliveries it may hold, over all partitions.

use super::message::Message;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use tokio::sync::mpsc;

/// Counts deliveries that are under way to one subscription.
#[derive(Debug)]
pub struct Credit {
    limit: u32,
    used: AtomicU32,
    /// Offset of the event that the subscription settled last; -1 for none.
    last_settled: AtomicI64,
    /// Drivers that share the credit: each is told when the last place comes free again.
    drivers: Mutex<Vec<mpsc::WeakSender<Message>>>,
}

impl Credit {
    /// A credit of `limit` deliveries.
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            used: AtomicU32::new(0),
            last_settled: AtomicI64::new(-1),
            drivers: Mutex::default(),
        }
    }

    /// Another driver takes from this credit.
    pub fn share_with(&self, driver: mpsc::WeakSender<Message>) {
        self.drivers.lock().push(driver);
    }

    /// Whether a delivery may be sent.
    pub fn is_left(&self) -> bool {
        self.used.load(Ordering::Relaxed) < self.limit
    }

    /// Takes a place, if one is left.
    pub fn take(&self) -> bool {
        let take = |used| (used < self.limit).then_some(used + 1);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// Takes note that the subscription settled an event.
    pub fn settled(&self, offset: u64) {
        self.last_settled
            .store(i64::try_from(offset).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Offset of the event that the subscription settled last; -1 for none.
    pub fn last_settled(&self) -> i64 {
        self.last_settled.load(Ordering::Relaxed)
    }

    /// Gives places back.
    pub fn give(&self, places: u32) {
        let give = |used: u32| Some(used.saturating_sub(places));
        let before = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, give)
            .unwrap_or(0);
        if before >= self.limit {
            let drivers = self.drivers.lock();
            if drivers.len() > 1 {
                for driver in drivers.iter().filter_map(mpsc::WeakSender::upgrade) {
                    // A full inbox needs no waking.
                    let _ = driver.try_send(Message::Wake);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_that_share_are_woken_when_credit_comes_free() {
        let credit = Credit::new(2);
        let (a, mut inbox_a) = mpsc::channel(4);
        let (b, mut inbox_b) = mpsc::channel(4);
        credit.share_with(a.downgrade());
        credit.share_with(b.downgrade());
        assert!(credit.take() && credit.take() && !credit.take() && !credit.is_left());
        credit.give(1);
        assert!(credit.is_left());
        assert!(matches!(inbox_a.try_recv(), Ok(Message::Wake)));
        assert!(matches!(inbox_b.try_recv(), Ok(Message::Wake)));
        credit.give(1);
        assert!(inbox_a.try_recv().is_err());
    }
}
