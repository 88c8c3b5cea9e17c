//! ScheduleService: looking at what is scheduled, and changing it.
//!
//! | file | holds |
//! |---|---|
//! | `find.rs` | the event that a request names |
//! | `pending.rs` | pages and counts of what is pending |
//! | `matching.rs` | changing whatever matches a filter |
//! | `replace.rs` | cancelling one event and publishing another |
//! | `answer.rs` | outcomes as clients see them |

mod answer;
pub mod find;
mod matching;
pub mod pending;
mod replace;

use super::admission::may_move_to;
use super::forward::Over;
use super::publish::Publisher;
use super::status;
use super::validate::LAST_SCHEDULE_MS;
use super::view::View;
use crate::engine::{ReadError, clock};
use answer::{answer, not_found, outcome, scheduled};
use chronos_core::command::change::{Action, Item};
use chronos_core::types::{DueKey, PartitionNumber};
use chronos_proto::cronos_db::{
    CancelAndPublishRequest, CancelAndPublishResponse, CancelBatchRequest, CancelBatchResponse,
    CancelMatchingRequest, CancelRequest, ChangeMatchingResponse, CountPendingRequest,
    CountPendingResponse, EventRef, FireNowRequest, GetScheduledRequest, ListPendingRequest,
    ListPendingResponse, PendingByTimeRequest, PendingByTimeResponse, PendingFilter,
    RescheduleMatchingRequest, RescheduleRequest, ScheduleOutcome, ScheduleResponse,
};
use chronos_proto::server::schedule_service_server::ScheduleService;
use matching::What;
use pending::{Filter, Histogram, Place};
use std::collections::BTreeMap;
use tonic::{Request, Response, Status};

/// Events that one CancelBatch may name.
pub const MOST_IN_BATCH: usize = 10_000;
/// Events on a page, when the request does not say, and at most.
const PAGE: (usize, usize) = (100, 1000);
/// Buckets of a histogram, when the request does not say, and at most.
const BUCKETS: (i64, i64) = (60, 10_000);
/// How far ahead a histogram looks when the request does not say, milliseconds.
const DAY_MS: i64 = 86_400_000;

/// Serves ScheduleService.
#[derive(Clone)]
pub struct Schedules {
    engine: View,
    publisher: Publisher,
}

impl Schedules {
    /// Serves this engine.
    pub fn new(engine: &View, publisher: Publisher) -> Self {
        Self {
            engine: engine.clone(),
            publisher,
        }
    }

    async fn change_one(
        &self,
        event: Option<&EventRef>,
        action: Action,
        if_version: Option<i64>,
        with_payload: bool,
    ) -> Result<ScheduleResponse, Status> {
        let if_version = version(if_version)?;
        let Some(found) = find::find(&self.engine, event)? else {
            return Ok(not_found());
        };
        if let Action::Reschedule(at_ms) = action {
            may_move_to(&self.engine, found.event.topic(), at_ms)?;
        }
        let changed = found.change(action, if_version).await?;
        Ok(answer(&found, &changed, with_payload))
    }
}

impl Over for Schedules {
    fn over(&self, view: View) -> Self {
        Self {
            publisher: self.publisher.over(view.clone()),
            engine: view,
        }
    }
}

#[tonic::async_trait]
impl ScheduleService for Schedules {
    async fn get(
        &self,
        request: Request<GetScheduledRequest>,
    ) -> Result<Response<ScheduleResponse>, Status> {
        let request = request.into_inner();
        let event = request.event.as_ref();
        self.change_one(event, Action::Get, None, request.with_payload)
            .await
            .map(Response::new)
    }

    async fn cancel(
        &self,
        request: Request<CancelRequest>,
    ) -> Result<Response<ScheduleResponse>, Status> {
        let request = request.into_inner();
        let event = request.event.as_ref();
        self.change_one(event, Action::Cancel, request.if_version, false)
            .await
            .map(Response::new)
    }

