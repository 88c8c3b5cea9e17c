//! Feeds committed entries to a [`Machine`].

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::storage::{Snapshot, SnapshotMeta};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::applied_mark::AppliedMark;
use crate::log_store::LogView;
use crate::machine::{LogId, Machine, MachineError};
use crate::membership::{self, MembershipError};
use crate::presence::Presence;
use crate::types::{Command, LogEntry, Payload, RaftLogId, StoredMembership, TermId, Types};

/// How long entries are applied before other tasks of the thread get their turn. Proposers woken
/// by a reply wait behind this task until then, because a thread's next task is not stolen.
const TURN: Duration = Duration::from_micros(200);

/// A machine as openraft wants it.
pub(crate) struct Adapter<M> {
    // Only ever reached through `get_mut`: the lock makes a machine that is `Send` also `Sync`.
    machine: Mutex<M>,
    applied: Option<LogId>,
    membership: StoredMembership,
    mark: AppliedMark,
    log: Option<LogView>,
    _presence: Presence,
}

/// Why the machine, and with it the group, stops.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("the state machine failed at entry {0}: {1}")]
    Failed(LogId, MachineError),
    #[error("the state machine panicked at entry {0}: {1}")]
    Panicked(LogId, String),
    #[error("entry {next} was given to a state machine that stands at {applied:?}")]
    OutOfOrder { applied: Option<LogId>, next: LogId },
    #[error("a snapshot came from another node, which no node sends")]
    NoForeignSnapshots,
}

impl From<Stop> for io::Error {
    fn from(stop: Stop) -> Self {
        Self::other(stop)
    }
}

impl<M: Machine> Adapter<M> {
    pub(crate) fn new(
        machine: M,
        mark: AppliedMark,
        presence: Presence,
    ) -> Result<Self, MembershipError> {
        let applied = machine.applied();
        if let Some(id) = applied.log_id {
            mark.set(id.index);
        }
        Ok(Self {
            machine: Mutex::new(machine),
            applied: applied.log_id,
            membership: membership::decode_stored(&applied.membership)?,
            mark,
            log: None,
            _presence: presence,
        })
    }

    /// The same machine, which knows now how far the log is purged.
    pub(crate) fn with_log(self, log: LogView) -> Self {
        Self {
            log: Some(log),
            ..self
        }
    }

    pub(crate) fn applied(&self) -> Option<LogId> {
        self.applied
    }

    fn standing(&self) -> Standing {
        Standing(SnapshotMeta {
            last_log_id: self.applied.map(RaftLogId::from),
            last_membership: self.membership.clone(),
        })
    }

    fn apply_entry(&mut self, entry: LogEntry) -> Result<Option<M::Response>, Stop> {
        let id = LogId::from(&entry.log_id);
        let in_order = match self.applied {
            None => id.index == 0,
            Some(last) => id.index == last.index + 1 && id.term >= last.term,
        };
        if !in_order {
            return Err(Stop::OutOfOrder {
                applied: self.applied,
                next: id,
            });
        }
        let machine = self.machine.get_mut();
        // A panic would end the task that applies and leave the group waiting for it for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| match entry.payload {
            Payload::Blank => {
                machine.apply_blank(id);
                Ok(None)
            }
            Payload::Normal(Command(bytes)) => machine.apply(id, bytes).map(Some),
            Payload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                machine.apply_membership(id, membership::encode_stored(&self.membership));
                Ok(None)
            }
        }));
        let response = outcome
            .map_err(|panic| Stop::Panicked(id, panic_text(panic.as_ref())))?
            .map_err(|error| Stop::Failed(id, error))?;
        self.applied = Some(id);
        self.mark.set(id.index);
        Ok(response)
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".to_owned()
    }
}

impl<M: Machine> RaftStateMachine<Types<M::Response>> for Adapter<M> {
    type SnapshotData = ();
    type SnapshotBuilder = Standing;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        Ok((self.applied.map(RaftLogId::from), self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types<M::Response>>>> + Unpin + Send,
    {
        let mut turn = Instant::now();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let response = self.apply_entry(entry)?;
            if let Some(responder) = responder {
                responder.send(response);
            }
            if turn.elapsed() >= TURN {
                tokio::task::yield_now().await;
                turn = Instant::now();
            }
        }
        Ok(())
    }

    // The machine keeps its own state, so a snapshot is only a statement: whatever the log holds up
    // to here is in the machine. openraft wants it before it purges. Other nodes get a copy of the
    // log and the state instead, see `seed.rs`.

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Standing> {
        Some(self.standing())
    }

    async fn get_snapshot_builder(&mut self) -> Standing {
        self.standing()
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta<TermId, u64, ()>,
        _snapshot: (),
    ) -> io::Result<()> {
        Err(Stop::NoForeignSnapshots.into())
    }

    /// What a peer needs that is too far behind: a log and a state that reach beyond what is purged
    /// here. From there on it can follow, wherever this machine stands by then.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<TermId, u64, (), ()>>> {
        let floor = self.log.as_ref().and_then(LogView::floor);
        let meta = SnapshotMeta {
            last_log_id: floor.or(self.applied).map(RaftLogId::from),
            last_membership: self.membership.clone(),
        };
        Ok(Some(Snapshot { meta, snapshot: () }))
    }
}

/// A snapshot without data: where the machine stands.
pub(crate) struct Standing(SnapshotMeta<TermId, u64, ()>);

impl<R: Send + Sync + 'static> RaftSnapshotBuilder<Types<R>> for Standing {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<TermId, u64, (), ()>> {
        Ok(Snapshot {
            meta: self.0.clone(),
            snapshot: (),
        })
    }
}
