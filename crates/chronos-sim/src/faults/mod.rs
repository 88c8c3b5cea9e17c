//! What goes wrong, and when.
//!
//! | file | holds |
//! |---|---|
//! | `kind.rs` | the classes of faults, and how often each was injected |
//! | `process.rs` | kills, power losses, pauses |
//! | `disk.rs` | errors, full and slow disks, bits that flip, an index that is ahead |
//! | `network.rs` | cut networks, bad weather |
//! | `clock.rs` | clocks that are set, drift and stop |
//! | `cluster.rs` | leaders that hand over, members that come and go, nodes that lose their disk |
//! | `copy.rs` | deaths in the middle of a copy |
//! | `supervisor.rs` | what starts processes again, and copies what is too far behind |

mod clock;
pub mod cluster;
mod copy;
mod disk;
mod kind;
mod network;
mod process;
mod supervisor;

pub use kind::{Histogram, Kind};
pub use supervisor::supervise;

use crate::random::Random;
use crate::world::{Phase, World};
use std::sync::Arc;
use std::time::Duration;

/// Injects faults until the phase with faults ends.
pub async fn run(world: Arc<World>) {
    let mut random = world.plan.random("faults");
    let every_ms = world.plan.fault_every_ms;
    let kinds: Vec<Kind> = (world.plan.faults.iter().copied())
        .filter(|kind| is_injected(*kind))
        .collect();
    loop {
        let pause_ms = random.between(every_ms / 2, every_ms * 3 / 2);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        if world.phase() != Phase::Safety {
            return;
        }
        if let Some(kind) = random.pick(&kinds).copied() {
            inject(&world, &mut random, kind).await;
        }
    }
}

/// Whether it is done from here. Others are part of these, or done by clients.
const fn is_injected(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::LostWrite | Kind::TornWrite | Kind::LostReply | Kind::ConsumerLeft | Kind::Copy
    )
}

async fn inject(world: &Arc<World>, random: &mut Random, kind: Kind) {
    world.say(&"faults", format_args!("{kind}"));
    match kind {
        Kind::Kill | Kind::KillAll | Kind::PowerLoss | Kind::PowerLossAll | Kind::Pause => {
            process::inject(world, random, kind).await;
        }
        Kind::BitFlip
        | Kind::WriteError
        | Kind::SyncError
        | Kind::ReadError
        | Kind::DiskFull
        | Kind::SlowDisk
        | Kind::IndexAhead => disk::inject(world, random, kind),
        Kind::Partition
        | Kind::OneWay
        | Kind::Flapping
        | Kind::DroppedMessage
        | Kind::SlowMessage
        | Kind::DuplicateMessage
        | Kind::OvertakingMessage => network::inject(world, random, kind),
        Kind::ClockJump | Kind::ClockDrift | Kind::ClockStop => clock::inject(world, random, kind),
        Kind::Wipe | Kind::LeaderTransfer | Kind::MembershipChange => {
            cluster::inject(world, random, kind);
        }
        Kind::LostWrite | Kind::TornWrite | Kind::LostReply | Kind::ConsumerLeft | Kind::Copy => {}
    }
}

/// Ends all faults.
pub fn heal(world: &World) {
    world.network.heal();
    for node in world.nodes() {
        node.heal();
    }
}
