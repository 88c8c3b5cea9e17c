//! The reconcilers: they look, let the planner say one step, carry it out, and write down what
//! they saw.
//!
//! ```text
//! run ──► leadership ──► cluster::reconcile ──► apply, look ──► plan ──► carry_out ──► status
//!                    └─► topic::reconcile
//! ```

mod apply;
mod backoff;
mod carry_out;
mod cluster;
mod context;
mod disks;
mod error;
mod events;
mod leadership;
mod look;
mod monitoring;
mod run;
mod seen;
mod status;
mod tls;
mod topic;
mod wakes;
mod wanted;

pub use backoff::Backoff;
pub use cluster::reconcile as reconcile_cluster;
pub use context::{Context, Settings};
pub use error::Error;
pub use leadership::{Leadership, Tenure, hold};
pub use run::run;
pub use topic::reconcile as reconcile_topic;
