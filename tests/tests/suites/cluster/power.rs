//! Power that fails while nodes write: what they had not synced is gone.

use super::faults::Fault;
use super::load::three_nodes_with;
use super::scenarios::survives_on;

/// A process that is killed loses what it had not synced, `VolatileFiles` of `chronos-wal` see to it.
const POWER: (&str, &str) = ("CHRONOS_LOSE_UNSYNCED", "1");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_of_a_leader() {
    let cluster = three_nodes_with(&[], |_| vec![POWER]).await;
    survives_on(cluster, Fault::KillLeader, 2, 111).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_of_all_nodes_at_once() {
    let cluster = three_nodes_with(&[], |_| vec![POWER]).await;
    survives_on(cluster, Fault::KillAll, 3, 112).await;
}
