//! A member of a consumer group that acks, nacks, forgets to ack, and leaves.

use std::collections::VecDeque;
use std::time::Duration;

use chronos_proto::cronos_db::{AckRequest, AckResponse, Delivery, Event, SubscribeRequest};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::Status;

use crate::client::{Acks, Subscription, event_of, settlement};
use crate::history::{Ack, Deliver, Member, Moment, Op, Outcome, Seen, Subscribe};
use crate::random::Random;
use crate::routing;

use super::Run;

/// Whether an event is acked is decided by its id, so that all members of a run agree.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behaviour {
    /// How many of 100 events are nacked at their first attempt.
    pub nack_percent: u64,
    /// How many of 100 events are not acked at their first attempt.
    pub ignore_percent: u64,
    /// How many of 100 events are nacked at every attempt.
    pub poison_percent: u64,
    /// How many of 100 deliveries are held back and settled later, in another order.
    pub hold_percent: u64,
    /// After how many deliveries the member leaves without settling the last one, and comes back.
    pub leave_after: Option<usize>,
}

/// What a member does.
#[derive(Clone, Debug)]
pub struct ConsumerPlan {
    /// The group.
    pub group: String,
    /// The member's name within it.
    pub member: String,
    /// The topic.
    pub topic: String,
    /// The partition; -1 for all.
    pub partition: i32,
    /// Where a new group starts.
    pub start_offset: i64,
    /// The in-flight limit.
    pub credits: u32,
    /// Whether it asks for one event at a time of each key.
    pub key_order: bool,
    /// Most events of a batch; 0 for one event per message.
    pub batch_events: i32,
    /// What it does with what it receives.
    pub behaviour: Behaviour,
}

impl ConsumerPlan {
    /// A member that acks everything, from the beginning of topic "t".
    #[must_use]
    pub fn new(group: &str, member: &str) -> Self {
        Self {
            group: group.to_string(),
            member: member.to_string(),
            topic: "t".to_string(),
            partition: -1,
            start_offset: 0,
            credits: 1_000,
            key_order: false,
            batch_events: 0,
            behaviour: Behaviour::default(),
        }
    }

    /// With this behaviour.
    #[must_use]
    pub fn behaving(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }

    /// Asking for one event at a time of each key.
    #[must_use]
    pub fn in_key_order(mut self) -> Self {
        self.key_order = true;
        self
    }

    /// Asking for batches of so many events.
    #[must_use]
    pub fn batches(mut self, events: i32) -> Self {
        self.batch_events = events;
        self
    }

    /// With this in-flight limit.
    #[must_use]
    pub fn credits(mut self, credits: u32) -> Self {
        self.credits = credits;
        self
    }
}

/// A running member.
#[derive(Debug)]
pub struct Consumer {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Consumer {
    /// Starts a member; it subscribes again whenever its stream ends, until it is stopped.
    #[must_use]
    pub fn start(run: &Run, plan: ConsumerPlan) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(consume(run.clone(), plan, stopped));
        Self { stop, task }
    }

    /// Lets the member leave, and waits until it has.
    ///
    /// # Panics
    /// When the member itself panicked.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        if let Err(error) = self.task.await {
            panic!("a consumer failed: {error}");
        }
    }
}

async fn consume(run: Run, plan: ConsumerPlan, mut stopped: watch::Receiver<bool>) {
    let mut consumer = Session {
        process: run.process(),
        member: Member {
            group: plan.group.clone(),
            member: plan.member.clone(),
        },
        random: Random::new(run.seed ^ routing::fnv1a_64(plan.member.as_bytes())),
        waiting: VecDeque::new(),
        held: Vec::new(),
        received: 0,
        may_leave: true,
        plan,
        run,
    };
    while !*stopped.borrow() {
        let connected = tokio::select! {
            connected = consumer.connect() => connected,
            _ = stopped.changed() => None,
        };
        if let Some((subscription, acks)) = connected {
            consumer.serve(subscription, acks, &mut stopped).await;
        }
    }
}

struct Session {
    process: u32,
    member: Member,
    plan: ConsumerPlan,
    run: Run,
    random: Random,
    /// Settles sent and not yet answered, in order; each may be of several deliveries.
    waiting: VecDeque<(Vec<Ack>, Moment)>,
    held: Vec<Delivery>,
    received: usize,
    may_leave: bool,
}

/// Why a session ended.
enum End {
    Stopped,
    Left,
    Broken,
}

