//! ScheduleService in front of the partitions of a cluster.

use super::call::{Answer, Call, Partitions, Share, with_leaders};
use super::outcome::Repeat;
use super::{Forwarded, Way, asking, asking_steps, spread, spread_steps};
use crate::edge::schedule::pending::{Place, fitting};
use crate::edge::schedule::{MOST_IN_BATCH, Schedules, page_size, settled};
use chronos_core::types::{PartitionNumber, route};
use chronos_proto::cronos_db::schedule_service_client::ScheduleServiceClient;
use chronos_proto::cronos_db::{
    CancelAndPublishRequest, CancelAndPublishResponse, CancelBatchRequest, CancelBatchResponse,
    CancelMatchingRequest, CancelRequest, ChangeMatchingResponse, CountPendingRequest,
    CountPendingResponse, EventRef, FireNowRequest, GetScheduledRequest, ListPendingRequest,
    ListPendingResponse, PendingByTimeRequest, PendingByTimeResponse, RescheduleMatchingRequest,
    RescheduleRequest, ScheduleOutcome, ScheduleResponse, ScheduledEvent,
};
use chronos_proto::server::schedule_service_server::ScheduleService;
use tonic::{Request, Response, Status};

/// Asks for an event at the leader of the partition that its reference leads to, and where that does
/// not have it, at the one that does: it may have been published with a key that the caller does not
/// know. What is wrong with the reference is judged here.
macro_rules! of_event {
    ($self:ident, $request:ident, $method:ident, $event:ident, $repeat:expr) => {{
        let call = spread!($self, $request, $method);
        let Some(first) = first_of(&call, $request.get_ref().$event.as_ref()) else {
            return $self.local.$method($request).await;
        };
        let mut message = $request.into_inner();
        let ask = asking!($self, call, ScheduleServiceClient, $method, |share| message
            .clone());
        let Answer { share, value } = call.ask_one(first, $repeat, ask).await?;
        let response = value.into_inner();
        let is_found = response.outcome != ScheduleOutcome::NotFound as i32;
        let Some(wanted) = message
            .$event
            .take()
            .filter(|it| !is_found && it.offset.is_none())
        else {
            return Ok(with_leaders(response, [&share]));
        };
        let Some((partition, place)) = $self.elsewhere(&call, first, wanted).await? else {
            return Ok(with_leaders(response, [&share]));
        };
        message.$event = Some(place);
        let ask = asking!($self, call, ScheduleServiceClient, $method, |share| message
            .clone());
        let Answer { share, value } = call.ask_one(partition, $repeat, ask).await?;
        Ok(with_leaders(value.into_inner(), [&share]))
    }};
}

/// Changes what matches a filter, partition after partition while there is a limit.
macro_rules! matching {
    ($self:ident, $request:ident, $method:ident) => {{
        let call = spread_steps!($self, $request, $method);
        let mut message = $request.into_inner();
        let (mut counts, mut shares) = (ChangeMatchingResponse::default(), Vec::new());
        let parts: Vec<Partitions> = match message.limit {
            0 => vec![call.all()],
            _ => call
                .all()
                .into_iter()
                .map(|it| Partitions::from([it]))
                .collect(),
        };
        let limit = message.limit;
        for part in parts {
            if limit > 0 {
                message.limit = limit - counts.matched;
                if message.limit <= 0 {
                    break;
                }
            }
            let ask = asking_steps!($self, call, ScheduleServiceClient, $method, |share| message
                .clone());
            let asked = call.ask(part, Repeat::Untaken, ask).await;
            let answers = asked.map_err(|status| half_done(status, counts.matched))?;
            for Answer { share, value } in answers {
                add(&mut counts, &value.into_inner());
                shares.push(share);
            }
        }
        Ok(with_leaders(counts, &shares))
    }};
}

#[tonic::async_trait]
impl ScheduleService for Forwarded<Schedules> {
    async fn get(
        &self,
        request: Request<GetScheduledRequest>,
    ) -> Result<Response<ScheduleResponse>, Status> {
        of_event!(self, request, get, event, Repeat::Harmless)
    }

