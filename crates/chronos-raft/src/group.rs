//! One Raft group on this node.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use chronos_wal::Wal;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::raft::ClientWriteResult;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{Raft, RaftMetrics, ServerState};
use tokio::sync::oneshot;

use crate::applied_mark::AppliedMark;
use crate::error::{OpenError, ProposeError, Stopped};
use crate::line::Line;
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::network::Network;
use crate::options::GroupOptions;
use crate::presence::{Absence, presence};
use crate::state_file::StateFiles;
use crate::state_machine::Adapter;
use crate::types::{Command, RaftLogId, Reply, Types};

/// A running group. Clones are handles of the same group.
///
/// When the last handle is dropped the group stops by itself, without waiting for anything; what
/// was acknowledged is in the log all the same. [`Group::shutdown`] also waits for its tasks.
pub struct Group<M: Machine>(Arc<Inner<M>>);

struct Inner<M: Machine> {
    name: String,
    raft: Raft<Types<M::Response>, Adapter<M>>,
    metrics: Metrics<M::Response>,
    absence: Absence,
    line: Line,
    /// Taken by the shutdown, which sees to it that nothing of the log is written any more.
    wal: tokio::sync::Mutex<Option<Wal>>,
}

type Metrics<R> = WatchReceiverOf<Types<R>, RaftMetrics<Types<R>>>;

/// Where a group stands. May be a few entries behind what was already answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The term this node is in; 0 before the first election.
    pub term: u64,
    /// Who leads in that term, if that is known.
    pub leader: Option<u64>,
    /// The last entry of this node's log; `None` for an empty log.
    pub last_index: Option<u64>,
    /// The last entry this node knows to be committed.
    pub committed_index: Option<u64>,
    /// The last entry the machine on this node applied.
    pub applied_index: Option<u64>,
}

impl<M: Machine> Group<M> {
    /// Opens the group whose log is `wal`, and makes it one of this single voter if it is new.
    ///
    /// The machine is brought up to what is known to be committed before this returns; a single
    /// voter then leads after its vote is on disk, within milliseconds. [`Group::lead`] waits
    /// for that. Has to be called on a Tokio runtime, which also runs the group's tasks.
    ///
    /// # Errors
    /// See [`OpenError`]: the log, the vote and the machine have to go together.
    pub async fn open(options: GroupOptions, wal: Wal, machine: M) -> Result<Self, OpenError> {
        let config = Arc::new(options.raft_config()?);
        let (presence, absence) = presence();
        let mark = AppliedMark::default();
        let adapter = Adapter::new(machine, mark.clone(), presence.clone())?;
        let open = {
            let (files, dir, wal) = (options.files, options.dir, wal.clone());
            move || LogStore::open(wal, StateFiles::open(files, dir)?, mark, presence)
        };
        let store = match tokio::task::spawn_blocking(open).await {
            Ok(opened) => opened?,
            Err(error) => return Err(OpenError::Stopped(error.to_string())),
        };
        check_together(&store, &adapter)?;

        let is_new = store.last().is_none();
        let node_id = options.node_id;
        let raft = Raft::new(node_id, config, Network, store, adapter)
            .await
            .map_err(|fatal| OpenError::Stopped(plain(&fatal)))?;
        let group = Self(Arc::new(Inner {
            name: options.name,
            metrics: raft.metrics(),
            raft,
            absence,
            line: Line::new(),
            wal: tokio::sync::Mutex::new(Some(wal)),
        }));
        let started = if is_new {
            group.initialize(node_id).await
        } else {
            group.start(node_id).await
        };
        if let Err(error) = started {
            // Nothing may be left of the group, so that the log can be opened again.
            group.shutdown().await;
            return Err(error);
        }
        Ok(group)
    }

    async fn initialize(&self, node_id: u64) -> Result<(), OpenError> {
        tracing::info!(
            group = self.0.name,
            node_id,
            "a new group starts with this node as its only voter"
        );
        self.0
            .raft
            .initialize(BTreeSet::from([node_id]))
            .await
            .map_err(|error| OpenError::Stopped(plain(&error)))
    }

