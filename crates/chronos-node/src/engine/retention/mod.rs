//! Removing what nobody needs any longer from the log, and carrying forward what somebody does.
//!
//! The log is removed from its beginning, whole segments at a time. What is still live in them
//! ([`chronos_core::partition::live`]) is written to its end first
//! ([`chronos_core::partition::carrying`]). Three things bound what goes when:
//!
//! - no segment goes before everything live in it stands elsewhere, durably, and a durable checkpoint
//!   of the index says so;
//! - events are carried only when it pays, so that the log stays within twice its live bytes and
//!   two segments, and a byte that stays is written about twice;
//! - one run carries about one segment at most, so that the log never grows much on its way to
//!   becoming smaller.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | one run, from judging to removing, and the task that runs it from time to time |
//! | `plan.rs` | what the segments hold, and which of them go |
//! | `by_topic.rs` | topics with rules of their own |
//! | `source.rs` | reading events as they are stored |

mod by_topic;
mod plan;
mod source;

use super::clock;
use super::message::{Handle, Message, Refused};
use super::topics::{self, Topics};
use crate::metrics::PartitionMetrics;
use bytes::Bytes;
use chronos_core::command::Kind;
use chronos_core::command::carry::Moved;
use chronos_core::mutant;
use chronos_core::partition::Outcome;
use chronos_core::partition::carrying::{Scope, Step, next_step};
use chronos_core::partition::live::{Keep, View, visit_places};
use chronos_core::store::StoreError;
use chronos_store::RocksStore;
use plan::{Plan, Segments};
use roaring::RoaringTreemap;
use source::Source;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// How often the size of the logs is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// A log that has not grown is judged again after this time: events go out of date by themselves.
const AT_LEAST_EVERY: Duration = Duration::from_secs(600);
/// A log is judged again when it has grown by this part of a segment.
const GROWTH_PARTS: u64 = 4;
/// Most bytes of events carried by one command.
const STEP_BYTES: usize = 2 << 20;
/// Versions forgotten by one command.
const VERSIONS_AT_ONCE: usize = 16 * 1024;
/// A checkpoint that is asked for is there within this time, unless the node is in trouble.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(120);

/// How far a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// As far as the log's bound asks, and over segments that hold nothing live.
    Bound,
    /// Over as many segments as at least half of which goes.
    Worthwhile,
    /// Over every full segment that holds anything that may go.
    Everything,
}

/// What a run is to keep, where it is not what the node was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// How far it goes.
    pub extent: Extent,
    /// How long events are kept that are over; `None` for as long as the node and the topics say.
    pub kept_for: Option<Duration>,
    /// Most bytes of log, if something that is over can be given up for it; 0 for no limit, `None` for
    /// what the node was told.
    pub most_bytes: Option<u64>,
    /// Everything from this offset on is kept.
    pub keep_from: u64,
    /// Segments with events accepted at this time or later stay, Unix milliseconds.
    pub before_ms: i64,
}

impl Request {
    /// What the node does by itself.
    pub const REGULAR: Self = Self {
        extent: Extent::Bound,
        kept_for: None,
        most_bytes: None,
        keep_from: u64::MAX,
        before_ms: i64::MAX,
    };
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Segments removed.
    pub segments: u64,
    /// Bytes removed, without those that were carried.
    pub bytes: u64,
    /// Events carried.
    pub carried_events: u64,
    /// Their bytes.
    pub carried_bytes: u64,
}

/// What the node was told about keeping events.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How long events are kept that are over; zero for ever.
    pub kept_for: Duration,
    /// Most bytes of one partition's log; 0 for no limit.
    pub most_bytes: u64,
    /// Size at which a segment is full.
    pub segment_bytes: u64,
}

