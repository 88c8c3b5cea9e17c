//! What the operator counts. All names and labels are here.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::plan::Action;

/// The metrics of an operator.
pub struct Metrics {
    registry: Registry,
    reconciliations: IntCounterVec,
    duration: HistogramVec,
    actions: IntCounterVec,
    pod_restarts: IntCounterVec,
    leader: IntGauge,
}

impl Metrics {
    /// Metrics that are all 0.
    ///
    /// # Errors
    /// When two have the same name, which the test finds.
    pub fn new() -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let metrics = Self {
            registry: Registry::new(),
            reconciliations: counters(
                "chronos_operator_reconciliations_total",
                "Reconciliations, by kind and outcome: ok, or the reason of the failure.",
                &["kind", "outcome"],
            )?,
            duration: HistogramVec::new(
                HistogramOpts::new(
                    "chronos_operator_reconciliation_seconds",
                    "Duration of a reconciliation, by kind.",
                ),
                &["kind"],
            )?,
            actions: counters(
                "chronos_operator_actions_total",
                "What was done to clusters, by reason.",
                &["reason"],
            )?,
            pod_restarts: counters(
                "chronos_operator_pod_restarts_total",
                "Pods that were deleted to be made anew, by reason.",
                &["reason"],
            )?,
            leader: IntGauge::new(
                "chronos_operator_leader",
                "1 while this operator is the one that acts.",
            )?,
        };
        metrics
            .registry
            .register(Box::new(metrics.reconciliations.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.duration.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.actions.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.pod_restarts.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.leader.clone()))?;
        Ok(metrics)
    }

    /// An action was carried out.
    pub fn acted(&self, action: &Action, reason: &str) {
        self.actions.with_label_values(&[reason]).inc();
        if matches!(
            action,
            Action::DeletePod { .. } | Action::ReplaceDisk { .. }
        ) {
            self.pod_restarts.with_label_values(&[reason]).inc();
        }
    }

    /// A reconciliation ended.
    pub fn reconciled(&self, kind: &str, outcome: &str, seconds: f64) {
        self.reconciliations
            .with_label_values(&[kind, outcome])
            .inc();
        self.duration.with_label_values(&[kind]).observe(seconds);
    }

    /// This operator acts, or does no more.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Prometheus' text format.
    ///
    /// # Errors
    /// When a metric cannot be written, which would be a mistake of this file.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Disruption;

    #[test]
    fn what_was_done_is_counted_by_reason() {
        let metrics = Metrics::new().unwrap();
        let restart = Action::DeletePod {
            ordinal: 1,
            uid: String::new(),
            why: Disruption::RollingUpdate,
        };
        metrics.acted(&restart, "RollingUpdate");
        metrics.acted(&Action::Undrain(1), "NodeUndrained");
        metrics.reconciled("ChronosCluster", "ok", 0.1);
        metrics.leads(true);
        let text = metrics.render().unwrap();
        for line in [
            "chronos_operator_pod_restarts_total{reason=\"RollingUpdate\"} 1",
            "chronos_operator_actions_total{reason=\"NodeUndrained\"} 1",
            "chronos_operator_reconciliations_total{kind=\"ChronosCluster\",outcome=\"ok\"} 1",
            "chronos_operator_leader 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
