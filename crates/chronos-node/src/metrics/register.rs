//! Makes a metric from its definition.

use prometheus::core::Collector;
use prometheus::{HistogramOpts, Opts, Registry};

use super::definitions::{Definition, Kind};
use super::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
};

/// A registry that takes definitions.
///
/// A definition that Prometheus refuses is a mistake in this crate that the first test shows, so
/// these methods panic instead of returning errors.
pub(super) struct Register<'a>(pub(super) &'a Registry);

impl Register<'_> {
    pub(super) fn counter(&self, definition: &Definition) -> IntCounter {
        self.keep(IntCounter::with_opts(opts(definition)))
    }

    pub(super) fn counters(&self, definition: &Definition) -> IntCounterVec {
        self.keep(IntCounterVec::new(opts(definition), definition.labels))
    }

    pub(super) fn gauge(&self, definition: &Definition) -> IntGauge {
        self.keep(IntGauge::with_opts(opts(definition)))
    }

    pub(super) fn gauges(&self, definition: &Definition) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(opts(definition), definition.labels))
    }

    pub(super) fn real_gauge(&self, definition: &Definition) -> Gauge {
        self.keep(Gauge::with_opts(opts(definition)))
    }

    pub(super) fn real_gauges(&self, definition: &Definition) -> GaugeVec {
        self.keep(GaugeVec::new(opts(definition), definition.labels))
    }

    pub(super) fn histogram(&self, definition: &Definition) -> Histogram {
        self.keep(Histogram::with_opts(histogram_opts(definition)))
    }

    pub(super) fn histograms(&self, definition: &Definition) -> HistogramVec {
        self.keep(HistogramVec::new(
            histogram_opts(definition),
            definition.labels,
        ))
    }

    pub(super) fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let metric = made.expect("a metric's definition is valid");
        self.0
            .register(Box::new(metric.clone()))
            .expect("a metric is registered once");
        metric
    }
}

pub(super) fn opts(definition: &Definition) -> Opts {
    Opts::new(definition.name, definition.help)
}

fn histogram_opts(definition: &Definition) -> HistogramOpts {
    let opts = HistogramOpts::new(definition.name, definition.help);
    match definition.kind {
        Kind::Histogram(bounds) => opts.buckets(bounds.to_vec()),
        Kind::Counter | Kind::Gauge => opts,
    }
}
