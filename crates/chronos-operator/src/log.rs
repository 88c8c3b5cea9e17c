//! The operator's log. Every line about a reconciliation stands in a span that says of what, and has an
//! id that no other reconciliation has. [`crate::traces`] sends the same spans.

use clap::ValueEnum;
use kube::{Resource, ResourceExt};
use tracing::field::Empty;
use tracing::{Span, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

/// The name of the span of a reconciliation.
pub(crate) const RECONCILIATION: &str = "reconciliation";

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// An object a line, for what collects logs.
    #[default]
    Json,
}

/// What writes the lines that a filter lets through.
pub fn lines<S, W>(format: Format, filter: EnvFilter, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        Format::Text => lines.with_filter(filter).boxed(),
        Format::Json => lines.json().with_filter(filter).boxed(),
    }
}

/// The span of one reconciliation. Its level is that of errors, so that a filter that lets a line
/// through does not take away what the line is about.
pub(crate) fn reconciliation<K: Resource<DynamicType = ()>>(object: &K) -> Span {
    tracing::error_span!(
        RECONCILIATION,
        id = chronos_client::unique_id(),
        kind = %K::kind(&()),
        namespace = object.namespace(),
        // `name` is that of the span itself.
        resource = object.name_any(),
        generation = object.meta().generation,
        otel.status_code = Empty,
    )
}

#[cfg(test)]
mod tests {
    use chronos_tests::captured::Captured;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::api::{ChronosCluster, ChronosClusterSpec};

    /// What is logged in the reconciliation of a cluster.
    fn logged(format: Format, filter: &str) -> Captured {
        let log = Captured::with(|written| {
            let filter = EnvFilter::new(filter);
            tracing_subscriber::registry().with(lines(format, filter, move || written.clone()))
        });
        let mut cluster = ChronosCluster::new("db", ChronosClusterSpec::default());
        cluster.metadata.namespace = Some("shop".to_owned());
        cluster.metadata.generation = Some(7);
        for _ in 0..2 {
            let _in = reconciliation(&cluster).entered();
            tracing::warn!(reason = "NodeJoining", "waiting");
        }
        log
    }

    #[test]
    fn every_line_says_what_it_is_about_whatever_the_filter() {
        for filter in ["info", "warn"] {
            let log = logged(Format::Json, filter);
            let lines = log.objects();
            assert_eq!(lines.len(), 2, "{}", log.text());
            let span = &lines[0]["span"];
            assert_eq!(span["resource"], "db");
            assert_eq!(span["namespace"], "shop");
            assert_eq!(span["kind"], "ChronosCluster");
            assert_eq!(span["generation"], 7);
            assert_eq!(lines[0]["fields"]["reason"], "NodeJoining");
            assert_ne!(span["id"], lines[1]["span"]["id"], "two reconciliations");
        }
    }

    #[test]
    fn text_is_for_people() {
        let text = logged(Format::Text, "info").text();
        assert!(text.contains("waiting") && text.contains("shop"), "{text}");
        assert!(!text.starts_with('{'), "{text}");
    }
}
