//! `DeadLetters`: what becomes of a group's dead letters.
//!
//! A redrive carries what the leader read of each letter, so applying it asks the index nothing: the
//! index may know of a later part of the log than the one being applied.

use super::DecodeError;
use crate::types::{DueKey, GroupNumber};
use crate::varint::{
    put_bytes, put_i64, put_u64, take_bytes, take_i64, take_string, take_u32, take_u64,
};

/// A letter to deliver again, as the leader read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redrive {
    /// Number of the letter in its group.
    pub letter: u64,
    /// The event.
    pub key: DueKey,
    /// Deliveries it had.
    pub attempts: u32,
    /// When its first delivery failed, Unix milliseconds.
    pub first_ms: i64,
    /// How often it was redriven before.
    pub redrives: u32,
}

/// A failed delivery of a redriven letter that will be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The letter.
    pub letter: u64,
    /// Failed deliveries since it was redriven, this one included.
    pub failures: u32,
    /// Deliveries it ever had.
    pub attempts: u32,
}

/// A redriven letter that failed for the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The letter. The event gets a new one.
    pub letter: u64,
    /// Deliveries it ever had.
    pub attempts: u32,
    /// What the consumer said, or that it did not answer.
    pub reason: String,
}

/// Progress of a group with its redriven letters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Letters whose event was processed.
    pub settled: Vec<u64>,
    /// Failed deliveries to remember.
    pub failures: Vec<Failure>,
    /// Letters that are dead again.
    pub deaths: Vec<Death>,
}

impl Progress {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settled.is_empty() && self.failures.is_empty() && self.deaths.is_empty()
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Deliver letters to their group again.
    Redrive(Vec<Redrive>),
    /// What became of redriven letters.
    Progress(Progress),
    /// Deliver these bytes instead of the stored event's when the letter is redriven; no bytes take
    /// an earlier edit back.
    Edit {
        /// The letter.
        letter: u64,
        /// The event as a client would encode it.
        body: Vec<u8>,
    },
    /// Forget letters, because somebody says so or because their time is over.
    Discard(Vec<u64>),
}

/// Something to do with letters of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    /// The group.
    pub group: GroupNumber,
    /// What.
    pub action: Action,
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    put_u64(out, numbers.len() as u64);
    numbers.iter().for_each(|number| put_u64(out, *number));
}

fn take_numbers(input: &mut &[u8]) -> Result<Vec<u64>, DecodeError> {
    let mut numbers = Vec::new();
    for _ in 0..take_u64(input)? {
        numbers.push(take_u64(input)?);
    }
    Ok(numbers)
}

impl DeadLetters {
    /// The section's payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, u64::from(self.group));
        match &self.action {
            Action::Redrive(letters) => {
                out.push(1);
                put_u64(&mut out, letters.len() as u64);
                for redrive in letters {
                    put_u64(&mut out, redrive.letter);
                    put_i64(&mut out, redrive.key.due_ms);
                    put_u64(&mut out, redrive.key.offset);
                    put_u64(&mut out, u64::from(redrive.attempts));
                    put_i64(&mut out, redrive.first_ms);
                    put_u64(&mut out, u64::from(redrive.redrives));
                }
            }
            Action::Progress(progress) => {
                out.push(2);
                put_numbers(&mut out, &progress.settled);
                put_u64(&mut out, progress.failures.len() as u64);
                for failure in &progress.failures {
                    put_u64(&mut out, failure.letter);
                    put_u64(&mut out, u64::from(failure.failures));
                    put_u64(&mut out, u64::from(failure.attempts));
                }
                put_u64(&mut out, progress.deaths.len() as u64);
                for death in &progress.deaths {
                    put_u64(&mut out, death.letter);
                    put_u64(&mut out, u64::from(death.attempts));
                    put_bytes(&mut out, death.reason.as_bytes());
                }
            }
            Action::Edit { letter, body } => {
                out.push(3);
                put_u64(&mut out, *letter);
                put_bytes(&mut out, body);
            }
            Action::Discard(letters) => {
                out.push(4);
                put_numbers(&mut out, letters);
            }
        }
        out
    }

    /// Reads a section's payload.
    pub fn decode(mut payload: &[u8]) -> Result<Self, DecodeError> {
        let input = &mut payload;
        let group = take_u32(input)?;
        let action = match take_u64(input)? {
            1 => {
                let mut letters = Vec::new();
                for _ in 0..take_u64(input)? {
                    letters.push(Redrive {
                        letter: take_u64(input)?,
                        key: DueKey::new(take_i64(input)?, take_u64(input)?),
                        attempts: take_u32(input)?,
                        first_ms: take_i64(input)?,
                        redrives: take_u32(input)?,
                    });
                }
                Action::Redrive(letters)
            }
            2 => Action::Progress(take_progress(input)?),
            3 => Action::Edit {
                letter: take_u64(input)?,
                body: take_bytes(input)?.to_vec(),
            },
            4 => Action::Discard(take_numbers(input)?),
            _ => {
                return Err(DecodeError::Malformed(
                    "an unknown thing to do with dead letters",
                ));
            }
        };
        Ok(Self { group, action })
    }
}

fn take_progress(input: &mut &[u8]) -> Result<Progress, DecodeError> {
    let mut progress = Progress {
        settled: take_numbers(input)?,
        ..Progress::default()
    };
    for _ in 0..take_u64(input)? {
        progress.failures.push(Failure {
            letter: take_u64(input)?,
            failures: take_u32(input)?,
            attempts: take_u32(input)?,
        });
    }
    for _ in 0..take_u64(input)? {
        progress.deaths.push(Death {
            letter: take_u64(input)?,
            attempts: take_u32(input)?,
            reason: take_string(input)?,
        });
    }
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn any_action() -> impl Strategy<Value = Action> {
        let redrive = (any::<u64>(), any::<(i64, u64)>(), any::<(u32, i64, u32)>()).prop_map(
            |(letter, key, (attempts, first_ms, redrives))| Redrive {
                letter,
                key: DueKey::new(key.0, key.1),
                attempts,
                first_ms,
                redrives,
            },
        );
        let failure = any::<(u64, u32, u32)>().prop_map(|(letter, failures, attempts)| Failure {
            letter,
            failures,
            attempts,
        });
        let death =
            (any::<u64>(), any::<u32>(), ".*").prop_map(|(letter, attempts, reason)| Death {
                letter,
                attempts,
                reason,
            });
        prop_oneof![
            vec(redrive, 0..4).prop_map(Action::Redrive),
            (
                vec(any::<u64>(), 0..4),
                vec(failure, 0..4),
                vec(death, 0..4)
            )
                .prop_map(|(settled, failures, deaths)| Action::Progress(Progress {
                    settled,
                    failures,
                    deaths,
                })),
            (any::<u64>(), any::<Vec<u8>>())
                .prop_map(|(letter, body)| Action::Edit { letter, body }),
            vec(any::<u64>(), 0..4).prop_map(Action::Discard),
        ]
    }

    proptest! {
        #[test]
        fn commands_come_back(group: u32, action in any_action()) {
            let command = DeadLetters { group, action };
            let payload = command.encode();
            prop_assert_eq!(DeadLetters::decode(&payload), Ok(command));
            for cut in 0..payload.len() {
                prop_assert!(DeadLetters::decode(&payload[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_refused_or_read(payload in prop_oneof![
            any::<Vec<u8>>(),
            vec(0_u8..5, 3..30),
        ]) {
            if let Ok(command) = DeadLetters::decode(&payload) {
                prop_assert_eq!(DeadLetters::decode(&command.encode()), Ok(command));
            }
        }
    }
}
