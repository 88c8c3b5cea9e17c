//! A cluster of real processes on loopback, and the harm that is done to it.
//!
//! ```text
//!  clients ─────────────► node a        node b
//!                            │            ▲
//!                            └─► proxy ───┘   one in front of each node's internal listener
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `processes.rs` | the nodes: start, kill, pause, stop, wipe, and who leads what |
//! | `proxy.rs` | the way from each node to each other one, which can be cut and delayed |
//! | `opener.rs` | which process opened a connection |
//! | `watch.rs` | writes down when leads change |

mod opener;
mod processes;
mod proxy;
mod watch;

pub use processes::ClusterProcesses;
pub use proxy::{Network, Way};
pub use watch::LeadWatch;
