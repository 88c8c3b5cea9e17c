//! A simulator of a cluster: the core, the replication and the log as they are shipped, over
//! simulated time, network and disks, from one seed.
//!
//! ```text
//!  seed ──► Plan ──► World: clients ──► network ──► nodes ──► disks
//!                      ▲                              │
//!                      └── faults                     ▼
//!                                    ledger (what is committed) ──► rules ──► Report
//!                                    history (what clients saw) ──►
//! ```
//!
//! A run has three parts: faults happen and nothing wrong may be seen; the faults end and
//! everything works again; nothing new is published and what fell due is settled. One thread does
//! all of it, and its time passes only when nothing is left to do, so that a seed always gives the
//! same [`trace`].
//!
//! | module | holds |
//! |---|---|
//! | [`plan`] | what a seed decides |
//! | [`run`] | one run |
//! | [`seeds`] | many runs |
//! | [`world`] | what a run shares |
//! | [`node`] | nodes and their processes |
//! | [`network`] | messages between them |
//! | [`time`] | simulated time, and clocks that are wrong |
//! | [`faults`] | what goes wrong |
//! | [`workload`] | what clients do |
//! | [`history`] | what they saw |
//! | [`oracle`] | what the log means |
//! | [`rules`] | what must never be seen |
//! | [`register`] | the search for an order of calls on one event |
//! | [`mutants`] | known failures, and how many seeds it takes to notice each |
//! | [`document`] | writing what is known of both into a document |
//! | [`shrink`] | making a failing run smaller |
//! | [`trace`] | what happened, in lines |
//! | [`random`] | chance from a seed |

pub mod document;
pub mod faults;
pub mod history;
pub mod mutants;
pub mod network;
pub mod node;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod register;
pub mod rules;
pub mod run;
pub mod seeds;
pub mod shrink;
pub mod time;
pub mod trace;
pub mod workload;
pub mod world;