    async fn cancel(
        &self,
        request: Request<CancelRequest>,
    ) -> Result<Response<ScheduleResponse>, Status> {
        of_event!(self, request, cancel, event, Repeat::Untaken)
    }

    async fn reschedule(
        &self,
        request: Request<RescheduleRequest>,
    ) -> Result<Response<ScheduleResponse>, Status> {
        of_event!(self, request, reschedule, event, Repeat::Untaken)
    }

    async fn fire_now(
        &self,
        request: Request<FireNowRequest>,
    ) -> Result<Response<ScheduleResponse>, Status> {
        of_event!(self, request, fire_now, event, Repeat::Untaken)
    }

    async fn cancel_batch(
        &self,
        request: Request<CancelBatchRequest>,
    ) -> Result<Response<CancelBatchResponse>, Status> {
        let call = spread_steps!(self, request, cancel_batch);
        if request.get_ref().events.len() > MOST_IN_BATCH {
            return self.local.cancel_batch(request).await;
        }
        let events = request.into_inner().events;
        let mut firsts = Vec::with_capacity(events.len());
        for event in &events {
            match first_of(&call, Some(event)) {
                Some(first) => firsts.push(first),
                None => {
                    // Judged here, and refused.
                    let events = vec![event.clone()];
                    let judged = CancelBatchRequest { events };
                    return self.local.cancel_batch(Request::new(judged)).await;
                }
            }
        }
        let mut outcomes = vec![ScheduleOutcome::NotFound as i32; events.len()];
        let mut shares = Vec::new();
        let at_first = |share: &Share| -> Vec<usize> {
            let places = 0..events.len();
            places
                .filter(|at| share.partitions.contains(&firsts[*at]))
                .collect()
        };
        let named = |places: &[usize]| CancelBatchRequest {
            events: places.iter().map(|at| events[*at].clone()).collect(),
        };
        let ask = asking_steps!(self, call, ScheduleServiceClient, cancel_batch, |share| {
            named(&at_first(&share))
        });
        let asked = firsts.iter().copied().collect();
        for Answer { share, value } in call.ask(asked, Repeat::Untaken, ask).await? {
            for (at, outcome) in at_first(&share)
                .into_iter()
                .zip(value.into_inner().outcomes)
            {
                outcomes[at] = outcome;
            }
            shares.push(share);
        }
        // Some may be in other partitions, under keys that the caller does not know.
        let is_missing = |at: &usize| {
            outcomes[*at] == ScheduleOutcome::NotFound as i32 && events[*at].offset.is_none()
        };
        let missing: Vec<usize> = (0..events.len()).filter(is_missing).collect();
        if !missing.is_empty() {
            let ask = asking_steps!(self, call, ScheduleServiceClient, cancel_batch, |share| {
                named(&missing)
            });
            let asked = call.ask(call.all(), Repeat::Untaken, ask).await;
            for Answer { share, value } in asked.map_err(|status| half_done(status, 1))? {
                for (at, outcome) in missing.iter().zip(value.into_inner().outcomes) {
                    if outcome != ScheduleOutcome::NotFound as i32 {
                        outcomes[*at] = outcome;
                    }
                }
                shares.push(share);
            }
        }
        let is_cancelled = |outcome: &&i32| **outcome == ScheduleOutcome::Cancelled as i32;
        let cancelled = outcomes.iter().filter(is_cancelled).count() as i64;
        let response = CancelBatchResponse {
            outcomes,
            cancelled,
        };
        Ok(with_leaders(response, &shares))
    }

    async fn cancel_and_publish(
        &self,
        request: Request<CancelAndPublishRequest>,
    ) -> Result<Response<CancelAndPublishResponse>, Status> {
        of_event!(self, request, cancel_and_publish, cancel, Repeat::Untaken)
    }

