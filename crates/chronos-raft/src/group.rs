//! One Raft group on this node.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronos_wal::Wal;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::raft::ClientWriteResult;
use openraft::{Raft, RaftMetrics};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::clock::Silence;
use crate::disk::Disk;
use crate::error::{ProposeError, Stopped};
use crate::leadership::Leadership;
use crate::lease::{Lease, Quiet};
use crate::line::Line;
use crate::log_store::LogView;
use crate::machine::{LogId, Machine};
use crate::observer::Metrics;
use crate::presence::Absence;
use crate::seed::SeedWanted;
use crate::state_machine::Adapter;
use crate::types::{Command, RaftLogId, Reply, Types};

/// How long openraft may take to give up entries before it is reminded of them.
const REMINDED: Duration = Duration::from_secs(1);

/// A running group. Clones are handles of the same group.
///
/// When the last handle is dropped the group stops by itself, without waiting for anything; what
/// was acknowledged is in the log all the same. [`Group::shutdown`] also waits for its tasks.
pub struct Group<M: Machine>(pub(crate) Arc<Inner<M>>);

pub(crate) struct Inner<M: Machine> {
    pub(crate) name: String,
    pub(crate) node_id: u64,
    pub(crate) group: u32,
    pub(crate) raft: Raft<Types<M::Response>, Adapter<M>>,
    pub(crate) metrics: Metrics<M::Response>,
    pub(crate) log: LogView,
    pub(crate) lease: Lease,
    pub(crate) quiet: Quiet,
    /// The last entry of a log that this node has given up: no candidate with less gets its vote.
    pub(crate) end: Option<LogId>,
    pub(crate) silence: Arc<Silence>,
    pub(crate) on_seed_wanted: Arc<dyn Fn(SeedWanted) + Send + Sync>,
    /// How long a successor may take.
    pub(crate) transfer_bound: Duration,
    pub(crate) leadership: Leadership,
    pub(crate) absence: Absence,
    pub(crate) line: Line,
    pub(crate) disk: Disk,
    /// Taken by the shutdown, which sees to it that nothing of the log is written any more.
    pub(crate) wal: tokio::sync::Mutex<Option<Wal>>,
}

impl<M: Machine> Group<M> {
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

    /// Follows who leads.
    pub fn leadership(&self) -> Leadership {
        self.0.leadership.clone()
    }

    /// Waits until this node leads and has applied every entry of earlier terms, and returns its
    /// term. From then on until it loses the lead it knows every command that was acknowledged.
    ///
    /// # Errors
    /// When the group stops.
    pub async fn lead(&self) -> Result<u64, Stopped> {
        match self.leadership().reach(|lead| lead.leads).await {
            Some(lead) => Ok(lead.term),
            None => Err(Stopped(stop_reason(&self.0.metrics.borrow_watched()))),
        }
    }

    /// Resolves when this node does not lead in `term`, which [`Group::lead`] returned, any more,
    /// or the group stops.
    pub fn lost(&self, term: u64) -> impl Future<Output = ()> + Send + 'static + use<M> {
        let mut leadership = self.leadership();
        async move {
            leadership
                .reach(|lead| !lead.leads || lead.term != term)
                .await;
        }
    }

    /// Whether this node leads and can rely on nobody else leading: a majority acknowledged it
    /// within [`GroupOptions::lease`](crate::GroupOptions::lease), counted from when it was asked,
    /// by the monotonic clock. A single voter needs nobody.
    ///
    /// What is done on the strength of this has to be done at once: it is true of the moment.
    pub fn holds_lease(&self) -> bool {
        self.0.lease.is_held(&self.0.metrics.borrow_watched())
    }

    /// The same for who decided something as the leader of `term`: a lead that was lost and won again
    /// does not count.
    pub fn holds_lease_in(&self, term: u64) -> bool {
        let metrics = self.0.metrics.borrow_watched();
        metrics.current_term == term && self.0.lease.is_held(&metrics)
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
        let purged = async || {
            // openraft purges what a snapshot covers.
            if !has(&self.0.metrics.borrow_watched().snapshot) {
                raft.trigger().snapshot().await.map_err(stopped)?;
                self.reach(|metrics| has(&metrics.snapshot)).await?;
            }
            raft.trigger().purge_log(upto).await.map_err(stopped)?;
            self.reach(|metrics| has(&metrics.purged)).await
        };
        loop {
            match timeout(REMINDED, purged()).await {
                Ok(done) => return done,
                // A leader puts it off while it sends what is to go to a peer, and openraft forgets what
                // was put off when the lead is lost. A newer snapshot reminds it.
                Err(_) => raft.trigger().snapshot().await.map_err(stopped)?,
            }
        }
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
        let raft = self.0.raft.clone();
        // A task of its own: openraft panics, whatever it is asked, after somebody began to wait for
        // its end and gave up.
        let ending = tokio::spawn(async move { raft.shutdown().await.err() });
        if let Ok(Some(error)) = ending.await {
            tracing::warn!(group = self.0.name, %error, "the group's task did not end well");
        }
        self.0.absence.clone().wait().await;
        // Held to the end, so that whoever comes second does not return before the first.
        let mut wal = self.0.wal.lock().await;
        let Some(wal) = wal.take() else {
            return;
        };
        if let Ok(Err(error)) = self.0.disk.run(move || wal.sync()).await {
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

/// Why the group whose metrics these are has ended.
pub(crate) fn stop_reason<R: Send + Sync + 'static>(metrics: &RaftMetrics<Types<R>>) -> String {
    match &metrics.running_state {
        Ok(()) => "its task ended without a reason".to_owned(),
        Err(Fatal::Stopped) => "it was shut down".to_owned(),
        Err(fatal) => plain(fatal),
    }
}

/// The text of an openraft error, without the name of the type that every one of ours has there.
pub(crate) fn plain(error: &dyn fmt::Display) -> String {
    error.to_string().replace("std::io::error::Error: ", "")
}