impl Session {
    async fn connect(&mut self) -> Option<(Subscription, Acks)> {
        let client = self.run.reachable().await;
        let called = self.run.recorder.now();
        let request = SubscribeRequest {
            consumer_group: self.plan.group.clone(),
            topic: self.plan.topic.clone(),
            partition_id: self.plan.partition,
            start_offset: self.plan.start_offset,
            max_buffer_size: i32::try_from(self.plan.credits).unwrap_or(i32::MAX),
            subscription_id: self.plan.member.clone(),
            replay: false,
            key_order: self.plan.key_order,
            batch_max_events: self.plan.batch_events,
            ..Default::default()
        };
        let opened = async {
            let acks = client.acks().await?;
            Ok::<_, Status>((client.subscribe(request).await?, acks))
        };
        let opened = opened.await;
        let outcome = if opened.is_ok() {
            Outcome::Ok
        } else {
            Outcome::Info
        };
        let subscribe = Subscribe {
            member: self.member.clone(),
            topic: self.plan.topic.clone(),
            partition: self.plan.partition,
            start_offset: self.plan.start_offset,
            credits: self.plan.credits,
            key_order: self.plan.key_order,
        };
        self.run
            .recorder
            .record(self.process, called, outcome, Op::Subscribe(subscribe));
        opened.ok()
    }

    async fn serve(
        &mut self,
        mut subscription: Subscription,
        mut acks: Acks,
        stopped: &mut watch::Receiver<bool>,
    ) {
        let mut release = tokio::time::interval(Duration::from_millis(50));
        let end = loop {
            tokio::select! {
                delivery = subscription.deliveries.next() => match delivery {
                    Some(Ok(delivery)) => {
                        if !self.receive(delivery, &acks) {
                            break End::Left;
                        }
                    }
                    Some(Err(_)) | None => break End::Broken,
                },
                response = acks.responses.next() => match response {
                    Some(Ok(response)) => self.answered(&response),
                    Some(Err(_)) | None => break End::Broken,
                },
                _ = release.tick() => self.release(&acks),
                _ = stopped.changed() => break End::Stopped,
            }
        };
        // A member that was told to stop settles what it holds; one that leaves does not.
        if matches!(end, End::Stopped) {
            self.release(&acks);
            self.answers_left(&mut acks).await;
        }
        self.held.clear();
        let begin = self.run.recorder.now();
        drop((subscription, acks));
        self.run.recorder.record(
            self.process,
            begin,
            Outcome::Ok,
            Op::Gone(self.member.clone()),
        );
        for (acks, called) in std::mem::take(&mut self.waiting) {
            self.write(acks, called, Outcome::Info);
        }
    }

    async fn answers_left(&mut self, acks: &mut Acks) {
        while !self.waiting.is_empty() {
            let next = tokio::time::timeout(Duration::from_secs(5), acks.responses.next());
            match next.await {
                Ok(Some(Ok(response))) => self.answered(&response),
                _ => return,
            }
        }
    }

    /// False when the member leaves at this delivery.
    fn receive(&mut self, delivery: Delivery, acks: &Acks) -> bool {
        if !delivery.batched.is_empty() {
            self.receive_batch(&delivery, acks);
            return true;
        }
        let event = event_of(&delivery);
        let fate = self.see(event, delivery.attempt, delivery.delivery_id.clone());
        if self.may_leave && self.plan.behaviour.leave_after == Some(self.received) {
            self.may_leave = false;
            return false;
        }
        match fate {
            Fate::Ignore => {}
            Fate::Nack => self.settle(&delivery, false, acks),
            Fate::Ack if self.random.chance(self.plan.behaviour.hold_percent) => {
                self.held.push(delivery);
                if self.held.len() >= 5 {
                    self.release(acks);
                }
            }
            Fate::Ack => self.settle(&delivery, true, acks),
        }
        true
    }

    /// Writes down a delivery; what is to become of it.
    fn see(&mut self, event: &Event, attempt: i32, delivery_id: String) -> Fate {
        let now = self.run.recorder.now();
        let seen = Seen {
            partition: event.partition_id,
            offset: event.offset,
            id: event.message_id.clone(),
            topic: event.topic.clone(),
            schedule_ts: event.schedule_ts,
            hash: routing::content_hash(&event.payload, &event.meta),
        };
        let fate = self.fate(&seen.id, attempt);
        let deliver = Deliver {
            member: self.member.clone(),
            event: seen,
            attempt,
            delivery_id,
        };
        self.run
            .recorder
            .record_at(self.process, now, now, Outcome::Ok, Op::Deliver(deliver));
        self.received += 1;
        fate
    }

