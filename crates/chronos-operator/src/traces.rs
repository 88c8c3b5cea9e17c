//! Traces of reconciliations: one for each, with the requests to Kubernetes and to the database in it. They go
//! by OTLP to the collector that the environment names, as the
//! [OpenTelemetry specification](https://opentelemetry.io/docs/specs/otel/protocol/exporter/) has it.

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::log::RECONCILIATION;

/// The variables that name a collector; each is the URL of its gRPC service.
const COLLECTORS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];
/// Whose details are worth it: what Kubernetes is asked, and what the operator asks and does itself.
const DETAILED: [&str; 2] = ["kube_client", "chronos_operator"];
/// What the traces are from when OTEL_SERVICE_NAME does not say.
const SERVICE: &str = "chronos-operator";
/// How long the last spans may take to leave.
const LAST: Duration = Duration::from_secs(2);

/// What sends traces. Spans wait in a queue of bounded length and are dropped when it is full: nothing waits
/// for a collector.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// What sends to the collector that the environment names, if it names one. Runs on a Tokio runtime.
    ///
    /// # Errors
    /// Some variable of the environment has a value that cannot be.
    pub fn wanted() -> Result<Option<Self>, ExporterBuildError> {
        let is_set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        if !COLLECTORS.iter().any(is_set) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_tonic().build()?;
        Ok(Some(Self::by(exporter)))
    }

    fn by(exporter: SpanExporter) -> Self {
        let named = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| SERVICE.to_owned());
        let provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name(named).build())
            .with_batch_exporter(exporter)
            .build();
        Self { provider }
    }

    /// What hands the spans over.
    pub fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SERVICE))
            .with_filter(dynamic_filter_fn(is_part).with_max_level_hint(LevelFilter::DEBUG))
            .boxed()
    }

    /// Sends what is left and ends. Blocks.
    pub fn end(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Reconciliations, and what happens in them: by itself a request is no trace, as that of the Lease's
/// renewal or one that sends traces.
fn is_part<S>(metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let asks = |target: &str| metadata.target().starts_with(target);
    let is_worth_it = *metadata.level() <= Level::INFO || DETAILED.iter().copied().any(asks);
    is_worth_it && (metadata.name() == RECONCILIATION || context.lookup_current().is_some())
}

#[cfg(test)]
mod tests;
