//! Accepting events: refuse known ids, give offsets, decide when each is due.

use super::effects::{Published, Run};
use super::{ApplyError, Partition};
use crate::command::Section;
use crate::command::publish::Publish;
use crate::keys::batch::Span;
use crate::keys::dedup::{Accepted, IdHash, hash};
use crate::mutant;
use crate::store::Store;
use crate::types::TopicNumber;
use crate::wheel::Timer;

/// What the publish sections of one entry have brought so far.
#[derive(Debug)]
pub(super) struct Accepting {
    /// Where the horizon's time will be after this entry: an event scheduled at or before it is
    /// released by its own publish.
    pub(super) horizon_ms: i64,
    /// Ids that began to age up to this time were forgotten before this entry.
    pub(super) forgotten_ms: i64,
    pub(super) first_offset: u64,
    pub(super) next_offset: u64,
    pub(super) timers: Vec<Timer>,
    pub(super) runs: Vec<Run>,
    pub(super) spans: Vec<Span>,
    pub(super) schedule_ms: (i64, i64),
    /// An event that is cancelled in favour of those accepted now: its id does not count.
    pub(super) replacing: Option<u64>,
    /// Topics that got their first event with a priority.
    pub(super) prioritized: Vec<TopicNumber>,
    /// The topic of the event before: most events of a batch share one.
    last_topic: Option<(Box<[u8]>, TopicNumber)>,
    /// By topic: how many events were accepted for later, and their bytes.
    pub(super) later: Vec<(TopicNumber, u64, u64)>,
}

impl Accepting {
    pub(super) fn new(horizon_ms: i64, next_offset: u64, forgotten_ms: i64) -> Self {
        Self {
            horizon_ms,
            forgotten_ms,
            first_offset: next_offset,
            next_offset,
            timers: Vec::new(),
            runs: Vec::new(),
            spans: Vec::new(),
            schedule_ms: (i64::MAX, i64::MIN),
            replacing: None,
            prioritized: Vec::new(),
            last_topic: None,
            later: Vec::new(),
        }
    }

    fn add(&mut self, topic: TopicNumber, schedule_ms: i64, bytes: u64) {
        let offset = self.next_offset;
        self.next_offset += 1;
        self.schedule_ms = (
            self.schedule_ms.0.min(schedule_ms),
            self.schedule_ms.1.max(schedule_ms),
        );
        // One that is late is released by its own entry, not where nobody looks any more.
        let due_ms = match mutant!("late-event-keeps-its-time") {
            true => schedule_ms,
            false => self.horizon_ms,
        };
        if schedule_ms > self.horizon_ms {
            self.timers.push(Timer {
                due_ms: schedule_ms,
                topic,
                offset,
            });
            match self.later.last_mut() {
                Some((last, events, sum)) if *last == topic => {
                    *events += 1;
                    *sum += bytes;
                }
                _ => self.later.push((topic, 1, bytes)),
            }
            return;
        }
        match self.runs.last_mut() {
            Some(run) if run.topic == topic && run.first_offset + run.count == offset => {
                run.count += 1;
                run.ready_ms = run.ready_ms.max(schedule_ms);
            }
            _ => self.runs.push(Run {
                topic,
                due_ms,
                first_offset: offset,
                count: 1,
                ready_ms: schedule_ms,
            }),
        }
    }
}

impl<S: Store> Partition<S> {
    /// Accepts the events of one publish section.
    pub(super) fn accept(
        &mut self,
        section: &Section<'_>,
        accepting: &mut Accepting,
    ) -> Result<Published, ApplyError> {
        let publish = Publish::decode(section.payload)?;
        // By the partition's time, which never moves back, so that what is forgotten stays forgotten
        // whatever the clock and the setting do next.
        let expired_ms = accepting
            .horizon_ms
            .saturating_sub_unsigned(publish.dedup_ttl_ms);
        self.forgotten_ms = self.forgotten_ms.max(expired_ms);
        let ids = ids(&publish)?;
        // Look-ups go by offsets given out before this entry: what the store knows beyond is from a
        // part of the log that is being applied again.
        let known = self
            .dedup
            .look_up(&self.store, self.number, &ids, self.next_offset)?;
        let mut known = known.into_iter().peekable();

        // An id with a window of its own is forgotten together with others that are as old as it
        // pretends to be.
        let shift_ms = publish.window_ms.map_or(0, |window_ms| {
            i64::try_from(window_ms)
                .unwrap_or(i64::MAX)
                .saturating_sub_unsigned(publish.dedup_ttl_ms)
        });
        let mut published = Published {
            first_offset: accepting.next_offset,
            ..Published::default()
        };
        let mut span: Option<Span> = None;
        for (slot_number, (event, id)) in publish.events().zip(ids.iter()).enumerate() {
            let (slot, body) = event?;
            let stored = known
                .next_if(|(i, _)| *i == slot_number)
                .map(|(_, accepted)| accepted);
            if !slot.allow_duplicate {
                let before = self.dedup.recent(*id).or(stored);
                if let Some(known) = before.filter(|accepted| {
                    accepted.at_ms > self.forgotten_ms
                        && accepting.replacing != Some(accepted.offset)
                }) {
                    if mutant!("offset-for-duplicate") {
                        accepting.next_offset += 1;
                    }
                    published.duplicates.push(slot_number as u32);
                    published.known_offsets.push(known.offset);
                    accepting.spans.extend(span.take());
                    continue;
                }
                self.dedup.insert(
                    *id,
                    Accepted {
                        offset: accepting.next_offset,
                        // Not before the event has fired: an id is good as long as its event is.
                        at_ms: match mutant!("id-ages-from-its-publish") {
                            true => accepting.horizon_ms.saturating_add(shift_ms),
                            false => accepting
                                .horizon_ms
                                .max(slot.schedule_ms)
                                .saturating_add(shift_ms),
                        },
                    },
                    before,
                );
            }
            let name = slot.topic_of(body).unwrap_or_default();
            let topic = match &accepting.last_topic {
                Some((last, number)) if **last == *name => *number,
                _ => {
                    let number = self.topics.number(name);
                    self.topic_states.named(number);
                    accepting.last_topic = Some((name.into(), number));
                    number
                }
            };
            if slot.options.priority > 0 && self.topics.prioritize(topic) {
                accepting.prioritized.push(topic);
            }
            accepting.add(topic, slot.schedule_ms, body.len() as u64);
            published.accepted += 1;
            span.get_or_insert(Span {
                section_position: section.position,
                section_count: publish.count(),
                first_slot: slot_number as u32,
                count: 0,
            })
            .count += 1;
        }
        accepting.spans.extend(span);
        Ok(published)
    }
}

fn ids(publish: &Publish<'_>) -> Result<Vec<IdHash>, ApplyError> {
    let mut ids = Vec::with_capacity(publish.count() as usize);
    for event in publish.events() {
        let (slot, body) = event?;
        ids.push(hash(slot.id_of(body).unwrap_or_default()));
    }
    Ok(ids)
}
