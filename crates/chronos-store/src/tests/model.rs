//! Random operations on a store on disk and one in memory give the same answers, and what a crash
//! leaves is one of the states the store has been in.

use super::{all, crash, everything};
use crate::{Options, RocksStore};
use chronos_core::store::{Family, MemoryStore, Store, Write, WriteBatch};
use proptest::collection::vec;
use proptest::prelude::*;
use std::ops::ControlFlow;

#[derive(Debug, Clone)]
enum Operation {
    Write(WriteBatch),
    Ingest(Family, Vec<(Vec<u8>, Vec<u8>)>),
    Flush,
    Reopen,
    Crash,
    Scan {
        family: Family,
        from: Vec<u8>,
        to: Vec<u8>,
        limit: usize,
    },
    LastAtOrBefore {
        family: Family,
        floor: Vec<u8>,
        at: Vec<u8>,
    },
    Get {
        family: Family,
        keys: Vec<Vec<u8>>,
    },
}

fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(Family::ALL.to_vec())
}

/// Few different keys, so that operations meet; some are prefixes of others.
fn key() -> impl Strategy<Value = Vec<u8>> {
    (0u8..2, vec(0u8..4, 0..3)).prop_map(|(partition, rest)| {
        let mut key = vec![0, 0, 0, partition];
        key.extend(rest);
        key
    })
}

/// Sometimes long enough that memtables fill up and are flushed by themselves.
fn value() -> impl Strategy<Value = Vec<u8>> {
    (
        any::<u8>(),
        prop_oneof![4 => 0usize..16, 1 => 5_000usize..20_000],
    )
        .prop_map(|(byte, len)| vec![byte; len])
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (family(), key(), value()).prop_map(|(f, k, v)| Write::Put(f, k, v)),
        2 => (family(), key()).prop_map(|(f, k)| Write::Delete(f, k)),
        1 => (family(), key(), key()).prop_map(|(f, from, to)| Write::DeleteRange(f, from, to)),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => vec(write(), 0..6).prop_map(|writes| Operation::Write(WriteBatch { writes })),
        2 => (family(), prop::collection::btree_map(key(), value(), 0..8))
            .prop_map(|(family, pairs)| Operation::Ingest(family, pairs.into_iter().collect())),
        1 => Just(Operation::Flush),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Crash),
        2 => (family(), key(), key(), 1usize..20).prop_map(|(family, from, to, limit)|
            Operation::Scan { family, from, to, limit }),
        2 => (family(), key(), key()).prop_map(|(family, floor, at)|
            Operation::LastAtOrBefore { family, floor, at }),
        2 => (family(), vec(key(), 0..8)).prop_map(|(family, keys)| Operation::Get { family, keys }),
    ]
}

fn first(
    store: &impl Store,
    family: Family,
    from: &[u8],
    to: &[u8],
    limit: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pairs = Vec::new();
    store
        .scan(family, from, to, &mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            if pairs.len() == limit {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    pairs
}

/// The states in which a crash may find the store: as of the last flush and after each write
/// since, each with all that was ingested later. Ingested pairs are there whatever is lost.
struct Crashes {
    states: Vec<MemoryStore>,
}

impl Crashes {
    fn flushed(model: &MemoryStore) -> Self {
        Self {
            states: vec![copy(model)],
        }
    }

    fn wrote(&mut self, model: &MemoryStore) {
        self.states.push(copy(model));
    }

    fn ingested(&self, family: Family, pairs: &[(Vec<u8>, Vec<u8>)]) {
        for state in &self.states {
            state.ingest(family, pairs).unwrap();
        }
    }
}

fn copy(model: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new();
    for family in Family::ALL {
        copy.ingest(family, &all(model, family)).unwrap();
    }
    copy
}

fn small() -> Options {
    Options {
        write_buffer_bytes: 64 << 10,
        block_cache_bytes: 1 << 20,
        ..Options::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn answers_like_the_store_in_memory(operations in vec(operation(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = RocksStore::open(folder.path(), &small()).unwrap();
        let model = MemoryStore::new();
        let mut crashes = Crashes::flushed(&model);
        for operation in operations {
            match operation {
                Operation::Write(batch) => {
                    store.write(&batch).unwrap();
                    model.write(&batch).unwrap();
                    crashes.wrote(&model);
                }
                Operation::Ingest(family, pairs) => {
                    store.ingest(family, &pairs).unwrap();
                    model.ingest(family, &pairs).unwrap();
                    crashes.ingested(family, &pairs);
                }
                Operation::Flush => {
                    store.flush().unwrap();
                    crashes = Crashes::flushed(&model);
                }
                Operation::Reopen => {
                    drop(store);
                    store = RocksStore::open(folder.path(), &small()).unwrap();
                    prop_assert_eq!(everything(&store), everything(&model));
                    crashes = Crashes::flushed(&model);
                }
                Operation::Crash => {
                    let (_folder, crashed) = crash(&store, &small());
                    let found = everything(&crashed);
                    prop_assert!(crashes.states.iter().any(|state| everything(state) == found));
                }
                Operation::Scan { family, from, to, limit } => {
                    prop_assert_eq!(
                        first(&store, family, &from, &to, limit),
                        first(&model, family, &from, &to, limit)
                    );
                }
                Operation::LastAtOrBefore { family, floor, at } => {
                    prop_assert_eq!(
                        store.last_at_or_before(family, &floor, &at).unwrap(),
                        model.last_at_or_before(family, &floor, &at).unwrap()
                    );
                }
                Operation::Get { family, keys } => {
                    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                    let expected = model.multi_get(family, &keys).unwrap();
                    prop_assert_eq!(&store.multi_get(family, &keys).unwrap(), &expected);
                    for (key, value) in keys.iter().zip(expected) {
                        prop_assert_eq!(store.get(family, key).unwrap(), value);
                    }
                }
            }
        }
        prop_assert_eq!(everything(&store), everything(&model));
    }
}
