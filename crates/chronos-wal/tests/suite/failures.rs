//! Calls that fail: nothing is acknowledged that may not be there, and nothing is tried again.

use chronos_wal::faulty::{Fault, FaultyFiles, Operation};
use chronos_wal::{Error, FsyncMode, Options};

use crate::support::*;

fn is_poisoned<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Poisoned { .. }))
}

#[test]
fn a_failed_sync_poisons_for_good_and_is_not_repeated() {
    for fsync in [FsyncMode::Batch, FsyncMode::EveryEvent] {
        let files = FaultyFiles::new(1);
        let rig = Rig::with(&files, Options { fsync, ..options() });
        rig.append(records(1..=3, 20)).unwrap();
        files.fail(Operation::Sync, 1, Fault::Eio);
        let failed = rig.enqueue(records(4..=4, 20));
        let waiting = rig.enqueue(records(5..=5, 20));
        rig.run();
        assert!(is_poisoned(failed.take().unwrap()));
        assert!(is_poisoned(waiting.take().unwrap()));
        let (syncs, writes) = (files.calls(Operation::Sync), files.calls(Operation::Write));
        let later = rig.append(records(6..=6, 20)).unwrap_err();
        assert!(
            later.to_string().contains("00000000000000000001.wal"),
            "{later}"
        );
        assert!(is_poisoned(rig.wal.sync()));
        assert!(is_poisoned(rig.wal.truncate_after(Some(1))));
        assert_eq!(rig.wal.durable_index(), Some(3));
        assert_eq!(rig.wal.read(2).unwrap(), Some(record(2, 20)));
        assert!(rig.wal.status().poisoned.is_some());
        drop(rig);
        assert_eq!(files.calls(Operation::Sync), syncs);
        assert_eq!(files.calls(Operation::Write), writes);
        assert_eq!(Rig::open(&files).wal.first_index(), Some(1));
    }
}

#[test]
fn what_a_reopened_log_holds_after_a_failed_sync_is_durable() {
    // The system has marked the pages clean, so a mere sync would store nothing.
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(records(1..=3, 900)).unwrap();
    files.fail(Operation::Sync, 1, Fault::Eio);
    rig.append(records(4..=6, 900)).unwrap_err();
    drop(rig);
    files.kill();
    let rig = Rig::open(&files);
    let held = rig.records();
    assert_eq!(held, records(1..=6, 900));
    drop(rig);
    for seed in 0..20 {
        let files = files.fork();
        files.power_loss(seed);
        assert_eq!(Rig::open(&files).records(), held);
    }
}

#[test]
fn a_full_disk_poisons_and_heals_at_the_next_open() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(records(1..=3, 500)).unwrap();
    files.set_capacity_bytes(Some(64 + 4 * 548 + 100));
    assert_eq!(rig.wal.status().available_bytes, Some(548 + 100));
    assert!(is_poisoned(rig.append(records(4..=9, 500))));
    assert!(is_poisoned(rig.append(records(10..=10, 1))));
    drop(rig);
    files.kill();
    files.set_capacity_bytes(None);
    let rig = Rig::open(&files);
    // The write was short before it failed: a whole record, and a torn one.
    assert_eq!(rig.recovery.truncated_bytes, 100);
    assert_eq!(rig.records(), records(1..=4, 500));
    rig.append(records(5..=6, 500)).unwrap();
}

#[test]
fn short_writes_and_reads_are_continued() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    files.fail_always(Operation::Write, Fault::Short(7));
    let all = records(1..=40, 300);
    rig.append(all.clone()).unwrap();
    files.heal();
    files.fail_always(Operation::Read, Fault::Short(11));
    assert_eq!(rig.records(), all);
    drop(rig);
    assert_eq!(Rig::open(&files).records(), all);
}

/// What a read leaves out is there all the same: damage in the middle of a log does not count as its
/// torn end because the records that follow were not read.
#[test]
fn a_read_that_ends_early_cuts_nothing_off() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    for record in records(1..=6, 50) {
        rig.append(vec![record]).unwrap();
    }
    drop(rig);
    let path = last_segment(&files);
    let third = SEGMENT_HEADER_BYTES + 2 * (HEADER_BYTES + 50);
    files.flip_bit(&path, third as u64 * 8);
    for nth in 1..20 {
        let files = files.fork();
        files.fail(Operation::Read, nth, Fault::Short(0));
        assert!(Rig::try_open(&files).is_err(), "read {nth}");
    }
}