    async fn start(&self, node_id: u64) -> Result<(), OpenError> {
        let raft = &self.0.raft;
        let stopped = |fatal: Fatal<Types<M::Response>>| OpenError::Stopped(plain(&fatal));
        let (voters, members) = raft
            .with_raft_state(|state| {
                let membership = state.membership_state.effective().membership();
                let voters: BTreeSet<u64> = membership.voter_ids().collect();
                let members: Vec<u64> = membership.nodes().map(|(id, ())| *id).collect();
                (voters, members)
            })
            .await
            .map_err(stopped)?;
        if !members.contains(&node_id) {
            return Err(OpenError::NotAMember { node_id, members });
        }
        if voters.len() == 1 && voters.contains(&node_id) {
            raft.trigger().elect(false).await.map_err(stopped)
        } else {
            // Whoever makes a group grow to several voters has to do the same on every node.
            raft.runtime_config().tick(true);
            Ok(())
        }
    }

    /// Proposes a command; the future resolves to the machine's response once it is applied.
    ///
    /// The command takes its place when this is called, not when the future is first polled: of
    /// two calls one after the other, the first comes first in the log, so callers that care
    /// about the order propose from one task. The future may be dropped; the command stays.
    ///
    /// Nothing bounds how many commands are under way but the caller, who should, by bytes.
    pub fn propose(
        &self,
        command: Bytes,
    ) -> impl Future<Output = Result<M::Response, ProposeError>> + Send + 'static + use<M> {
        let (sender, receiver) = oneshot::channel();
        let entered = self.enter(command, Reply(sender));
        async move {
            entered?;
            match receiver.await {
                Ok(result) => response(result),
                // The group let go of the proposal when it stopped.
                Err(_) => Err(ProposeError::Unknown),
            }
        }
    }

    fn enter(
        &self,
        command: Bytes,
        reply: Reply<ClientWriteResult<Types<M::Response>>>,
    ) -> Result<(), ProposeError> {
        {
            let metrics = self.0.metrics.borrow_watched();
            if metrics.running_state.is_err() {
                return Err(ProposeError::Stopped(stop_reason(&metrics)));
            }
        }
        let inner = Arc::clone(&self.0);
        // Without the runtime's budget, which may make a call that could be served wait.
        let entering = tokio::task::unconstrained(async move {
            inner
                .raft
                .client_write_ff(Command(command), Some(reply))
                .await
                .map_err(|fatal| Stopped(plain(&fatal)))
        });
        self.0
            .line
            .enter(Box::pin(entering))
            .map_err(|Stopped(reason)| ProposeError::Stopped(reason))
    }

    /// Waits until this node leads and has applied every entry of earlier terms, and returns its
    /// term. From then on until it loses the lead it knows every command that was acknowledged.
    ///
    /// # Errors
    /// When the group stops.
    pub async fn lead(&self) -> Result<u64, Stopped> {
        let mut metrics = self.0.metrics.clone();
        loop {
            if let Some(term) = leading_term(&metrics.borrow_watched()) {
                return Ok(term);
            }
            if metrics.changed().await.is_err() {
                return Err(Stopped(stop_reason(&metrics.borrow_watched())));
            }
        }
    }

    /// Resolves when this node does not lead in `term` any more, or when the group stops.
    pub fn lost(&self, term: u64) -> impl Future<Output = ()> + Send + 'static + use<M> {
        // These change with the leader and the membership only, so waiting costs nothing.
        let mut changes = self.0.raft.server_metrics();
        async move {
            loop {
                let leads = {
                    let metrics = changes.borrow_watched();
                    metrics.state == ServerState::Leader && metrics.vote.leader_id.term == term
                };
                if !leads || changes.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Gives up the entries up to `upto`: they may be removed from the log once this returns. The
    /// machine's state up to there must be durable, or the group does not open again.
    ///
    /// # Errors
    /// When the group stops.
    pub async fn purge(&self, upto: u64) -> Result<(), Stopped> {
        let raft = &self.0.raft;
        let stopped = |fatal: Fatal<Types<M::Response>>| Stopped(plain(&fatal));
        let has = |id: &Option<RaftLogId>| id.as_ref().is_some_and(|id| id.index >= upto);
        // openraft purges what a snapshot covers.
        if !has(&self.0.metrics.borrow_watched().snapshot) {
            raft.trigger().snapshot().await.map_err(stopped)?;
            self.reach(|metrics| has(&metrics.snapshot)).await?;
        }
        raft.trigger().purge_log(upto).await.map_err(stopped)?;
        self.reach(|metrics| has(&metrics.purged)).await
    }

    async fn reach(
        &self,
        reached: impl Fn(&RaftMetrics<Types<M::Response>>) -> bool,
    ) -> Result<(), Stopped> {
        let mut metrics = self.0.metrics.clone();
        loop {
            if reached(&metrics.borrow_watched()) {
                return Ok(());
            }
            if metrics.changed().await.is_err() {
                return Err(Stopped(stop_reason(&metrics.borrow_watched())));
            }
        }
    }

    /// Where the group stands.
    pub fn status(&self) -> Status {
        let metrics = self.0.metrics.borrow_watched();
        Status {
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_index: metrics.last_log_index,
            committed_index: metrics.local_committed.as_ref().map(|id| id.index),
            applied_index: metrics.last_applied.as_ref().map(|id| id.index),
        }
    }

    /// Resolves when the group has stopped, with the reason: it was shut down, its log or vote
    /// could not be written, or its machine failed. A stopped group does not come back.
    pub fn stopped(&self) -> impl Future<Output = String> + Send + 'static + use<M> {
        // These change with the membership and the leader only, so waiting costs nothing.
        let mut changes = self.0.raft.server_metrics();
        let metrics = self.0.metrics.clone();
        async move {
            while changes.changed().await.is_ok() {}
            stop_reason(&metrics.borrow_watched())
        }
    }

    /// Stops the group and waits until nothing of it is left: no task, and no handle of the log
    /// or the machine. Proposals under way end with [`ProposeError::Unknown`], but what of them
    /// was already in the log is on disk. The log can be opened again once the caller's own
    /// handles of it are gone.
    pub async fn shutdown(&self) {
        if let Err(error) = self.0.raft.shutdown().await {
            tracing::warn!(group = self.0.name, %error, "the group's task did not end well");
        }
        self.0.absence.clone().wait().await;
        // Held to the end, so that whoever comes second does not return before the first.
        let mut wal = self.0.wal.lock().await;
        let Some(wal) = wal.take() else {
            return;
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || wal.sync()).await {
            tracing::warn!(group = self.0.name, %error, "the end of the log may not be on disk");
        }
    }
}

