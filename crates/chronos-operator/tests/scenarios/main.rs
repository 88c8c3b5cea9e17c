//! Reconcilers against a real API server, with its controllers and without nodes: pods are made by
//! the StatefulSet controller, and a stand-in for the kubelet and the database makes them ready. The
//! reconcilers have the rights that the chart gives them.
//!
//! `scripts/test-kubernetes` starts the API server and runs these. They are ignored otherwise: a
//! test that silently did nothing would be worse.

mod admission;
mod certificates;
mod fake;
mod leases;
mod lifecycle;
mod monitoring;
mod narrowed;
mod stage;
mod topics;
