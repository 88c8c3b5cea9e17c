//! From the start of a node until it is a member of a cluster.

use super::asking::{Asked, ask_all};
use super::founding::{Action, Founding, Me, Round, Standing, Waiting, decide};
use super::introductions::Introductions;
use super::membership::Membership;
use super::membership_client::{self, Joined};
use super::peers::Peers;
use crate::data_dir::random_id;
use chronos_core::catalog::NodeInfo;
use futures::future::join_all;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a member that comes back looks for itself among the seeds.
const SEEKING: Duration = Duration::from_secs(5);
/// What a node waits for is said again this often.
const REMINDER: Duration = Duration::from_secs(30);
/// Members that are asked for the catalog's leader in one go.
const MOST_HINTS: usize = 32;

/// Waits until this node is a member of a cluster: at once if its disk says so, else by founding one
/// with the other seeds, or by joining one. Its service of membership has to be served meanwhile.
///
/// # Errors
/// What an operator has to mend: the seeds belong to two clusters, the cluster refuses this disk for
/// good, or the disk cannot be written.
pub async fn obtain(peers: &Peers, me: &Arc<Introductions>) -> anyhow::Result<Membership> {
    let mut notes = Notes::default();
    loop {
        let standing = me.standing();
        if let Standing::Member(membership) = &standing {
            seek_itself(me).await;
            locate(peers, membership);
            return Ok(membership.clone());
        }
        let mut changed = me.watch();
        if !take_a_step(me, standing, &mut notes).await? {
            // Somebody else's call may take this node further.
            let _ = tokio::time::timeout(PAUSE, changed.changed()).await;
        }
    }
}

/// A member that comes back looks for itself among the seeds, so that it does not tell others a name
/// that they may not know. It does not wait long: the finder goes on looking.
async fn seek_itself(me: &Introductions) {
    let cluster = &me.config().cluster;
    let seeds: Vec<_> = cluster.seeds.iter().chain(&cluster.join).cloned().collect();
    let looking = async {
        while me.seeks_itself() {
            let asked = ask_all(me, &seeds, &[]).await;
            if let Some(seed) = &asked.found_as {
                me.found_as(seed);
            } else if asked.round.is_complete || seeds.is_empty() {
                return;
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    let _ = tokio::time::timeout(SEEKING, looking).await;
    me.has_looked();
}

/// Where the founding's nodes were. Who moved since is found by the finder.
fn locate(peers: &Peers, membership: &Membership) {
    for (number, info) in membership.founding.iter().flatten() {
        if *number != membership.me {
            peers.locate(*number, &info.cluster_addr);
        }
    }
}

/// Asks everybody, and does what follows. Returns whether the node got further.
async fn take_a_step(
    me: &Arc<Introductions>,
    standing: Standing,
    notes: &mut Notes,
) -> anyhow::Result<bool> {
    // A call of another node may have met a disk that cannot be written.
    me.check()?;
    let cluster = &me.config().cluster;
    let seeds = match me.joins_only() {
        true => &cluster.join,
        false => &cluster.seeds,
    };
    let asked = ask_all(me, seeds, &founding_addresses(&standing)).await;
    me.see(asked.round.disks());
    asked.found_as.iter().for_each(|seed| me.found_as(seed));
    if me.standing() != standing {
        // Answers to questions that were asked before say nothing of what is.
        return Ok(true);
    }
    let decided = Me {
        disk: me.disk(),
        standing: &standing,
        joins_only: me.joins_only(),
    };
    match (decide(decided, &asked.round), standing) {
        (Action::Done, _) => Ok(true),
        (Action::Wait(waiting), _) => {
            notes.waits(&waiting, &asked);
            Ok(false)
        }
        (Action::Refuse(trouble), _) => Err(trouble.into()),
        (Action::Found(nodes), standing) => found(me, standing, nodes).await,
        (Action::Ask, Standing::Proposed(founding)) => gather(me, founding, &asked, notes).await,
        (Action::Enter, Standing::Accepted(founding)) => {
            enter(me, Standing::Accepted, founding).await
        }
        (Action::Forget, standing) => {
            tracing::info!("the founding that this node took part in is given up");
            Ok(me.advance(standing, Standing::Fresh).await?)
        }
        (Action::Join(cluster_id), Standing::Fresh) => {
            join(me, cluster_id, &asked.round, notes).await
        }
        // `decide` gives each of these only to the standing above.
        (Action::Ask | Action::Enter | Action::Join(_), _) => Ok(false),
    }
}

fn founding_addresses(standing: &Standing) -> Vec<String> {
    match standing {
        Standing::Proposed(founding) | Standing::Accepted(founding) => {
            let nodes = founding.nodes.iter();
            nodes.map(|(_, info)| info.cluster_addr.clone()).collect()
        }
        Standing::Fresh | Standing::Member(_) => Vec::new(),
    }
}

async fn found(
    me: &Arc<Introductions>,
    standing: Standing,
    nodes: Vec<NodeInfo>,
) -> anyhow::Result<bool> {
    let partitions = &me.config().partitions;
    let founding = Founding::new(
        random_id()?,
        me.disk(),
        partitions.count,
        partitions.replication_factor,
        nodes,
    );
    tracing::info!(
        cluster = format!("{:032x}", founding.cluster_id),
        nodes = founding.nodes.len(),
        partitions = founding.partitions,
        replication_factor = founding.replication_factor,
        "this node proposes to found a cluster"
    );
    Ok(me.advance(standing, Standing::Proposed(founding)).await?)
}

/// Asks the others to accept what this node proposed. If all did, the founding holds.
async fn gather(
    me: &Arc<Introductions>,
    founding: Founding,
    asked: &Asked,
    notes: &mut Notes,
) -> anyhow::Result<bool> {
    let others = (founding.nodes.iter()).filter(|(_, info)| info.disk != me.disk());
    let answers = join_all(others.map(async |(_, info)| {
        let address = asked.ways.get(&info.disk).unwrap_or(&info.cluster_addr);
        match membership_client::accept(me.dialer(), &founding, address).await {
            Ok(Ok(())) => None,
            Ok(Err(stance)) => Some(format!("{} is {stance}", info.name)),
            Err(error) => Some(format!("{} does not answer: {error}", info.name)),
        }
    }));
    let missing: Vec<String> = answers.await.into_iter().flatten().collect();
    if missing.is_empty() {
        return enter(me, Standing::Proposed, founding).await;
    }
    notes.say(&format!(
        "not every node has accepted the founding yet: {}",
        missing.join("; ")
    ));
    Ok(false)
}

/// The founding holds: from now on this node is a member.
async fn enter(
    me: &Arc<Introductions>,
    was: fn(Founding) -> Standing,
    founding: Founding,
) -> anyhow::Result<bool> {
    let member = founding.member(me.disk());
    let member = member.ok_or_else(|| anyhow::anyhow!("the founding does not name this node"))?;
    tracing::info!(
        cluster = format!("{:032x}", member.cluster_id),
        number = member.me,
        "the cluster is founded"
    );
    Ok(me.advance(was(founding), Standing::Member(member)).await?)
}

async fn join(
    me: &Arc<Introductions>,
    cluster_id: u128,
    round: &Round,
    notes: &mut Notes,
) -> anyhow::Result<bool> {
    let members = round.seeds.iter().chain(&round.others);
    let addresses = members
        .filter(|heard| heard.stance.cluster() == Some(cluster_id))
        .map(|heard| heard.node.cluster_addr.clone());
    match ask_for_number(me, cluster_id, addresses.collect()).await? {
        Err(why) => {
            notes.say(&format!(
                "the cluster does not let this node join yet: {why}"
            ));
            Ok(false)
        }
        Ok(membership) => {
            tracing::info!(
                cluster = format!("{cluster_id:032x}"),
                number = membership.me,
                "this node has joined the cluster"
            );
            Ok(me
                .advance(Standing::Fresh, Standing::Member(membership))
                .await?)
        }
    }
}

/// The cluster will not have this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The disk was removed.
    #[error(
        "this node was removed from its cluster, or its name was given to another data directory; to come back as \
         a new node, start with an empty -data-dir"
    )]
    Gone,
    /// The disk is known under another name.
    #[error(
        "another node of the cluster has this data directory's identity: the directory was copied, or renamed; \
         start with an empty -data-dir, or the -node-id it had"
    )]
    Taken,
}

