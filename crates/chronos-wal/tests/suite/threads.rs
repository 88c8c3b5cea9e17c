//! Many threads, many logs, one flusher.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use chronos_wal::faulty::FaultyFiles;
use chronos_wal::{Flusher, Options, Wal};

use crate::support::*;

#[test]
fn logs_share_a_flusher() {
    const LOGS: u64 = 6;
    const APPENDS: u64 = 300;
    let files = FaultyFiles::new(1);
    let flusher = Flusher::start(2);
    let options = |log: u64| Options {
        dir: dir().join(log.to_string()),
        log_id: log,
        ..options()
    };
    let logs: Vec<_> = (0..LOGS)
        .map(|log| {
            Wal::open(Arc::new(files.clone()), options(log), &flusher)
                .unwrap()
                .0
        })
        .collect();
    let (sender, receiver) = crossbeam_channel::unbounded();
    thread::scope(|scope| {
        for (log, wal) in (0..).zip(&logs) {
            let sender = sender.clone();
            scope.spawn(move || {
                for index in 1..=APPENDS {
                    let sender = sender.clone();
                    wal.append(
                        vec![record_of(index, 500, log)],
                        Box::new(move |result| {
                            result.unwrap();
                            sender.send((log, index)).unwrap();
                        }),
                    );
                }
            });
        }
    });
    let mut seen = [0; LOGS as usize];
    for _ in 0..LOGS * APPENDS {
        let (log, index) = receiver.recv().unwrap();
        let seen = &mut seen[usize::from(log)];
        *seen += 1;
        assert_eq!(*seen, index);
    }
    drop(logs);
    for log in 0..LOGS {
        let rig = Rig::with(&files, options(log));
        let expected: Vec<_> = (1..=APPENDS)
            .map(|index| record_of(index, 500, log as u8))
            .collect();
        assert_eq!(rig.records(), expected);
    }
}

#[test]
fn reads_go_on_beside_appends_truncation_and_removal() {
    let files = FaultyFiles::new(1);
    let flusher = Flusher::start(1);
    let (wal, _) = Wal::open(Arc::new(files), options(), &flusher).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in 0..2u64 {
            let (wal, stop) = (&wal, &stop);
            scope.spawn(move || {
                let mut step = reader;
                while !stop.load(Ordering::Relaxed) {
                    step += 1;
                    let (Some(first), Some(last)) = (wal.first_index(), wal.last_index()) else {
                        continue;
                    };
                    // Near the end, where records come and go.
                    let index = last.saturating_sub(step.wrapping_mul(7919) % 80).max(first);
                    if let Some(read) = wal.read(index).unwrap() {
                        // Any version that was ever appended, but a whole one.
                        let version = read.meta[15];
                        assert_eq!(read, record_of(index, 700, version));
                    }
                    match wal.read_body_at(index, 10, 100) {
                        Ok(part) => assert_eq!(part.len(), 100),
                        Err(chronos_wal::Error::NotFound { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        // Also when something below fails.
        let _stop = StopOnDrop(&stop);
        let mut next = 1;
        for round in 1..=200u8 {
            let batch = (next..next + 40)
                .map(|i| record_of(i, 700, round))
                .collect();
            wal.append(batch, Box::new(|result| result.unwrap()));
            next += 40;
            if round % 2 == 0 {
                wal.truncate_after(Some(next - 70)).unwrap();
                next -= 69;
            }
            if round % 9 == 0 {
                wal.remove_segments_below(next.saturating_sub(300)).unwrap();
            }
        }
        wal.sync().unwrap();
    });
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_truncation_waits_for_reads_under_way() {
    let files = FaultyFiles::new(1);
    let flusher = Flusher::start(1);
    let (wal, _) = Wal::open(Arc::new(files.clone()), options(), &flusher).unwrap();
    wal.append(records(1..=30, 1000), Box::new(|_| ()));
    wal.sync().unwrap();
    for part in [false, true] {
        let (sender, done) = crossbeam_channel::bounded(1);
        let (threads, thread) = crossbeam_channel::bounded(1);
        let truncated = wal.clone();
        files.before_next_read(move || {
            let truncation = std::thread::spawn(move || {
                truncated.truncate_after(Some(2)).unwrap();
                let _ = sender.send(());
            });
            // The truncation must not end before this read. If it could, it would have by now.
            let _ = done.recv_timeout(Duration::from_millis(50));
            threads.send(truncation).unwrap();
        });
        let read = if part {
            wal.read_body_at(20, 0, 1000).unwrap()
        } else {
            wal.read(20).unwrap().unwrap().body
        };
        assert_eq!(read, record(20, 1000).body);
        thread.recv().unwrap().join().unwrap();
        assert_eq!(wal.last_index(), Some(2));
        wal.append(records(3..=30, 1000), Box::new(|_| ()));
        wal.sync().unwrap();
    }
}

#[test]
fn appends_outlive_the_handles() {
    let files = FaultyFiles::new(1);
    let (sender, receiver) = crossbeam_channel::bounded(1);
    {
        let flusher = Flusher::start(1);
        let (wal, _) = Wal::open(Arc::new(files.clone()), options(), &flusher).unwrap();
        wal.append(
            records(1..=10, 100),
            Box::new(move |result| sender.send(result).unwrap()),
        );
    }
    receiver.recv().unwrap().unwrap();
    assert_eq!(Rig::open(&files).records(), records(1..=10, 100));
}
