//! Every node serves every call: what is about partitions that other nodes lead goes to them.
//!
//! ```text
//!            ┌─► a node alone: the service, whole
//!  call ─► way ─► forwarded to here: the service, over the partitions that the call names
//!            └─► in a cluster: shares ─┬─► this node's: the service, over its partitions
//!                                      └─► the others': their internal listeners
//! ```
//!
//! A forwarded call names its partitions in metadata, and is refused before it has any effect unless
//! its node leads them all: so it is never forwarded again, and the sender knows that it may ask
//! somebody else. What was not refused and has no answer may have had its effect: it is asked again
//! only where twice is as good as once, and otherwise the client is told that it is not known.
//!
//! | file | holds |
//! |---|---|
//! | `call.rs` | a call's parts: to whom they go, and when they are asked again |
//! | `outcome.rs` | what a failed part means |
//! | `scope.rs` | partition numbers as metadata |
//! | `event_service.rs`, `publish.rs`, `subscribe.rs`, `ack.rs` | EventService |
//! | `partitions.rs`, `schedules.rs`, `dead_letters.rs`, `republish.rs`, `groups.rs`, `topics.rs`, `pauses.rs` | the other services |

mod ack;
mod call;
mod dead_letters;
mod event_service;
mod groups;
mod outcome;
mod partitions;
mod pauses;
mod publish;
mod republish;
mod schedules;
pub mod scope;
mod subscribe;
mod topics;

use super::status;
use super::view::View;
use crate::cluster::routes::{Route, Routes};
use crate::engine::{Engine, Refused};
use call::{Call, Share};
use chronos_core::types::PartitionNumber;
use std::sync::Arc;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// Names the partitions of a forwarded call.
pub const PARTITIONS: &str = "chronos-partitions";
/// `never` when the client wants to ask the leader itself.
pub const FORWARD: &str = "chronos-forward";
/// A node that had a part in the answer, or should be asked instead: `name=address`.
pub const LEADER: &str = "chronos-leader";

/// A service that can serve a part of what the node leads.
pub trait Over {
    /// The same service over these partitions.
    fn over(&self, view: View) -> Self;
}

/// A service with forwarding in front of it.
pub struct Forwarded<S> {
    local: S,
    forwarder: Forwarder,
}

impl<S> Forwarded<S> {
    /// Puts forwarding in front of a service.
    pub fn new(local: S, forwarder: &Forwarder) -> Self {
        Self {
            local,
            forwarder: forwarder.clone(),
        }
    }
}

impl<S: Over> Forwarded<S> {
    /// The service over this node's share.
    fn part(&self, call: &Call, share: &Share) -> S {
        self.local.over(call.view(share))
    }
}

/// What decides where calls go.
#[derive(Clone)]
pub struct Forwarder {
    engine: Arc<Engine>,
    routes: Arc<Routes>,
    internal: bool,
}

/// How a call is served.
enum Way {
    /// By the service as it is.
    Whole,
    /// By the service over these partitions: another node has forwarded it.
    Part(View),
    /// By whoever leads what it is about.
    Spread(Call),
}

impl Forwarder {
    /// For a listener; only an internal one takes forwarded calls.
    pub fn new(engine: &Arc<Engine>, routes: &Arc<Routes>, internal: bool) -> Self {
        Self {
            engine: Arc::clone(engine),
            routes: Arc::clone(routes),
            internal,
        }
    }

    fn way(&self, metadata: &MetadataMap) -> Result<Way, Status> {
        if self.routes.is_alone() {
            return Ok(Way::Whole);
        }
        match metadata.get(PARTITIONS).filter(|_| self.internal) {
            Some(named) => {
                let named = named.to_str().ok();
                let count = self.engine.partition_count();
                let partitions = named
                    .and_then(|named| scope::decode(named, count))
                    .ok_or_else(|| Status::invalid_argument("chronos-partitions is malformed"))?;
                match partitions.iter().find(|number| !self.leads(**number)) {
                    Some(number) => Err(status::of_refused(&Refused::NotLeader(*number))),
                    None => Ok(Way::Part(View::only(Arc::clone(&self.engine), partitions))),
                }
            }
            None => Ok(Way::Spread(Call::new(self.clone(), metadata))),
        }
    }

    /// Whether this node leads and serves a partition.
    fn leads(&self, partition: PartitionNumber) -> bool {
        matches!(self.routes.route(partition), Route::Here)
            && self.engine.partition(partition).is_some()
    }
}

/// Serves a call here and returns, or goes on with a call to be spread.
macro_rules! spread {
    ($self:ident, $request:ident, $method:ident) => {
        match $self.forwarder.way($request.metadata())? {
            Way::Whole => return $self.local.$method($request).await,
            Way::Part(view) => {
                return $crate::edge::forward::Over::over(&$self.local, view)
                    .$method($request)
                    .await
            }
            Way::Spread(call) => call,
        }
    };
}

/// The same for a call of several steps: once it has begun, it is not known to have had no effect.
macro_rules! spread_steps {
    ($self:ident, $request:ident, $method:ident) => {
        match $self.forwarder.way($request.metadata())? {
            Way::Whole => return $self.local.$method($request).await,
            Way::Part(view) => {
                let local = $crate::edge::forward::Over::over(&$self.local, view);
                return (local.$method($request).await).map_err(super::outcome::unmarked);
            }
            Way::Spread(call) => call,
        }
    };
}

/// What asks one node for its share of a unary call.
macro_rules! asking {
    ($self:ident, $call:ident, $client:ident, $method:ident, |$share:ident| $message:expr) => {
        |$share: Share| {
            let message = $message;
            let share = $share;
            let local = $self.part(&$call, &share);
            async move {
                let Some(peer) = &share.peer else {
                    return local.$method(tonic::Request::new(message)).await;
                };
                $client::new(peer.channel())
                    .max_decoding_message_size(chronos_proto::MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(chronos_proto::MAX_MESSAGE_BYTES)
                    .$method(share.request(message))
                    .await
            }
        }
    };
}

/// The same for a call of several steps, which this node too may have begun when it fails.
macro_rules! asking_steps {
    ($self:ident, $call:ident, $client:ident, $method:ident, |$share:ident| $message:expr) => {
        |share: Share| {
            let is_here = share.peer.is_none();
            let ask = asking!($self, $call, $client, $method, |$share| $message);
            let asked = ask(share);
            async move {
                let answer = asked.await;
                answer.map_err(|status| super::outcome::unmarked_if(is_here, status))
            }
        }
    };
}

use {asking, asking_steps, spread, spread_steps};

#[cfg(test)]
mod tests;
