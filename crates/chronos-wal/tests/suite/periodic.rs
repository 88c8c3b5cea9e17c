//! Completion before the sync, and a sync in time.

use std::sync::Arc;
use std::time::Duration;

use chronos_wal::faulty::{Fault, FaultyFiles, Operation};
use chronos_wal::{Error, Flusher, FsyncMode, Options, Wal};

use crate::support::*;

fn periodic() -> Options {
    Options {
        fsync: FsyncMode::Periodic,
        ..options()
    }
}

#[test]
fn appends_complete_when_written_and_are_durable_after_the_interval() {
    let files = FaultyFiles::new(1);
    let rig = Rig::with(&files, periodic());
    rig.append(records(1..=3, 20)).unwrap();
    rig.append(records(4..=5, 20)).unwrap();
    assert_eq!(rig.wal.counters().fsyncs(), 0);
    assert_eq!(rig.wal.durable_index(), None);
    assert_eq!(rig.records(), records(1..=5, 20));
    rig.flusher.fire_timers();
    rig.run();
    assert_eq!(rig.wal.counters().fsyncs(), 1);
    assert_eq!(rig.wal.durable_index(), Some(5));
    // With nothing new there is nothing to do.
    rig.flusher.fire_timers();
    rig.run();
    assert_eq!(rig.wal.counters().fsyncs(), 1);
    rig.append(records(6..=6, 20)).unwrap();
    rig.flusher.fire_timers();
    rig.run();
    assert_eq!(rig.wal.durable_index(), Some(6));
}

#[test]
fn only_what_was_completed_since_the_last_sync_can_be_lost() {
    let files = FaultyFiles::new(1);
    let rig = Rig::with(&files, periodic());
    rig.append(records(1..=30, 3000)).unwrap();
    rig.wal.sync().unwrap();
    rig.append(records(31..=45, 3000)).unwrap();
    let durable = rig.wal.durable_index().unwrap();
    assert!(durable >= 30);
    let mut lost = 0;
    for seed in 0..100 {
        let files = files.fork();
        files.power_loss(seed);
        let rig = Rig::with(&files, periodic());
        let left = rig.records();
        assert!(left.len() as u64 >= durable);
        assert_eq!(left, records(1..=left.len() as u64, 3000));
        lost += u64::from(left.len() < 45);
    }
    assert!(lost > 0);
}

#[test]
fn a_failed_timed_sync_poisons() {
    let files = FaultyFiles::new(1);
    let rig = Rig::with(&files, periodic());
    rig.append(records(1..=3, 20)).unwrap();
    files.fail(Operation::Sync, 1, Fault::Eio);
    rig.flusher.fire_timers();
    rig.run();
    assert!(matches!(
        rig.append(records(4..=4, 20)),
        Err(Error::Poisoned { .. })
    ));
    assert_eq!(rig.wal.durable_index(), None);
}

#[test]
fn the_last_handle_syncs() {
    let files = FaultyFiles::new(1);
    let rig = Rig::with(&files, periodic());
    rig.append(records(1..=3, 20)).unwrap();
    drop(rig);
    for seed in 0..20 {
        let files = files.fork();
        files.power_loss(seed);
        assert_eq!(Rig::open(&files).records(), records(1..=3, 20));
    }
}

#[test]
fn a_timer_thread_syncs() {
    let files = FaultyFiles::new(1);
    let flusher = Flusher::start(1);
    let (sender, receiver) = crossbeam_channel::unbounded();
    let options = Options {
        flush_interval: Duration::from_millis(1),
        fsync_observer: Some(Arc::new(move |_| {
            let _ = sender.send(());
        })),
        ..periodic()
    };
    let (wal, _) = Wal::open(Arc::new(files), options, &flusher).unwrap();
    for index in 1..=3 {
        wal.append(vec![record(index, 20)], Box::new(|_| ()));
        receiver.recv_timeout(Duration::from_secs(30)).unwrap();
    }
    wal.sync().unwrap();
    assert_eq!(wal.durable_index(), Some(3));
}