/// Tells the cluster where this node is, and as whom it is known there: asks those at `addresses`, and
/// whoever they say leads the catalog. The inner error says why to try again.
///
/// # Errors
/// See [`Rejected`].
pub(super) async fn ask_for_number(
    me: &Introductions,
    cluster_id: u128,
    addresses: VecDeque<String>,
) -> Result<Result<Membership, String>, Rejected> {
    let (mut waiting, mut asked) = (addresses, BTreeSet::new());
    let mut why = "no member is known".to_owned();
    while let Some(address) = waiting.pop_front() {
        if asked.len() >= MOST_HINTS || !asked.insert(address.clone()) {
            continue;
        }
        match membership_client::join(me, Some(cluster_id), &address).await {
            Ok(Joined::Member(number, info)) => {
                return Ok(Ok(Membership {
                    cluster_id: info.id,
                    me: number,
                    partitions: info.partitions,
                    replication_factor: info.replication_factor,
                    founding: None,
                    voters: BTreeSet::new(),
                }));
            }
            Ok(Joined::Gone) => return Err(Rejected::Gone),
            Ok(Joined::Taken) => return Err(Rejected::Taken),
            Ok(Joined::NotLeader(Some(leader))) => waiting.push_front(leader),
            Ok(Joined::NotLeader(None)) => why = "the catalog's leader is not known".to_owned(),
            Ok(Joined::OtherCluster(detail)) => {
                why = format!("{address} is in another cluster: {detail}")
            }
            Ok(Joined::Later(detail)) => why = format!("{address}: {detail}"),
            Err(error) => why = error.to_string(),
        }
    }
    Ok(Err(why))
}

/// Says what the node waits for: when that changes, and now and then.
#[derive(Default)]
struct Notes {
    said: Option<(String, Instant)>,
}

impl Notes {
    fn waits(&mut self, waiting: &Waiting, asked: &Asked) {
        match waiting {
            Waiting::Seeds if !asked.silent.is_empty() => {
                let silent = asked.silent.join(", ");
                self.say(&format!("{waiting}; no answer from {silent}"));
            }
            _ => self.say(&waiting.to_string()),
        }
    }

    fn say(&mut self, line: &str) {
        let is_news = match &self.said {
            Some((said, at)) => said != line || at.elapsed() >= REMINDER,
            None => true,
        };
        if is_news {
            tracing::warn!("waiting to become a member of a cluster: {line}");
            self.said = Some((line.to_owned(), Instant::now()));
        }
    }
}
