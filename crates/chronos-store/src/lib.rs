//! The core's [`Store`](chronos_core::store::Store) on RocksDB, and the only place that names it.
//!
//! ```text
//!   write(batch) ──► memtables, one per family ──flush, all families at one point──► SST files
//!                    (no log of their own: the                                          ▲
//!                     partition's log repeats them)                                     │
//!   ingest(sorted pairs) ──► ingest/<n>.sst ──fsync──hard link into the family──────────┘
//!   get · multi_get · scan · last_at_or_before ◄── memtables, block cache, SST files
//! ```
//!
//! RocksDB's own write-ahead log is off, so a write costs a memtable insert and nothing else. A
//! crash loses what was not flushed. Flushes are atomic over the families, those that RocksDB
//! starts by itself too, so what is found after a crash is the store as it was after some one
//! write, plus everything ingested.
//!
//! How each family is tuned and why: [`tuning`].

mod expiry;
mod failure;
mod ingest;
mod layout;
mod open;
mod options;
mod stats;
mod store;
pub mod tuning;

pub use open::OpenError;
pub use options::Options;
pub use stats::{FamilyStats, Stats};
pub use store::RocksStore;

#[cfg(test)]
mod tests;
