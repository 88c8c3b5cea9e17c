//! Which letters a request means, and finding them page by page.

use super::{Place, of_index, view};
use crate::edge::view::View;
use crate::engine::Handle;
use crate::engine::dead_letters::Letter;
use chronos_core::types::{GroupNumber, PartitionNumber};
use chronos_proto::cronos_db::DeadLetterFilter;
use std::collections::BTreeMap;
use tonic::Status;

/// Letters read at a time.
const READ_LETTERS: usize = 256;
/// Letters looked at for one page, whether they match or not: a page must not take for ever.
const MOST_LOOKED_AT: usize = 10_000;

/// Which letters of a group.
#[derive(Debug, Clone)]
pub struct Filter {
    group: String,
    topic: String,
    key: String,
    partition: Option<PartitionNumber>,
    from_ms: i64,
    until_ms: i64,
    error: String,
}

/// A letter with its partition.
pub type Found = (PartitionNumber, Letter);

impl Filter {
    /// What a request asks for.
    pub fn of(wanted: Option<&DeadLetterFilter>, engine: &View) -> Result<Self, Status> {
        let wanted = wanted.filter(|wanted| !wanted.consumer_group.is_empty());
        let wanted =
            wanted.ok_or_else(|| Status::invalid_argument("filter.consumer_group is required"))?;
        let partition = match wanted.partition_id {
            None => None,
            Some(number) => Some(
                u32::try_from(number)
                    .ok()
                    .filter(|number| engine.partition(*number).is_some())
                    .ok_or_else(|| Status::not_found(format!("there is no partition {number}")))?,
            ),
        };
        let group = &wanted.consumer_group;
        if engine.group(group).is_none()
            && engine
                .partitions()
                .iter()
                .all(|handle| handle.groups_named(group).is_empty())
        {
            return Err(Status::not_found(format!(
                "consumer group not found: {group}"
            )));
        }
        Ok(Self {
            group: group.clone(),
            topic: wanted.topic.clone(),
            key: wanted.key.clone(),
            partition,
            from_ms: wanted.from_ts,
            until_ms: match wanted.until_ts {
                0 => i64::MAX,
                until_ms => until_ms,
            },
            error: wanted.error_contains.clone(),
        })
    }

    /// The groups that it is about, in the order in which they are listed.
    fn groups(&self, engine: &View) -> impl Iterator<Item = (Handle, GroupNumber)> {
        let wanted = |handle: &Handle| self.partition.is_none_or(|only| only == handle.number);
        let partitions = engine.partitions().into_iter().filter(wanted);
        partitions.flat_map(|handle| {
            let groups = handle.groups_named(&self.group).into_iter();
            groups.map(move |group| (handle.clone(), group))
        })
    }

    /// Letters of its groups, whatever the rest of the filter says.
    pub fn total(&self, engine: &View) -> u64 {
        self.groups(engine)
            .map(|(handle, group)| {
                let state = handle.state.lock();
                let group = state.groups().get(group as usize);
                group.map_or(0, |group| group.letters.dead.len())
            })
            .sum()
    }

    /// Where the letters end that there are now.
    pub fn ends(&self, engine: &View) -> BTreeMap<(PartitionNumber, GroupNumber), u64> {
        self.groups(engine)
            .map(|(handle, group)| ((handle.number, group), handle.next_letter(group)))
            .collect()
    }

    /// Up to `most` letters that match from a place on, and the place to go on from; `None` after the
    /// last. Fewer may be found though there are more.
    pub fn find(
        &self,
        engine: &View,
        from: Option<Place>,
        most: usize,
    ) -> Result<(Vec<Found>, Option<Place>), Status> {
        let mut found = Vec::new();
        let mut looked_at = 0;
        for (handle, group) in self.groups(engine) {
            let place = |number| Place {
                partition: handle.number,
                group,
                number,
            };
            let mut at = match from {
                Some(from) if from > place(u64::MAX) => continue,
                Some(from) if from > place(0) => Some(from.number),
                _ => Some(0),
            };
            while let Some(number) = at {
                if looked_at >= MOST_LOOKED_AT {
                    return Ok((found, Some(place(number))));
                }
                let (letters, next) = handle
                    .dead_letters(group, number, READ_LETTERS)
                    .map_err(of_index)?;
                looked_at += letters.len();
                for letter in self.matching(&handle, letters) {
                    if found.len() == most {
                        return Ok((found, Some(place(letter.number))));
                    }
                    found.push((handle.number, letter));
                }
                at = next;
            }
        }
        Ok((found, None))
    }

    /// Those of some letters that match.
    fn matching(&self, handle: &Handle, mut letters: Vec<Letter>) -> Vec<Letter> {
        letters.retain(|letter| {
            (self.from_ms..self.until_ms).contains(&letter.record.at_ms)
                && letter.record.reason.contains(&self.error)
        });
        if self.topic.is_empty() && self.key.is_empty() {
            return letters;
        }
        // What cannot be read has neither topic nor key.
        letters.retain(|letter| {
            let events = view::events(handle, std::slice::from_ref(letter));
            events.iter().flatten().any(|event| {
                (self.topic.is_empty() || event.decoded.topic == self.topic)
                    && (self.key.is_empty() || view::key_of(&event.decoded) == self.key)
            })
        });
        letters
    }
}

/// Letters that follow each other, apart by partition.
pub fn by_partition(engine: &View, found: Vec<Found>) -> Vec<(Handle, Vec<Letter>)> {
    let mut parts: Vec<(Handle, Vec<Letter>)> = Vec::new();
    for (partition, letter) in found {
        match parts.last_mut() {
            Some((last, letters)) if last.number == partition => letters.push(letter),
            _ => parts.extend(
                engine
                    .partition(partition)
                    .map(|handle| (handle, vec![letter])),
            ),
        }
    }
    parts
}
