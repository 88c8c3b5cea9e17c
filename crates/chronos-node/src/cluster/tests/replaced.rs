//! A node that is gone, and another one at its address.

use super::node::{CLUSTER, Cluster};
use crate::cluster::calls::Calls;
use crate::cluster::routes::Routes;
use crate::cluster::steer::Order;
use crate::engine::{CatalogLeader, Refused};
use chronos_proto::chronos_internal::PulseRequest;
use std::sync::Arc;
use tonic::Code;

#[tokio::test]
async fn who_answers_at_the_address_of_another_node_is_not_taken_for_it() {
    let mut cluster = Cluster::new(1, 1, 1).await;
    let nodes = cluster.start().await;
    let routes = Arc::new(Routes::new(3));
    let (there, gone) = (1, 2);
    for id in [there, gone] {
        routes.locate(id, &cluster.info(there)).unwrap();
    }
    let calls = Calls(routes);
    let pulse = PulseRequest {
        cluster_id: CLUSTER.to_be_bytes().to_vec().into(),
        node: 3,
        ..PulseRequest::default()
    };
    assert!(calls.pulse(there, pulse.clone()).await.is_ok());
    let refused = calls.pulse(gone, pulse).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(calls.reports(there).await.is_ok());
    assert!(calls.reports(gone).await.is_err());
    let steered = calls.steer(gone, 0, Order::Remove(there)).await;
    assert_eq!(steered.unwrap_err().code(), Code::Unavailable);
    let command = cluster.put(there).encode();
    let changed = calls.change(gone, command.into()).await;
    assert!(
        matches!(changed, Err(Refused::NoCatalog)),
        "surely not done"
    );
    for node in nodes {
        node.stop().await;
    }
}
