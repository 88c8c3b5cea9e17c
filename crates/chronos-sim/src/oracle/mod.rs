//! The meaning of the log, worked out a second time in plain maps, and the log that all replicas
//! have to agree about.

mod ledger;
mod model;

pub use ledger::{Content, Ledger};
pub use model::{Event, Group, Model};
