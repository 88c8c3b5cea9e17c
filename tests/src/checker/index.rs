//! The history arranged for lookups; the rules read nothing else.

use std::collections::{BTreeMap, HashMap};

use crate::history::{
    Ack, Deliver, GroupState, Member, Op, PartitionState, Pause, Publish, Record, Redrive, Replay,
    Reply, Seen, Settings, Subscribe,
};
use crate::routing;

/// A record's operation together with the record and its position in the history.
#[derive(Debug)]
pub struct At<'h, T> {
    /// Position in the history, from 0.
    pub line: usize,
    /// The record.
    pub record: &'h Record,
    /// Its operation.
    pub op: &'h T,
}

// Not derived: only references are copied, whatever the operation is.
impl<T> Clone for At<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for At<'_, T> {}

/// An event that the server certainly stored.
#[derive(Clone, Debug)]
pub struct Stored<'h> {
    /// The publish that proves it, or the first of those one of which did.
    pub publish: At<'h, Publish>,
    /// The partition it lies in, by the reply or by the routing function.
    pub partition: i32,
    /// Its offset, where a reply, a delivery or a replay named it.
    pub offset: Option<i64>,
    /// The record after which the server must know it: the reply, or the first sighting.
    pub known: &'h Record,
}

/// One group's event: group, partition, offset.
pub type DeliveryKey<'h> = (&'h str, i32, i64);

/// The history, sorted and arranged.
#[derive(Debug)]
pub struct Index<'h> {
    /// All records in the order they were written.
    pub records: &'h [Record],
    /// The server's configuration.
    pub settings: Settings,
    /// Publishes by id, in the order of their calls.
    pub publishes: BTreeMap<&'h str, Vec<At<'h, Publish>>>,
    /// What is certainly stored.
    pub stored: Vec<Stored<'h>>,
    /// Publishes that nothing proves or disproves.
    pub unproven: Vec<At<'h, Publish>>,
    /// Deliveries of each event to each group, in the order of receipt.
    pub deliveries: BTreeMap<DeliveryKey<'h>, Vec<At<'h, Deliver>>>,
    /// Acks and nacks by delivery id, in the order of their calls.
    pub acks: HashMap<&'h str, Vec<At<'h, Ack>>>,
    /// Subscriptions of each group, in the order of their calls.
    pub subscriptions: BTreeMap<&'h str, Vec<At<'h, Subscribe>>>,
    /// When members went, by member, in order.
    pub gone: HashMap<&'h Member, Vec<At<'h, Member>>>,
    /// Replays, in the order of their calls.
    pub replays: Vec<At<'h, Replay>>,
    /// Reads of groups, in the order of their calls.
    pub group_states: Vec<At<'h, GroupState>>,
    /// Reads of partitions, in the order of their calls.
    pub partition_states: Vec<At<'h, PartitionState>>,
    /// Dead letter counts: position, record, count.
    pub dead_letters: Vec<(usize, &'h Record, u64)>,
    /// Pauses of groups, in the order they began.
    pub pauses: Vec<At<'h, Pause>>,
    /// Redrives, in the order of their calls.
    pub redrives: Vec<At<'h, Redrive>>,
    /// Faults, in the order they began.
    pub faults: Vec<(usize, &'h Record)>,
    /// The end of the run for each group, if it was drained.
    pub drained: HashMap<&'h str, (usize, &'h Record)>,
}

impl Stored<'_> {
    /// What holds its events together: its key, or itself.
    #[must_use]
    pub fn key(&self) -> &str {
        let publish = self.publish.op;
        match publish.key.is_empty() {
            true => &publish.id,
            false => &publish.key,
        }
    }

    /// The first and the last moment at which it may have fallen due, Unix milliseconds.
    #[must_use]
    pub fn due_ms(&self) -> (i64, i64) {
        let at_ms = self.publish.op.schedule_ts;
        let from_ms = at_ms.max(self.publish.record.wall_inv_ms);
        (from_ms, at_ms.max(self.known.wall_ret_ms))
    }
}

impl<'h> Index<'h> {
    /// Arranges a history.
    #[must_use]
    pub fn new(records: &'h [Record]) -> Self {
        let mut index = Self {
            records,
            settings: Settings::default(),
            publishes: BTreeMap::new(),
            stored: Vec::new(),
            unproven: Vec::new(),
            deliveries: BTreeMap::new(),
            acks: HashMap::new(),
            subscriptions: BTreeMap::new(),
            gone: HashMap::new(),
            replays: Vec::new(),
            group_states: Vec::new(),
            partition_states: Vec::new(),
            dead_letters: Vec::new(),
            pauses: Vec::new(),
            redrives: Vec::new(),
            faults: Vec::new(),
            drained: HashMap::new(),
        };
        let mut by_call: Vec<usize> = (0..records.len()).collect();
        by_call.sort_by_key(|line| (records[*line].t_inv_us, *line));
        for line in by_call {
            index.insert(line, &records[line]);
        }
        index.prove();
        index
    }

