//! Redriving and discarding letters, in chunks and at a rate.

use super::super::status;
use super::filter::{Filter, Found};
use super::leads::Leads;
use super::{Place, named, of_index};
use crate::edge::view::View;
use crate::engine::Refused;
use crate::engine::dead_letters::Letter;
use chronos_core::command::dead_letters::{Action, Redrive};
use chronos_core::types::{GroupNumber, PartitionNumber};
use chronos_proto::cronos_db::{DeadLetterFilter, RedriveProgress};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Code, Status};

/// Letters of one command.
const CHUNK: usize = 512;
/// With a rate, a chunk is what it allows in this time.
const BEAT: Duration = Duration::from_millis(100);
/// Letters that a request may name.
const MOST_NAMED: usize = 10_000;

/// Which letters.
pub enum Which {
    /// These.
    Named(Vec<Place>),
    /// Those that match, of the ones there were when the call began.
    Matching {
        filter: Filter,
        from: Option<Place>,
        ends: BTreeMap<(PartitionNumber, GroupNumber), u64>,
    },
}

impl Which {
    /// What a request asks for.
    pub fn of(
        engine: &View,
        ids: &[String],
        filter: Option<&DeadLetterFilter>,
    ) -> Result<Self, Status> {
        if !ids.is_empty() {
            if filter.is_some() {
                return Err(Status::invalid_argument("give ids or a filter, not both"));
            }
            if ids.len() > MOST_NAMED {
                return Err(Status::invalid_argument(format!(
                    "{} ids are given, at most {MOST_NAMED} are allowed: use a filter",
                    ids.len()
                )));
            }
            let places: Result<Vec<_>, _> = ids.iter().map(|id| named(id)).collect();
            return places.map(Which::Named);
        }
        if filter.is_none_or(|filter| filter.until_ts <= 0) {
            return Err(Status::invalid_argument(
                "a filter needs a bound in time: give filter.until_ts, or ids",
            ));
        }
        let filter = Filter::of(filter, engine)?;
        Ok(Which::Matching {
            ends: filter.ends(engine),
            from: None,
            filter,
        })
    }

    /// The next letters, at most `most`, how many named ones are missing, and whether there are more.
    fn next(&mut self, engine: &View, most: usize) -> Result<(Vec<Found>, i64, bool), Status> {
        match self {
            Which::Named(places) => {
                let rest = places.split_off(places.len().min(most));
                let (mut found, mut missing) = (Vec::new(), 0);
                for place in std::mem::replace(places, rest) {
                    match find(engine, place)? {
                        Some(letter) => found.push((place.partition, letter)),
                        None => missing += 1,
                    }
                }
                Ok((found, missing, !places.is_empty()))
            }
            Which::Matching { filter, from, ends } => {
                let (mut found, next) = filter.find(engine, *from, most)?;
                // What dies while this goes on is not meant: it would never end.
                found.retain(|(partition, letter)| {
                    let end = ends.get(&(*partition, letter.group));
                    end.is_some_and(|end| letter.number < *end)
                });
                *from = next;
                Ok((found, 0, next.is_some()))
            }
        }
    }
}

fn find(engine: &View, place: Place) -> Result<Option<Letter>, Status> {
    let Some(handle) = engine.partition(place.partition) else {
        return Ok(None);
    };
    let letter = handle
        .dead_letter(place.group, place.number)
        .map_err(of_index)?;
    Ok(letter.filter(|letter| !letter.redriven))
}

/// What to do with them.
#[derive(Debug, Clone, Copy)]
pub struct What {
    /// Discard them instead of redriving them.
    pub discard: bool,
    /// Only count.
    pub dry_run: bool,
    /// At most so many letters per second; 0 for no bound.
    pub events_per_second: f64,
}

impl What {
    fn action(self, letters: &[Letter]) -> Action {
        match self.discard {
            true => Action::Discard(letters.iter().map(|letter| letter.number).collect()),
            false => Action::Redrive(
                letters
                    .iter()
                    .map(|letter| Redrive {
                        letter: letter.number,
                        key: letter.record.key,
                        attempts: letter.record.attempts,
                        first_ms: letter.record.first_ms,
                        redrives: letter.record.redrives,
                    })
                    .collect(),
            ),
        }
    }

