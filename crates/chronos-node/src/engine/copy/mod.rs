//! Copying a partition to a node whose log is too far behind, or empty.
//!
//! ```text
//!  leader                                          the node that is behind
//!  retention held                                  replica closed, marked
//!  index, as of one moment ──► Part::Pairs ──────► imported
//!  log, from where it begins ► Part::Records ────► a new log, synced
//!  last entry ───────────────► Part::End ────────► Raft's files, mark removed, opened again
//! ```
//!
//! A copy is complete or nothing: the mark is durable before the old replica goes, and a node that
//! finds it when it starts throws away what there is and begins again. So does one whose copy broke
//! off. Every part has a checksum, and every record its own besides.
//!
//! | file | holds |
//! |---|---|
//! | `part.rs` | what travels |
//! | `give.rs` | the leader's side |
//! | `take.rs` | the other side |

mod give;
mod part;
mod take;

pub use give::{GiveError, give};
pub use part::Part;
pub use take::Taking;

use chronos_core::types::{NodeId, PartitionNumber};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// The parts of a copy as they arrive.
pub type Parts = BoxStream<'static, anyhow::Result<Part>>;

/// Where copies come from.
pub trait Source: Send + Sync {
    /// Asks a node for a copy of a partition that it leads.
    fn copy(
        &self,
        node: NodeId,
        partition: PartitionNumber,
    ) -> BoxFuture<'static, anyhow::Result<Parts>>;
}
