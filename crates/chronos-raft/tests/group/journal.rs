//! A machine that writes down what it is given.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chronos_raft::{Applied, LogId, Machine, MachineError};

/// What a journal was given since it was opened, and where it stands. Outlives the machine.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    applied: Applied,
    commands: Vec<(LogId, Bytes)>,
}

/// The machine. Answers a command with its log id.
pub(crate) struct Journal {
    notes: Notes,
    trouble: Option<Trouble>,
}

/// What goes wrong at a given command.
#[derive(Clone, Copy)]
pub(crate) enum Trouble {
    Error(&'static str),
    Panic(&'static str),
}

impl Notes {
    pub(crate) fn applied(&self) -> Applied {
        self.0.lock().unwrap().applied.clone()
    }

    /// The commands, in the order they came.
    pub(crate) fn commands(&self) -> Vec<Bytes> {
        let state = self.0.lock().unwrap();
        state.commands.iter().map(|(_, c)| c.clone()).collect()
    }

    pub(crate) fn indexes(&self) -> Vec<u64> {
        let state = self.0.lock().unwrap();
        state.commands.iter().map(|(id, _)| id.index).collect()
    }

    /// Whether the machine that writes here is gone.
    pub(crate) fn machine_is_gone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Journal {
    /// A machine that applied nothing.
    pub(crate) fn new() -> (Self, Notes) {
        Self::at(Applied::default())
    }

    /// A machine that stands at `applied`.
    pub(crate) fn at(applied: Applied) -> (Self, Notes) {
        let notes = Notes::default();
        notes.0.lock().unwrap().applied = applied;
        let journal = Self {
            notes: notes.clone(),
            trouble: None,
        };
        (journal, notes)
    }

    /// Has `trouble` with the command `trouble`.
    pub(crate) fn with(mut self, trouble: Trouble) -> Self {
        self.trouble = Some(trouble);
        self
    }

    fn note(&self, log_id: LogId, write: impl FnOnce(&mut State)) {
        let mut state = self.notes.0.lock().unwrap();
        let expected = state.applied.log_id.map_or(0, |last| last.index + 1);
        assert_eq!(log_id.index, expected, "every index once and in order");
        state.applied.log_id = Some(log_id);
        write(&mut state);
    }
}

impl Machine for Journal {
    type Response = LogId;

    fn applied(&self) -> Applied {
        self.notes.applied()
    }

    fn apply(&mut self, log_id: LogId, command: Bytes) -> Result<LogId, MachineError> {
        match self.trouble {
            Some(Trouble::Error(text)) if command == "trouble" => {
                return Err(MachineError::new(text));
            }
            Some(Trouble::Panic(text)) if command == "trouble" => panic!("{text}"),
            _ => {}
        }
        self.note(log_id, |state| state.commands.push((log_id, command)));
        Ok(log_id)
    }

    fn apply_blank(&mut self, log_id: LogId) {
        self.note(log_id, |_| {});
    }

    fn apply_membership(&mut self, log_id: LogId, membership: Vec<u8>) {
        self.note(log_id, |state| state.applied.membership = membership);
    }
}
