//! The server: configuration, gRPC edge, partition drivers, delivery, HTTP and metrics.
//!
//! ```text
//! gRPC ──► edge ──► engine::Driver ──► chronos-raft ──► chronos-wal
//!            ▲           │  ▲               │
//!            │           ▼  │               ▼
//!            └──── delivery groups ◄── chronos-core::partition ──► chronos-store
//! ```
//!
//! [`run`] starts a node and returns when it has stopped.

pub mod cluster;
pub mod config;
pub mod data_dir;
mod delivery;
mod edge;
mod engine;
mod force;
pub mod http;
pub mod logging;
pub mod metrics;
mod node;
mod observe;
mod tls;

pub use force::force_majority;
pub use node::run;