#[test]
fn space_need_not_be_reserved() {
    for fault in [Fault::Unsupported, Fault::Enospc] {
        let files = FaultyFiles::new(1);
        let rig = Rig::open(&files);
        files.fail_always(Operation::Allocate, fault);
        let all = records(1..=60, 5000);
        rig.append(all.clone()).unwrap();
        assert_eq!(rig.records(), all);
    }
}

#[test]
fn a_failed_read_is_an_error_and_passes() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(records(1..=3, 20)).unwrap();
    files.fail_always(Operation::Read, Fault::Eio);
    assert!(matches!(rig.wal.read(2), Err(Error::Io { .. })));
    files.heal();
    assert_eq!(rig.wal.read(2).unwrap(), Some(record(2, 20)));
    rig.append(records(4..=4, 20)).unwrap();
}

/// Each call of each kind fails once, in each way, in a run that does everything. What was
/// acknowledged is there at the next open, and what is there is what was appended.
#[test]
fn every_call_fails_once_in_every_way() {
    let sites = [
        Operation::Create,
        Operation::Open,
        Operation::Rename,
        Operation::Remove,
        Operation::List,
        Operation::SyncDir,
        Operation::Read,
        Operation::Write,
        Operation::Sync,
        Operation::Truncate,
        Operation::Allocate,
    ];
    let faults = [
        Fault::Eio,
        Fault::Enospc,
        Fault::Torn(100),
        Fault::Short(100),
    ];
    let mut failures = 0;
    for operation in sites {
        for fault in faults {
            for nth in 1.. {
                let files = FaultyFiles::new(nth);
                files.fail(operation, nth, fault);
                let kept = run_everything(&files);
                let happened = files.calls(operation) >= nth;
                files.heal();
                files.kill();
                let rig = Rig::open(&files);
                check(&rig, &kept);
                failures += u64::from(happened);
                if !happened {
                    break;
                }
            }
        }
    }
    assert!(failures > 300, "only {failures} calls failed");
}

struct Kept {
    /// Acknowledged and neither truncated nor removed, as far as is known: first and last.
    range: (u64, u64),
    /// Where the version of the content changes.
    truncated_at: Option<u64>,
}

fn run_everything(files: &FaultyFiles) -> Kept {
    let mut kept = Kept {
        range: (1, 0),
        truncated_at: None,
    };
    // Opened twice, so that opening an existing log can fail too.
    for part in [1..=30, 31..=45] {
        let Ok(rig) = Rig::try_open(files) else {
            return kept;
        };
        if rig.append(records(part.clone(), 5000)).is_err() {
            return kept;
        }
        kept.range.1 = *part.end();
    }
    let Ok(rig) = Rig::try_open(files) else {
        return kept;
    };
    let _ = rig.wal.read(3);
    let truncated = rig.wal.truncate_after(Some(32));
    kept.range.1 = 32;
    if truncated.is_err() {
        return kept;
    }
    kept.truncated_at = Some(32);
    for index in 33..=50 {
        if rig.append(vec![record_of(index, 5000, 1)]).is_err() {
            return kept;
        }
        kept.range.1 = index;
    }
    let _ = rig.wal.remove_segments_below(20);
    let _ = rig.wal.remove_segments_below(20);
    kept.range.0 = 20;
    kept
}

fn check(rig: &Rig, kept: &Kept) {
    let (first, last) = kept.range;
    if last > 0 {
        assert!(rig.wal.first_index().is_some_and(|index| index <= first));
        assert!(rig.wal.last_index().is_some_and(|index| index >= last));
    }
    for record in rig.records() {
        let version = match kept.truncated_at {
            Some(at) if record.index > at => 1,
            _ => 0,
        };
        assert_eq!(record, record_of(record.index, 5000, version));
    }
}

#[test]
fn a_failed_removal_can_be_repeated() {
    for operation in [Operation::Remove, Operation::SyncDir] {
        for nth in 1..=4 {
            let files = FaultyFiles::new(1);
            let rig = Rig::open(&files);
            rig.append(records(1..=60, 5000)).unwrap();
            files.fail(operation, nth, Fault::Eio);
            assert!(matches!(
                rig.wal.remove_segments_below(u64::MAX),
                Err(Error::Io { .. })
            ));
            let copy = files.fork();
            copy.power_loss(nth);
            assert_eq!(Rig::open(&copy).wal.last_index(), Some(60));
            rig.wal.remove_segments_below(u64::MAX).unwrap();
            assert_eq!(rig.wal.status().segments.len(), 1);
            rig.append(records(61..=70, 5000)).unwrap();
            let left = rig.records();
            drop(rig);
            assert_eq!(Rig::open(&files).records(), left);
        }
    }
}
