//! Having another node lead a partition, and waiting until it does.

use std::time::Duration;

use chronos_client::Client;
use tokio::time::Instant;

use crate::exit::Failure;

/// How often the partition is asked who leads it.
const EVERY: Duration = Duration::from_millis(250);
/// How long the lead may take to move.
const LIMIT: Duration = Duration::from_secs(15);

/// Asks for it, and waits until the node leads.
pub(super) async fn transfer(client: &Client, partition: u32, to: &str) -> Result<(), Failure> {
    client.prefer_leader(partition, to).await?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let partitions = client.partitions().await?;
        let led = partitions
            .iter()
            .find(|it| it.partition_id == partition as i32);
        let leader = led.map_or("", |it| it.leader_id.as_str());
        if leader == to {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(anyhow::anyhow!(
                "partition {partition} is still led by {leader}: node {to} does not answer, is \
                 drained or behind, or would lead more than its share"
            )
            .into());
        }
        tokio::time::sleep(EVERY).await;
    }
}