    fn rate(self) -> Option<f64> {
        (self.events_per_second > 0.0 && !self.dry_run).then_some(self.events_per_second)
    }
}

type Listener = mpsc::Sender<Result<RedriveProgress, Status>>;

/// Does it, chunk by chunk, and tells `listener` how far it is after each one; ends early when nobody
/// listens any more.
///
/// # Errors
/// A partition refused its part, or one of the `leads` was lost, which are those from before `which`
/// was made.
pub async fn run(
    engine: &View,
    leads: &Leads,
    mut which: Which,
    what: What,
    listener: Option<&Listener>,
) -> Result<RedriveProgress, Status> {
    let most = match what.rate() {
        Some(rate) => ((rate * BEAT.as_secs_f64()) as usize).clamp(1, CHUNK),
        None => CHUNK,
    };
    let began = Instant::now();
    let mut counts = RedriveProgress::default();
    while !counts.done {
        if let Some(rate) = what.rate() {
            let due = Duration::try_from_secs_f64(counts.matched as f64 / rate);
            let at = began + due.unwrap_or(Duration::MAX / 4);
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = gone(listener) => return Ok(counts),
            }
        }
        let reading = engine.clone();
        let (read, rest) = tokio::task::spawn_blocking(move || {
            let read = which.next(&reading, most);
            (read, which)
        })
        .await
        .map_err(|_| Status::unavailable("the server is shutting down"))?;
        which = rest;
        // Before an error is told: what is being removed cannot be read.
        if let Some(number) = leads.lost(engine) {
            return Err(broken_off(&Refused::NotLeader(number), &counts));
        }
        let (found, missing, more) = read?;
        counts.matched += found.len() as i64;
        counts.missing += missing;
        counts.done = !more;
        if !what.dry_run {
            change(engine, found, what, &mut counts).await?;
        }
        if let Some(listener) = listener
            && listener.send(Ok(counts)).await.is_err()
        {
            return Ok(counts);
        }
    }
    Ok(counts)
}

/// Returns when nobody listens any more.
async fn gone(listener: Option<&Listener>) {
    match listener {
        Some(listener) => listener.closed().await,
        None => std::future::pending().await,
    }
}

/// What a call is answered that a partition broke off. Only while nothing was done does it say that the
/// request may be sent again.
fn broken_off(refused: &Refused, counts: &RedriveProgress) -> Status {
    let status = status::of_refused(refused);
    let is_untaken = match refused {
        Refused::NotLeader(_) | Refused::Stopping(_) | Refused::NoCatalog => true,
        Refused::Unknown(_) | Refused::Failed(_) => false,
    };
    match (is_untaken, counts.redriven) {
        (false, _) => status,
        (true, 0) => Status::with_metadata(
            Code::Unavailable,
            status.message(),
            status.metadata().clone(),
        ),
        (true, _) => Status::aborted(format!(
            "{refused}: part of the request is done, look before you repeat it"
        )),
    }
}

/// One command for each group among the letters.
async fn change(
    engine: &View,
    found: Vec<Found>,
    what: What,
    counts: &mut RedriveProgress,
) -> Result<(), Status> {
    let mut by_group: BTreeMap<(PartitionNumber, GroupNumber), Vec<Letter>> = BTreeMap::new();
    for (partition, letter) in found {
        let group = (partition, letter.group);
        by_group.entry(group).or_default().push(letter);
    }
    for ((partition, group), letters) in by_group {
        let Some(handle) = engine.partition(partition) else {
            return Err(broken_off(&Refused::NotLeader(partition), counts));
        };
        let changed = handle
            .change_letters(group, what.action(&letters))
            .await
            .map_err(|refused| broken_off(&refused, counts))?;
        counts.redriven += changed.len() as i64;
        counts.missing += (letters.len() - changed.len()) as i64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
