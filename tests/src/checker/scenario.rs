//! Writes small histories by hand, in virtual time, for the rules' tests.

use std::collections::{BTreeSet, HashMap};

use crate::history::*;

use super::{Rule, check};

const TOPIC: &str = "t";
const BEGIN_MS: i64 = 1_000_000_000_000;

/// A history under construction. Each step takes one millisecond.
pub(super) struct Scenario {
    now_ms: i64,
    records: Vec<Record>,
    next_offset: i64,
    published: HashMap<String, Seen>,
    groups: BTreeSet<String>,
    credits: u32,
    key_order: bool,
    key: String,
    priority: i32,
    expires_in_ms: Option<i64>,
    last: Option<Deliver>,
    deliveries: u32,
}

impl Scenario {
    /// Nobody is subscribed.
    pub(super) fn bare() -> Self {
        let mut it = Self {
            now_ms: 0,
            records: Vec::new(),
            next_offset: 0,
            published: HashMap::new(),
            groups: BTreeSet::new(),
            credits: 100,
            key_order: false,
            key: String::new(),
            priority: 0,
            expires_in_ms: None,
            last: None,
            deliveries: 0,
        };
        it.step(Outcome::Ok, Op::Settings(Settings::default()));
        it
    }

    /// Member `m` of group `g` is subscribed from the beginning.
    pub(super) fn subscribed() -> Self {
        Self::with_credits(100)
    }

    /// Member `m` of group `g` is subscribed, one event at a time of each key.
    pub(super) fn in_key_order() -> Self {
        let mut it = Self::bare();
        it.key_order = true;
        it.subscribe("g", "m", 0);
        it
    }

    /// What is published from now on has this key.
    pub(super) fn with_key(&mut self, key: &str) -> &mut Self {
        self.key = key.into();
        self
    }

    /// What is published from now on has this priority.
    pub(super) fn with_priority(&mut self, priority: i32) -> &mut Self {
        self.priority = priority;
        self
    }

    /// What is published from now on expires so long after its time.
    pub(super) fn expiring_in(&mut self, ms: i64) -> &mut Self {
        self.expires_in_ms = Some(ms);
        self
    }

    pub(super) fn with_credits(credits: u32) -> Self {
        let mut it = Self::bare();
        it.credits = credits;
        it.subscribe("g", "m", 0);
        it
    }

    fn step(&mut self, outcome: Outcome, op: Op) -> &mut Self {
        let t_us = u64::try_from(self.now_ms * 1_000).unwrap();
        self.records.push(Record {
            process: 1,
            t_inv_us: t_us,
            t_ret_us: t_us,
            wall_inv_ms: BEGIN_MS + self.now_ms,
            wall_ret_ms: BEGIN_MS + self.now_ms,
            outcome,
            op,
        });
        // Deliveries take no time, so that a test can state a lateness to the millisecond.
        if !matches!(
            self.records.last().map(|it| &it.op),
            Some(Op::Deliver(_) | Op::Publish(_))
        ) {
            self.now_ms += 1;
        }
        self
    }

    pub(super) fn pass_ms(&mut self, ms: i64) -> &mut Self {
        self.now_ms += ms;
        self
    }

    pub(super) fn subscribe(&mut self, group: &str, member: &str, start_offset: i64) -> &mut Self {
        self.groups.insert(group.to_string());
        let subscribe = Subscribe {
            member: Member {
                group: group.into(),
                member: member.into(),
            },
            topic: TOPIC.into(),
            partition: -1,
            start_offset,
            credits: self.credits,
            key_order: self.key_order,
        };
        self.step(Outcome::Ok, Op::Subscribe(subscribe))
    }

    /// Member `m` of group `g` goes.
    pub(super) fn gone(&mut self) -> &mut Self {
        self.step(
            Outcome::Ok,
            Op::Gone(Member {
                group: "g".into(),
                member: "m".into(),
            }),
        )
    }

    fn publish_op(&mut self, id: &str, due_in_ms: i64, reply: Option<Reply>) -> Publish {
        Publish {
            id: id.into(),
            topic: TOPIC.into(),
            key: self.key.clone(),
            priority: self.priority,
            expires_at: self
                .expires_in_ms
                .map_or(0, |ms| BEGIN_MS + self.now_ms + due_in_ms + ms),
            schedule_ts: BEGIN_MS + self.now_ms + due_in_ms,
            hash: 7,
            allow_duplicate: false,
            batch: None,
            reply,
        }
    }

