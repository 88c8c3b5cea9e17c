//! One round of asking: every seed, and whoever is known from elsewhere.

use super::founding::Round;
use super::introductions::Introductions;
use super::membership_client::{self, NoAnswer};
use super::wire::Introduced;
use crate::config::Address;
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// For the addresses of a name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// Addresses of one seed that are asked. A name with more is not a node's.
const MOST_ADDRESSES: usize = 64;

/// What a round brought.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub round: Round,
    /// Where each disk answered.
    pub ways: BTreeMap<u128, String>,
    /// The first seed that is this node.
    pub found_as: Option<Address>,
    /// Seeds that did not answer, or not wholly.
    pub silent: Vec<String>,
}

/// Asks all seeds, and the nodes at the `other` addresses, at the same time.
pub(super) async fn ask_all(me: &Introductions, seeds: &[Address], other: &[String]) -> Asked {
    let seeds_asked = join_all(seeds.iter().map(|seed| ask_seed(me, seed)));
    let others_asked = join_all(
        other
            .iter()
            .map(|address| membership_client::hello(me, address)),
    );
    let (from_seeds, from_others) = tokio::join!(seeds_asked, others_asked);

    let mut asked = Asked::default();
    asked.round.is_complete = !seeds.is_empty();
    for (seed, answers) in seeds.iter().zip(from_seeds) {
        if !answers.is_complete {
            asked.round.is_complete = false;
            asked.silent.push(seed.to_string());
        }
        if answers.is_only(me.disk()) && asked.found_as.is_none() {
            asked.found_as = Some(seed.clone());
        }
        for (address, introduced) in answers.heard {
            let disk = introduced.heard.node.disk;
            asked.ways.insert(disk, address);
            asked.round.seeds.push(introduced.heard);
        }
    }
    for (address, answer) in other.iter().zip(from_others) {
        if let Ok(introduced) = answer {
            let disk = introduced.heard.node.disk;
            asked.ways.entry(disk).or_insert_with(|| address.clone());
            asked.round.others.push(introduced.heard);
        }
    }
    asked
}

/// What was heard behind one seed.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// With the address that answered.
    pub heard: Vec<(String, Introduced)>,
    /// Whether everybody behind the seed answered.
    pub is_complete: bool,
}

impl Answers {
    /// Whether this disk is behind the seed and no other: a name of several nodes is nobody's.
    pub(super) fn is_only(&self, disk: u128) -> bool {
        let mut disks = self.heard.iter().map(|(_, it)| it.heard.node.disk);
        !self.heard.is_empty() && disks.all(|it| it == disk)
    }
}

/// Asks every address that the seed's name has. A name may stand for several nodes, and a node may
/// have an address of each family while it listens on one: so one family has to answer wholly.
pub(super) async fn ask_seed(me: &Introductions, seed: &Address) -> Answers {
    let lookup = tokio::net::lookup_host((seed.host.as_str(), seed.port));
    let addresses: BTreeSet<SocketAddr> = match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) | Err(_) => return Answers::default(),
    };
    let asked = addresses.iter().take(MOST_ADDRESSES).map(async |address| {
        let text = address.to_string();
        (*address, membership_client::hello(me, &text).await)
    });
    let answers: Vec<(SocketAddr, Result<Introduced, NoAnswer>)> = join_all(asked).await;
    let is_whole = |is_ipv6| {
        let mut family = answers
            .iter()
            .filter(|(to, _)| to.is_ipv6() == is_ipv6)
            .peekable();
        family.peek().is_some() && family.all(|(_, answer)| answer.is_ok())
    };
    let is_complete = addresses.len() <= MOST_ADDRESSES && (is_whole(false) || is_whole(true));
    for (_, answer) in &answers {
        if let Err(error) = answer {
            tracing::debug!(seed = %seed, %error, "a seed does not answer");
        }
    }
    Answers {
        is_complete,
        heard: (answers.into_iter())
            .filter_map(|(address, answer)| Some((address.to_string(), answer.ok()?)))
            .collect(),
    }
}
