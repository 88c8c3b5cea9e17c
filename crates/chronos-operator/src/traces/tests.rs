use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_otlp::WithExportConfig;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::api::{ChronosCluster, ChronosClusterSpec};
use crate::log;

/// A collector that keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

impl Collector {
    /// The collector, and traces that go to it.
    async fn started() -> (Self, Traces) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Self::default();
        let serving = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(format!("http://{address}"))
            .build()
            .unwrap();
        (collector, Traces::by(exporter))
    }

    fn service(&self) -> Value {
        let requests = self.0.lock().unwrap();
        let resource = requests[0].resource_spans[0].resource.clone().unwrap();
        let mut attributes = resource.attributes.into_iter();
        let named = attributes.find(|attribute| attribute.key == "service.name");
        named.unwrap().value.unwrap().value.unwrap()
    }

    fn spans(&self) -> BTreeMap<String, Span> {
        let requests = self.0.lock().unwrap();
        let scopes = requests
            .iter()
            .flat_map(|request| &request.resource_spans)
            .flat_map(|resource| &resource.scope_spans);
        let spans = scopes.flat_map(|scope| &scope.spans);
        spans
            .map(|span| (span.name.clone(), span.clone()))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconciliation_is_a_trace_with_its_requests() {
    let (collector, traces) = Collector::started().await;
    let subscriber = tracing_subscriber::registry().with(traces.layer());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!(target: "kube_client::client", "renewal").in_scope(|| {});
        let mut cluster = ChronosCluster::new("db", ChronosClusterSpec::default());
        cluster.metadata.namespace = Some("shop".to_owned());
        let reconciliation = log::reconciliation(&cluster);
        reconciliation.in_scope(|| {
            let asked =
                tracing::debug_span!(target: "kube_client::client", "HTTP", otel.name = "get");
            asked.in_scope(|| tracing::trace_span!(target: "h2::codec", "frame").in_scope(|| {}));
            tracing::warn!(reason = "NodeJoining", "waiting");
        });
        reconciliation.record("otel.status_code", "ERROR");
    });
    tokio::task::spawn_blocking(|| traces.end()).await.unwrap();

    assert_eq!(collector.service(), Value::StringValue(SERVICE.to_owned()));
    let spans = collector.spans();
    let names: Vec<&str> = spans.keys().map(String::as_str).collect();
    assert_eq!(names, ["get", RECONCILIATION]);
    let (request, whole) = (&spans["get"], &spans[RECONCILIATION]);
    assert_eq!(request.trace_id, whole.trace_id);
    assert_eq!(request.parent_span_id, whole.span_id);
    assert!(whole.parent_span_id.is_empty());
    assert_eq!(whole.status.as_ref().unwrap().code, 2, "it failed");
    assert_eq!(whole.events[0].name, "waiting");
    let says = |key: &str, text: &str| {
        let value = Some(Value::StringValue(text.to_owned()));
        let mut attributes = whole.attributes.iter();
        attributes.any(|at| at.key == key && at.value.as_ref().unwrap().value == value)
    };
    assert!(
        says("resource", "db") && says("namespace", "shop"),
        "{whole:?}"
    );
}
