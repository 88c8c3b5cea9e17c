//! The metrics of gRPC calls, with the names and labels that gRPC dashboards expect.

use std::time::Instant;

use tonic::Code;

use super::define;
use super::register::Register;
use super::{Histogram, HistogramVec, IntCounter, IntCounterVec};

/// Which sides of a call stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One message each way.
    Unary,
    /// The server streams.
    ServerStream,
    /// The client streams.
    ClientStream,
    /// Both stream.
    BidiStream,
}

impl Shape {
    fn label(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::ClientStream => "client_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

pub(super) struct Families {
    started: IntCounterVec,
    handled: IntCounterVec,
    seconds: HistogramVec,
}

impl Families {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self {
            started: register.counters(&define::GRPC_STARTED),
            handled: register.counters(&define::GRPC_HANDLED),
            seconds: register.histograms(&define::GRPC_SECONDS),
        }
    }

    pub(super) fn of(&self, service: &str, method: &str, shape: Shape) -> Rpc {
        let labels = [shape.label(), service, method];
        Rpc {
            started: self.started.with_label_values(&labels),
            seconds: self.seconds.with_label_values(&labels),
            handled: self.handled.clone(),
            ok: self
                .handled
                .with_label_values(&[labels[0], labels[1], labels[2], label(Code::Ok)]),
            labels: labels.map(str::to_owned),
        }
    }
}

/// The handles of one method. Keep one per method and clone it where needed.
#[derive(Clone)]
pub struct Rpc {
    started: IntCounter,
    seconds: Histogram,
    handled: IntCounterVec,
    /// Nearly all calls end so.
    ok: IntCounter,
    labels: [String; 3],
}

impl Rpc {
    /// Counts the begin of a call.
    pub fn start(&self) -> Call {
        self.started.inc();
        Call {
            rpc: self.clone(),
            began: Instant::now(),
            is_over: false,
        }
    }

    fn end(&self, code: Code) {
        if code == Code::Ok {
            self.ok.inc();
        } else {
            let [shape, service, method] = &self.labels;
            let labels = [shape.as_str(), service, method, label(code)];
            self.handled.with_label_values(&labels).inc();
        }
    }
}

/// A call under way. Dropped without [`Call::finish`], it counts as cancelled.
pub struct Call {
    rpc: Rpc,
    began: Instant,
    is_over: bool,
}

impl Call {
    /// Counts the end of the call.
    pub fn finish(mut self, code: Code) {
        self.end(code);
    }

    fn end(&mut self, code: Code) {
        self.is_over = true;
        self.rpc.end(code);
        self.rpc.seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(Code::Cancelled);
        }
    }
}

/// The spelling of other gRPC servers' metrics.
fn label(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
