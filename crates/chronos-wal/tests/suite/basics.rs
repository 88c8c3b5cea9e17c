//! What happens when nothing goes wrong.

use std::sync::Arc;

use chronos_wal::faulty::{Fault, FaultyFiles, Operation};
use chronos_wal::{Error, Flusher, FsyncMode, MAX_BODY_BYTES, Options, RealFiles, Record, Wal};

use crate::support::*;

#[test]
fn an_empty_log() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    assert_eq!(rig.wal.first_index(), None);
    assert_eq!(rig.wal.last_index(), None);
    assert_eq!(rig.wal.durable_index(), None);
    assert_eq!(rig.wal.read(0).unwrap(), None);
    assert!(matches!(
        rig.wal.read_body_at(0, 0, 0),
        Err(Error::NotFound { index: 0 })
    ));
    rig.wal.sync().unwrap();
    rig.wal.truncate_after(None).unwrap();
    rig.wal.remove_segments_below(10).unwrap();
    assert!(rig.wal.status().segments.is_empty());
    assert!(segments(&files).is_empty());
}

#[test]
fn appended_records_are_read_back_before_and_after_they_are_written() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    let all = records(0..=9, 300);
    let outcome = rig.enqueue(all.clone());
    assert_eq!(rig.wal.last_index(), Some(9));
    assert_eq!(rig.wal.durable_index(), None);
    assert!(rig.wal.queued_bytes() >= 3000);
    assert!(outcome.take().is_none());
    assert_eq!(rig.records(), all);
    rig.run();
    assert!(outcome.is_ok());
    assert_eq!(rig.wal.durable_index(), Some(9));
    assert_eq!(rig.wal.queued_bytes(), 0);
    assert_eq!(rig.records(), all);
    drop(rig);

    let rig = Rig::open(&files);
    assert_eq!(rig.recovery.records, 10);
    assert_eq!(rig.recovery.first_index, Some(0));
    assert_eq!(rig.recovery.last_index, Some(9));
    assert_eq!(rig.recovery.truncated_bytes, 0);
    assert_eq!(rig.records(), all);
}

#[test]
fn parts_of_bodies() {
    for tail_bytes in [0, 1 << 20] {
        let files = FaultyFiles::new(1);
        let rig = Rig::with(
            &files,
            Options {
                tail_bytes,
                ..options()
            },
        );
        rig.append(vec![record(5, 100), record(6, 40_000)]).unwrap();
        for _ in 0..2 {
            for index in [5, 6] {
                let body = record(index, if index == 5 { 100 } else { 40_000 }).body;
                let len = body.len() as u32;
                for (position, part) in [(0, len), (0, 0), (len, 0), (7, 50), (len - 1, 1)] {
                    let range = position as usize..(position + part) as usize;
                    let read = rig.wal.read_body_at(index, position, part).unwrap();
                    assert_eq!(read, body[range]);
                }
                for (position, part) in [(0, len + 1), (len + 1, 0), (u32::MAX, u32::MAX)] {
                    assert!(matches!(
                        rig.wal.read_body_at(index, position, part),
                        Err(Error::OutsideBody { .. })
                    ));
                }
            }
        }
    }
}

#[test]
fn appends_are_completed_in_order_with_one_write_and_one_sync() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(vec![record(1, 10)]).unwrap();
    let before = (
        rig.wal.counters().writes(),
        rig.wal.counters().fsyncs(),
        rig.wal.counters().appends(),
    );
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    for index in 2..=50 {
        let order = Arc::clone(&order);
        rig.wal.append(
            vec![record(index, 10)],
            Box::new(move |result| {
                result.unwrap();
                order.lock().push(index);
            }),
        );
    }
    rig.run();
    assert_eq!(*order.lock(), (2..=50).collect::<Vec<_>>());
    let counters = rig.wal.counters();
    assert_eq!(counters.writes(), before.0 + 1);
    assert_eq!(counters.fsyncs(), before.1 + 1);
    assert_eq!(counters.appends(), before.2 + 49);
    assert_eq!(counters.bytes_written(), 50 * 58);
}

#[test]
fn every_event_syncs_each_record() {
    let files = FaultyFiles::new(1);
    let rig = Rig::with(
        &files,
        Options {
            fsync: FsyncMode::EveryEvent,
            ..options()
        },
    );
    rig.enqueue(records(1..=3, 10));
    rig.enqueue(records(4..=5, 10));
    rig.run();
    assert_eq!(rig.wal.counters().fsyncs(), 5);
    assert_eq!(rig.wal.durable_index(), Some(5));
}

