//! What the segments of a log hold, and which of them go.

use super::source::Source;
use super::{Extent, Policy, Request, RetentionError};
use chronos_core::keys::batch::Batch;
use chronos_core::partition::live::{Keep, View, visit_places};
use chronos_store::RocksStore;
use chronos_wal::Status;
use roaring::RoaringTreemap;
use std::ops::ControlFlow;

/// Live events of a segment whose sizes are looked at, to say how large the others are.
const SAMPLES: u64 = 48;

/// One segment of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    first_index: u64,
    last_index: u64,
    bytes: u64,
}

/// The segments of a log, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Segments {
    all: Vec<Segment>,
    /// How many of them are full, and applied to the end.
    full: usize,
}

impl Segments {
    /// The segments of a log of which the entries up to `applied` are applied.
    pub(super) fn of(log: &Status, applied: u64) -> Self {
        let segments = log.segments.iter().filter_map(|segment| {
            Some(Segment {
                first_index: segment.first_index,
                last_index: segment.last_index?,
                bytes: segment.bytes,
            })
        });
        let all: Vec<_> = segments.collect();
        let done = all.partition_point(|segment| segment.last_index <= applied);
        Self {
            full: done.min(all.len().saturating_sub(1)),
            all,
        }
    }

    /// Those that are full.
    fn full(&self) -> &[Segment] {
        &self.all[..self.full]
    }

    /// Whether there is more than the one that is being written.
    pub(super) fn has_full(&self) -> bool {
        !self.full().is_empty()
    }

    fn total_bytes(&self) -> u64 {
        self.all.iter().map(|segment| segment.bytes).sum()
    }

    /// The segment that holds an entry.
    fn holding(&self, log_index: u64) -> usize {
        let after = self
            .all
            .partition_point(|segment| segment.first_index <= log_index);
        after.saturating_sub(1)
    }

    /// The first offset that is in the order of the log and within its newest `bytes`.
    pub(super) fn first_offset_within(
        &self,
        bytes: u64,
        store: &RocksStore,
        view: &View,
    ) -> Result<u64, RetentionError> {
        let mut left = bytes;
        for segment in self.all.iter().rev() {
            match left.checked_sub(segment.bytes) {
                Some(rest) => left = rest,
                None => return Ok(view.first_after_entry(store, segment.last_index)?),
            }
        }
        Ok(0)
    }
}

/// What is known of a segment's events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Content {
    events: u64,
    live: u64,
    sampled: u64,
    sampled_bytes: u64,
    newest_ms: i64,
    /// It was written since events are kept: all of it counts as live.
    is_young: bool,
}

impl Content {
    fn live_bytes(&self, bytes: u64) -> u64 {
        match self
            .sampled_bytes
            .saturating_mul(self.live)
            .checked_div(self.sampled)
        {
            _ if self.is_young => bytes,
            Some(live) => live.min(bytes),
            None => 0,
        }
    }

    /// Whether anything of it may go.
    fn has_garbage(&self) -> bool {
        !self.is_young && self.live < self.events.max(1)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Entries up to this one go; `None` when nothing does.
    pub(super) last_index: Option<u64>,
    /// How many segments that is.
    pub(super) segments: u64,
    /// And bytes.
    pub(super) bytes: u64,
    /// Live bytes of the whole log, as far as they are known.
    pub(super) live_bytes: u64,
}

/// Looks at what the segments hold and decides.
#[allow(
    clippy::too_many_arguments,
    reason = "everything that a decision rests on"
)]
pub(super) fn make(
    segments: &Segments,
    policy: &Policy,
    request: &Request,
    store: &RocksStore,
    view: &View,
    keep: &Keep,
    live: &RoaringTreemap,
    source: &mut Source<'_>,
) -> Result<Plan, RetentionError> {
    let contents = contents(segments, store, view, keep, live, source)?;
    Ok(decide(segments, &contents, policy.segment_bytes, request))
}

