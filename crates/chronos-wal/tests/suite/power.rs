//! Power loss at every call of a history that does everything, with arbitrary sectors kept.

use std::ops::RangeInclusive;

use chronos_wal::Record;
use chronos_wal::faulty::FaultyFiles;

use crate::support::*;

#[derive(Clone, Copy)]
enum Step {
    /// Number of records, and their size.
    Append(u64, usize),
    TruncateTo(u64),
    RemoveBelow(u64),
    Reopen,
}

use Step::{Append, RemoveBelow, Reopen, TruncateTo};

const HISTORY: &[Step] = &[
    Append(3, 100),
    Append(10, 4000),
    Append(20, 4000),
    Append(1, 90_000),
    Append(2, 10),
    TruncateTo(36),
    TruncateTo(20),
    Append(30, 3000),
    Reopen,
    RemoveBelow(30),
    Append(5, 700),
    Append(1, 0),
    TruncateTo(5),
    Append(2, 300),
    Append(4, 600),
];

/// What the disk may hold after a power loss.
#[derive(Default)]
struct Expected {
    /// Surely there, apart from what the step under way takes away.
    kept: Vec<Record>,
    /// May follow, as a prefix.
    under_way: Vec<Record>,
    /// First indexes that may be the first, when records go from the front.
    firsts: Option<RangeInclusive<u64>>,
    /// Last indexes that may be the last, when records go from the end.
    lasts: Option<RangeInclusive<u64>>,
}

impl Expected {
    fn check(&self, found: &[Record], cut: u64) {
        let range = (
            found.first().map(|record| record.index),
            found.last().map(|record| record.index),
        );
        let all: Vec<_> = self.kept.iter().chain(&self.under_way).collect();
        for record in found {
            assert!(
                all.contains(&record),
                "cut {cut}: {} in {range:?}",
                record.index
            );
        }
        let (first, last) = (
            self.kept.first().map_or(0, |record| record.index),
            self.kept.last().map_or(0, |record| record.index),
        );
        match (&self.firsts, range.0) {
            (Some(firsts), Some(found)) => assert!(firsts.contains(&found), "cut {cut}: {range:?}"),
            (None, Some(found)) if first > 0 => assert_eq!(found, first, "cut {cut}"),
            _ => {}
        }
        match (&self.lasts, range.1) {
            (Some(lasts), found) => {
                assert!(lasts.contains(&found.unwrap_or(0)), "cut {cut}: {range:?}");
            }
            (None, found) => assert!(found.unwrap_or(0) >= last, "cut {cut}: {range:?} of {last}"),
        }
    }
}

/// Runs the history until the power goes.
fn run(files: &FaultyFiles) -> Expected {
    let mut expected = Expected::default();
    let Ok(mut rig) = Rig::try_open(files) else {
        return expected;
    };
    for (version, step) in (1..).zip(HISTORY) {
        let first = expected.kept.first().map_or(1, |record| record.index);
        let last = expected.kept.last().map_or(0, |record| record.index);
        match *step {
            Append(count, len) => {
                let batch: Vec<_> = (last + 1..=last + count)
                    .map(|index| record_of(index, len, version))
                    .collect();
                expected.under_way.clone_from(&batch);
                if rig.append(batch).is_err() {
                    return expected;
                }
                expected.kept.append(&mut expected.under_way);
            }
            TruncateTo(index) => {
                let keep = if index < first { 0 } else { index };
                expected.lasts = Some(keep..=last);
                if rig.wal.truncate_after(Some(index)).is_err() {
                    return expected;
                }
                expected.lasts = None;
                expected.kept.retain(|record| record.index <= keep);
            }
            RemoveBelow(index) => {
                expected.firsts = Some(first..=index);
                if rig.wal.remove_segments_below(index).is_err() {
                    return expected;
                }
                expected.firsts = None;
                let first = rig.wal.first_index().unwrap();
                expected.kept.retain(|record| record.index >= first);
            }
            Reopen => match Rig::try_open(files) {
                Ok(opened) => rig = opened,
                Err(_) => return expected,
            },
        }
    }
    expected
}

#[test]
fn a_completed_append_survives_and_the_log_opens() {
    let whole = FaultyFiles::new(0);
    assert_eq!(run(&whole).kept, Rig::open(&whole).records());
    let mut states = 0;
    for cut in 1.. {
        let files = FaultyFiles::new(cut);
        files.cut_power_at(cut);
        let expected = run(&files);
        if !files.is_cut() {
            break;
        }
        for seed in 0..12 {
            states += 1;
            let files = files.fork();
            files.power_loss(cut * 1000 + seed);
            let rig = Rig::open(&files);
            let found = rig.records();
            expected.check(&found, cut);
            drop(rig);

            // Losing power again, at once or while the log is opened, takes nothing more.
            for again in 0..2 {
                let files = files.fork();
                if again == 1 {
                    files.cut_power_at(1 + seed % 4);
                    drop(Rig::try_open(&files));
                }
                files.power_loss(cut * 77 + seed);
                let rig = Rig::open(&files);
                assert_eq!(rig.records(), found, "cut {cut} seed {seed}");
                let next = found.last().map_or(1, |record| record.index + 1);
                rig.append(records(next..=next + 2, 100)).unwrap();
            }
        }
    }
    assert!(states > 1000, "only {states} states were seen");
}