    async fn cancel_matching(
        &self,
        request: Request<CancelMatchingRequest>,
    ) -> Result<Response<ChangeMatchingResponse>, Status> {
        matching!(self, request, cancel_matching)
    }

    async fn reschedule_matching(
        &self,
        request: Request<RescheduleMatchingRequest>,
    ) -> Result<Response<ChangeMatchingResponse>, Status> {
        matching!(self, request, reschedule_matching)
    }

    async fn list_pending(
        &self,
        request: Request<ListPendingRequest>,
    ) -> Result<Response<ListPendingResponse>, Status> {
        let call = spread!(self, request, list_pending);
        let message = request.into_inner();
        let size = page_size(message.page_size)?;
        let ask = asking!(self, call, ScheduleServiceClient, list_pending, |share| {
            message.clone()
        });
        let (mut pages, mut shares) = (Vec::new(), Vec::new());
        for Answer { share, value } in call.ask(call.all(), Repeat::Harmless, ask).await? {
            pages.push(value.into_inner());
            shares.push(share);
        }
        Ok(with_leaders(merged(pages, size), &shares))
    }

    async fn pending_by_time(
        &self,
        request: Request<PendingByTimeRequest>,
    ) -> Result<Response<PendingByTimeResponse>, Status> {
        let call = spread!(self, request, pending_by_time);
        let message = settled(request.into_inner())?;
        let ask = asking!(
            self,
            call,
            ScheduleServiceClient,
            pending_by_time,
            |share| { message.clone() }
        );
        let (mut whole, mut shares) = (PendingByTimeResponse::default(), Vec::new());
        for Answer { share, value } in call.ask(call.all(), Repeat::Harmless, ask).await? {
            let part = value.into_inner();
            whole.from_ts = part.from_ts;
            whole.bucket_ms = part.bucket_ms;
            whole.before += part.before;
            whole.after += part.after;
            whole
                .counts
                .resize(part.counts.len().max(whole.counts.len()), 0);
            for (sum, count) in whole.counts.iter_mut().zip(part.counts) {
                *sum += count;
            }
            shares.push(share);
        }
        Ok(with_leaders(whole, &shares))
    }

    async fn count_pending(
        &self,
        request: Request<CountPendingRequest>,
    ) -> Result<Response<CountPendingResponse>, Status> {
        let call = spread!(self, request, count_pending);
        let message = request.into_inner();
        let ask = asking!(self, call, ScheduleServiceClient, count_pending, |share| {
            message.clone()
        });
        let (mut whole, mut shares) = (CountPendingResponse::default(), Vec::new());
        for Answer { share, value } in call.ask(call.all(), Repeat::Harmless, ask).await? {
            let part = value.into_inner();
            whole.pending += part.pending;
            for (topic, count) in part.by_topic {
                *whole.by_topic.entry(topic).or_default() += count;
            }
            shares.push(share);
        }
        Ok(with_leaders(whole, &shares))
    }
}

impl Forwarded<Schedules> {
    /// Where an event is that the partition its id leads to does not have.
    async fn elsewhere(
        &self,
        call: &Call,
        not_in: PartitionNumber,
        wanted: EventRef,
    ) -> Result<Option<(PartitionNumber, EventRef)>, Status> {
        let mut others = call.all();
        others.remove(&not_in);
        let message = GetScheduledRequest {
            event: Some(wanted),
            with_payload: false,
        };
        let ask = asking!(self, call, ScheduleServiceClient, get, |share| message
            .clone());
        let answers = call.ask(others, Repeat::Harmless, ask).await?;
        let found = answers
            .into_iter()
            .filter_map(|it| it.value.into_inner().event);
        let first = found.min_by_key(|event| event.partition_id);
        Ok(first.and_then(|event| {
            let partition = call.exists(event.partition_id)?;
            let place = EventRef {
                partition_id: Some(event.partition_id),
                offset: Some(event.offset),
                ..EventRef::default()
            };
            Some((partition, place))
        }))
    }
}

