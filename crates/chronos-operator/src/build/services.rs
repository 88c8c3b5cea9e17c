//! The Services: one that gives every pod a name, and one for clients.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{GRPC_PORT, HTTP_PORT, Names, PEER_PORT, metadata, selector};
use crate::api::{ChronosCluster, ServiceType};

/// Headless. It names pods that are not ready too: nodes find each other before any is ready.
pub fn nodes_service(cluster: &ChronosCluster) -> Service {
    let names = Names::of(cluster);
    Service {
        metadata: metadata(cluster, names.nodes_service()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(selector(names.cluster())),
            ports: Some(vec![
                port("grpc", GRPC_PORT, Some("grpc")),
                port("http", HTTP_PORT, Some("http")),
                port("peers", PEER_PORT, None),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Any node that is ready: each forwards to the leader, and tells clients who that is.
pub fn client_service(cluster: &ChronosCluster) -> Service {
    let names = Names::of(cluster);
    let chosen = cluster.spec.service.clone().unwrap_or_default();
    let mut metadata = metadata(cluster, names.client_service());
    metadata.annotations = (!chosen.annotations.is_empty()).then_some(chosen.annotations);
    let service_type = match chosen.service_type.unwrap_or_default() {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(service_type.to_owned()),
            selector: Some(selector(names.cluster())),
            ports: Some(vec![port("grpc", GRPC_PORT, Some("grpc"))]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn port(name: &str, number: i32, protocol: Option<&str>) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        app_protocol: protocol.map(ToOwned::to_owned),
        ..ServicePort::default()
    }
}
