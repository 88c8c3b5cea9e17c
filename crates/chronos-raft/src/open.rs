//! Opening a group: the log, the vote and the machine have to go together.

use std::collections::BTreeSet;
use std::sync::Arc;

use chronos_wal::Wal;
use openraft::Raft;
use openraft::errors::Fatal;
use tokio::sync::{mpsc, watch};

use crate::applied_mark::AppliedMark;
use crate::clock::{Beats, Clock, Silence};
use crate::error::OpenError;
use crate::group::{Group, Inner, plain};
use crate::leadership::{Lead, Leadership};
use crate::lease::{Lease, Quiet};
use crate::line::Line;
use crate::log_store::{LogError, LogStore, Manner};
use crate::machine::{LogId, Machine};
use crate::network::Network;
use crate::observer::Observer;
use crate::options::{First, GroupOptions};
use crate::presence::{Presence, presence};
use crate::reverts;
use crate::state_file::StateFiles;
use crate::state_machine::Adapter;
use crate::types::{Runtime, Types};

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
        let (presence, absence) = presence();
        let mark = AppliedMark::default();
        let adapter = Adapter::new(machine, mark.clone(), presence.clone())?;
        let (store, end) = open_store(&options, wal.clone(), mark, presence.clone()).await?;
        check_together(&store, &adapter, &first)?;
        let is_new = store.last().is_none();
        if is_new
            && let First::Voters(voters) = &first
            && !voters.contains(&node_id)
        {
            return Err(OpenError::Options(format!(
                "node {node_id} is not among the first voters, {voters:?}"
            )));
        }

        // A node that never voted owes its vote to nobody.
        let restarts = store.vote().is_some();
        let log = store.view();
        let (reverts, reverting) = mpsc::unbounded_channel();
        let network = Network {
            reverts,
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
        let silence = Arc::new(Silence::new(options.vote_hold(), restarts));
        let clock = Clock::new(
            Beats::new(options.heartbeat, options.beats_from),
            options.campaign_wait(),
            seed,
            restarts,
        );
        let group = Self(Arc::new(Inner {
            node_id,
            group: options.group,
            metrics: raft.metrics(),
            log,
            lease: Lease::new(node_id, options.lease()),
            quiet: Quiet::new(options.vote_hold(), restarts),
            end,
            silence: Arc::clone(&silence),
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
        group.observe(lead, clock, silence, presence);
        tokio::spawn(reverts::run(Arc::downgrade(&group.0), reverting));
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

    fn observe(
        &self,
        lead: watch::Sender<Lead>,
        clock: Clock,
        silence: Arc<Silence>,
        presence: Presence,
    ) {
        let observer = Observer {
            group: Arc::downgrade(&self.0),
            node_id: self.0.node_id,
            metrics: self.0.metrics.clone(),
            server: self.0.raft.server_metrics(),
            lead,
            clock,
            answered: None,
            silence,
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
}

/// The log with the small files, and where a log ended that this node has given up.
async fn open_store(
    options: &GroupOptions,
    wal: Wal,
    mark: AppliedMark,
    presence: Presence,
) -> Result<(LogStore, Option<LogId>), OpenError> {
    let (files, dir) = (Arc::clone(&options.files), options.dir.clone());
    let manner = Manner {
        disk: options.disk,
        read_bytes: options.max_payload_bytes,
    };
    let open = move || {
        let files = StateFiles::open(files, dir)?;
        let end = files.end()?;
        let store = LogStore::open(wal, files, mark, presence, manner)?;
        Ok::<_, LogError>((store, end))
    };
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