impl<M: Machine> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Machine> fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.0.name)
            .field("status", &self.status())
            .finish()
    }
}

fn response<R: Send + Sync + 'static>(
    result: ClientWriteResult<Types<R>>,
) -> Result<R, ProposeError> {
    match result {
        Ok(written) => written.data.ok_or(ProposeError::Unknown),
        Err(ClientWriteError::ForwardToLeader(forward)) => Err(ProposeError::NotLeader {
            leader: forward.leader_id,
        }),
        // The entry was in this node's log and another leader's log replaced it, but the other
        // one may have had it and committed it; the rest cannot come of a plain proposal.
        Err(
            ClientWriteError::LogEntryDiscarded(_)
            | ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::PreconditionFailed(_),
        ) => Err(ProposeError::Unknown),
    }
}

/// The term this node leads in, once an entry of that very term is applied: the leader's first
/// one comes after everything of earlier terms.
fn leading_term<R: Send + Sync + 'static>(metrics: &RaftMetrics<Types<R>>) -> Option<u64> {
    let applied = metrics.last_applied.as_ref()?;
    (metrics.state == ServerState::Leader && *applied.leader_id == metrics.current_term)
        .then_some(metrics.current_term)
}

/// Why the group whose metrics these are has ended.
fn stop_reason<R: Send + Sync + 'static>(metrics: &RaftMetrics<Types<R>>) -> String {
    match &metrics.running_state {
        Ok(()) => "its task ended without a reason".to_owned(),
        Err(Fatal::Stopped) => "it was shut down".to_owned(),
        Err(fatal) => plain(fatal),
    }
}

/// The text of an openraft error, without the name of the type that every one of ours has there.
fn plain(error: &dyn fmt::Display) -> String {
    error.to_string().replace("std::io::error::Error: ", "")
}

/// Checks that the log, the vote and the machine are of the same group and the same time.
fn check_together<M: Machine>(store: &LogStore, adapter: &Adapter<M>) -> Result<(), OpenError> {
    let last = store.last();
    let vote_term = store.vote().map_or(0, |vote| vote.leader_id.term);
    match last {
        Some(last) if last.term > vote_term => {
            return Err(OpenError::VoteBehindLog { vote_term, last });
        }
        None if vote_term > 0 => return Err(OpenError::LogLost { vote_term }),
        _ => {}
    }
    if let Some(floor) = store.floor()
        && (adapter.applied()).is_none_or(|applied| applied.index < floor.index)
    {
        return Err(OpenError::MachineBehindLog {
            applied: adapter.applied(),
            floor,
        });
    }
    let Some(applied) = adapter.applied() else {
        return Ok(());
    };
    if last.is_none_or(|last| last.index < applied.index) {
        return Err(OpenError::LogBehindMachine { applied, last });
    }
    Ok(store.expect(applied)?)
}
