//! A letter as clients see it, with its event.

use super::Place;
use crate::engine::dead_letters::Letter;
use crate::engine::{Handle, ReadError, StoredEvent};
use bytes::Bytes;
use chronos_proto::cronos_db::{DeadLetter, DeadLetterState, Event};
use chronos_proto::raw::PARTITION_KEY;
use prost::Message;

/// Letters whose events are in memory at a time: payloads may be large.
const EVENTS_AT_ONCE: usize = 16;
/// Payloads of one answer, bytes, unless a single one is larger.
const ANSWER_BYTES: i64 = 8 << 20;

/// Event meta key that holds a W3C trace context.
const TRACEPARENT: &str = "traceparent";

/// The event of a letter.
pub struct LetterEvent {
    /// As it is stored, with the body that a redrive delivers.
    pub stored: StoredEvent,
    /// That body.
    pub decoded: Event,
}

/// What routes an event.
pub fn key_of(event: &Event) -> &str {
    match event.meta.get(PARTITION_KEY) {
        Some(key) if !key.is_empty() => key,
        _ => &event.message_id,
    }
}

/// The events of some letters of one partition, as a redrive delivers them.
pub fn events(handle: &Handle, letters: &[Letter]) -> Vec<Result<LetterEvent, String>> {
    let offsets: Vec<u64> = letters
        .iter()
        .map(|letter| letter.record.key.offset)
        .collect();
    let mut events = Vec::with_capacity(letters.len());
    handle.events.read(&offsets, &mut |_, read| {
        let letter = &letters[events.len()];
        events.push(read.and_then(|stored| edited(handle, letter, stored)));
    });
    let decode = |stored: StoredEvent| match Event::decode(stored.body.clone()) {
        Ok(decoded) => Ok(LetterEvent { stored, decoded }),
        Err(error) => Err(error.to_string()),
    };
    events
        .into_iter()
        .map(|read: Result<StoredEvent, ReadError>| {
            read.map_err(|error| error.to_string()).and_then(decode)
        })
        .collect()
}

fn edited(handle: &Handle, letter: &Letter, stored: StoredEvent) -> Result<StoredEvent, ReadError> {
    let edit = match letter.edited {
        true => handle.edited(letter.group, letter.number)?,
        false => None,
    };
    Ok(match edit {
        Some(body) => with_body(stored, body),
        None => stored,
    })
}

/// The event with other bytes than the stored ones.
pub fn with_body(stored: StoredEvent, body: Bytes) -> StoredEvent {
    StoredEvent {
        checksum: crc32c::crc32c(&body),
        body,
        ..stored
    }
}

/// Some letters of one partition: all of them, or the first few whose payloads fit into one answer.
pub fn show(handle: &Handle, letters: &[Letter], with_payload: bool) -> Vec<DeadLetter> {
    let mut shown: Vec<DeadLetter> = Vec::with_capacity(letters.len());
    let mut bytes = 0;
    for some in letters.chunks(EVENTS_AT_ONCE) {
        for (letter, event) in some.iter().zip(events(handle, some)) {
            let group = {
                let state = handle.state.lock();
                let group = state.groups().get(letter.group as usize);
                group.map_or_else(String::new, |group| group.name.clone())
            };
            let letter = show_one(handle, letter.clone(), event, group, with_payload);
            bytes += letter.payload_bytes;
            if with_payload && bytes > ANSWER_BYTES && !shown.is_empty() {
                return shown;
            }
            shown.push(letter);
        }
    }
    shown
}

fn show_one(
    handle: &Handle,
    letter: Letter,
    event: Result<LetterEvent, String>,
    consumer_group: String,
    with_payload: bool,
) -> DeadLetter {
    let Letter {
        group,
        number,
        record,
        edited,
        redriven,
    } = letter;
    let place = Place {
        partition: handle.number,
        group,
        number,
    };
    let state = match redriven {
        true => DeadLetterState::DeadLetterRedriven,
        false => DeadLetterState::DeadLetterDead,
    };
    let mut shown = DeadLetter {
        id: place.id(),
        consumer_group,
        partition_id: handle.number as i32,
        offset: record.key.offset as i64,
        attempts: record.attempts as i32,
        last_error: record.reason,
        first_failure_ts: record.first_ms,
        last_failure_ts: record.at_ms,
        redrives: record.redrives as i32,
        edited,
        state: state.into(),
        ..DeadLetter::default()
    };
    match event {
        Ok(LetterEvent { stored, decoded }) => {
            shown.key = key_of(&decoded).to_owned();
            shown.message_id = decoded.message_id.clone();
            shown.topic = decoded.topic.clone();
            shown.schedule_ts = stored.schedule_ms;
            shown.payload_bytes = decoded.payload.len() as i64;
            shown.traceparent = decoded.meta.get(TRACEPARENT).cloned().unwrap_or_default();
            shown.event = with_payload.then(|| Event {
                schedule_ts: stored.schedule_ms,
                created_ts: stored.created_ms,
                offset: stored.offset as i64,
                partition_id: handle.number as i32,
                checksum: stored.checksum,
                term: stored.term as i64,
                ..decoded
            });
        }
        Err(reason) => shown.unreadable = reason,
    }
    shown
}
