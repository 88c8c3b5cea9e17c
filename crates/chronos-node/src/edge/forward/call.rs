//! A call to partitions that may be led elsewhere: its parts go to the leaders, and are asked again
//! when those have changed.

use super::super::status::NOT_TAKEN;
use super::super::view::View;
use super::outcome::{Repeat, told};
use super::{Forwarder, LEADER, PARTITIONS, scope};
use crate::cluster::routes::{Peer, Route};
use crate::engine::Engine;
use chronos_core::types::{NodeId, PartitionNumber};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// How long a call waits for a leader, unless the client is less patient.
const PATIENCE: Duration = Duration::from_secs(5);
/// A leader may be able to answer again without a change of the table: it is asked this often.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A set of partitions.
pub type Partitions = BTreeSet<PartitionNumber>;

/// Partitions of a call that one node leads.
#[derive(Debug, Clone)]
pub struct Share {
    /// The node; `None` for this one.
    pub peer: Option<Arc<Peer>>,
    /// The partitions.
    pub partitions: Arc<Partitions>,
}

impl Share {
    /// What is asked of the node, for these partitions only.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        // Digits, commas and dashes are a valid value.
        if let Ok(value) = scope::encode(&self.partitions).parse() {
            request.metadata_mut().insert(PARTITIONS, value);
        }
        request
    }
}

/// What a leader answered for its share.
pub struct Answer<A> {
    /// Its share.
    pub share: Share,
    /// The answer.
    pub value: A,
}

/// A call under way.
pub struct Call {
    forwarder: Forwarder,
    deadline: Instant,
    /// The client wants to ask the leader itself.
    never: bool,
}

impl Call {
    pub(super) fn new(forwarder: Forwarder, metadata: &MetadataMap) -> Self {
        let patience = patience(metadata).unwrap_or(PATIENCE).min(PATIENCE);
        let never = metadata.get(super::FORWARD);
        Self {
            forwarder,
            deadline: Instant::now() + patience,
            never: never.is_some_and(|value| value == "never"),
        }
    }

    /// The same call, with all its time before it.
    pub fn again(&self) -> Self {
        Self {
            forwarder: self.forwarder.clone(),
            deadline: Instant::now() + PATIENCE,
            never: self.never,
        }
    }

    /// The same call for what every node answers, whatever the client says of forwarding, with less
    /// patience.
    pub fn for_all(self, patience: Duration) -> Self {
        Self {
            never: false,
            deadline: self.deadline.min(Instant::now() + patience),
            ..self
        }
    }