    fn insert(&mut self, line: usize, record: &'h Record) {
        match &record.op {
            Op::Settings(settings) => self.settings = settings.clone(),
            Op::Publish(op) => {
                self.publishes
                    .entry(&op.id)
                    .or_default()
                    .push(At { line, record, op });
            }
            Op::Subscribe(op) => {
                let group = self.subscriptions.entry(&op.member.group).or_default();
                group.push(At { line, record, op });
            }
            Op::Gone(op) => self
                .gone
                .entry(op)
                .or_default()
                .push(At { line, record, op }),
            Op::Deliver(op) => {
                let key = (
                    op.member.group.as_str(),
                    op.event.partition,
                    op.event.offset,
                );
                self.deliveries
                    .entry(key)
                    .or_default()
                    .push(At { line, record, op });
            }
            Op::Ack(op) => {
                self.acks
                    .entry(&op.delivery_id)
                    .or_default()
                    .push(At { line, record, op });
            }
            Op::Replay(op) => self.replays.push(At { line, record, op }),
            Op::GroupState(op) => self.group_states.push(At { line, record, op }),
            Op::PartitionState(op) => self.partition_states.push(At { line, record, op }),
            Op::DeadLetters { count } => self.dead_letters.push((line, record, *count)),
            Op::Pause(op) => self.pauses.push(At { line, record, op }),
            Op::Redrive(op) => self.redrives.push(At { line, record, op }),
            Op::Fault { .. } => self.faults.push((line, record)),
            Op::Drained { groups } => {
                self.drained
                    .extend(groups.iter().map(|group| (group.as_str(), (line, record))));
            }
        }
    }

    /// Sorts publishes into stored and unproven. A publish of unknown outcome counts as stored when
    /// its event was seen afterwards, or when a later publish of the id was refused as a duplicate.
    fn prove(&mut self) {
        let mut sightings: HashMap<&str, Vec<(&'h Seen, &'h Record)>> = HashMap::new();
        for (event, _, record) in self.sightings() {
            sightings
                .entry(&event.id)
                .or_default()
                .push((event, record));
        }
        for (id, attempts) in &self.publishes {
            let mut seen = sightings.remove(id).unwrap_or_default();
            seen.sort_by_key(|(_, record)| record.t_ret_us);
            let mut accepted = false;
            for publish in attempts {
                if let Some(Reply::Stored { partition, offset }) = publish.op.reply {
                    accepted = true;
                    let seen_at = seen.iter().find(|(event, _)| event.partition == partition);
                    self.stored.push(Stored {
                        publish: *publish,
                        partition,
                        offset: offset.or(seen_at.map(|(event, _)| event.offset)),
                        known: publish.record,
                    });
                }
            }
            let known = |offset: i64| {
                attempts.iter().any(|publish| {
                    matches!(publish.op.reply, Some(Reply::Stored { offset: Some(it), .. }) if it == offset)
                })
            };
            let mut unknown = attempts.iter().copied().filter(|it| it.op.reply.is_none());
            if accepted {
                // A retry that was stored shows that what it retried was not.
                self.unproven
                    .extend(unknown.filter(|it| it.op.allow_duplicate));
                continue;
            }
            let Some(first) = unknown.next() else {
                continue;
            };
            let sighting = seen.iter().find(|(event, _)| !known(event.offset));
            let refused = attempts
                .iter()
                .find(|it| it.op.reply == Some(Reply::Duplicate));
            let proof = match (sighting, refused) {
                (Some((event, record)), _) => Some((Some(event.offset), *record)),
                (None, Some(refused)) => Some((None, refused.record)),
                (None, None) => None,
            };
            match proof {
                Some((offset, known)) => {
                    self.stored.push(Stored {
                        publish: first,
                        partition: self.partition_of(first.op),
                        offset,
                        known,
                    });
                    self.unproven
                        .extend(unknown.filter(|it| it.op.allow_duplicate));
                }
                None => {
                    let others = unknown.filter(|it| it.op.allow_duplicate);
                    self.unproven.extend(std::iter::once(first).chain(others));
                }
            }
        }
    }

    /// Every event that a delivery or a replay showed, with the position of the record.
    pub fn sightings(&self) -> impl Iterator<Item = (&'h Seen, usize, &'h Record)> {
        let delivered = self
            .deliveries
            .values()
            .flatten()
            .map(|delivery| (&delivery.op.event, delivery.line, delivery.record));
        let replayed = self.replays.iter().flat_map(|replay| {
            replay
                .op
                .events
                .iter()
                .map(move |event| (event, replay.line, replay.record))
        });
        delivered.chain(replayed)
    }

    /// The partition that the routing function gives an event.
    #[must_use]
    pub fn partition_of(&self, publish: &Publish) -> i32 {
        routing::partition(&publish.key, &publish.id, self.settings.partition_count)
    }

    /// The acks and nacks of a delivery.
    #[must_use]
    pub fn acks_of(&self, delivery: &Deliver) -> &[At<'h, Ack>] {
        self.acks
            .get(delivery.delivery_id.as_str())
            .map_or(&[], Vec::as_slice)
    }

    /// Whether every member of a group asked for one event at a time of each key.
    #[must_use]
    pub fn is_in_key_order(&self, group: &str) -> bool {
        let subscriptions = self.subscriptions.get(group);
        subscriptions.is_some_and(|all| all.iter().all(|it| it.op.key_order))
    }

    /// What was published of each event whose place is known.
    #[must_use]
    pub fn published(&self) -> HashMap<(i32, i64), &Stored<'h>> {
        let placed = self.stored.iter();
        placed
            .filter_map(|it| Some(((it.partition, it.offset?), it)))
            .collect()
    }

    /// Whether a fault overlaps the time from `from_us` to `to_us`.
    #[must_use]
    pub fn fault_within(&self, from_us: u64, to_us: u64) -> bool {
        self.faults
            .iter()
            .any(|(_, fault)| fault.t_inv_us <= to_us && fault.t_ret_us >= from_us)
    }

    /// Whether a member went between `from_us` and `to_us`.
    #[must_use]
    pub fn gone_within(&self, member: &Member, from_us: u64, to_us: u64) -> bool {
        let gone = self.gone.get(member).map_or(&[][..], Vec::as_slice);
        gone.iter()
            .any(|it| it.record.t_inv_us <= to_us && it.record.t_ret_us >= from_us)
    }
}
