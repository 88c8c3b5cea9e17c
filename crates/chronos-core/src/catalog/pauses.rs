//! What is paused: topics and consumer groups, why, until when, and what becomes of what falls due.

use super::{Catalog, DecodeError, Outcome};
use crate::varint::{Malformed, put_bytes, put_i64, put_u64, take_i64, take_string, take_u64};
use std::collections::BTreeMap;

/// Kind of the entry that pauses.
pub(super) const PAUSE: u64 = 5;
/// Kind of the entry that resumes.
pub(super) const RESUME: u64 = 6;

/// What is paused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A topic: for every group that reads it.
    Topic(String),
    /// A consumer group: whatever it reads.
    Group(String),
}

/// What becomes of events that fall due, or wait, while the pause holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhilePaused {
    /// They wait, and are delivered after it.
    #[default]
    Hold,
    /// They are settled undelivered.
    Drop,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// What whoever paused says of it.
    pub reason: String,
    /// Since when, Unix milliseconds.
    pub since_ms: i64,
    /// It holds before this time, Unix milliseconds; 0 until it is resumed.
    pub until_ms: i64,
    /// What becomes of events.
    pub while_paused: WhilePaused,
}

impl Pause {
    /// Whether it holds at this time.
    #[must_use]
    pub fn holds_at(&self, now_ms: i64) -> bool {
        self.until_ms == 0 || now_ms < self.until_ms
    }
}

/// The pauses of the catalog, by what they pause. Among them may be some whose time is over: they go
/// with the next change.
pub type Pauses = BTreeMap<Target, Pause>;

/// Behind the target's name: which kind it is.
fn put_kind(out: &mut Vec<u8>, target: &Target) {
    put_u64(out, u64::from(matches!(target, Target::Group(_))));
}

fn take_target(name: String, input: &mut &[u8]) -> Result<Target, Malformed> {
    match take_u64(input)? {
        0 => Ok(Target::Topic(name)),
        1 => Ok(Target::Group(name)),
        _ => Err(Malformed),
    }
}

impl Target {
    pub(super) fn name(&self) -> &str {
        match self {
            Target::Topic(name) | Target::Group(name) => name,
        }
    }
}

fn put_pause(out: &mut Vec<u8>, pause: &Pause) {
    put_bytes(out, pause.reason.as_bytes());
    put_i64(out, pause.since_ms);
    put_i64(out, pause.until_ms);
    put_u64(out, u64::from(pause.while_paused == WhilePaused::Drop));
}

fn take_pause(input: &mut &[u8]) -> Result<Pause, Malformed> {
    Ok(Pause {
        reason: take_string(input)?,
        since_ms: take_i64(input)?,
        until_ms: take_i64(input)?,
        while_paused: match take_u64(input)? {
            0 => WhilePaused::Hold,
            1 => WhilePaused::Drop,
            _ => return Err(Malformed),
        },
    })
}

/// The entry that pauses, behind the version.
pub(super) fn encode_pause(out: &mut Vec<u8>, target: &Target, pause: &Pause) {
    put_u64(out, PAUSE);
    put_bytes(out, target.name().as_bytes());
    put_kind(out, target);
    put_pause(out, pause);
}

/// The entry that resumes, behind the version.
pub(super) fn encode_resume(out: &mut Vec<u8>, target: &Target, now_ms: i64) {
    put_u64(out, RESUME);
    put_bytes(out, target.name().as_bytes());
    put_kind(out, target);
    put_i64(out, now_ms);
}

/// What comes behind the name in an entry that pauses.
pub(super) fn decode_pause(name: String, input: &mut &[u8]) -> Result<super::Command, DecodeError> {
    Ok(super::Command::Pause {
        target: take_target(name, input)?,
        pause: take_pause(input)?,
    })
}

/// What comes behind the name in an entry that resumes.
pub(super) fn decode_resume(
    name: String,
    input: &mut &[u8],
) -> Result<super::Command, DecodeError> {
    Ok(super::Command::Resume {
        target: take_target(name, input)?,
        now_ms: take_i64(input)?,
    })
}

impl<S> Catalog<S> {
    /// What is paused. Whoever asks compares with the clock: see [`Pause::holds_at`].
    #[must_use]
    pub fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    pub(super) fn pause(&mut self, target: Target, pause: Pause) -> Outcome {
        self.pauses.retain(|_, old| old.holds_at(pause.since_ms));
        self.pauses.insert(target, pause);
        Outcome::Done
    }

    pub(super) fn resume(&mut self, target: &Target, now_ms: i64) -> Outcome {
        self.pauses.retain(|_, old| old.holds_at(now_ms));
        match self.pauses.remove(target) {
            Some(_) => Outcome::Done,
            None => Outcome::NotFound,
        }
    }
}

/// What the catalog's record says of pauses: their number, and each with its target.
pub(super) fn encode_all(pauses: &Pauses) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, pauses.len() as u64);
    for (target, pause) in pauses {
        put_bytes(&mut out, target.name().as_bytes());
        put_kind(&mut out, target);
        put_pause(&mut out, pause);
    }
    out
}

