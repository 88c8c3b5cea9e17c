//! Tells the catalog's leader where this node is: after a start, and when it turns out otherwise.

use super::introductions::Introductions;
use super::joining::{Rejected, ask_for_number};
use super::membership::Membership;
use crate::config::Address;
use std::collections::VecDeque;
use std::time::Duration;

/// After the first attempt that failed. It doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Keeps the cluster informed of this node's addresses. Ends only when the cluster will not have this
/// node, so that it has to stop.
pub async fn keep_announced(me: &Introductions, membership: &Membership) -> Rejected {
    let mut moves = me.moves();
    loop {
        if let Err(rejected) = announce(me, membership).await {
            return rejected;
        }
        if moves.changed().await.is_err() {
            // The sender is in `me`.
            std::future::pending::<()>().await;
        }
    }
}

/// Tries until the cluster has noted this node's addresses.
///
/// # Errors
/// The cluster will not have this node, so it has to stop: see [`Rejected`].
pub async fn announce(me: &Introductions, membership: &Membership) -> Result<(), Rejected> {
    let mut pause = FIRST_PAUSE;
    loop {
        let why = match ask_for_number(me, membership.cluster_id, addresses(me, membership)).await?
        {
            Ok(known) if known.me == membership.me => return Ok(()),
            // The catalog lost what it knew, or this disk's cluster.toml is of another time.
            Ok(known) => format!(
                "the cluster knows this disk as node {}, not {}",
                known.me, membership.me
            ),
            Err(why) => why,
        };
        tracing::debug!(why, "the cluster has not noted this node's addresses yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Where the cluster may be reached, the likeliest leader first.
fn addresses(me: &Introductions, membership: &Membership) -> VecDeque<String> {
    let cluster = &me.config().cluster;
    let catalog = me.catalog();
    let nodes = catalog.map(|catalog| catalog.nodes()).unwrap_or_default();
    let leader = catalog.and_then(|catalog| nodes.get(&catalog.leader()?));
    let known = leader.into_iter().chain(nodes.values());
    let known = known.map(|node| node.info.cluster_addr.clone());
    let named = cluster.seeds.iter().chain(&cluster.join);
    let named = named.map(Address::to_string);
    let founding = membership.founding.iter().flatten();
    let founding = founding.map(|(_, info)| info.cluster_addr.clone());
    let own = [me.info().cluster_addr];
    known.chain(named).chain(founding).chain(own).collect()
}
