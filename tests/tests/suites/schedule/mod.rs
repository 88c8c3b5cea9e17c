//! ScheduleService: looking at what is scheduled, and changing it.

mod change;
mod matching;
mod pending;
pub mod races;
mod replace;

use chronos_proto::cronos_db::{
    CancelRequest, EventRef, FireNowRequest, GetScheduledRequest, PendingFilter, RescheduleRequest,
    ScheduleOutcome, ScheduleResponse,
};
use chronos_tests::client::Client;
use tonic::Status;

fn named(topic: &str, id: &str) -> Option<EventRef> {
    Some(EventRef {
        topic: topic.into(),
        message_id: id.into(),
        ..EventRef::default()
    })
}

fn of_topic(topic: &str) -> PendingFilter {
    PendingFilter {
        topic: topic.into(),
        ..PendingFilter::default()
    }
}

async fn try_get(client: &Client, topic: &str, id: &str) -> Result<ScheduleResponse, Status> {
    let request = GetScheduledRequest {
        event: named(topic, id),
        with_payload: false,
    };
    let answer = client.schedules.clone().get(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn get(client: &Client, topic: &str, id: &str) -> ScheduleResponse {
    try_get(client, topic, id).await.unwrap()
}

async fn try_cancel(client: &Client, topic: &str, id: &str) -> Result<ScheduleResponse, Status> {
    let request = CancelRequest {
        event: named(topic, id),
        if_version: None,
    };
    let answer = client.schedules.clone().cancel(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn cancel(client: &Client, topic: &str, id: &str) -> ScheduleResponse {
    try_cancel(client, topic, id).await.unwrap()
}

async fn try_reschedule(
    client: &Client,
    topic: &str,
    id: &str,
    at_ms: i64,
) -> Result<ScheduleResponse, Status> {
    let request = RescheduleRequest {
        event: named(topic, id),
        schedule_ts: at_ms,
        ..RescheduleRequest::default()
    };
    let answer = client.schedules.clone().reschedule(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn reschedule(client: &Client, topic: &str, id: &str, at_ms: i64) -> ScheduleResponse {
    try_reschedule(client, topic, id, at_ms).await.unwrap()
}

async fn try_fire(client: &Client, topic: &str, id: &str) -> Result<ScheduleResponse, Status> {
    let request = FireNowRequest {
        event: named(topic, id),
        if_version: None,
    };
    let answer = client.schedules.clone().fire_now(request).await;
    answer.map(tonic::Response::into_inner)
}

/// Outcome, version and time of an answer.
fn told(answer: &ScheduleResponse) -> (ScheduleOutcome, i64, i64) {
    let event = answer.event.as_ref();
    (
        answer.outcome(),
        event.map_or(0, |event| event.version),
        event.map_or(0, |event| event.schedule_ts),
    )
}
