//! Log entries made by hand.

use crate::command::change::{Change, Item, Replace};
use crate::command::create_group::{CreateGroup, Start};
use crate::command::dead_letters::DeadLetters;
use crate::command::delete_topic::DeleteTopic;
use crate::command::publish::{Builder as Events, NewEvent};
use crate::command::settle::Settle;
use crate::command::{Builder, Kind};
use bytes::Bytes;

/// An event as a client gives it.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) topic: String,
    pub(super) schedule_ms: i64,
    pub(super) allow_duplicate: bool,
}

/// One section of an entry.
#[derive(Debug, Clone)]
pub(super) enum Command {
    Publish {
        events: Vec<Event>,
        dedup_ttl_ms: u64,
    },
    Settle(Settle),
    CreateGroup(CreateGroup),
    DeadLetters(DeadLetters),
    Change(Vec<Item>),
    DeleteTopic(DeleteTopic),
    Replace {
        item: Item,
        events: Vec<Event>,
        dedup_ttl_ms: u64,
    },
}

/// An entry before it is encoded.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    pub(super) now_ms: i64,
    pub(super) ahead_ms: u32,
    pub(super) term: u64,
    pub(super) sections: Vec<Command>,
}

impl Commands {
    pub(super) fn encode(&self) -> Bytes {
        let mut builder = Builder::new(0);
        for section in &self.sections {
            match section {
                Command::Publish {
                    events,
                    dedup_ttl_ms,
                } => builder.push(Kind::Publish, &publish(events, *dedup_ttl_ms)),
                Command::Settle(settle) => builder.push(Kind::Settle, &settle.encode()),
                Command::CreateGroup(create) => builder.push(Kind::CreateGroup, &create.encode()),
                Command::DeadLetters(command) => builder.push(Kind::DeadLetters, &command.encode()),
                Command::DeleteTopic(delete) => builder.push(Kind::DeleteTopic, &delete.encode()),
                Command::Change(items) => {
                    let items = items.clone();
                    builder.push(Kind::Change, &Change { items }.encode())
                }
                Command::Replace {
                    item,
                    events,
                    dedup_ttl_ms,
                } => {
                    let publish = publish(events, *dedup_ttl_ms);
                    builder.push(Kind::Replace, &Replace::encode(item, &publish))
                }
            };
        }
        builder.finish(self.now_ms, self.ahead_ms, self.term)
    }
}

fn publish(events: &[Event], dedup_ttl_ms: u64) -> Bytes {
    let mut builder = Events::new(events.len(), 0);
    for event in events {
        let body = format!("<{}|{}>", event.id, event.topic);
        let (id, topic) = (event.id.len() as u8, event.topic.len() as u8);
        builder.push(NewEvent {
            schedule_ms: event.schedule_ms,
            body: body.as_bytes(),
            id: (1, id),
            topic: (2 + u32::from(id), topic),
            allow_duplicate: event.allow_duplicate,
        });
    }
    builder.finish(dedup_ttl_ms)
}

/// An event of topic `t`.
pub(super) fn event(id: &str, schedule_ms: i64) -> Event {
    Event {
        id: id.into(),
        topic: "t".into(),
        schedule_ms,
        allow_duplicate: false,
    }
}

/// A section whose ids are remembered for a thousand seconds.
pub(super) fn publish_of(events: &[Event]) -> Command {
    Command::Publish {
        events: events.to_vec(),
        dedup_ttl_ms: 1_000_000,
    }
}

/// A section that creates a group of a topic.
pub(super) fn create(name: &str, topic: Option<&str>, start: Start) -> Command {
    Command::CreateGroup(CreateGroup {
        name: name.into(),
        topic: topic.map(str::to_owned),
        start,
        is_waited_for: true,
    })
}