    /// This node's engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.forwarder.engine
    }

    /// All partitions there are.
    pub fn all(&self) -> Partitions {
        (0..self.forwarder.engine.partition_count()).collect()
    }

    /// Whether there is such a partition.
    pub fn exists(&self, partition: i32) -> Option<PartitionNumber> {
        let count = self.forwarder.engine.partition_count();
        u32::try_from(partition).ok().filter(|it| *it < count)
    }

    /// The part of the call that is served here.
    pub fn view(&self, share: &Share) -> View {
        let engine = Arc::clone(&self.forwarder.engine);
        View::only(engine, share.partitions.as_ref().clone())
    }

    /// The shares of the nodes that lead these partitions, and those that nobody is known to lead.
    ///
    /// # Errors
    /// The client does not want the call to be forwarded, and not all of it is for this node.
    pub fn shares(&self, partitions: &Partitions) -> Result<(Vec<Share>, Partitions), Status> {
        let mut shares: BTreeMap<Option<NodeId>, (Option<Arc<Peer>>, Partitions)> = BTreeMap::new();
        let mut leaderless = Partitions::new();
        for partition in partitions {
            let peer = match self.forwarder.routes.route(*partition) {
                Route::Here if self.forwarder.leads(*partition) => None,
                Route::There(peer) if self.never => return Err(led_by(*partition, &peer)),
                Route::There(peer) => Some(peer),
                Route::Here | Route::Unknown if self.never => {
                    return Err(without_leader(&Partitions::from([*partition]), None));
                }
                Route::Here | Route::Unknown => {
                    leaderless.insert(*partition);
                    continue;
                }
            };
            let node = peer.as_ref().map(|peer| peer.node);
            let share = shares
                .entry(node)
                .or_insert_with(|| (peer, Partitions::new()));
            share.1.insert(*partition);
        }
        let shares = shares.into_values().map(|(peer, partitions)| Share {
            peer,
            partitions: Arc::new(partitions),
        });
        Ok((shares.collect(), leaderless))
    }

    /// Asks the leaders of these partitions, each for its share, and again where that helps, until
    /// each partition is answered. Nobody is asked before all of them have leaders.
    pub async fn ask<A, F>(
        &self,
        partitions: Partitions,
        repeat: Repeat,
        ask: impl Fn(Share) -> F + Send + Sync,
    ) -> Result<Vec<Answer<A>>, Status>
    where
        F: Future<Output = Result<A, Status>> + Send,
        A: Send,
    {
        let mut open = partitions;
        let mut answers: Vec<Answer<A>> = Vec::new();
        let mut wait = self.waiting();
        loop {
            let (shares, leaderless) = match self.shares(&open) {
                Ok(shares) => shares,
                Err(_) if !answers.is_empty() && repeat == Repeat::Untaken => {
                    return Err(partly_done(&open));
                }
                Err(status) => return Err(status),
            };
            let mut why = None;
            if leaderless.is_empty() {
                for (share, result) in asked(shares, &ask).await {
                    match result {
                        Ok(value) => {
                            open.retain(|partition| !share.partitions.contains(partition));
                            answers.push(Answer { share, value });
                        }
                        Err(status) if repeat.allows(&status) => why = Some(status),
                        Err(status) => return Err(told(status)),
                    }
                }
            }
            if open.is_empty() {
                return Ok(answers);
            }
            if !wait.for_change().await {
                return Err(match (answers.is_empty(), repeat) {
                    (false, Repeat::Untaken) => partly_done(&open),
                    _ => without_leader(&open, why),
                });
            }
        }
    }

    /// Asks the leaders that there are, each for its share, and again where that helps. What each
    /// partition came to is told apart.
    pub async fn ask_each<A, F>(
        &self,
        partitions: Partitions,
        repeat: Repeat,
        ask: impl Fn(Share) -> F + Send + Sync,
    ) -> Result<Vec<Answer<Result<A, Status>>>, Status>
    where
        F: Future<Output = Result<A, Status>> + Send,
        A: Send,
    {
        let mut open = partitions;
        let mut answers = Vec::new();
        let mut wait = self.waiting();
        loop {
            let shares = match self.shares(&open) {
                Ok((shares, _)) => shares,
                Err(status) if answers.is_empty() => return Err(status),
                Err(status) => {
                    answers.push(nobodys(open, status));
                    return Ok(answers);
                }
            };
            let mut why = None;
            for (share, result) in asked(shares, &ask).await {
                let value = match result {
                    Err(status) if repeat.allows(&status) => {
                        why = Some(status);
                        continue;
                    }
                    result => result.map_err(told),
                };
                open.retain(|partition| !share.partitions.contains(partition));
                answers.push(Answer { share, value });
            }
            if open.is_empty() {
                return Ok(answers);
            }
            if !wait.for_change().await {
                let status = without_leader(&open, why);
                answers.push(nobodys(open, status));
                return Ok(answers);
            }
        }
    }

    /// Asks the leader of one partition.
    pub async fn ask_one<A, F>(
        &self,
        partition: PartitionNumber,
        repeat: Repeat,
        ask: impl Fn(Share) -> F + Send + Sync,
    ) -> Result<Answer<A>, Status>
    where
        F: Future<Output = Result<A, Status>> + Send,
        A: Send,
    {
        let answers = self.ask(Partitions::from([partition]), repeat, ask).await?;
        let answer = answers.into_iter().next();
        answer.ok_or_else(|| Status::internal("a partition was asked and nothing came back"))
    }

    /// Whether a share is still its node's.
    pub fn is_still(&self, share: &Share) -> bool {
        share.partitions.iter().all(|partition| {
            match (self.forwarder.routes.route(*partition), &share.peer) {
                (Route::There(peer), Some(before)) => Arc::ptr_eq(&peer, before),
                (Route::Here, None) => true,
                // Whom to ask instead is not known yet.
                (Route::Unknown, _) => true,
                (Route::Here, Some(_)) | (Route::There(_), None) => false,
            }
        })
    }

    /// Changes when the leaders do.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.forwarder.routes.changed()
    }

    /// To wait for other leaders with.
    pub fn waiting(&self) -> Waiting {
        Waiting {
            changed: self.forwarder.routes.changed(),
            deadline: self.deadline,
        }
    }
}

