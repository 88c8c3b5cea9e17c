//! Outcomes as clients see them.

use super::find::Found;
use crate::engine::{Handle, StoredEvent};
use chronos_core::keys::change::{State, Version};
use chronos_core::partition::{Changed, Verdict};
use chronos_proto::cronos_db::{
    Event, ScheduleOutcome, ScheduleResponse, ScheduleState, ScheduledEvent,
};
use prost::Message;

/// The outcome of a change.
pub fn outcome(verdict: Verdict) -> ScheduleOutcome {
    match verdict {
        Verdict::Found => ScheduleOutcome::Found,
        Verdict::Cancelled => ScheduleOutcome::Cancelled,
        Verdict::Rescheduled => ScheduleOutcome::Rescheduled,
        Verdict::Fired => ScheduleOutcome::Fired,
        Verdict::AlreadyFired => ScheduleOutcome::AlreadyFired,
        Verdict::AlreadyCancelled => ScheduleOutcome::AlreadyCancelled,
        Verdict::VersionMismatch => ScheduleOutcome::VersionMismatch,
        Verdict::NotFound => ScheduleOutcome::NotFound,
    }
}

/// The same for people.
pub fn message(outcome: ScheduleOutcome, version: u64) -> String {
    match outcome {
        ScheduleOutcome::Unspecified | ScheduleOutcome::Found => String::new(),
        ScheduleOutcome::Cancelled => "cancelled: it will never be delivered".into(),
        ScheduleOutcome::Rescheduled => "it has its new time".into(),
        ScheduleOutcome::Fired => "it is due now".into(),
        ScheduleOutcome::AlreadyFired => {
            "too late: it was released to its consumer groups before".into()
        }
        ScheduleOutcome::AlreadyCancelled => "it was cancelled before".into(),
        ScheduleOutcome::NotFound => "no such event is known: check topic and message_id; events \
             long fired are forgotten, and those published with allow_duplicate are found by \
             partition_id and offset only"
            .into(),
        ScheduleOutcome::VersionMismatch => {
            format!("it has version {version}: look at it again before you decide")
        }
        ScheduleOutcome::Duplicate => {
            "the event to publish is a duplicate; nothing was changed".into()
        }
    }
}

/// There is no such event.
pub fn not_found() -> ScheduleResponse {
    ScheduleResponse {
        outcome: ScheduleOutcome::NotFound as i32,
        message: message(ScheduleOutcome::NotFound, 0),
        event: None,
    }
}

/// What became of a change of one event.
pub fn answer(found: &Found, changed: &Changed, with_payload: bool) -> ScheduleResponse {
    let outcome = outcome(changed.verdict);
    let version = Some(changed.version);
    ScheduleResponse {
        outcome: outcome as i32,
        message: message(outcome, changed.version.version),
        event: Some(scheduled(
            &found.handle,
            &found.event,
            version,
            changed.fired,
            with_payload,
        )),
    }
}

/// How an event stands. `version` is `None` for an event as it was published.
pub fn scheduled(
    handle: &Handle,
    event: &StoredEvent,
    version: Option<Version>,
    fired: bool,
    with_payload: bool,
) -> ScheduledEvent {
    let version = version.unwrap_or(Version::first(0, event.published_ms));
    // Stored bytes were checked when they came in.
    let body = Event::decode(event.body.clone()).unwrap_or_default();
    let state = match version.state {
        State::Cancelled => ScheduleState::StateCancelled,
        State::Scheduled | State::Fired if fired => ScheduleState::StateFired,
        State::Scheduled | State::Fired => ScheduleState::StatePending,
    };
    ScheduledEvent {
        topic: body.topic,
        message_id: body.message_id,
        partition_id: handle.number as i32,
        offset: event.offset as i64,
        schedule_ts: version.schedule_ms,
        published_schedule_ts: version.published_ms,
        state: state as i32,
        version: version.version as i64,
        created_ts: event.created_ms,
        changed_ts: version.changed_ms,
        meta: body.meta,
        payload_bytes: body.payload.len() as i64,
        payload: match with_payload {
            true => body.payload,
            false => Default::default(),
        },
    }
}
