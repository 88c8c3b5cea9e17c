//! Random histories, compared with a list in memory.

use chronos_wal::faulty::FaultyFiles;
use chronos_wal::{FsyncMode, Options, Record};
use proptest::prelude::*;

use crate::support::*;

#[derive(Debug, Clone)]
enum Step {
    /// Sizes of the bodies.
    Append(Vec<usize>),
    /// Enqueued, and carried out together with what comes next.
    Enqueue(Vec<usize>),
    /// Keeps all but the last so many records.
    Truncate(u64),
    /// Removes segments below the so-many-th record.
    Remove(u64),
    Sync,
    Reopen,
    Kill,
    PowerLoss(u64),
    /// Reads a record, so that hints and open files differ.
    Read(u64),
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![6 => 0..200usize, 3 => 200..20_000usize, 1 => 60_000..90_000usize];
    prop::collection::vec(size, 1..8)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => sizes().prop_map(Step::Append),
        2 => sizes().prop_map(Step::Enqueue),
        3 => (0..30u64).prop_map(Step::Truncate),
        1 => (0..40u64).prop_map(Step::Remove),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::PowerLoss),
        3 => any::<u64>().prop_map(Step::Read),
    ]
}

fn mode() -> impl Strategy<Value = FsyncMode> {
    prop_oneof![
        Just(FsyncMode::Batch),
        Just(FsyncMode::EveryEvent),
        Just(FsyncMode::Periodic)
    ]
}

struct Model {
    files: FaultyFiles,
    options: Options,
    rig: Rig,
    /// What the log should hold.
    records: Vec<Record>,
    /// Appended in all, so that the content of each record is new.
    version: u8,
}

impl Model {
    fn batch(&mut self, sizes: &[usize]) -> Vec<Record> {
        self.version = self.version.wrapping_add(1);
        let next = self.records.last().map_or(1, |last| last.index + 1);
        let batch: Vec<_> = (next..)
            .zip(sizes)
            .map(|(index, len)| record_of(index, *len, self.version))
            .collect();
        self.records.extend(batch.iter().cloned());
        batch
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Append(sizes) => {
                let batch = self.batch(sizes);
                self.rig.append(batch).unwrap();
            }
            Step::Enqueue(sizes) => {
                let batch = self.batch(sizes);
                self.rig.enqueue(batch);
            }
            Step::Truncate(back) => {
                let keep = self.records.len().saturating_sub(*back as usize);
                self.records.truncate(keep);
                let last = self.records.last().map(|record| record.index);
                self.rig.wal.truncate_after(last).unwrap();
            }
            Step::Remove(forward) => {
                self.rig.run();
                let Some(first) = self.records.first().map(|record| record.index) else {
                    return;
                };
                self.rig.wal.remove_segments_below(first + forward).unwrap();
                let now = self.rig.wal.first_index().unwrap();
                assert!(now >= first && now <= first + forward);
                self.records.drain(..(now - first) as usize);
                assert!(!self.records.is_empty());
            }
            Step::Sync => {
                self.rig.wal.sync().unwrap();
                let last = self.records.last().map(|record| record.index);
                assert_eq!(self.rig.wal.durable_index(), last);
            }
            Step::Reopen => {
                self.rig.run();
                self.reopen();
            }
            Step::Kill => {
                self.rig.run();
                self.files.kill();
                self.reopen();
            }
            Step::PowerLoss(seed) => {
                self.rig.run();
                let durable = self.rig.wal.durable_index();
                self.files.power_loss(*seed);
                self.reopen_after_loss(durable);
            }
            Step::Read(number) => {
                if !self.records.is_empty() {
                    let expected = &self.records[(*number % self.records.len() as u64) as usize];
                    let read = self.rig.wal.read(expected.index).unwrap();
                    assert_eq!(read.as_ref(), Some(expected));
                }
            }
        }
        let bound = |record: Option<&Record>| record.map(|record| record.index);
        assert_eq!(self.rig.wal.first_index(), bound(self.records.first()));
        assert_eq!(self.rig.wal.last_index(), bound(self.records.last()));
    }

    fn reopen(&mut self) {
        self.rig = Rig::with(&self.files, self.options.clone());
        assert_eq!(self.rig.recovery.records, self.records.len() as u64);
        assert_eq!(self.rig.recovery.truncated_bytes, 0);
    }

    /// Only what was not durable may be gone, and only from the end.
    fn reopen_after_loss(&mut self, durable: Option<u64>) {
        self.rig = Rig::with(&self.files, self.options.clone());
        let last = self.rig.wal.last_index();
        assert!(last >= durable, "{last:?} of {durable:?} is left");
        self.records.retain(|record| Some(record.index) <= last);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn behaves_like_a_list(
        fsync in mode(),
        tail_bytes in prop_oneof![Just(0), Just(20_000), Just(usize::MAX)],
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let files = FaultyFiles::new(1);
        let options = Options { fsync, tail_bytes, ..options() };
        let rig = Rig::with(&files, options.clone());
        let mut model = Model { files, options, rig, records: Vec::new(), version: 0 };
        for step in &steps {
            model.apply(step);
        }
        prop_assert_eq!(&model.rig.records(), &model.records);
        model.rig.run();
        prop_assert_eq!(&model.rig.records(), &model.records);
        model.reopen();
        prop_assert_eq!(&model.rig.records(), &model.records);
    }
}
