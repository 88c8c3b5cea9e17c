//! Which node a call is meant for. A node that got a new disk is another node at the same address: what
//! is asked of the one that is gone must not be answered by it, or it would be taken for that one.

use chronos_core::types::NodeId;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Names the recipient in a call's metadata.
const TO: &str = "chronos-to";

/// Names the recipient of each call.
#[derive(Debug, Clone, Copy)]
pub struct To(pub NodeId);

impl Interceptor for To {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let node = MetadataValue::from(self.0);
        request.metadata_mut().insert(TO, node);
        Ok(request)
    }
}

/// Refuses what is not meant for this node, before it has any effect.
///
/// # Errors
/// [`Code::Unavailable`](tonic::Code::Unavailable): the one that is asked does not answer.
pub fn check(me: NodeId, metadata: &MetadataMap) -> Result<(), Status> {
    let meant = metadata.get(TO).and_then(|value| value.to_str().ok());
    match meant.and_then(|value| value.parse::<NodeId>().ok()) {
        Some(node) if node == me => Ok(()),
        Some(node) => Err(Status::unavailable(format!(
            "this is node {me}, and node {node} is not here"
        ))),
        None => Err(Status::invalid_argument(
            "calls between nodes name the node that they are meant for",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn only_what_is_meant_for_a_node_is_taken() {
        let asked = To(4).call(Request::new(())).unwrap();
        assert!(check(4, asked.metadata()).is_ok());
        let refused = check(2, asked.metadata()).unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        let refused = check(4, &MetadataMap::new()).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}