fn contents(
    segments: &Segments,
    store: &RocksStore,
    view: &View,
    keep: &Keep,
    live: &RoaringTreemap,
    source: &mut Source<'_>,
) -> Result<Vec<Content>, RetentionError> {
    let mut contents = vec![Content::default(); segments.all.len()];
    let young_from = match view.keeps_all_young(keep) {
        true => view.kept_from(store, keep)?.max(view.carried_upto()),
        false => u64::MAX,
    };
    // The first segment of which a part is young is looked into to its end.
    let mut boundary = None;
    let mut failed = None;
    visit_places(store, view.partition(), 0..view.next_offset, &mut |batch| {
        let at = segments.holding(batch.log_index);
        if batch.first_offset >= young_from && *boundary.get_or_insert(at) < at {
            return ControlFlow::Break(());
        }
        let of_batch = batch.first_offset..batch.first_offset + batch.count();
        let alive = live.range_cardinality(of_batch.clone());
        let content = &mut contents[at];
        content.newest_ms = content.newest_ms.max(batch.now_ms);
        content.events += batch.count();
        content.live += alive;
        if alive > 0 && content.sampled < SAMPLES {
            match sample(&batch, live, source) {
                Ok(bytes) => {
                    content.sampled += 1;
                    content.sampled_bytes += bytes;
                }
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    if let Some(boundary) = boundary {
        contents[boundary + 1..]
            .iter_mut()
            .for_each(|content| content.is_young = true);
    }
    Ok(contents)
}

/// The stored bytes of a batch's first live event.
fn sample(
    batch: &Batch,
    live: &RoaringTreemap,
    source: &mut Source<'_>,
) -> Result<u64, RetentionError> {
    let first = match batch.first_offset.checked_sub(1) {
        Some(before) => live.select(live.rank(before)),
        None => live.min(),
    };
    source.stored_bytes(batch, first.unwrap_or(batch.first_offset))
}

fn decide(
    segments: &Segments,
    contents: &[Content],
    segment_bytes: u64,
    request: &Request,
) -> Plan {
    let all = || segments.all.iter().zip(contents);
    let live_bytes = all()
        .map(|(segment, content)| content.live_bytes(segment.bytes))
        .sum();
    let mut plan = Plan {
        live_bytes,
        ..Plan::default()
    };
    let bound = 2 * live_bytes + segment_bytes;
    let (mut carried, mut gone, mut total) = (0, 0, segments.total_bytes());
    let full = segments.full().len();
    let last_with_garbage = contents[..full].iter().rposition(Content::has_garbage);
    for (at, (segment, content)) in all().take(full).enumerate() {
        let live = content.live_bytes(segment.bytes);
        if content.is_young || content.newest_ms >= request.before_ms {
            break;
        }
        carried += live;
        gone += segment.bytes;
        let is_free = carried == 0;
        let goes = match request.extent {
            Extent::Bound => total > bound && (carried <= segment_bytes || plan.segments == 0),
            Extent::Worthwhile => gone >= 2 * carried,
            Extent::Everything => last_with_garbage.is_some_and(|last| at <= last),
        };
        total = total.saturating_sub(segment.bytes - live);
        if is_free || goes {
            plan = Plan {
                last_index: Some(segment.last_index),
                segments: at as u64 + 1,
                bytes: gone,
                live_bytes,
            };
        } else if request.extent == Extent::Bound {
            break;
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGULAR: Request = Request::REGULAR;

    /// Segments of 100 bytes, the last one being written, and how many of ten events of ten bytes
    /// are live in each.
    fn plan(live: &[u64], request: &Request) -> Plan {
        let segments = (0..).zip(live).map(|(at, _)| Segment {
            first_index: 10 * at,
            last_index: 10 * at + 9,
            bytes: 100,
        });
        let contents: Vec<_> = (live.iter().zip(0..))
            .map(|(live, newest_ms)| Content {
                events: 10,
                live: *live,
                sampled: 1,
                sampled_bytes: 10,
                newest_ms,
                is_young: false,
            })
            .collect();
        let segments = Segments {
            all: segments.collect(),
            full: live.len().saturating_sub(1),
        };
        decide(&segments, &contents, 100, request)
    }

    /// Entries that are durable and not applied yet bring events that nobody has judged.
    #[test]
    fn a_segment_is_full_when_all_of_it_is_applied() {
        let segment = |first_index, last_index| chronos_wal::SegmentStatus {
            file: String::new(),
            first_index,
            last_index: Some(last_index),
            bytes: 1,
        };
        let log = Status {
            segments: vec![segment(0, 9), segment(10, 19), segment(20, 29)],
            total_bytes: 3,
            index_entries: 0,
            queued_bytes: 0,
            available_bytes: None,
            poisoned: None,
        };
        let full = |applied| Segments::of(&log, applied).full().len();
        assert_eq!([8, 9, 18, 19, 40].map(full), [0, 1, 1, 2, 2]);
    }

    #[test]
    fn a_log_within_its_bound_only_loses_what_is_empty() {
        assert_eq!(plan(&[5, 5, 5], &REGULAR).last_index, None);
        assert_eq!(plan(&[0, 0, 9, 0, 9], &REGULAR).last_index, Some(19));
        assert_eq!(
            plan(&[10], &REGULAR).last_index,
            None,
            "it is being written"
        );
        assert_eq!(plan(&[0], &REGULAR).last_index, None);
    }

    #[test]
    fn a_log_beyond_its_bound_carries_about_a_segment() {
        // 500 bytes, 100 of them live: 300 are allowed.
        let two = plan(&[2, 2, 2, 2, 2], &REGULAR);
        assert_eq!(
            (two.last_index, two.segments, two.bytes),
            (Some(29), 3, 300)
        );
        assert_eq!(two.live_bytes, 100);
        // What is wholly live has to move, too, when it stands before what may go.
        let all = plan(&[10, 0, 0, 0, 0, 0], &REGULAR);
        assert!(all.segments >= 2, "{all:?}");
    }

    #[test]
    fn requests_go_further() {
        let of = |extent| Request { extent, ..REGULAR };
        assert_eq!(
            plan(&[5, 9, 9], &of(Extent::Worthwhile)).last_index,
            Some(9)
        );
        assert_eq!(
            plan(&[9, 1, 9, 9], &of(Extent::Worthwhile)).last_index,
            Some(19)
        );
        assert_eq!(
            plan(&[10, 9, 10, 9], &of(Extent::Everything)).last_index,
            Some(19)
        );
        assert_eq!(plan(&[10, 10, 0], &of(Extent::Everything)).last_index, None);
        let before_ms = Request {
            before_ms: 1,
            ..of(Extent::Everything)
        };
        assert_eq!(plan(&[0, 0, 0, 0], &before_ms).last_index, Some(9));
    }
}
