//! The Kubernetes operator of ChronosDB.
//!
//! ```text
//! ChronosCluster ──► build ──► desired objects ──apply──► Kubernetes
//!       │                                                    │ pods, claims
//!       ▼                                                    ▼
//!    Desired ───────────────► plan ◄─────────────────── Observed ◄── Database (gRPC)
//!                              │
//!                              ▼ one next step
//!                          controller ──► a pod deleted, a node drained, a claim grown …
//! ```
//!
//! [`api`], [`build`] and [`plan`] are pure: they know no client, no clock and no task. The operator
//! asks the database and never infers: what is safe to stop, what is empty and what has caught up
//! is in the database's answer, and without an answer nothing that serves is touched.

pub mod api;
pub mod build;
#[cfg(test)]
mod chart;
pub mod cli;
pub mod controller;
pub mod crds;
pub mod database;
pub mod http;
pub mod log;
pub mod metrics;
pub mod plan;
pub mod traces;
