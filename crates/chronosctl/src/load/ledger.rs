//! Who was published and who arrived, one byte per event and group.
//!
//! Events are counted from zero within a run, so the ledger is a plain array, grown in pages as the
//! counter advances. Publishers and subscribers write to it at the same time; a delivery may be
//! booked before the reply to its publish.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use super::ids::EventIds;
use super::payload;
use super::wire::response::Event;

/// Events per page.
const PAGE_EVENTS: usize = 1 << 18;
/// Pages, and with them the longest possible run: 4.2 billion events.
const PAGES: usize = 1 << 14;

/// What became of a publish. The discriminants are the bytes in the ledger; 0 is "not answered".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// The server accepted it: it must arrive once in every group.
    Accepted = 1,
    /// The server refused it: it must not arrive.
    Refused = 2,
    /// Nobody knows: it may arrive, at most once.
    Unknown = 3,
}

/// What an arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Time from schedule_ts to the arrival in µs; negative when it came early.
    pub lateness_us: i64,
    /// Whether the event is of this run.
    pub ours: bool,
}

/// The books of one run.
pub(crate) struct Ledger {
    ids: EventIds,
    early_tolerance_us: i64,
    issued: AtomicU64,
    outcomes: Table,
    received: Vec<Table>,
    accepted: AtomicU64,
    arrived: AtomicU64,
    duplicates: AtomicU64,
    redelivered: AtomicU64,
    early: AtomicU64,
    earliest_us: AtomicI64,
    wrong_payload: AtomicU64,
    foreign: AtomicU64,
    never_issued: AtomicU64,
    called_duplicate: AtomicU64,
}

impl Ledger {
    /// Empty books for events named by `ids` and delivered to `groups` consumer groups.
    pub(crate) fn new(ids: EventIds, groups: usize, early_tolerance_us: i64) -> Self {
        Self {
            ids,
            early_tolerance_us,
            issued: AtomicU64::new(0),
            outcomes: Table::new(),
            received: (0..groups).map(|_| Table::new()).collect(),
            accepted: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            redelivered: AtomicU64::new(0),
            early: AtomicU64::new(0),
            earliest_us: AtomicI64::new(i64::MAX),
            wrong_payload: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
            never_issued: AtomicU64::new(0),
            called_duplicate: AtomicU64::new(0),
        }
    }

    /// Hands out up to `count` fresh counters below `limit`, or `None` when there are no more.
    pub(crate) fn issue(&self, count: u64, limit: u64) -> Option<Range<u64>> {
        let limit = limit.min((PAGES * PAGE_EVENTS) as u64);
        let end = |start: u64| start.saturating_add(count).min(limit);
        self.issued
            .fetch_update(Relaxed, Relaxed, |start| {
                (start < limit).then(|| end(start))
            })
            .ok()
            .map(|start| start..end(start))
    }

    /// Books the outcome of the publishes in `events`.
    pub(crate) fn settle(&self, events: Range<u64>, outcome: Outcome) {
        if outcome == Outcome::Accepted {
            self.accepted.fetch_add(events.end - events.start, Relaxed);
        }
        for counter in events {
            self.outcomes.cell(counter).store(outcome as u8, Relaxed);
        }
    }

    /// Books that the server called `count` fresh ids duplicates.
    pub(crate) fn called_duplicate(&self, count: u64) {
        self.called_duplicate.fetch_add(count, Relaxed);
    }

    /// Books the arrival of `event` in a group at `now_us` (Unix µs).
    pub(crate) fn receive(
        &self,
        group: usize,
        event: &Event<'_>,
        attempt: u64,
        now_us: i64,
    ) -> Arrival {
        let lateness_us = now_us.saturating_sub(event.schedule_ms.saturating_mul(1_000));
        self.earliest_us.fetch_min(lateness_us, Relaxed);
        if lateness_us < -self.early_tolerance_us {
            self.early.fetch_add(1, Relaxed);
        }
        let mut arrival = Arrival {
            lateness_us,
            ours: false,
        };
        let Some(counter) = self.ids.counter(event.id) else {
            self.foreign.fetch_add(1, Relaxed);
            return arrival;
        };
        if counter >= self.issued.load(Relaxed) {
            self.never_issued.fetch_add(1, Relaxed);
            return arrival;
        }
        arrival.ours = true;
        if !payload::matches(event.payload, payload::seed(counter, event.schedule_ms)) {
            self.wrong_payload.fetch_add(1, Relaxed);
        }
        let before = self.received[group]
            .cell(counter)
            .fetch_update(Relaxed, Relaxed, |count| Some(count.saturating_add(1)))
            .unwrap_or_default();
        match (before, attempt) {
            (0, _) => &self.arrived,
            (_, 0 | 1) => &self.duplicates,
            _ => &self.redelivered,
        }
        .fetch_add(1, Relaxed);
        arrival
    }