    fn remember(&mut self, publish: &Publish) {
        let seen = Seen {
            partition: 0,
            offset: self.next_offset,
            id: publish.id.clone(),
            topic: publish.topic.clone(),
            schedule_ts: publish.schedule_ts,
            hash: publish.hash,
        };
        self.next_offset += 1;
        self.published.insert(publish.id.clone(), seen);
    }

    /// The next publish gets this offset.
    pub(super) fn offset_is(&mut self, offset: i64) -> &mut Self {
        self.next_offset = offset;
        self
    }

    pub(super) fn publish(&mut self, id: &str, due_in_ms: i64) -> &mut Self {
        let reply = Reply::Stored {
            partition: 0,
            offset: Some(self.next_offset),
        };
        let publish = self.publish_op(id, due_in_ms, Some(reply));
        self.remember(&publish);
        self.step(Outcome::Ok, Op::Publish(publish))
    }

    pub(super) fn publish_again(&mut self, id: &str) -> &mut Self {
        let reply = Reply::Stored {
            partition: 0,
            offset: Some(self.next_offset),
        };
        let mut publish = self.publish_op(id, 0, Some(reply));
        publish.allow_duplicate = true;
        self.remember(&publish);
        self.step(Outcome::Ok, Op::Publish(publish))
    }

    pub(super) fn publish_unknown(&mut self, id: &str) -> &mut Self {
        let publish = self.publish_op(id, 0, None);
        self.remember(&publish);
        self.step(Outcome::Info, Op::Publish(publish)).pass_ms(1)
    }

    pub(super) fn publish_duplicate(&mut self, id: &str) -> &mut Self {
        let publish = self.publish_op(id, 0, Some(Reply::Duplicate));
        self.step(Outcome::Fail, Op::Publish(publish)).pass_ms(1)
    }

    pub(super) fn publish_refused(&mut self, id: &str) -> &mut Self {
        let refused = Reply::Refused {
            error: "payload is required".into(),
        };
        let publish = self.publish_op(id, 0, Some(refused));
        self.step(Outcome::Fail, Op::Publish(publish)).pass_ms(1)
    }

    pub(super) fn deliver_to(
        &mut self,
        group: &str,
        member: &str,
        id: &str,
        attempt: i32,
    ) -> &mut Self {
        let event = self.published[id].clone();
        self.deliver_event(group, member, event, attempt)
    }

    fn deliver_event(&mut self, group: &str, member: &str, event: Seen, attempt: i32) -> &mut Self {
        self.deliveries += 1;
        let deliver = Deliver {
            member: Member {
                group: group.into(),
                member: member.into(),
            },
            event,
            attempt,
            delivery_id: format!("d{}", self.deliveries),
        };
        self.last = Some(deliver.clone());
        self.step(Outcome::Ok, Op::Deliver(deliver))
    }

    pub(super) fn deliver(&mut self, id: &str, attempt: i32) -> &mut Self {
        self.deliver_to("g", "m", id, attempt)
    }

    pub(super) fn deliver_changed(&mut self, id: &str, change: impl Fn(&mut Seen)) -> &mut Self {
        let mut event = self.published[id].clone();
        change(&mut event);
        self.deliver_event("g", "m", event, 1)
    }

    pub(super) fn deliver_unpublished(&mut self, id: &str, offset: i64) -> &mut Self {
        let event = Seen {
            partition: 0,
            offset,
            id: id.into(),
            topic: TOPIC.into(),
            schedule_ts: BEGIN_MS,
            hash: 7,
        };
        self.deliver_event("g", "m", event, 1)
    }

    fn settle_last(&mut self, success: bool) -> &mut Self {
        let Some(Deliver {
            member,
            delivery_id,
            ..
        }) = self.last.clone()
        else {
            return self;
        };
        self.step(
            Outcome::Ok,
            Op::Ack(Ack {
                member,
                delivery_id,
                success,
            }),
        )
    }

    pub(super) fn ack_last(&mut self) -> &mut Self {
        self.settle_last(true)
    }

    pub(super) fn nack_last(&mut self) -> &mut Self {
        self.settle_last(false)
    }

    pub(super) fn deliver_and_ack(&mut self, id: &str) -> &mut Self {
        self.deliver(id, 1).ack_last()
    }

    /// Group `g` is paused for `ms`.
    pub(super) fn pause(&mut self, drops: bool, ms: i64) -> &mut Self {
        let group = "g".into();
        self.lasting(Op::Pause(Pause { group, drops }), ms)
    }

