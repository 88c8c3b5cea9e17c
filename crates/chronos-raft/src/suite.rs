//! openraft's own test-suite against the log store, over a real log in a temporary folder.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

use chronos_wal::{Flusher, Options, RealFiles, Wal};
use futures::{Stream, StreamExt};
use openraft::StorageError;
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder,
    RaftStateMachine, Snapshot, SnapshotMeta,
};
use openraft::testing::log::{StoreBuilder, Suite};
use parking_lot::Mutex;

use crate::applied_mark::AppliedMark;
use crate::disk::Disk;
use crate::log_store::{LogStore, Manner};
use crate::presence::presence;
use crate::state_file::StateFiles;
use crate::types::{
    LogEntry, Payload, RaftLogId, StoredMembership, TermId, Types as TypesOf, Vote,
};

const MANNER: Manner = Manner {
    disk: Disk::Threads,
    read_bytes: 1 << 20,
};

type Types = TypesOf<()>;
type Meta = SnapshotMeta<TermId, u64, ()>;

#[tokio::test(flavor = "multi_thread")]
async fn the_log_store_passes_the_suite() {
    Suite::test_all(Builder).await.unwrap();
}

struct Builder;

impl StoreBuilder<Types, Store, Applier, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, Store, Applier), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let flusher = Flusher::start(1);
        let options = Options::new(dir.path().join("log"), 1);
        let (wal, _) = Wal::open(Arc::new(RealFiles), options, &flusher).unwrap();
        let files = StateFiles::open(Arc::new(RealFiles), dir.path().join("group")).unwrap();
        let mark = AppliedMark::default();
        let (presence, _) = presence();
        let log = LogStore::open(wal, files, mark.clone(), presence, MANNER).unwrap();
        let guard = Guard {
            _dir: dir,
            _flusher: flusher,
        };
        Ok((guard, Store { log, mark }, Applier::default()))
    }
}

struct Guard {
    _dir: tempfile::TempDir,
    _flusher: Flusher,
}

/// The log store with a machine that has always applied what is purged, and nothing else: the
/// suite purges and truncates without applying.
struct Store {
    log: LogStore,
    mark: AppliedMark,
}

impl RaftLogReader<Types> for Store {
    async fn try_get_log_entries<B>(&mut self, range: B) -> io::Result<Vec<LogEntry>>
    where
        B: RangeBounds<u64> + Clone + Debug + Send,
    {
        reader(&mut self.log).try_get_log_entries(range).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        reader(&mut self.log).read_vote().await
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        store(&mut self.log).get_log_state().await
    }

    async fn get_log_reader(&mut self) -> LogStore {
        store(&mut self.log).get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        store(&mut self.log).save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        store(&mut self.log).save_committed(committed).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        store(&mut self.log).read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + Send,
        I::IntoIter: Send,
    {
        store(&mut self.log).append(entries, callback).await
    }

    async fn truncate_after(&mut self, after: Option<RaftLogId>) -> io::Result<()> {
        store(&mut self.log).truncate_after(after).await
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        self.mark.set(upto.index);
        store(&mut self.log).purge(upto).await
    }
}

// `LogStore` implements these for every response type, so the one meant has to be said.

fn store(log: &mut LogStore) -> &mut (impl RaftLogStorage<Types, LogReader = LogStore> + use<>) {
    log
}

fn reader(log: &mut LogStore) -> &mut (impl RaftLogReader<Types> + use<>) {
    log
}

/// A machine that remembers positions and makes snapshots of them.
#[derive(Default)]
struct Applier {
    applied: Option<RaftLogId>,
    membership: StoredMembership,
    snapshot: Arc<Mutex<Option<Meta>>>,
}

struct Builds {
    meta: Meta,
    snapshot: Arc<Mutex<Option<Meta>>>,
}

impl RaftStateMachine<Types> for Applier {
    type SnapshotData = ();
    type SnapshotBuilder = Builds;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + Send,
    {
        while let Some(item) = entries.next().await {
            let (entry, _) = item?;
            self.applied = Some(entry.log_id);
            if let Payload::Membership(membership) = entry.payload {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builds {
        Builds {
            meta: Meta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
            },
            snapshot: Arc::clone(&self.snapshot),
        }
    }

    async fn install_snapshot(&mut self, meta: &Meta, _snapshot: ()) -> io::Result<()> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        *self.snapshot.lock() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<TermId, u64, (), ()>>> {
        let meta = self.snapshot.lock().clone();
        Ok(meta.map(|meta| Snapshot { meta, snapshot: () }))
    }
}

impl RaftSnapshotBuilder<Types> for Builds {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<TermId, u64, (), ()>> {
        *self.snapshot.lock() = Some(self.meta.clone());
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: (),
        })
    }
}