    async fn reschedule(
        &self,
        request: Request<RescheduleRequest>,
    ) -> Result<Response<ScheduleResponse>, Status> {
        let request = request.into_inner();
        let at_ms = match (request.schedule_ts, request.deliver_after_ms) {
            (at_ms, 0) => checked_time(at_ms)?,
            (0, after_ms) if after_ms > 0 => {
                checked_time(clock::now_ms().saturating_add(after_ms))?
            }
            _ => {
                return Err(Status::invalid_argument(
                    "give either schedule_ts or a positive deliver_after_ms",
                ));
            }
        };
        let event = request.event.as_ref();
        self.change_one(event, Action::Reschedule(at_ms), request.if_version, false)
            .await
            .map(Response::new)
    }

    async fn fire_now(
        &self,
        request: Request<FireNowRequest>,
    ) -> Result<Response<ScheduleResponse>, Status> {
        let request = request.into_inner();
        let event = request.event.as_ref();
        self.change_one(event, Action::FireNow, request.if_version, false)
            .await
            .map(Response::new)
    }

    async fn cancel_batch(
        &self,
        request: Request<CancelBatchRequest>,
    ) -> Result<Response<CancelBatchResponse>, Status> {
        let events = request.into_inner().events;
        if events.len() > MOST_IN_BATCH {
            return Err(Status::invalid_argument(format!(
                "{} events are named, at most {MOST_IN_BATCH} are allowed: send several batches",
                events.len()
            )));
        }
        let mut outcomes = vec![ScheduleOutcome::NotFound; events.len()];
        let mut items: BTreeMap<PartitionNumber, Vec<(usize, Item)>> = BTreeMap::new();
        for (place, event) in events.iter().enumerate() {
            if let Some(found) = find::find(&self.engine, Some(event))? {
                let item = found.item(Action::Cancel, None);
                items
                    .entry(found.handle.number)
                    .or_default()
                    .push((place, item));
            }
        }
        let sent = items.into_iter().map(|(partition, items)| async move {
            let (places, items): (Vec<_>, Vec<_>) = items.into_iter().unzip();
            let handle = self.engine.partition(partition);
            let handle = handle.ok_or_else(|| status::no_such_partition(partition as i32))?;
            let changed = handle
                .change(items)
                .await
                .map_err(|refused| status::of_refused(&refused))?;
            Ok::<_, Status>(places.into_iter().zip(changed))
        });
        for changed in futures::future::try_join_all(sent).await? {
            for (place, changed) in changed {
                outcomes[place] = outcome(changed.verdict);
            }
        }
        let is_cancelled = |outcome: &&ScheduleOutcome| **outcome == ScheduleOutcome::Cancelled;
        Ok(Response::new(CancelBatchResponse {
            cancelled: outcomes.iter().filter(is_cancelled).count() as i64,
            outcomes: outcomes.into_iter().map(|outcome| outcome as i32).collect(),
        }))
    }