#[test]
fn records_that_do_not_follow_are_refused() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    assert!(matches!(
        rig.append(vec![record(3, 1), record(5, 1)]),
        Err(Error::OutOfOrder {
            expected: 4,
            found: 5
        })
    ));
    assert_eq!(rig.wal.last_index(), None);
    rig.append(records(3..=4, 1)).unwrap();
    assert!(matches!(
        rig.append(records(4..=5, 1)),
        Err(Error::OutOfOrder {
            expected: 5,
            found: 4
        })
    ));
    assert!(matches!(
        rig.append(vec![Record {
            body: vec![0; MAX_BODY_BYTES + 1].into(),
            ..record(5, 0)
        }]),
        Err(Error::TooLarge { .. })
    ));
    // A refused append changes nothing for the others.
    let refused = rig.enqueue(records(9..=9, 1));
    let taken = rig.enqueue(records(5..=6, 1));
    rig.run();
    assert!(!refused.is_ok() && taken.is_ok());
    assert_eq!(rig.records(), records(3..=6, 1));
}

#[test]
fn segments_follow_each_other_and_large_records_stand_alone() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    let mut all = records(10..=60, 5000);
    all.push(record(61, 300_000));
    all.push(record(62, 10));
    rig.append(all.clone()).unwrap();
    let status = rig.wal.status();
    assert_eq!(status.segments.len(), segments(&files).len());
    assert_eq!(status.segments[0].file, "00000000000000000010.wal");
    for pair in status.segments.windows(2) {
        assert_eq!(pair[0].last_index.unwrap() + 1, pair[1].first_index);
    }
    let large: Vec<_> = status.segments.iter().filter(|s| s.bytes > 65536).collect();
    assert_eq!(large.len(), 1);
    assert_eq!((large[0].first_index, large[0].last_index), (61, Some(61)));
    assert_eq!(rig.records(), all);
    drop(rig);
    let rig = Rig::open(&files);
    assert_eq!(rig.recovery.rebuilt_indexes, 0);
    assert_eq!(rig.records(), all);
    rig.append(records(63..=70, 5000)).unwrap();
    all.extend(records(63..=70, 5000));
    assert_eq!(rig.records(), all);
}

#[test]
fn missing_sidecars_are_made_anew() {
    let files = FaultyFiles::new(1);
    let all = records(1..=60, 5000);
    Rig::open(&files).append(all.clone()).unwrap();
    let sidecars: Vec<_> = files
        .paths(dir())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ext| ext == "idx"))
        .collect();
    assert_eq!(sidecars.len() + 1, segments(&files).len());
    let before = files.content(&sidecars[1]);
    chronos_wal::Files::remove(&files, &sidecars[1]).unwrap();
    files.flip_bit(&sidecars[2], 300);
    let rig = Rig::open(&files);
    assert_eq!(rig.recovery.rebuilt_indexes, 2);
    assert_eq!(rig.records(), all);
    assert_eq!(files.content(&sidecars[1]), before);
}

#[test]
fn truncation_within_across_and_of_everything() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    let mut all = records(5..=60, 5000);
    rig.append(all.clone()).unwrap();
    for (last, version) in [(57, 1), (30, 2), (29, 3), (5, 4)] {
        rig.wal.truncate_after(Some(last)).unwrap();
        assert_eq!(rig.wal.last_index(), Some(last));
        assert_eq!(rig.wal.read(last + 1).unwrap(), None);
        all.truncate((last - 4) as usize);
        assert_eq!(rig.records(), all);
        assert_eq!(Rig::open(&files.fork()).records(), all);
        let more: Vec<_> = (last + 1..=last + 20)
            .map(|index| record_of(index, 3000, version))
            .collect();
        rig.append(more.clone()).unwrap();
        all.extend(more);
        assert_eq!(rig.records(), all);
        assert_eq!(Rig::open(&files.fork()).records(), all);
    }
    // Below the first record is the same as nothing.
    rig.wal.truncate_after(Some(4)).unwrap();
    assert_eq!(rig.records(), vec![]);
    assert!(segments(&files).is_empty());
    rig.append(records(1000..=1001, 5)).unwrap();
    assert_eq!(Rig::open(&files.fork()).records(), records(1000..=1001, 5));
    rig.wal.truncate_after(None).unwrap();
    assert_eq!(Rig::open(&files).records(), vec![]);
}

#[test]
fn what_was_known_of_truncated_records_is_forgotten() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(records(1..=10, 500)).unwrap();
    for index in 1..=10 {
        rig.wal.read_body_at(index, 0, 500).unwrap();
    }
    rig.wal.truncate_after(Some(3)).unwrap();
    let new: Vec<_> = (4..=10).map(|index| record_of(index, 300, 1)).collect();
    rig.append(new.clone()).unwrap();
    for record in new {
        let read = rig.wal.read_body_at(record.index, 7, 200).unwrap();
        assert_eq!(read, record.body[7..207]);
    }

    // The first segment is sealed, cut, and sealed again at the same length with other records in
    // it, but this time its sidecar cannot be stored. The old one must not be there to be believed.
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(records(1..=13, 5000)).unwrap();
    rig.wal.truncate_after(Some(2)).unwrap();
    let sizes = [5100, 4900];
    let new: Vec<_> = (3..=14)
        .map(|index| record_of(index, sizes[index as usize % 2], 1))
        .collect();
    files.fail(Operation::Create, 1, Fault::Eio);
    rig.append(new.clone()).unwrap();
    assert_eq!(rig.wal.status().segments.len(), 2);
    drop(rig);
    let rig = Rig::open(&files);
    assert_eq!(rig.recovery.rebuilt_indexes, 1);
    assert_eq!(rig.records()[2..], new);
}