/// Why a run ended early. Nothing is lost: what was carried stands twice.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The partition does not take commands.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The index failed, or is not as it should be.
    #[error(transparent)]
    Index(#[from] StoreError),
    /// An event that must be carried cannot be read, so its segment stays.
    #[error("an event that must be carried cannot be read: {0}")]
    Log(#[from] chronos_wal::Error),
    /// The checkpoint did not come.
    #[error("no checkpoint was made for {0:?}: see the server's log")]
    NoCheckpoint(Duration),
    /// The group stopped.
    #[error("the partition stopped: {0}")]
    Stopped(String),
    /// The index still points into what was to be removed.
    #[error("event {0} was not carried: nothing is removed")]
    LeftBehind(u64),
}

/// Retention of one partition.
pub struct Retention {
    handle: Handle,
    store: RocksStore,
    policy: Policy,
    counters: PartitionMetrics,
    topics: Arc<Topics>,
    /// One run at a time.
    running: tokio::sync::Mutex<()>,
}

impl Retention {
    /// Retention of a partition.
    pub fn new(
        handle: Handle,
        store: RocksStore,
        policy: Policy,
        counters: PartitionMetrics,
        topics: Arc<Topics>,
    ) -> Self {
        Self {
            handle,
            store,
            policy,
            counters,
            topics,
            running: tokio::sync::Mutex::default(),
        }
    }

    /// Nothing is removed from the log while this is held, and no event is carried.
    pub async fn hold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.running.lock().await
    }

    /// Runs whenever the log has grown, for ever. Partitions that share `begun` look at the same times,
    /// which wakes an idle node less often.
    pub async fn run(self: Arc<Self>, begun: tokio::time::Instant) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval_at(begun, EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let (mut seen_bytes, mut since) = (0, tokio::time::Instant::now());
        loop {
            ticks.tick().await;
            if !self.handle.is_led() {
                continue;
            }
            let bytes = self.handle.wal.total_bytes();
            let has_grown = bytes >= seen_bytes + self.policy.segment_bytes / GROWTH_PARTS;
            let is_old = since.elapsed() >= AT_LEAST_EVERY;
            let is_small = bytes <= self.policy.segment_bytes;
            if is_small || !(has_grown || is_old) {
                continue;
            }
            match self.reclaim(Request::REGULAR).await {
                // The bound may ask for more: the next tick looks again.
                Ok(reclaimed) if reclaimed.segments > 0 => seen_bytes = 0,
                Ok(_) => seen_bytes = bytes,
                Err(RetentionError::Refused(Refused::NotLeader(_) | Refused::Unknown(_))) => {
                    seen_bytes = bytes
                }
                Err(RetentionError::Refused(_) | RetentionError::Stopped(_)) => return Ok(()),
                Err(error) => {
                    tracing::error!(partition = self.handle.number, %error, "retention failed");
                    seen_bytes = bytes;
                }
            }
            since = tokio::time::Instant::now();
        }
    }

    /// One run. Waits for one that is under way.
    pub async fn reclaim(&self, request: Request) -> Result<Reclaimed, RetentionError> {
        let _running = self.running.lock().await;
        let judging = {
            let (handle, store, policy) = (self.handle.clone(), self.store.clone(), self.policy);
            let topics = self.topics.map();
            move || judge(&handle, &store, &policy, &topics, &request)
        };
        let Some(judged) = blocking(judging).await? else {
            return Ok(Reclaimed::default());
        };
        let judged = Arc::new(judged);
        self.counters
            .log_live_bytes
            .set(judged.plan.live_bytes as i64);
        let Some(last_index) = judged.plan.last_index else {
            return Ok(Reclaimed::default());
        };
        let mut reclaimed = self.carry(&judged, last_index).await?;
        self.forget(&judged).await?;
        self.save().await?;
        self.check_nothing_is_left(last_index).await?;
        self.handle
            .raft
            .purge(last_index)
            .await
            .map_err(|stopped| RetentionError::Stopped(stopped.to_string()))?;
        let wal = self.handle.wal.clone();
        blocking(move || Ok(wal.remove_segments_below(last_index + 1)?)).await?;
        reclaimed.segments = judged.plan.segments;
        reclaimed.bytes = judged.plan.bytes.saturating_sub(reclaimed.carried_bytes);
        self.counters.retention_segments.inc_by(reclaimed.segments);
        tracing::info!(
            partition = self.handle.number,
            segments = reclaimed.segments,
            bytes = reclaimed.bytes,
            carried_events = reclaimed.carried_events,
            carried_bytes = reclaimed.carried_bytes,
            "removed the beginning of the log"
        );
        Ok(reclaimed)
    }

    /// Writes the live events of the entries up to `last_index` to the end of the log.
    async fn carry(
        &self,
        judged: &Arc<Judged>,
        last_index: u64,
    ) -> Result<Reclaimed, RetentionError> {
        let (mut reclaimed, mut from) = (Reclaimed::default(), 0);
        let step_bytes = STEP_BYTES.min(self.policy.segment_bytes as usize / 4);
        loop {
            let next = {
                let (handle, store) = (self.handle.clone(), self.store.clone());
                let judged = Arc::clone(judged);
                move || {
                    let scope = Scope {
                        partition: handle.number,
                        from,
                        upto: judged.view.next_offset,
                        last_index,
                        step_bytes,
                    };
                    let mut source = Source::new(&handle.events);
                    next_step(&store, scope, &judged.live, &mut source)
                }
            };
            let Some(Step {
                section,
                events,
                mut moved,
                next,
            }) = blocking(next).await?
            else {
                return Ok(reclaimed);
            };
            if let Some(section) = section {
                reclaimed.carried_events += u64::from(events);
                reclaimed.carried_bytes += section.len() as u64;
                self.counters.carried_events.inc_by(u64::from(events));
                self.counters.carried_bytes.inc_by(section.len() as u64);
                if mutant!("forget-carried") {
                    from = next;
                    self.propose(Kind::Moved, moved.encode().into()).await?;
                    continue;
                }
                if let Outcome::Carried {
                    log_index,
                    section_position,
                } = self.propose(Kind::Carry, section).await?
                {
                    moved.log_index = log_index;
                    moved.section_position = section_position;
                }
                // In the periodic mode it may not be on the disk yet.
                let wal = self.handle.wal.clone();
                blocking(move || Ok(wal.sync()?)).await?;
            }
            self.propose(Kind::Moved, moved.encode().into()).await?;
            from = next;
        }
    }

    /// Forgets the due order of what is past and the versions of events that are gone.
    async fn forget(&self, judged: &Arc<Judged>) -> Result<(), RetentionError> {
        let versions = {
            let (store, judged) = (self.store.clone(), Arc::clone(judged));
            move || {
                let Judged {
                    view,
                    changed,
                    live,
                    ..
                } = &*judged;
                let forgotten = view.forgotten(&store, &judged.keep)?;
                let versions =
                    view.forgotten_versions(&store, &forgotten, changed, live, VERSIONS_AT_ONCE)?;
                Ok::<_, RetentionError>((forgotten, versions))
            }
        };
        let (forgotten, versions) = blocking(versions).await?;
        let moved = Moved {
            forgotten,
            versions,
            ..Moved::default()
        };
        self.propose(Kind::Moved, moved.encode().into()).await?;
        Ok(())
    }

    async fn propose(&self, kind: Kind, section: Bytes) -> Result<Outcome, RetentionError> {
        let asked = self
            .handle
            .ask(|reply| Message::Retain(kind, section, reply));
        Ok(asked.await?)
    }

    /// Waits for a durable checkpoint of what is applied now.
    async fn save(&self) -> Result<(), RetentionError> {
        let applied = self.handle.state.lock().applied();
        let index = applied.map_or(0, |applied| applied.index);
        match tokio::time::timeout(CHECKPOINT_LIMIT, self.handle.saves.reach(index)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(RetentionError::NoCheckpoint(CHECKPOINT_LIMIT)),
        }
    }

    /// Looks at every place once more before bytes are removed for ever.
    async fn check_nothing_is_left(&self, last_index: u64) -> Result<(), RetentionError> {
        if mutant!("forget-carried") {
            return Ok(());
        }
        let (number, store) = (self.handle.number, self.store.clone());
        blocking(move || {
            let mut left = None;
            visit_places(&store, number, 0..u64::MAX, &mut |batch| {
                if batch.log_index <= last_index {
                    left = Some(batch.first_offset);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            left.map_or(Ok(()), |offset| Err(RetentionError::LeftBehind(offset)))
        })
        .await
    }
}

/// What was found out before anything is done.
struct Judged {
    view: View,
    keep: Keep,
    changed: RoaringTreemap,
    live: RoaringTreemap,
    plan: Plan,
}

/// Which events are live, and which segments go. `None` when there is only the segment that is being
/// written.
fn judge(
    handle: &Handle,
    store: &RocksStore,
    policy: &Policy,
    topics: &topics::Map,
    request: &Request,
) -> Result<Option<Judged>, RetentionError> {
    let view = handle.state.lock().view();
    let Some(applied) = view.applied_index else {
        return Ok(None);
    };
    // Not beyond what the view knows: later entries bring events that it does not judge.
    let segments = Segments::of(&handle.wal.status(), applied);
    if !segments.has_full() {
        return Ok(None);
    }
    let kept_for = request.kept_for.unwrap_or(policy.kept_for);
    let mut keep = Keep::since(match kept_for.as_millis() {
        0 if request.kept_for.is_none() => i64::MIN,
        millis => clock::now_ms().saturating_sub_unsigned(millis.try_into().unwrap_or(u64::MAX)),
    });
    keep.all_from = request.keep_from;
    let most_bytes = request.most_bytes.unwrap_or(policy.most_bytes);
    if most_bytes > 0 {
        keep.not_below = segments.first_offset_within(most_bytes, store, &view)?;
    }
    if request.kept_for.is_none() && request.most_bytes.is_none() {
        by_topic::apply(handle, store, topics, &view, &mut keep)?;
    }
    if keep.not_below == 0 && view.keeps_all_young(&keep) && is_young(handle, store, &keep)? {
        return Ok(None);
    }
    let mut live = view.scan(store, &keep)?;
    // After the scan: whatever was moved during it is among them.
    let changed = handle.state.lock().changed().clone();
    view.add_changed(store, &keep, &changed, &mut live)?;
    let mut source = Source::new(&handle.events);
    let plan = plan::make(
        &segments,
        policy,
        request,
        store,
        &view,
        &keep,
        &live,
        &mut source,
    )?;
    Ok(Some(Judged {
        view,
        keep,
        changed,
        live,
        plan,
    }))
}

/// Whether all of the log was accepted since events are kept: then nothing of it may go, and there is
/// no need to read the index.
fn is_young(handle: &Handle, store: &RocksStore, keep: &Keep) -> Result<bool, StoreError> {
    let mut is_young = true;
    visit_places(store, handle.number, 0..u64::MAX, &mut |batch| {
        is_young = batch.now_ms >= keep.since_ms;
        ControlFlow::Break(())
    })?;
    Ok(is_young)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RetentionError> + Send + 'static,
) -> Result<T, RetentionError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(RetentionError::Stopped(error.to_string())),
    }
}
