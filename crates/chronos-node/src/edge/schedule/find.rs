//! Finding the event that a request names.

use super::super::status;
use super::super::view::View;
use crate::engine::{Handle, ReadError, StoredEvent};
use chronos_core::command::change::{Action, Item};
use chronos_core::keys::dedup::hash;
use chronos_core::partition::Changed;
use chronos_core::types::{TopicNumber, route};
use chronos_proto::cronos_db::EventRef;
use chronos_proto::raw::scan_event;
use tonic::Status;

/// An event that exists, with what never changes of it.
pub struct Found {
    /// Its partition.
    pub handle: Handle,
    /// The event as it is stored.
    pub event: StoredEvent,
    topic: TopicNumber,
}

impl Found {
    /// What to do with the event.
    pub fn item(&self, action: Action, if_version: Option<u64>) -> Item {
        let message_id = scan_event(&self.event.body).map(|fields| fields.message_id);
        Item {
            offset: self.event.offset,
            topic: self.topic,
            published_ms: self.event.published_ms,
            id: hash(message_id.unwrap_or_default().as_bytes()),
            if_version,
            action,
        }
    }

    /// Does it, through the log.
    pub async fn change(&self, action: Action, if_version: Option<u64>) -> Result<Changed, Status> {
        let items = vec![self.item(action, if_version)];
        let changed = self
            .handle
            .change(items)
            .await
            .map_err(|refused| status::of_refused(&refused))?;
        let first = changed.into_iter().next();
        first.ok_or_else(|| Status::internal("the log answered a change with nothing"))
    }
}

/// The event at an offset; `None` when it is not stored.
pub fn at(handle: &Handle, offset: u64) -> Result<Option<Found>, Status> {
    if offset >= handle.state.lock().next_offset() {
        return Ok(None);
    }
    let mut read = None;
    handle
        .events
        .read(&[offset], &mut |_, event| read = Some(event));
    let event = match read {
        Some(Ok(event)) if handle.events.is_deleted(&event) => return Ok(None),
        Some(Ok(event)) => event,
        None | Some(Err(ReadError::Missing { .. })) => return Ok(None),
        Some(Err(error)) => return Err(status::of_read(&error)),
    };
    let topic = handle.state.lock().topics().get(event.topic());
    Ok(topic.map(|topic| Found {
        handle: handle.clone(),
        event,
        topic,
    }))
}

/// The event that a reference names; `None` when there is none.
pub fn find(engine: &View, wanted: Option<&EventRef>) -> Result<Option<Found>, Status> {
    let wanted = wanted.ok_or_else(|| Status::invalid_argument("event is required"))?;
    match (wanted.partition_id, wanted.offset) {
        (Some(partition), Some(offset)) => by_place(engine, partition, offset),
        (None, None) if wanted.message_id.is_empty() => Err(Status::invalid_argument(
            "name the event by topic and message_id, or by partition_id and offset",
        )),
        (None, None) => by_id(engine, wanted),
        _ => Err(Status::invalid_argument(
            "partition_id and offset go together: give both or neither",
        )),
    }
}

fn by_place(engine: &View, partition: i32, offset: i64) -> Result<Option<Found>, Status> {
    let handle = u32::try_from(partition)
        .ok()
        .and_then(|number| engine.partition(number))
        .ok_or_else(|| Status::not_found(format!("there is no partition {partition}")))?;
    match u64::try_from(offset) {
        Ok(offset) => at(&handle, offset),
        Err(_) => Err(Status::invalid_argument("offset must be 0 or greater")),
    }
}

/// The partition that the id routes to is asked first, then every other: the event may have been
/// published with a key that the caller does not know.
fn by_id(engine: &View, wanted: &EventRef) -> Result<Option<Found>, Status> {
    let key = match wanted.partition_key.is_empty() {
        true => &wanted.message_id,
        false => &wanted.partition_key,
    };
    let mut partitions = engine.partitions();
    let first = route(key.as_bytes(), engine.partition_count());
    partitions.sort_by_key(|handle| handle.number != first);
    let id = hash(wanted.message_id.as_bytes());
    for handle in &partitions {
        let known = handle
            .state
            .lock()
            .offset_of_id(id)
            .map_err(|error| status::of_read(&ReadError::Index(error)))?;
        if let Some(offset) = known
            && let Some(found) = at(handle, offset)?
            && found.event.topic() == wanted.topic.as_bytes()
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
