//! The committed log: what every replica must have applied at each index, and what came of it.

use super::Model;
use crate::rules::{Rule, Verdict};
use crate::time::Timeline;
use bytes::Bytes;
use chronos_core::keys::change::Version;
use chronos_core::partition::{Changed, Effects, Outcome};
use chronos_raft::LogId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Commands.
    Commands(Bytes),
    /// Nothing: a leader began.
    Blank,
    /// The replicas.
    Membership(Vec<u8>),
}

#[derive(Debug)]
struct Entry {
    term: u64,
    content: Content,
    effects: Option<Effects>,
    /// When it was applied first, microseconds.
    at_us: i64,
}

/// The entries that some replica applied, in order. Whoever is the first to apply an entry brings
/// it; everyone else, and everyone after a restart, must bring the same.
#[derive(Debug)]
pub struct Ledger {
    verdict: Arc<Verdict>,
    time: Timeline,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// The log's meaning up to its end.
    model: Model,
    /// Who led each term.
    leaders: BTreeMap<u64, u64>,
}

impl Ledger {
    /// An empty log.
    #[must_use]
    pub fn new(verdict: Arc<Verdict>, time: Timeline) -> Self {
        Self {
            verdict,
            time,
            state: Mutex::default(),
        }
    }

    /// A replica is about to apply an entry.
    pub fn applying(&self, node: u64, id: LogId, content: Content) {
        let state = &mut *self.state.lock();
        let next = state.entries.len() as u64;
        match state.entries.get(id.index as usize) {
            Some(entry) if entry.term == id.term && entry.content == content => {}
            Some(entry) => self.verdict.add(
                Rule::Replicas,
                format!(
                    "node {node} applies entry {id}, another replica applied one of term {} there, \
                     with {} content",
                    entry.term,
                    if entry.content == content {
                        "the same"
                    } else {
                        "other"
                    },
                ),
            ),
            None if id.index == next => state.entries.push(Entry {
                term: id.term,
                content,
                effects: None,
                at_us: self.time.now_us(),
            }),
            None => self.verdict.add(
                Rule::Replicas,
                format!("node {node} applies entry {id}, but nobody applied entry {next}"),
            ),
        }
    }

    /// A replica applied an entry, and this came of it.
    pub fn applied(&self, node: u64, id: LogId, effects: &Effects) {
        let state = &mut *self.state.lock();
        let Some(entry) = state.entries.get_mut(id.index as usize) else {
            return;
        };
        match &entry.effects {
            Some(known) if known == effects => {}
            Some(known) => self.verdict.add(
                Rule::Replicas,
                format!("entry {id} has other effects on node {node}: {effects:?}, not {known:?}"),
            ),
            None => {
                entry.effects = Some(effects.clone());
                if let Content::Commands(body) = &entry.content {
                    let outcomes = state.model.apply(id.index, body);
                    self.compare(id, effects, &outcomes, &state.model);
                }
            }
        }
    }

    fn compare(&self, id: LogId, effects: &Effects, outcomes: &[Outcome], model: &Model) {
        for (found, expected) in effects.outcomes.iter().zip(outcomes) {
            let rule = match expected {
                Outcome::Published(expected) => match found {
                    Outcome::Published(found) if found.duplicates != expected.duplicates => {
                        Rule::Dedup
                    }
                    _ => Rule::Offsets,
                },
                Outcome::Changed(_) => Rule::Register,
                _ => Rule::Progress,
            };
            if comparable(found) != comparable(expected) {
                self.verdict.add(
                    rule,
                    format!("of entry {id} came {found:?}, where the rules say {expected:?}"),
                );
            }
        }
        if effects.horizon != model.horizon() {
            self.verdict.add(
                Rule::Progress,
                format!(
                    "entry {id} moves the horizon to {:?}, not to {:?}",
                    effects.horizon,
                    model.horizon()
                ),
            );
        }
    }

    /// The only log of a cluster has lost all but so many entries. Says when the first of those that
    /// are gone was applied, microseconds.
    pub fn lose_beyond(&self, len: u64) -> Option<i64> {
        let state = &mut *self.state.lock();
        let since_us = state.entries.get(usize::try_from(len).ok()?)?.at_us;
        state.entries.truncate(len as usize);
        state.model = meaning(&state.entries);
        Some(since_us)
    }

    /// A node found itself leading a term.
    pub fn leads(&self, node: u64, term: u64) {
        let known = *self.state.lock().leaders.entry(term).or_insert(node);
        if known != node {
            self.verdict.add(
                Rule::Replicas,
                format!("nodes {known} and {node} both lead term {term}"),
            );
        }
    }

    /// The log's meaning.
    #[must_use]
    pub fn model(&self) -> Model {
        self.state.lock().model.clone()
    }

    /// Looks at the log's meaning up to an entry; also says whether that is the last one.
    pub fn with_model_at<T>(&self, index: u64, look: impl FnOnce(&Model, bool) -> T) -> T {
        let state = self.state.lock();
        if index + 1 == state.entries.len() as u64 {
            return look(&state.model, true);
        }
        let upto = state.entries.len().min(index as usize + 1);
        let model = meaning(&state.entries[..upto]);
        drop(state);
        look(&model, false)
    }

    /// The content and term of an entry.
    #[must_use]
    pub fn entry(&self, index: u64) -> Option<(u64, Content)> {
        let state = self.state.lock();
        let entry = state.entries.get(index as usize)?;
        Some((entry.term, entry.content.clone()))
    }

    /// How many entries were applied.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.state.lock().entries.len() as u64
    }

    /// Whether nothing was applied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a log means from its beginning.
fn meaning(entries: &[Entry]) -> Model {
    let mut model = Model::default();
    for (index, entry) in (0..).zip(entries) {
        if let Content::Commands(body) = &entry.content {
            model.apply(index, body);
        }
    }
    model
}

/// An outcome without what only the index knows of it.
fn comparable(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Changed(changed) => Outcome::Changed(
            changed
                .iter()
                .map(|changed| Changed {
                    version: Version {
                        changed_ms: 0,
                        before: None,
                        ..changed.version
                    },
                    ..*changed
                })
                .collect(),
        ),
        other => other.clone(),
    }
}
