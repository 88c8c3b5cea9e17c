//! Whether a node may be removed for good.

use super::member;
use chronos_core::placement::{View, needed_of_lost, standing};
use chronos_core::types::NodeId;
use chronos_proto::cronos_db::RemoveNodeRequest;
use tonic::Status;

/// The number of the node that may be removed.
///
/// # Errors
/// NOT_FOUND for a name that no member has, FAILED_PRECONDITION when something would be lost.
pub fn check(view: &View<'_>, asked: &RemoveNodeRequest) -> Result<NodeId, Status> {
    let node = member(view.cluster, &asked.name)?;
    let (name, id) = (&node.info.name, node.id);
    if id != asked.number {
        return Err(Status::failed_precondition(format!(
            "node {name} has number {id}, not {}: another node came back under the name",
            asked.number
        )));
    }
    let of = standing(view).nodes.remove(&id).unwrap_or_default();
    let why_not = match asked.lost {
        true if of.is_alive => Some("is alive: drain it instead".to_owned()),
        true => needed_of_lost(view, id).map(|needed| {
            format!("cannot be given up: {needed}; what is left has to recover first")
        }),
        false if of.replicas > 0 => Some(format!(
            "holds {} replicas: drain it first, or say that its disk is lost",
            of.replicas
        )),
        false if of.votes => Some("votes in the catalog: drain it first".to_owned()),
        false => None,
    };
    match why_not {
        Some(why_not) => Err(Status::failed_precondition(format!(
            "node {name} {why_not}"
        ))),
        None => Ok(id),
    }
}
