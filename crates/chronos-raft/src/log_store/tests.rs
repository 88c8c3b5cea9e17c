//! What openraft stores comes back, also after a restart.

use bytes::Bytes;
use chronos_wal::faulty::FaultyFiles;
use chronos_wal::{Flusher, Options};
use openraft::storage::RaftLogStorageExt;

use super::{
    Arc, Debug, LogError, LogId, LogStore, Manner, RaftLogReader, RaftLogStorage, StateFiles, Wal,
    io,
};
use crate::applied_mark::AppliedMark;
use crate::presence::presence;
use crate::types::{Command, LogEntry, Payload, RaftLogId, Types, Vote};

type Plain = Types<()>;

const MANNER: Manner = Manner {
    disk: crate::disk::Disk::Threads,
    read_bytes: 1 << 20,
};

struct Disk {
    files: Arc<FaultyFiles>,
    flusher: Flusher,
    mark: AppliedMark,
}

impl Disk {
    fn new() -> Self {
        Self {
            files: Arc::new(FaultyFiles::new(1)),
            flusher: Flusher::start(1),
            mark: AppliedMark::default(),
        }
    }

    fn open(&self) -> Result<LogStore, LogError> {
        let log = Options::new("/log", 1);
        let (wal, _) = Wal::open(self.files.clone(), log, &self.flusher)?;
        let files = StateFiles::open(self.files.clone(), "/group".into())?;
        LogStore::open(wal, files, self.mark.clone(), presence().0, MANNER)
    }
}

fn id(term: u64, index: u64) -> RaftLogId {
    LogId { term, index }.into()
}

async fn append(store: &mut LogStore, ids: impl IntoIterator<Item = RaftLogId>) -> io::Result<()> {
    let payload = Payload::Normal(Command(Bytes::from_static(b"x")));
    let entries: Vec<_> = ids
        .into_iter()
        .map(|log_id| LogEntry {
            log_id,
            payload: payload.clone(),
        })
        .collect();
    RaftLogStorageExt::<Plain>::blocking_append(store, entries)
        .await
        .map_err(io::Error::other)
}

async fn truncate(store: &mut LogStore, after: Option<RaftLogId>) -> io::Result<()> {
    RaftLogStorage::<Plain>::truncate_after(store, after).await
}

async fn purge(store: &mut LogStore, upto: RaftLogId) -> io::Result<()> {
    RaftLogStorage::<Plain>::purge(store, upto).await
}

fn is<T: Debug>(result: io::Result<T>, text: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(text), "{error}");
}

#[tokio::test]
async fn entries_follow_one_another() {
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    append(&mut store, [id(1, 0), id(1, 1), id(2, 2)])
        .await
        .unwrap();
    for bad in [id(2, 2), id(2, 4), id(1, 3)] {
        is(append(&mut store, [bad]).await, "cannot follow");
    }
    is(
        append(&mut store, [id(2, 3), id(2, 5)]).await,
        "cannot follow",
    );
    append(&mut store, [id(3, 3)]).await.unwrap();
    assert_eq!(store.last(), Some(LogId { term: 3, index: 3 }));
}

#[tokio::test]
async fn a_vote_does_not_go_back() {
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    let mut save = async |vote| RaftLogStorage::<Plain>::save_vote(&mut store, &vote).await;
    save(Vote::new(3, 1)).await.unwrap();
    is(save(Vote::new(2, 1)).await, "would replace");
    is(save(Vote::new(3, 2)).await, "would replace");
    save(Vote::new_committed(3, 1)).await.unwrap();
    is(save(Vote::new(3, 1)).await, "would replace");
    save(Vote::new(4, 2)).await.unwrap();
    drop(store);
    assert_eq!(disk.open().unwrap().vote(), Some(Vote::new(4, 2)));
}

#[tokio::test]
async fn what_is_applied_is_not_cut() {
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    append(&mut store, (0..10).map(|n| id(1, n))).await.unwrap();
    disk.mark.set(4);
    is(truncate(&mut store, Some(id(1, 3))).await, "cannot be cut");
    is(truncate(&mut store, None).await, "cannot be cut");
    is(truncate(&mut store, Some(id(2, 6))).await, "is expected");
    truncate(&mut store, Some(id(1, 4))).await.unwrap();
    append(&mut store, [id(2, 5)]).await.unwrap();
    assert_eq!(store.last(), Some(LogId { term: 2, index: 5 }));
}

#[tokio::test]
async fn what_is_not_applied_is_not_purged() {
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    append(&mut store, (0..10).map(|n| id(1, n))).await.unwrap();
    disk.mark.set(4);
    is(purge(&mut store, id(1, 5)).await, "not applied");
    is(purge(&mut store, id(2, 4)).await, "is expected");
    purge(&mut store, id(1, 4)).await.unwrap();
    is(truncate(&mut store, Some(id(1, 3))).await, "cannot be cut");
    drop(store);

    let mut store = disk.open().unwrap();
    let state = RaftLogStorage::<Plain>::get_log_state(&mut store)
        .await
        .unwrap();
    assert_eq!(state.last_purged_log_id, Some(id(1, 4)));
    let entries = RaftLogReader::<Plain>::try_get_log_entries(&mut store, ..).await;
    assert!(
        entries
            .unwrap()
            .iter()
            .map(|entry| entry.log_id.index)
            .eq(5..10)
    );
}

#[tokio::test]
async fn a_note_of_a_committed_entry_is_used_as_far_as_it_fits_the_log() {
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    append(&mut store, [id(1, 0), id(1, 1), id(3, 2), id(3, 3)])
        .await
        .unwrap();
    drop(store);
    for (noted, used) in [
        ((1, 1), Some((1, 1))),
        ((3, 2), Some((3, 2))),
        // The log lost what the note is about, and grew again since.
        ((2, 2), None),
        ((2, 9), None),
        // The log lost it, and is as it was otherwise.
        ((3, 9), Some((3, 3))),
    ] {
        let files = StateFiles::open(disk.files.clone(), "/group".into()).unwrap();
        let (term, index) = noted;
        files.save_committed(LogId { term, index }).unwrap();
        let mut store = disk.open().unwrap();
        let read = RaftLogStorage::<Plain>::read_committed(&mut store).await;
        assert_eq!(read.unwrap(), used.map(|(term, index)| id(term, index)));
    }
}

#[tokio::test]
async fn a_log_whose_start_is_missing_is_found() {
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    append(&mut store, [id(1, 5)]).await.unwrap();
    drop(store);
    let error = disk.open().err().unwrap();
    assert!(
        matches!(error, LogError::StartsLate { first: 5, .. }),
        "{error}"
    );
}