async fn asked<A, F>(
    shares: Vec<Share>,
    ask: &(impl Fn(Share) -> F + Sync),
) -> Vec<(Share, Result<A, Status>)>
where
    F: Future<Output = Result<A, Status>> + Send,
{
    let asked = shares.into_iter().map(|share| {
        let answer = ask(share.clone());
        async move { (share, answer.await) }
    });
    futures::future::join_all(asked).await
}

/// What became of partitions that nobody was asked for.
fn nobodys<A>(partitions: Partitions, status: Status) -> Answer<Result<A, Status>> {
    let share = Share {
        peer: None,
        partitions: Arc::new(partitions),
    };
    let value = Err(status);
    Answer { share, value }
}

/// The answer when some of the partitions have done their part, and it is not known who leads the others.
fn partly_done(open: &Partitions) -> Status {
    Status::aborted(format!(
        "part of the request is done, the rest has no leader (partitions {}): look before you repeat it",
        scope::encode(open)
    ))
}

/// Waits for the table to change, as long as a call may.
pub struct Waiting {
    changed: watch::Receiver<u64>,
    deadline: Instant,
}

impl Waiting {
    /// Returns when it may help to ask again; false when the time is over.
    pub async fn for_change(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return false;
        }
        let until = self.deadline.min(now + ASK_AGAIN);
        // The table lives as long as the forwarder.
        let _ = tokio::time::timeout_at(until, self.changed.changed()).await;
        true
    }
}

/// An answer to the client that says which other nodes had a part in it.
pub fn with_leaders<'a, T>(message: T, shares: impl IntoIterator<Item = &'a Share>) -> Response<T> {
    let mut response = Response::new(message);
    name_leaders(response.metadata_mut(), shares);
    response
}

/// Says which other nodes had a part in an answer.
pub fn name_leaders<'a>(metadata: &mut MetadataMap, shares: impl IntoIterator<Item = &'a Share>) {
    let mut named = BTreeSet::new();
    for peer in shares.into_iter().filter_map(|share| share.peer.as_ref()) {
        if named.insert(peer.node)
            && let Ok(value) = format!("{}={}", peer.name, peer.grpc_addr).parse()
        {
            metadata.append(LEADER, value);
        }
    }
}

/// The answer to a client that wants to ask the leader itself.
fn led_by(partition: PartitionNumber, peer: &Peer) -> Status {
    let mut status = Status::failed_precondition(format!(
        "this node is not the leader of partition {partition}: it is {} at {}",
        peer.name, peer.grpc_addr
    ));
    if let Ok(value) = format!("{}={}", peer.name, peer.grpc_addr).parse() {
        status.metadata_mut().insert(LEADER, value);
    }
    if let Ok(value) = partition.to_string().parse() {
        status.metadata_mut().insert(NOT_TAKEN, value);
    }
    status
}

/// The answer when the time is over and some partitions have no leader that answers.
fn without_leader(partitions: &Partitions, why: Option<Status>) -> Status {
    let named = scope::encode(partitions);
    let why = why.map_or(String::new(), |status| format!(" ({})", status.message()));
    Status::unavailable(format!(
        "there is no leader of partition {named} that answers{why}: try again, retry against the \
         partition leader"
    ))
}

/// The part of the client's own time limit in which it is worth waiting.
fn patience(metadata: &MetadataMap) -> Option<Duration> {
    let value = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    let limit = match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    // The rest is for the answer to arrive.
    Some(limit.mul_f64(0.9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_less_patient_is_answered_in_time() {
        let of = |value: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", value.parse().unwrap());
            patience(&metadata)
        };
        assert_eq!(of("1000m"), Some(Duration::from_millis(900)));
        assert_eq!(of("2S"), Some(Duration::from_millis(1800)));
        assert_eq!(of(""), None);
        assert_eq!(of("m"), None);
        assert_eq!(of("5x"), None);
        assert_eq!(patience(&MetadataMap::new()), None);
    }
}
