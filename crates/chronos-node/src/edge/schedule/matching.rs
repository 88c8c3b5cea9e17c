//! Changing every pending event that matches a filter.
//!
//! Pages of the due order are read, filtered and changed, a section of the log at a time. Events that
//! the call itself has moved ahead of where it reads are told by the log entry that moved them.

use super::super::admission::latest_ms;
use super::super::status;
use super::super::view::View;
use super::pending::{Filter, due_keys};
use crate::engine::{Handle, ReadError, Refused};
use chronos_core::command::change::{Action, Item};
use chronos_core::keys::dedup::hash;
use chronos_core::partition::change::version_at;
use chronos_core::partition::{Changed, Verdict};
use chronos_core::types::{DueKey, TopicNumber};
use chronos_proto::cronos_db::ChangeMatchingResponse;
use chronos_proto::raw::scan_event;
use chronos_store::RocksStore;
use futures::stream::{self, TryStreamExt};
use tonic::Status;

/// Events changed by one section of the log: few enough that others are served in between.
const SECTION_EVENTS: usize = 2048;
/// Sections under way at once, so that the index is read while the log is written.
const SECTIONS_UNDER_WAY: usize = 2;

/// What to do with every event that matches.
#[derive(Debug, Clone, Copy)]
pub enum What {
    /// Cancel it.
    Cancel,
    /// Move it by so many milliseconds.
    Shift(i64),
    /// Move it to this time, Unix milliseconds.
    MoveTo(i64),
}

impl What {
    /// What it means for an event that is scheduled for `schedule_ms`; `None` when that would take
    /// it beyond `latest_ms`, or before 1970.
    fn of(self, schedule_ms: i64, latest_ms: i64) -> Option<Action> {
        match self {
            What::Cancel => Some(Action::Cancel),
            What::MoveTo(at_ms) => Some(Action::Reschedule(at_ms)),
            What::Shift(by_ms) => {
                let at_ms = schedule_ms.saturating_add(by_ms);
                let is_allowed = (1..=latest_ms).contains(&at_ms);
                is_allowed.then_some(Action::Reschedule(at_ms))
            }
        }
    }

    /// A moved event takes its id along, so the id must be read.
    fn needs_id(self) -> bool {
        !matches!(self, What::Cancel)
    }
}

/// Changes what matches, `limit` events at most, and counts; only counts for a dry run.
pub async fn change(
    engine: &View,
    filter: &Filter,
    what: What,
    dry_run: bool,
    limit: u64,
) -> Result<ChangeMatchingResponse, Status> {
    let mut counts = ChangeMatchingResponse::default();
    for handle in &engine.partitions() {
        let left = limit.saturating_sub(counts.matched as u64);
        let Some(scan) = Scan::new(engine, handle, filter, what, left) else {
            continue;
        };
        let sections = stream::try_unfold(scan, |scan| async move {
            tokio::task::spawn_blocking(move || scan.next())
                .await
                .map_err(|_| Status::unavailable("the server is shutting down"))?
                .map_err(|error| status::of_read(&error))
        });
        sections
            .map_ok(|Section { items, refused }| async move {
                let matched = items.len() as i64 + refused;
                let changed = match dry_run || items.is_empty() {
                    true => Ok(Vec::new()),
                    false => handle.change(items).await,
                };
                changed
                    .map(|changed| (matched, refused, changed))
                    .map_err(|refused: Refused| status::of_refused(&refused))
            })
            .try_buffered(SECTIONS_UNDER_WAY)
            .try_for_each(|(matched, refused, changed)| {
                counts.matched += matched;
                counts.refused += refused;
                changed
                    .iter()
                    .for_each(|changed| count(&mut counts, changed));
                std::future::ready(Ok(()))
            })
            .await?;
    }
    Ok(counts)
}

fn count(counts: &mut ChangeMatchingResponse, changed: &Changed) {
    match changed.verdict {
        Verdict::Cancelled | Verdict::Rescheduled | Verdict::Fired => counts.changed += 1,
        Verdict::AlreadyFired => counts.already_fired += 1,
        Verdict::AlreadyCancelled => counts.already_cancelled += 1,
        // It went away between reading and changing; nothing to tell.
        Verdict::Found | Verdict::VersionMismatch | Verdict::NotFound => {}
    }
}

/// Some of the events that match.
struct Section {
    /// Those to change.
    items: Vec<Item>,
    /// How many others stay as they are, because their new time is not allowed.
    refused: i64,
}

