//! The metrics of TLS, by listener.

use super::define;
use super::register::Register;
use super::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

pub(super) struct Families {
    expiry_seconds: IntGaugeVec,
    failed: IntCounterVec,
}

/// TLS on one listener.
pub struct TlsMetrics {
    /// When the certificate expires, Unix seconds.
    pub expiry_seconds: IntGauge,
    /// Handshakes that failed.
    pub failed: IntCounter,
}

impl Families {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self {
            expiry_seconds: register.gauges(&define::TLS_EXPIRY),
            failed: register.counters(&define::TLS_FAILED),
        }
    }

    pub(super) fn of(&self, listener: &str) -> TlsMetrics {
        TlsMetrics {
            expiry_seconds: self.expiry_seconds.with_label_values(&[listener]),
            failed: self.failed.with_label_values(&[listener]),
        }
    }
}