/// Reads what [`encode_all`] wrote.
pub(super) fn decode_all(mut value: &[u8]) -> Result<Pauses, Malformed> {
    let input = &mut value;
    let mut pauses = Pauses::new();
    for _ in 0..take_u64(input)? {
        let name = take_string(input)?;
        let target = take_target(name, input)?;
        pauses.insert(target, take_pause(input)?);
    }
    Ok(pauses)
}

#[cfg(test)]
mod tests {
    use super::super::{Command, GroupInfo};
    use super::*;
    use crate::partition::LogPosition;
    use crate::store::MemoryStore;

    fn pause(since_ms: i64, until_ms: i64, while_paused: WhilePaused) -> Pause {
        Pause {
            reason: "the bank is down".into(),
            since_ms,
            until_ms,
            while_paused,
        }
    }

    fn topic() -> Target {
        Target::Topic("x".into())
    }

    fn group() -> Target {
        Target::Group("x".into())
    }

    /// A catalog and the entries it was given.
    struct Scene {
        store: MemoryStore,
        catalog: Catalog<MemoryStore>,
        index: u64,
    }

    impl Scene {
        fn new() -> Self {
            let store = MemoryStore::new();
            Self {
                catalog: Catalog::open(store.clone()).unwrap(),
                store,
                index: 0,
            }
        }

        fn apply(&mut self, command: &Command) -> Outcome {
            self.index += 1;
            let position = LogPosition {
                term: 1,
                index: self.index,
            };
            self.catalog.apply(position, &command.encode()).unwrap()
        }

        fn pause(&mut self, target: Target, pause: Pause) -> Outcome {
            self.apply(&Command::Pause { target, pause })
        }

        fn resume(&mut self, target: Target, now_ms: i64) -> Outcome {
            self.apply(&Command::Resume { target, now_ms })
        }
    }

    #[test]
    fn commands_come_back() {
        let held = pause(5, 0, WhilePaused::Hold);
        for command in [
            Command::Pause {
                target: topic(),
                pause: held,
            },
            Command::Pause {
                target: group(),
                pause: pause(-1, i64::MAX, WhilePaused::Drop),
            },
            Command::Resume {
                target: group(),
                now_ms: 7,
            },
        ] {
            let body = command.encode();
            assert_eq!(Command::decode(&body), Ok(command));
            for cut in 0..body.len() {
                assert!(Command::decode(&body[..cut]).is_err());
            }
        }
    }

    #[test]
    fn pauses_survive_a_restart_beside_the_groups() {
        let mut scene = Scene::new();
        scene.apply(&Command::CreateGroup {
            name: "g".into(),
            topic: "x".into(),
            partitions: vec![0],
            now_ms: 1,
        });
        scene.pause(topic(), pause(5, 90, WhilePaused::Hold));
        scene.pause(group(), pause(6, 0, WhilePaused::Drop));
        let reopened = Catalog::open(scene.store.clone()).unwrap();
        assert_eq!(reopened.pauses(), scene.catalog.pauses());
        assert_eq!(reopened.pauses().len(), 2);
        assert_eq!(
            reopened
                .groups()
                .get("g")
                .map(|it: &GroupInfo| it.created_ms),
            Some(1)
        );
        assert_eq!(scene.resume(topic(), 7), Outcome::Done);
        assert_eq!(scene.resume(group(), 8), Outcome::Done);
        let reopened = Catalog::open(scene.store.clone()).unwrap();
        assert!(reopened.pauses().is_empty());
    }

    #[test]
    fn pausing_again_replaces_and_a_topic_is_not_the_group_of_its_name() {
        let mut scene = Scene::new();
        scene.pause(topic(), pause(5, 0, WhilePaused::Drop));
        scene.pause(topic(), pause(6, 60, WhilePaused::Hold));
        assert_eq!(
            scene.catalog.pauses()[&topic()],
            pause(6, 60, WhilePaused::Hold)
        );
        assert_eq!(scene.resume(group(), 7), Outcome::NotFound);
        assert_eq!(scene.resume(topic(), 7), Outcome::Done);
        assert_eq!(scene.resume(topic(), 7), Outcome::NotFound);
    }

    #[test]
    fn a_pause_ends_at_its_time_and_goes_with_the_next_change() {
        let mut scene = Scene::new();
        let paused = pause(5, 10, WhilePaused::Hold);
        assert!(paused.holds_at(9) && !paused.holds_at(10));
        scene.pause(topic(), paused);
        assert_eq!(scene.resume(topic(), 10), Outcome::NotFound, "it is over");
        assert!(scene.catalog.pauses().is_empty());
        scene.pause(topic(), pause(11, 20, WhilePaused::Hold));
        scene.pause(group(), pause(20, 0, WhilePaused::Hold));
        assert_eq!(scene.catalog.pauses().len(), 1);
    }
}