    async fn cancel_and_publish(
        &self,
        request: Request<CancelAndPublishRequest>,
    ) -> Result<Response<CancelAndPublishResponse>, Status> {
        replace::replace(&self.engine, &self.publisher, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn cancel_matching(
        &self,
        request: Request<CancelMatchingRequest>,
    ) -> Result<Response<ChangeMatchingResponse>, Status> {
        let request = request.into_inner();
        let filter = filter(request.filter)?;
        let limit = limit(request.limit)?;
        matching::change(&self.engine, &filter, What::Cancel, request.dry_run, limit)
            .await
            .map(Response::new)
    }

    async fn reschedule_matching(
        &self,
        request: Request<RescheduleMatchingRequest>,
    ) -> Result<Response<ChangeMatchingResponse>, Status> {
        let request = request.into_inner();
        let filter = filter(request.filter)?;
        let what = match (request.shift_ms, request.schedule_ts) {
            (0, at_ms) => What::MoveTo(checked_time(at_ms)?),
            (by_ms, 0) if (-LAST_SCHEDULE_MS..=LAST_SCHEDULE_MS).contains(&by_ms) => {
                What::Shift(by_ms)
            }
            _ => {
                return Err(Status::invalid_argument(
                    "give either shift_ms or schedule_ts, within the years up to 9999",
                ));
            }
        };
        if let What::MoveTo(at_ms) = what {
            may_move_to(&self.engine, filter.topic.as_bytes(), at_ms)?;
        }
        let limit = limit(request.limit)?;
        matching::change(&self.engine, &filter, what, request.dry_run, limit)
            .await
            .map(Response::new)
    }

    async fn list_pending(
        &self,
        request: Request<ListPendingRequest>,
    ) -> Result<Response<ListPendingResponse>, Status> {
        let request = request.into_inner();
        let filter = filter(request.filter)?;
        let size = page_size(request.page_size)?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(Place::from_token(token).ok_or_else(|| {
                Status::invalid_argument("page_token is not one that this service gave")
            })?),
        };
        let engine = self.engine.clone();
        let with_payload = request.with_payload;
        blocking(move || {
            let page = pending::page(&engine.partitions(), engine.store(), &filter, after, size)?;
            let mut events = Vec::with_capacity(page.places.len());
            let (mut bytes, mut next) = (0, page.next);
            for place in &page.places {
                let Some(handle) = engine.partition(place.partition) else {
                    continue;
                };
                let (mut failed, before) = (None, events.len());
                handle
                    .events
                    .read(&[place.offset], &mut |_, event| match event {
                        Ok(event) => match handle.events.version(event.offset) {
                            Ok(version) => {
                                events.push(scheduled(
                                    &handle,
                                    &event,
                                    version,
                                    false,
                                    with_payload,
                                ));
                            }
                            Err(error) => failed = Some(ReadError::Index(error)),
                        },
                        Err(ReadError::Missing { .. }) => {}
                        Err(error) => failed = Some(error),
                    });
                if let Some(error) = failed {
                    return Err(error);
                }
                bytes += pending::bytes(&events[before..]);
                if bytes >= pending::PAGE_BYTES && page.places.last() != Some(place) {
                    next = Some(*place);
                    break;
                }
            }
            Ok(ListPendingResponse {
                events,
                next_page_token: next.map(Place::token).unwrap_or_default(),
            })
        })
        .await
        .map(Response::new)
    }

    async fn pending_by_time(
        &self,
        request: Request<PendingByTimeRequest>,
    ) -> Result<Response<PendingByTimeResponse>, Status> {
        let request = request.into_inner();
        let mut histogram = histogram(&request)?;
        let mut total = 0;
        let mut topics = Vec::new();
        for handle in self.engine.partitions() {
            let counts = handle
                .count_pending()
                .await
                .map_err(|refused| status::of_refused(&refused))?;
            let state = handle.state.lock();
            let wanted = |number: &u32| {
                request.topic.is_empty()
                    || state.topics().name(*number) == Some(request.topic.as_bytes())
            };
            for topic in (0..state.topics().len() as u32).filter(wanted) {
                total += counts.get(topic as usize).copied().unwrap_or(0) as i64;
                topics.push((handle.number, topic, state.horizon()));
            }
        }
        let store = self.engine.store().clone();
        let histogram = blocking(move || {
            for (partition, topic, horizon) in topics {
                histogram.add(&store, partition, topic, horizon)?;
            }
            Ok(histogram)
        })
        .await?;
        let counted = histogram.before + histogram.counts.iter().sum::<i64>();
        Ok(Response::new(PendingByTimeResponse {
            from_ts: histogram.from_ms,
            bucket_ms: histogram.bucket_ms,
            before: histogram.before,
            // What fell due between the two looks may be missing here.
            after: (total - counted).max(0),
            counts: histogram.counts,
        }))
    }

    async fn count_pending(
        &self,
        request: Request<CountPendingRequest>,
    ) -> Result<Response<CountPendingResponse>, Status> {
        let wanted = request.into_inner().topic;
        let mut response = CountPendingResponse::default();
        for handle in self.engine.partitions() {
            let counts = handle
                .count_pending()
                .await
                .map_err(|refused| status::of_refused(&refused))?;
            let state = handle.state.lock();
            for (number, count) in (0..).zip(counts) {
                let name = state.topics().name(number).unwrap_or_default();
                let name = String::from_utf8_lossy(name);
                if wanted.is_empty() || wanted == name {
                    response.pending += count as i64;
                    *response.by_topic.entry(name.into_owned()).or_default() += count as i64;
                }
            }
        }
        Ok(Response::new(response))
    }
}

/// Runs what blocks on the disk beside the tasks that must not wait.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read.map_err(|error| status::of_read(&error)),
        Err(_) => Err(Status::unavailable("the server is shutting down")),
    }
}