    /// Events handed out so far.
    pub(crate) fn issued(&self) -> u64 {
        self.issued.load(Relaxed)
    }

    /// Publishes accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// First arrivals so far, over all groups.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(Relaxed)
    }

    /// Arrivals that every group together still owes for what was accepted so far.
    pub(crate) fn owed(&self) -> u64 {
        (self.accepted() * self.received.len() as u64).saturating_sub(self.arrived())
    }

    /// Whether every accepted event has arrived in every group. Walks the ledger only when the
    /// totals agree.
    pub(crate) fn is_complete(&self) -> bool {
        self.owed() == 0 && self.verdict().lost == 0
    }

    /// The state of the books. Without groups, deliveries are not judged.
    pub(crate) fn verdict(&self) -> Verdict {
        let mut verdict = Verdict {
            issued: self.issued(),
            accepted: 0,
            refused: 0,
            unknown: 0,
            groups: self.received.len(),
            arrived: self.arrived(),
            lost: 0,
            duplicates: self.duplicates.load(Relaxed),
            redelivered: self.redelivered.load(Relaxed),
            refused_but_delivered: 0,
            early: self.early.load(Relaxed),
            wrong_payload: self.wrong_payload.load(Relaxed),
            never_issued: self.never_issued.load(Relaxed),
            called_duplicate: self.called_duplicate.load(Relaxed),
            foreign: self.foreign.load(Relaxed),
            earliest_us: Some(self.earliest_us.load(Relaxed))
                .filter(|earliest| *earliest < i64::MAX),
        };
        for counter in 0..verdict.issued {
            let outcome = self.outcomes.get(counter);
            match outcome {
                1 => verdict.accepted += 1,
                2 => verdict.refused += 1,
                _ => verdict.unknown += 1,
            }
            for group in &self.received {
                match (outcome, group.get(counter)) {
                    (1, 0) => verdict.lost += 1,
                    (2, 1..) => verdict.refused_but_delivered += 1,
                    _ => {}
                }
            }
        }
        verdict
    }
}

/// What the books say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// Events sent.
    pub issued: u64,
    /// Publishes accepted.
    pub accepted: u64,
    /// Publishes refused.
    pub refused: u64,
    /// Publishes whose outcome is not known.
    pub unknown: u64,
    /// Consumer groups, each of which must get every event.
    pub groups: usize,
    /// First arrivals over all groups.
    pub arrived: u64,
    /// Accepted but never arrived.
    pub lost: u64,
    /// Arrived again although marked as a first attempt.
    pub duplicates: u64,
    /// Arrived again and marked as a further attempt.
    pub redelivered: u64,
    /// Refused and yet arrived.
    pub refused_but_delivered: u64,
    /// Arrived before their time.
    pub early: u64,
    /// Arrived with another payload or schedule_ts than was sent.
    pub wrong_payload: u64,
    /// Arrived with an id of this run that was never sent.
    pub never_issued: u64,
    /// Fresh ids that the server called duplicates.
    pub called_duplicate: u64,
    /// Events of others on the same topic; they do not count as failures.
    pub foreign: u64,
    /// Least lateness of any arrival in µs; negative means early.
    pub earliest_us: Option<i64>,
}