    /// Each event of a batch is a delivery of its own to the checker, and so is its part of the
    /// answer.
    fn receive_batch(&mut self, batch: &Delivery, acks: &Acks) {
        let id = |at: usize| format!("{}#{at}", batch.delivery_id);
        let (mut said, mut only, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (at, batched) in batch.batched.iter().enumerate() {
            let Some(event) = &batched.event else {
                panic!("a batch without an event: {batch:?}");
            };
            let success = match self.see(event, batched.attempt, id(at)) {
                Fate::Ignore => continue,
                Fate::Ack => true,
                Fate::Nack => false,
            };
            let place = u32::try_from(at).unwrap_or(u32::MAX);
            match success {
                true => only.push(place),
                false => failed.push(place),
            }
            said.push(Ack {
                member: self.member.clone(),
                delivery_id: id(at),
                success,
            });
        }
        if said.is_empty() {
            return;
        }
        if only.len() == batch.batched.len() {
            only.clear();
        }
        self.waiting.push_back((said, self.run.recorder.now()));
        acks.send(AckRequest {
            delivery_id: batch.delivery_id.clone(),
            // With no position named, a failure is of all.
            success: !only.is_empty() || failed.is_empty(),
            only: if only.is_empty() && !failed.is_empty() {
                std::mem::take(&mut failed)
            } else {
                only
            },
            failed,
            ..AckRequest::default()
        });
    }

    fn write(&self, acks: Vec<Ack>, called: Moment, outcome: Outcome) {
        for ack in acks {
            self.run
                .recorder
                .record(self.process, called, outcome, Op::Ack(ack));
        }
    }

    fn fate(&self, id: &str, attempt: i32) -> Fate {
        let behaviour = self.plan.behaviour;
        let dice = routing::fnv1a_64(format!("{}/{id}", self.run.seed).as_bytes());
        // The low bits of FNV-1a alone are not even over similar texts.
        let dice = Random::new(dice).range(0, 100);
        let nacked = behaviour.poison_percent + behaviour.nack_percent;
        // One that was redriven is cured.
        let is_ill = attempt <= self.run.settings.max_attempts;
        if dice < behaviour.poison_percent && is_ill {
            Fate::Nack
        } else if attempt > 1 {
            Fate::Ack
        } else if dice < nacked {
            Fate::Nack
        } else if dice < nacked + behaviour.ignore_percent {
            Fate::Ignore
        } else {
            Fate::Ack
        }
    }

    /// Settles what was held back, the last first.
    fn release(&mut self, acks: &Acks) {
        while let Some(delivery) = self.held.pop() {
            self.settle(&delivery, true, acks);
        }
    }

    fn settle(&mut self, delivery: &Delivery, success: bool, acks: &Acks) {
        let ack = Ack {
            member: self.member.clone(),
            delivery_id: delivery.delivery_id.clone(),
            success,
        };
        self.waiting.push_back((vec![ack], self.run.recorder.now()));
        acks.send(settlement(delivery, success));
    }

    fn answered(&mut self, response: &AckResponse) {
        let Some((acks, called)) = self.waiting.pop_front() else {
            panic!("an answer to no request: {response:?}");
        };
        self.write(acks, called, outcome(response));
    }
}

/// What an answer says. A leader may have taken it before it went, and nobody else came in time to tell.
fn outcome(response: &AckResponse) -> Outcome {
    let is_unknown = |why: &&str| response.error.contains(why);
    if response.success {
        Outcome::Ok
    } else if ["there is no leader", "it is not known"]
        .iter()
        .any(is_unknown)
    {
        Outcome::Info
    } else {
        Outcome::Fail
    }
}

enum Fate {
    Ack,
    Nack,
    Ignore,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_no_refusal() {
        let of = |success, error: &str| {
            outcome(&AckResponse {
                success,
                error: error.into(),
                committed_offset: 0,
            })
        };
        assert_eq!(of(true, ""), Outcome::Ok);
        assert_eq!(of(false, "delivery_id is malformed"), Outcome::Fail);
        let gone = "there is no leader of partition 3 that answers (broken pipe): try again";
        assert_eq!(of(false, gone), Outcome::Info);
        let lost =
            "it is not known whether partition 3 took the request: retry with the same message id";
        assert_eq!(of(false, lost), Outcome::Info);
    }
}
