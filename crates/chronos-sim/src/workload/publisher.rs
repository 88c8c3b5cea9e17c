//! Clients that publish events and change them.

use super::TOPICS;
use super::client::Client;
use crate::history::{ChangeCall, NewEvent, Outcome, PublishCall};
use crate::node::Request;
use crate::random::Random;
use crate::world::{Phase, World};
use bytes::Bytes;
use chronos_core::command::change::Action;
use chronos_core::command::publish;
use std::sync::Arc;
use std::time::Duration;

/// Most events of one publish.
const MOST_EVENTS: u64 = 12;

/// Publishes and changes events until the run drains.
pub async fn run(world: Arc<World>, number: u64) {
    let mut publisher = Publisher {
        client: Client::new(&world, number),
        world,
        published: 0,
        again: None,
    };
    while publisher.world.phase() < Phase::Drain {
        let pause_ms = publisher.client.random.between(5, 250);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        match publisher.client.random.weighted(&[60, 40]) {
            0 => publisher.publish().await,
            _ => publisher.change().await,
        }
    }
}

struct Publisher {
    client: Client,
    world: Arc<World>,
    published: u64,
    /// What was published without an answer, to be published again.
    again: Option<Vec<NewEvent>>,
}

impl Publisher {
    async fn publish(&mut self) {
        let events = match self.again.take() {
            Some(events) => events,
            None => self.new_events(),
        };
        let section = encode(&events, self.world.plan.dedup_ms);
        let durable = self.world.plan.may_lose() && self.client.random.percent(30);
        let (span, outcome) = self
            .client
            .call(|reply| Request::Publish {
                section: section.clone(),
                durable,
                reply,
            })
            .await;
        self.world.say(
            &format_args!("c{}", self.client.number),
            format_args!("published {} events: {outcome:?}", events.len()),
        );
        if outcome == Outcome::Unknown && self.client.random.percent(70) {
            self.again = Some(events.clone());
        }
        self.world.history.records().publishes.push(PublishCall {
            events,
            span,
            durable,
            outcome,
        });
    }

    fn new_events(&mut self) -> Vec<NewEvent> {
        let count = match self.client.random.percent(60) {
            true => 1,
            false => self.client.random.between(1, MOST_EVENTS),
        };
        (0..count).map(|_| self.new_event()).collect()
    }

    fn new_event(&mut self) -> NewEvent {
        self.published += 1;
        let own = format!("{}-{}", self.client.number, self.published);
        // Now and then an id that is taken, by itself or by another client.
        let id = match self.client.random.percent(8) {
            true => any_id(&self.world, &mut self.client.random).unwrap_or_else(|| own.clone()),
            false => own.clone(),
        };
        let random = &mut self.client.random;
        let topic = TOPICS[random.below(TOPICS.len() as u64) as usize];
        let now_ms = self.world.time.now_ms();
        let weights = match self.world.plan.purges {
            true => [10, 10, 78, 2, 0, 0],
            false => [10, 10, 50, 20, 9, 1],
        };
        let schedule_ms = match random.weighted(&weights) {
            0 => now_ms - random.signed(0, 5_000),
            1 => now_ms,
            2 => now_ms + random.signed(0, 3_000),
            3 => now_ms + random.signed(3_000, 30_000),
            4 => now_ms + random.signed(60_000, 90 * 86_400_000),
            _ => [i64::MIN, -1, 0, i64::MAX][random.below(4) as usize],
        };
        let filler = "x".repeat(random.below(200) as usize);
        let body = format!("{id}|{topic}|{own}|{filler}");
        NewEvent {
            id,
            topic,
            schedule_ms,
            body: body.into(),
            allow_duplicate: random.percent(3),
        }
    }

    async fn change(&mut self) {
        let Some(id) = any_id(&self.world, &mut self.client.random) else {
            return;
        };
        let random = &mut self.client.random;
        let action = match random.weighted(&[35, 30, 15, 20]) {
            0 => Action::Cancel,
            1 => Action::Reschedule(self.world.time.now_ms() + random.signed(-1_000, 8_000)),
            2 => Action::FireNow,
            _ => Action::Get,
        };
        let (span, outcome) = self
            .client
            .call(|reply| Request::Change(id.clone(), action, reply))
            .await;
        self.world.say(
            &format_args!("c{}", self.client.number),
            format_args!("changed {id} {action:?}: {outcome:?}"),
        );
        let clock_ms = self.world.greatest_clock_ms();
        let offset = match &outcome {
            Outcome::Done(answer) => answer.found.map(|(offset, _)| offset),
            Outcome::Refused | Outcome::Unknown => None,
        };
        self.world.history.records().changes.push(ChangeCall {
            id,
            offset,
            action,
            span,
            outcome: match outcome {
                Outcome::Done(answer) => Outcome::Done(answer.found.map(|(_, changed)| changed)),
                Outcome::Refused => Outcome::Refused,
                Outcome::Unknown => Outcome::Unknown,
            },
            clock_ms,
        });
    }
}

/// An id that somebody published lately, more often than one of long ago.
fn any_id(world: &World, random: &mut Random) -> Option<String> {
    let records = world.history.records();
    let all = &records.publishes;
    let recent = &all[all.len().saturating_sub(20)..];
    let calls = if random.percent(70) { recent } else { all };
    let call = random.pick(calls)?;
    random.pick(&call.events).map(|event| event.id.clone())
}

fn encode(events: &[NewEvent], dedup_ms: u64) -> Bytes {
    let mut section = publish::Builder::new(events.len(), 0);
    for event in events {
        let (id, topic) = (event.id.len() as u32, event.topic.len() as u8);
        section.push(publish::NewEvent {
            schedule_ms: event.schedule_ms,
            body: &event.body,
            id: (0, id as u8),
            topic: (id + 1, topic),
            allow_duplicate: event.allow_duplicate,
        });
    }
    section.finish(dedup_ms)
}
