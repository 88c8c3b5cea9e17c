//! The state machine from outside.
//!
//! | file | holds |
//! |---|---|
//! | `rules.rs` | one test for each rule a reader should know |
//! | `restart.rs` | the same for checkpoints and crashes |
//! | `flags.rs` | what is remembered of topics |
//! | `dead_letters.rs` | random lives of dead letters, with crashes |
//! | `retention.rs` | random logs that lose their beginning |
//! | `deletion.rs` | random logs in which topics are deleted |
//! | `model.rs` | random logs, checkpoints and crashes against the oracle |
//! | `steps.rs` | what is random in them |
//! | `oracle.rs` | the rules once more, in plain maps |
//! | `compare.rs` | a partition against the oracle, and against another partition |
//! | `replica.rs` | a partition that is checkpointed, crashes and is copied |
//! | `replicas.rs` | several of them decide alike, whatever happens to each |
//! | `places.rs` | how far back the index still points into the log |
//! | `entry.rs` | log entries made by hand |

use super::invariants;

mod compare;
mod dead_letters;
mod deletion;
mod entry;
mod flags;
mod model;
mod oracle;
mod places;
mod replica;
mod replicas;
mod restart;
mod retention;
mod rules;
mod steps;
