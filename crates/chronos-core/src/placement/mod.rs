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
//! | `view.rs` | what a plan is made from |
//! | `plan.rs` | what to do next |
//! | `step.rs` | what that can be |
//! | `begin.rs` | which changes begin |
//! | `drive.rs` | bringing one group to what the catalog says of it |
//! | `transfer.rs` | who should lead |
//! | `catalog_group.rs` | the group of the catalog itself |
//! | `progress.rs` | what is still to be done, for people |
//! | `standing.rs` | how nodes and partitions stand, and who can stop |
//! | `assign.rs` | which nodes hold which partition |
//! | `even.rs` | evening out what nodes have to carry |
//! | `leads.rs` | which replica leads |
//! | `sites.rs` | zones and racks |
//! | `weight.rs` | rendezvous weights |

mod assign;
mod begin;
mod catalog_group;
mod drive;
mod even;
mod leads;
mod plan;
mod progress;
mod sites;
mod standing;
mod step;
mod transfer;
mod view;
mod weight;

pub use assign::assign;
pub use drive::Waiting;
pub use leads::leads;
pub use plan::plan;
pub use progress::{NodeProgress, Progress, progress};
pub use standing::{Needed, NodeStanding, Standing, needed_of_lost, standing};
pub use step::Step;
pub use view::{Limits, Report, View};

#[cfg(test)]
mod tests;
