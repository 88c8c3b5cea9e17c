//! A segmented write-ahead log.
//!
//! ```text
//!  append ──► queue ──► Flusher: one write, one fdatasync for all that waits ──► done, in order
//!               │                          │
//!               ▼                          ▼
//!             tail (memory)     0000…0001.wal  0000…4711.wal  0000…9000.wal
//!               │               └── sealed, each with an .idx ──┘  └ written
//!  read ◄───────┴──────────── sparse index, pread ◄────┘
//! ```
//!
//! A log is a folder of segment files ([`SegmentHeader`]), each a sequence of [`Record`]s with
//! consecutive indexes and two checksums each. It does not know what a record means. Records are
//! added at the end, cut off from the end, and go from the front by whole segments.
//!
//! What it promises, in the words of [`Wal`]'s methods: a completed append survives a power loss
//! (except in [`FsyncMode::Periodic`], whose name says so); a record is returned as it was appended
//! or not at all; the end that a crash tears is cut off at the next open, and damage to anything
//! else is an error that says where. A write or sync that failed is never tried again.
//!
//! Files are behind the [`Files`] trait; [`faulty`] has one that loses, tears and damages them.

mod error;
pub mod faulty;
mod files;
mod flusher;
mod hints;
mod inspect;
mod log;
pub mod mutants;
mod options;
mod read;
mod record;
mod recovery;
mod segment;
mod segments;
mod sparse;
mod status;
mod tail;
mod truncate;
mod walk;
mod writer;

pub use error::Error;
#[cfg(feature = "mutants")]
pub use files::VolatileFiles;
pub use files::{File, Files, RealFiles, system_files};
pub use flusher::Flusher;
pub use inspect::{Damage, Report, SegmentReport, inspect, inspect_files};
pub use log::{Done, Wal};
pub use options::{
    DEFAULT_FLUSH_INTERVAL, DEFAULT_INDEX_INTERVAL, DEFAULT_SEGMENT_BYTES, DEFAULT_TAIL_BYTES,
    FsyncMode, FsyncObserver, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES, Options, UnknownFsyncMode,
};
pub use record::{DecodeError, MAX_BODY_BYTES, Record, decode_record, encode_record};
pub use recovery::Recovery;
pub use segment::{FORMAT_VERSION, SegmentHeader};
pub use status::{Counters, SegmentStatus, Status};