    /// The last event that was delivered is redriven to group `g`.
    pub(super) fn redrive_last(&mut self) -> &mut Self {
        let events = self.last.iter();
        let redrive = Redrive {
            group: "g".into(),
            events: events
                .map(|it| (it.event.partition, it.event.offset))
                .collect(),
        };
        self.step(Outcome::Ok, Op::Redrive(redrive))
    }

    /// The server is killed and ready again after `ms`.
    pub(super) fn fault(&mut self, ms: i64) -> &mut Self {
        let kind = "kill".into();
        self.lasting(Op::Fault { kind }, ms).pass_ms(1)
    }

    /// A fault begins that lasts for `ms`, with what is recorded next in the midst of it.
    pub(super) fn fault_around(&mut self, ms: i64) -> &mut Self {
        let kind = "pause".into();
        self.step(Outcome::Ok, Op::Fault { kind });
        if let Some(record) = self.records.last_mut() {
            record.t_ret_us += u64::try_from(ms * 1_000).unwrap();
            record.wall_ret_ms += ms;
        }
        self
    }

    /// Records what begins now and lasts for `ms`.
    fn lasting(&mut self, op: Op, ms: i64) -> &mut Self {
        self.step(Outcome::Ok, op).pass_ms(ms);
        let end_us = u64::try_from(self.now_ms * 1_000).unwrap();
        let end_ms = BEGIN_MS + self.now_ms;
        if let Some(record) = self.records.last_mut() {
            (record.t_ret_us, record.wall_ret_ms) = (end_us, end_ms);
        }
        self
    }

    fn replay(&mut self, ids: &[&str], range: ReplayRange, outcome: Outcome) -> &mut Self {
        let events = ids.iter().map(|id| self.published[*id].clone()).collect();
        self.now_ms += 1;
        self.step(
            outcome,
            Op::Replay(Replay {
                partition: 0,
                range,
                events,
            }),
        )
    }

    /// A replay from offset 0.
    pub(super) fn replay_of(&mut self, ids: &[&str]) -> &mut Self {
        self.replay(
            ids,
            ReplayRange::Offsets {
                start: 0,
                count: 1_000,
            },
            Outcome::Ok,
        )
    }

    pub(super) fn replay_broken_off(&mut self, ids: &[&str]) -> &mut Self {
        self.replay(
            ids,
            ReplayRange::Offsets {
                start: 0,
                count: 1_000,
            },
            Outcome::Info,
        )
    }

    /// A replay of the times `from_ms..=to_ms`, counted from the scenario's begin.
    pub(super) fn replay_times(&mut self, ids: &[&str], from_ms: i64, to_ms: i64) -> &mut Self {
        let range = ReplayRange::Times {
            start_ms: BEGIN_MS + from_ms,
            end_ms: BEGIN_MS + to_ms,
        };
        self.replay(ids, range, Outcome::Ok)
    }

    pub(super) fn group_state(&mut self, group: &str, committed: i64) -> &mut Self {
        let state = GroupState {
            group: group.into(),
            committed: vec![(0, committed)],
        };
        self.step(Outcome::Ok, Op::GroupState(state))
    }

    pub(super) fn partition_state(&mut self, active_timers: i64, last_offset: i64) -> &mut Self {
        let state = PartitionState {
            partition: 0,
            active_timers,
            last_offset,
        };
        self.now_ms += 1;
        self.step(Outcome::Ok, Op::PartitionState(state))
    }

    pub(super) fn dead_letters(&mut self, count: u64) -> &mut Self {
        self.step(Outcome::Ok, Op::DeadLetters { count })
    }

    pub(super) fn drained(&mut self) -> &mut Self {
        let groups = self.groups.iter().cloned().collect();
        self.step(Outcome::Ok, Op::Drained { groups })
    }

    pub(super) fn clean(&mut self) -> &mut Self {
        let report = check(&self.records);
        assert!(report.is_clean(), "{}", report.explain(&self.records));
        self
    }

    /// Asserts that this rule, and no other, is broken.
    pub(super) fn breaks(&mut self, rule: Rule) -> &mut Self {
        self.breaks_among(&[rule])
    }

    pub(super) fn breaks_among(&mut self, rules: &[Rule]) -> &mut Self {
        let report = check(&self.records);
        let broken: Vec<Rule> = report.broken_rules().into_iter().collect();
        assert_eq!(broken, rules, "{}", report.explain(&self.records));
        self
    }
}
