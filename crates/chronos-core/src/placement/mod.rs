//! Where partitions live, where they should, and how to get there. Pure: it reads what the catalog
//! and the groups' leaders say, and answers with what to do next.
//!
//! ```text
//! nodes, placement ──► assign (where to) ──┐
//! liveness ────────────────────────────────┼──► plan ──► a few steps
//! what leaders report ─────────────────────┘
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `assign.rs` | which nodes hold which partition |
//! | `even.rs` | evening out what nodes have to carry |
//! | `leads.rs` | which replica leads |
//! | `sites.rs` | zones and racks |
//! | `weight.rs` | rendezvous weights |

mod assign;
mod even;
mod leads;
mod sites;
mod weight;

pub use assign::assign;
pub use leads::leads;

#[cfg(test)]
mod tests;