/// Where reading a partition's pending events has got to.
struct Scan {
    handle: Handle,
    store: RocksStore,
    filter: Filter,
    what: What,
    topic: TopicNumber,
    after: DueKey,
    upto: DueKey,
    /// Changes by later entries may be this call's own.
    began_at: u64,
    /// No event is moved beyond, Unix milliseconds.
    latest_ms: i64,
    left: u64,
}

impl Scan {
    fn new(engine: &View, handle: &Handle, filter: &Filter, what: What, left: u64) -> Option<Self> {
        let (topic, after, upto) = filter.stretch(handle)?;
        let applied = handle.state.lock().applied();
        Some(Self {
            handle: handle.clone(),
            store: engine.store().clone(),
            filter: filter.clone(),
            what,
            topic,
            after,
            upto,
            began_at: applied.map_or(0, |applied| applied.index),
            latest_ms: latest_ms(engine, filter.topic.as_bytes()),
            left,
        })
    }

    /// The next changes to make; `None` at the end.
    fn next(mut self) -> Result<Option<(Section, Self)>, ReadError> {
        while self.left > 0 {
            let most = SECTION_EVENTS as u64;
            let stretch = (self.topic, self.after, self.upto);
            let mut due = due_keys(&self.store, self.handle.number, stretch, most)?;
            due.truncate(SECTION_EVENTS);
            let Some(last) = due.last() else {
                return Ok(None);
            };
            self.after = *last;
            let section = self.section(&due)?;
            let matched = section.items.len() as u64 + section.refused as u64;
            if matched > 0 {
                self.left -= matched;
                return Ok(Some((section, self)));
            }
        }
        Ok(None)
    }

    fn section(&self, due: &[DueKey]) -> Result<Section, ReadError> {
        let offsets: Vec<u64> = due.iter().map(|due| due.offset).collect();
        let mut matching = self
            .filter
            .matching(&self.handle, &offsets)?
            .into_iter()
            .peekable();
        let mut items = Vec::with_capacity(due.len());
        let mut refused = 0;
        for (due, is_changed) in due.iter().zip(self.changed(due)) {
            if items.len() as u64 + refused as u64 == self.left {
                break;
            }
            if matching.next_if(|offset| *offset == due.offset).is_none() {
                continue;
            }
            let (mut published_ms, mut schedule_ms) = (due.due_ms, due.due_ms);
            if is_changed
                && let Some((version, index)) =
                    version_at(&self.store, self.handle.number, due.offset, u64::MAX)?
            {
                if index > self.began_at && self.what.needs_id() {
                    continue;
                }
                (published_ms, schedule_ms) = (version.published_ms, version.schedule_ms);
            }
            let Some(action) = self.what.of(schedule_ms, self.latest_ms) else {
                refused += 1;
                continue;
            };
            items.push(Item {
                offset: due.offset,
                topic: self.topic,
                published_ms,
                id: 0,
                if_version: None,
                action,
            });
        }
        if self.what.needs_id() {
            self.fill_ids(&mut items)?;
        }
        Ok(Section { items, refused })
    }

    /// Which of the events were changed. That is asked of the state, not of what readers are told: an entry
    /// of this call may be applied, and its keys read, before the driver tells them.
    fn changed(&self, due: &[DueKey]) -> Vec<bool> {
        let state = self.handle.state.lock();
        let changed = state.changed();
        due.iter().map(|due| changed.contains(due.offset)).collect()
    }

    fn fill_ids(&self, items: &mut Vec<Item>) -> Result<(), ReadError> {
        let offsets: Vec<u64> = items.iter().map(|item| item.offset).collect();
        let (mut ids, mut failed) = (Vec::with_capacity(items.len()), None);
        self.handle
            .events
            .read(&offsets, &mut |_, event| match event {
                Ok(event) => {
                    let fields = scan_event(&event.body);
                    ids.push(fields.ok().map(|fields| hash(fields.message_id.as_bytes())));
                }
                Err(error) => {
                    ids.push(None);
                    failed = failed.take().or(Some(error));
                }
            });
        if let Some(error) = failed.filter(|error| !matches!(error, ReadError::Missing { .. })) {
            return Err(error);
        }
        let mut ids = ids.into_iter();
        items.retain_mut(|item| match ids.next().flatten() {
            Some(id) => {
                item.id = id;
                true
            }
            None => false,
        });
        Ok(())
    }
}