#[test]
fn truncation_waits_for_queued_writes() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    let outcome = rig.enqueue(records(1..=10, 10));
    rig.wal.truncate_after(Some(4)).unwrap();
    assert!(outcome.is_ok());
    assert_eq!(rig.records(), records(1..=4, 10));
    assert_eq!(rig.wal.durable_index(), Some(4));
    rig.wal.truncate_after(Some(9)).unwrap();
    assert_eq!(rig.wal.last_index(), Some(4));
}

#[test]
fn whole_segments_go_from_the_front() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    let all = records(1..=60, 5000);
    rig.append(all.clone()).unwrap();
    let bases: Vec<_> = rig
        .wal
        .status()
        .segments
        .iter()
        .map(|segment| segment.first_index)
        .collect();
    rig.wal.remove_segments_below(bases[1] - 1).unwrap();
    assert_eq!(rig.wal.first_index(), Some(1));
    rig.wal.remove_segments_below(bases[2] + 1).unwrap();
    assert_eq!(rig.wal.first_index(), Some(bases[2]));
    assert_eq!(rig.wal.read(1).unwrap(), None);
    assert_eq!(rig.records(), all[bases[2] as usize - 1..]);
    assert_eq!(Rig::open(&files.fork()).records(), rig.records());
    rig.wal.remove_segments_below(u64::MAX).unwrap();
    assert_eq!(rig.wal.first_index(), bases.last().copied());
    assert_eq!(files.paths(dir()).len(), 1);
    assert_eq!(Rig::open(&files).records(), rig.records());
}

#[test]
fn many_small_records_are_found_from_anywhere() {
    let files = FaultyFiles::new(1);
    let options = Options {
        index_interval: 1000,
        segment_bytes: 1 << 20,
        ..options()
    };
    let rig = Rig::with(&files, options);
    let all: Vec<_> = (1..=20_000).map(|i| record(i, (i % 90) as usize)).collect();
    for part in all.chunks(3000) {
        rig.append(part.to_vec()).unwrap();
    }
    for index in (1..=20_000).rev().step_by(37).chain(1..=2000) {
        let record = rig.wal.read(index).unwrap().unwrap();
        assert_eq!(record, all[index as usize - 1]);
    }
}

#[test]
fn neighbours_are_found_without_a_search() {
    let files = FaultyFiles::new(1);
    let rig = Rig::with(
        &files,
        Options {
            index_interval: 1000,
            ..options()
        },
    );
    rig.append(records(1..=500, 10)).unwrap();
    rig.wal.read(200).unwrap();
    let before = files.calls(Operation::Read);
    for index in 201..=300 {
        rig.wal.read(index).unwrap();
        rig.wal.read_body_at(index, 0, 4).unwrap();
    }
    let reads = files.calls(Operation::Read) - before;
    assert_eq!(reads, 200);
}

#[test]
fn real_files_and_threads() {
    let dir = tempfile::tempdir().unwrap();
    let flusher = Flusher::start(2);
    let open = || {
        let options = Options {
            segment_bytes: 64 * 1024,
            tail_bytes: 0,
            ..Options::new(dir.path().join("a/b"), 1)
        };
        Wal::open(Arc::new(RealFiles), options, &flusher).unwrap()
    };
    let (wal, _) = open();
    let (sender, receiver) = crossbeam_channel::unbounded();
    for index in 1..=200 {
        let sender = sender.clone();
        wal.append(
            vec![record(index, 2000)],
            Box::new(move |result| sender.send(result.map(|()| index)).unwrap()),
        );
    }
    for index in 1..=200 {
        assert_eq!(receiver.recv().unwrap().unwrap(), index);
    }
    assert!(wal.counters().fsyncs() >= 1);
    assert!(wal.status().available_bytes.is_some_and(|bytes| bytes > 0));
    wal.truncate_after(Some(150)).unwrap();
    wal.append(records(151..=160, 2000), Box::new(|_| ()));
    wal.sync().unwrap();
    wal.remove_segments_below(60).unwrap();
    let first = wal.first_index().unwrap();
    assert!(first > 1 && first <= 60);
    drop(wal);
    let (wal, recovery) = open();
    assert_eq!(recovery.first_index, Some(first));
    assert_eq!(recovery.last_index, Some(160));
    for index in first..=160 {
        assert_eq!(wal.read(index).unwrap(), Some(record(index, 2000)));
    }
    let report = chronos_wal::inspect(&dir.path().join("a/b")).unwrap();
    assert!(report.is_sound(), "{report}");
}
