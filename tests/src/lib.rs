//! What the suites across processes share: a real server as a child, seeded clients that write
//! down everything they did and saw, and the checker that reads it.
//!
//! ```text
//! suites ──► server (a child process)  ◄── kill -9, terminate, restart
//!    │
//!    └────► workload (publishers, subscribers) ──► history ──► checker ──► report
//! ```
//!
//! A cluster is several such servers, with proxies between them that cut and delay (`cluster`).
//!
//! The history is written by the clients only. The server is a black box to the checker: nothing
//! that it logs or counts about itself is believed, except where a rule compares it with what the
//! clients saw.

pub mod authority;
pub mod captured;
pub mod checker;
pub mod client;
pub mod cluster;
pub mod history;
pub mod http;
pub mod patience;
pub mod random;
pub use chronos_sim::register;
pub mod routing;
pub mod server;
pub mod workload;