impl Verdict {
    /// Each way in which the run failed, with the number of events. Empty for a good run.
    pub(crate) fn failures(&self, allow_redelivery: bool) -> Vec<String> {
        let redelivered = if allow_redelivery {
            0
        } else {
            self.redelivered
        };
        [
            (self.lost, "lost"),
            (self.duplicates, "delivered more than once"),
            (redelivered, "delivered again in a further attempt"),
            (self.early, "delivered early"),
            (
                self.wrong_payload,
                "delivered with a wrong payload or schedule_ts",
            ),
            (self.refused_but_delivered, "refused and yet delivered"),
            (self.never_issued, "delivered but never published"),
            (
                self.called_duplicate,
                "called duplicates although published once",
            ),
            (self.unknown, "published with an unknown outcome"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }
}

/// A growing array of bytes that many tasks write at once.
struct Table {
    pages: Vec<OnceLock<Box<[AtomicU8]>>>,
}

impl Table {
    fn new() -> Self {
        Self {
            pages: (0..PAGES).map(|_| OnceLock::new()).collect(),
        }
    }

    fn cell(&self, counter: u64) -> &AtomicU8 {
        let counter = counter as usize;
        let page = self.pages[counter / PAGE_EVENTS]
            .get_or_init(|| (0..PAGE_EVENTS).map(|_| AtomicU8::new(0)).collect());
        &page[counter % PAGE_EVENTS]
    }

    fn get(&self, counter: u64) -> u8 {
        let counter = counter as usize;
        self.pages[counter / PAGE_EVENTS]
            .get()
            .map_or(0, |page| page[counter % PAGE_EVENTS].load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::ids::RunId;

    struct Books {
        ledger: Ledger,
        ids: EventIds,
    }

    impl Books {
        fn with(groups: usize, accepted: u64) -> Self {
            let ids = EventIds::new(&"run".parse::<RunId>().unwrap());
            let ledger = Ledger::new(ids.clone(), groups, 0);
            let events = ledger.issue(accepted, u64::MAX).unwrap();
            ledger.settle(events, Outcome::Accepted);
            Self { ledger, ids }
        }

        fn deliver(&self, group: usize, counter: u64, attempt: u64, now_us: i64) {
            let mut id = vec![0; self.ids.id_bytes()];
            self.ids.write(&mut id, counter);
            let mut payload = [0; 32];
            payload::fill(&mut payload, payload::seed(counter, 1_000));
            let event = Event {
                id: &id,
                schedule_ms: 1_000,
                payload: &payload,
                offset: 0,
            };
            self.ledger.receive(group, &event, attempt, now_us);
        }

        fn failures(&self) -> Vec<String> {
            self.ledger.verdict().failures(false)
        }
    }

    #[test]
    fn a_complete_run_has_no_failures() {
        let books = Books::with(2, 3);
        for (group, counter) in [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1)] {
            books.deliver(group, counter, 1, 1_000_000);
        }
        assert!(!books.ledger.is_complete());
        assert_eq!(books.failures(), ["1 lost"]);
        books.deliver(1, 0, 2, 1_000_000);
        assert!(books.ledger.is_complete());
        assert!(books.failures().is_empty());
    }

    #[test]
    fn a_second_arrival_is_a_duplicate_or_a_redelivery() {
        let books = Books::with(1, 1);
        books.deliver(0, 0, 1, 1_000_000);
        books.deliver(0, 0, 1, 1_000_000);
        books.deliver(0, 0, 2, 1_000_000);
        assert_eq!(
            books.failures(),
            [
                "1 delivered more than once",
                "1 delivered again in a further attempt"
            ]
        );
        assert_eq!(books.ledger.verdict().failures(true).len(), 1);
    }

    #[test]
    fn one_microsecond_early_is_early() {
        let books = Books::with(1, 1);
        books.deliver(0, 0, 1, 999_999);
        assert_eq!(books.failures(), ["1 delivered early"]);
        assert_eq!(books.ledger.verdict().earliest_us, Some(-1));
    }

    #[test]
    fn a_stranger_does_not_hide_a_loss() {
        let books = Books::with(1, 2);
        let refused = books.ledger.issue(1, u64::MAX).unwrap();
        books.ledger.settle(refused, Outcome::Refused);
        books.deliver(0, 0, 1, 1_000_000);
        books.deliver(0, 2, 1, 1_000_000);
        assert_eq!(books.ledger.owed(), 0);
        assert!(!books.ledger.is_complete());
        assert_eq!(books.failures(), ["1 lost", "1 refused and yet delivered"]);
        books.deliver(0, 9, 1, 1_000_000);
        assert_eq!(books.failures().len(), 3);
    }

    #[test]
    fn an_unanswered_publish_has_an_unknown_outcome() {
        let books = Books::with(0, 1);
        books.ledger.issue(5, 3).unwrap();
        assert_eq!(books.ledger.issue(1, 3), None);
        assert_eq!(books.failures(), ["2 published with an unknown outcome"]);
    }
}
