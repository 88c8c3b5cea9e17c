//! One Raft group on this node.

use std::collections::BTreeSet;
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
use tokio::sync::{oneshot, watch};

use crate::applied_mark::AppliedMark;
use crate::disk::Disk;
use crate::error::{OpenError, ProposeError, Stopped};
use crate::leadership::{Lead, Leadership};
use crate::lease::{Lease, Quiet};
use crate::line::Line;
use crate::log_store::{LogStore, LogView, Manner};
use crate::machine::Machine;
use crate::network::Network;
use crate::observer::{Metrics, Observer};
use crate::options::{First, GroupOptions};
use crate::presence::{Absence, Presence, presence};
use crate::seed::SeedWanted;
use crate::state_file::StateFiles;
use crate::state_machine::Adapter;
use crate::types::{Command, RaftLogId, Reply, Runtime, Types};

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
    pub(crate) on_seed_wanted: Arc<dyn Fn(SeedWanted) + Send + Sync>,
    /// How long a successor may take.
    pub(crate) transfer_bound: Duration,
    leadership: Leadership,
    absence: Absence,
    line: Line,
    disk: Disk,
    /// Taken by the shutdown, which sees to it that nothing of the log is written any more.
    wal: tokio::sync::Mutex<Option<Wal>>,
}

impl<M: Machine> Group<M> {
    /// Opens the group whose log is `wal`. With an empty log it is what `first` says.
    ///
    /// The machine is brought up to what is known to be committed before this returns; a single
    /// voter then leads after its vote is on disk, within milliseconds. [`Group::lead`] waits
    /// for that. Has to be called on a Tokio runtime, which also runs the group's tasks.
    ///
    /// A node that the log does not have as a member opens and waits: it was not told yet that it
    /// was added, or was removed.
    ///
    /// # Errors
    /// See [`OpenError`]: the log, the vote and the machine have to go together.
    pub async fn open(
        options: GroupOptions,
        wal: Wal,
        machine: M,
        first: First,
    ) -> Result<Self, OpenError> {
        let seed = options.seed();
        Runtime::scope(seed, Self::open_with(seed, options, wal, machine, first)).await
    }

    async fn open_with(
        seed: u64,
        options: GroupOptions,
        wal: Wal,
        machine: M,
        first: First,
    ) -> Result<Self, OpenError> {
        let config = Arc::new(options.raft_config()?);
        let node_id = options.node_id;
        if let First::Voters(voters) = &first
            && !voters.contains(&node_id)
        {
            return Err(OpenError::Options(format!(
                "node {node_id} is not among the first voters, {voters:?}"
            )));
        }
        let (presence, absence) = presence();
        let mark = AppliedMark::default();
        let adapter = Adapter::new(machine, mark.clone(), presence.clone())?;
        let store = open_store(&options, wal.clone(), mark, presence.clone()).await?;
        check_together(&store, &adapter, &first)?;

        let is_new = store.last().is_none();
        let has_voted = store.vote().is_some();
        let log = store.view();
        let network = Network {
            transport: Arc::clone(&options.transport),
            group: options.group,
            node_id,
            append_deadline: options.append_deadline,
        };
        let adapter = adapter.with_log(log.clone());
        let raft = Raft::new(node_id, config, network, store, adapter)
            .await
            .map_err(|fatal| OpenError::Stopped(plain(&fatal)))?;
        let (lead, leadership) = watch::channel(Lead::default());
        let group = Self(Arc::new(Inner {
            node_id,
            group: options.group,
            metrics: raft.metrics(),
            log,
            lease: Lease::new(node_id, options.lease()),
            quiet: if has_voted {
                Quiet::new(options.vote_hold(), seed)
            } else {
                Quiet::none()
            },
            transfer_bound: options.election_timeout.1 * 2,
            leadership: Leadership::new(leadership),
            absence,
            line: Line::new(),
            disk: options.disk,
            name: options.name,
            on_seed_wanted: options.on_seed_wanted,
            wal: tokio::sync::Mutex::new(Some(wal)),
            raft,
        }));
        group.observe(lead, presence);
        let started = match first {
            First::Voters(voters) if is_new => group.initialize(voters).await,
            First::Wait if is_new => Ok(()),
            First::Voters(_) | First::Wait => group.start().await,
        };
        if let Err(error) = started {
            // Nothing may be left of the group, so that the log can be opened again.
            group.shutdown().await;
            return Err(error);
        }
        Ok(group)
    }

    fn observe(&self, lead: watch::Sender<Lead>, presence: Presence) {
        let observer = Observer {
            group: Arc::downgrade(&self.0),
            node_id: self.0.node_id,
            metrics: self.0.metrics.clone(),
            server: self.0.raft.server_metrics(),
            lead,
            quiet_until: self.0.quiet.campaigns_from(),
            _presence: presence,
        };
        tokio::spawn(observer.run());
    }

    async fn initialize(&self, voters: BTreeSet<u64>) -> Result<(), OpenError> {
        tracing::info!(group = self.0.name, ?voters, "a new group starts");
        self.0
            .raft
            .initialize(voters)
            .await
            .map_err(|error| OpenError::Stopped(plain(&error)))
    }

    /// A single voter has nobody to wait for.
    async fn start(&self) -> Result<(), OpenError> {
        let raft = &self.0.raft;
        let stopped = |fatal: Fatal<Types<M::Response>>| OpenError::Stopped(plain(&fatal));
        let voters: BTreeSet<u64> = raft
            .with_raft_state(|state| {
                let effective = state.membership_state.effective();
                effective.membership().voter_ids().collect()
            })
            .await
            .map_err(stopped)?;
        if voters == BTreeSet::from([self.0.node_id]) {
            raft.trigger().elect(false).await.map_err(stopped)?;
        }
        Ok(())
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
    /// within [`GroupOptions::lease`], counted from when it was asked, by the monotonic clock. A
    /// single voter needs nobody.
    ///
    /// What is done on the strength of this has to be done at once: it is true of the moment.
    pub fn holds_lease(&self) -> bool {
        self.0.lease.is_held(&self.0.metrics.borrow_watched())
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

async fn open_store(
    options: &GroupOptions,
    wal: Wal,
    mark: AppliedMark,
    presence: Presence,
) -> Result<LogStore, OpenError> {
    let (files, dir) = (Arc::clone(&options.files), options.dir.clone());
    let manner = Manner {
        disk: options.disk,
        read_bytes: options.max_payload_bytes,
    };
    let open = move || LogStore::open(wal, StateFiles::open(files, dir)?, mark, presence, manner);
    Ok(options.disk.run(open).await??)
}

/// Checks that the log, the vote and the machine are of the same group and the same time.
fn check_together<M: Machine>(
    store: &LogStore,
    adapter: &Adapter<M>,
    first: &First,
) -> Result<(), OpenError> {
    let last = store.last();
    let vote_term = store.vote().map_or(0, |vote| vote.leader_id.term);
    match last {
        Some(last) if last.term > vote_term => {
            return Err(OpenError::VoteBehindLog { vote_term, last });
        }
        None if vote_term > 0 && (*first != First::Wait || store.had_entries()) => {
            return Err(OpenError::LogLost { vote_term });
        }
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