fn version(if_version: Option<i64>) -> Result<Option<u64>, Status> {
    if_version
        .map(|version| {
            u64::try_from(version).map_err(|_| Status::invalid_argument("if_version counts from 1"))
        })
        .transpose()
}

fn limit(limit: i64) -> Result<u64, Status> {
    match u64::try_from(limit) {
        Ok(0) => Ok(u64::MAX),
        Ok(limit) => Ok(limit),
        Err(_) => Err(Status::invalid_argument("limit must be 0 or greater")),
    }
}

fn checked_time(at_ms: i64) -> Result<i64, Status> {
    if (1..=LAST_SCHEDULE_MS).contains(&at_ms) {
        return Ok(at_ms);
    }
    Err(Status::invalid_argument(format!(
        "schedule_ts {at_ms} is not between 1970 and the year 9999: it counts milliseconds since 1970"
    )))
}

fn filter(filter: Option<PendingFilter>) -> Result<Filter, Status> {
    let filter = filter.ok_or_else(|| Status::invalid_argument("filter is required"))?;
    if filter.from_ts < 0 || filter.to_ts < 0 {
        return Err(Status::invalid_argument(
            "from_ts and to_ts must be 0 or greater",
        ));
    }
    let optional = |text: String| (!text.is_empty()).then_some(text);
    Ok(Filter {
        topic: filter.topic,
        after: DueKey::new(filter.from_ts, 0).before(),
        upto: match filter.to_ts {
            0 => DueKey::MAX,
            to_ms => DueKey::new(to_ms, 0).before(),
        },
        key: optional(filter.key),
        prefix: optional(filter.message_id_prefix),
    })
}

/// How many events a page may have.
pub fn page_size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE.0),
        Ok(size) => Ok(size.min(PAGE.1)),
        Err(_) => Err(Status::invalid_argument("page_size must be 0 or greater")),
    }
}

/// The same request with nothing left to the clock, so that several nodes count the same buckets.
pub fn settled(request: PendingByTimeRequest) -> Result<PendingByTimeRequest, Status> {
    let histogram = histogram(&request)?;
    let range_ms = histogram.bucket_ms * histogram.counts.len() as i64;
    Ok(PendingByTimeRequest {
        from_ts: histogram.from_ms,
        to_ts: (histogram.from_ms + range_ms).min(LAST_SCHEDULE_MS),
        bucket_ms: histogram.bucket_ms,
        ..request
    })
}

fn histogram(request: &PendingByTimeRequest) -> Result<Histogram, Status> {
    let from_ms = match request.from_ts {
        0 => clock::now_ms(),
        from_ms => checked_time(from_ms)?,
    };
    let to_ms = match request.to_ts {
        0 => from_ms + DAY_MS,
        to_ms => checked_time(to_ms)?,
    };
    if to_ms <= from_ms || request.bucket_ms < 0 {
        return Err(Status::invalid_argument(
            "to_ts must be after from_ts, and bucket_ms must not be negative",
        ));
    }
    let range_ms = to_ms - from_ms;
    let bucket_ms = match request.bucket_ms {
        0 => (range_ms / BUCKETS.0).max(1),
        bucket_ms => bucket_ms,
    };
    let buckets = range_ms / bucket_ms + i64::from(range_ms % bucket_ms > 0);
    if buckets > BUCKETS.1 {
        return Err(Status::invalid_argument(format!(
            "{buckets} buckets are too many, at most {} are allowed: widen bucket_ms",
            BUCKETS.1
        )));
    }
    Ok(Histogram {
        from_ms,
        bucket_ms,
        counts: vec![0; buckets as usize],
        before: 0,
    })
}