/// The partition that a reference leads to; `None` when it leads nowhere.
fn first_of(call: &Call, event: Option<&EventRef>) -> Option<PartitionNumber> {
    let event = event?;
    match (event.partition_id, event.offset) {
        (Some(partition), Some(_)) => call.exists(partition),
        (None, None) if event.message_id.is_empty() => None,
        (None, None) => {
            let key = match event.partition_key.is_empty() {
                true => &event.message_id,
                false => &event.partition_key,
            };
            Some(route(key.as_bytes(), call.all().len() as u32))
        }
        _ => None,
    }
}

fn add(counts: &mut ChangeMatchingResponse, part: &ChangeMatchingResponse) {
    counts.matched += part.matched;
    counts.changed += part.changed;
    counts.already_fired += part.already_fired;
    counts.already_cancelled += part.already_cancelled;
    counts.refused += part.refused;
}

/// A failure after other partitions have done their part.
fn half_done(status: Status, done: i64) -> Status {
    match (done, status.code()) {
        (1.., tonic::Code::Unavailable) => Status::aborted(format!(
            "{}: part of the request is done, look before you repeat it",
            status.message()
        )),
        _ => status,
    }
}

fn place(event: &ScheduledEvent) -> Place {
    Place {
        due_ms: event.schedule_ts,
        partition: event.partition_id as u32,
        offset: event.offset as u64,
    }
}

/// One page out of the leaders' pages. They were all read from the same place on, so it is complete
/// up to where the first of them stopped.
fn merged(pages: Vec<ListPendingResponse>, size: usize) -> ListPendingResponse {
    let ends = pages
        .iter()
        .filter_map(|page| Place::from_token(&page.next_page_token));
    let mut end = ends.min();
    let mut events: Vec<ScheduledEvent> = pages.into_iter().flat_map(|page| page.events).collect();
    events.retain(|event| end.is_none_or(|end| place(event) <= end));
    events.sort_by_key(place);
    let most = fitting(&events).min(size);
    if events.len() > most {
        events.truncate(most);
        end = events.last().map(place);
    }
    ListPendingResponse {
        events,
        next_page_token: end.map(Place::token).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(partition: i32, times: &[i64], next: Option<i64>) -> ListPendingResponse {
        let event = |time: &i64| ScheduledEvent {
            partition_id: partition,
            schedule_ts: *time,
            offset: *time,
            ..ScheduledEvent::default()
        };
        ListPendingResponse {
            events: times.iter().map(event).collect(),
            next_page_token: next.map_or(String::new(), |time| {
                let event = event(&time);
                place(&event).token()
            }),
        }
    }

    #[test]
    fn a_page_ends_where_the_first_leader_stopped() {
        let times = |page: &ListPendingResponse| -> Vec<i64> {
            page.events.iter().map(|it| it.schedule_ts).collect()
        };
        let whole = merged(
            vec![page(0, &[1, 4, 6], Some(6)), page(1, &[2, 3, 9], None)],
            10,
        );
        assert_eq!(times(&whole), [1, 2, 3, 4, 6]);
        assert_eq!(whole.next_page_token, "6:0:6");
        let whole = merged(vec![page(0, &[1, 4], None), page(1, &[2, 3], None)], 3);
        assert_eq!(times(&whole), [1, 2, 3]);
        assert_eq!(whole.next_page_token, "3:1:3");
        let large = |partition, time| {
            let mut page = page(partition, &[time], None);
            page.events[0].payload = vec![0; 5 << 20].into();
            page
        };
        let whole = merged(vec![large(0, 1), large(1, 2), large(2, 3)], 10);
        assert_eq!(times(&whole), [1, 2], "more would not fit into a message");
        assert_eq!(whole.next_page_token, "2:1:2");
        let whole = merged(vec![page(0, &[1], None), page(1, &[2], None)], 3);
        assert_eq!(
            (times(&whole).len(), whole.next_page_token.as_str()),
            (2, "")
        );
    }
}
