//! Settling deliveries.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use chronos_proto::cronos_db::AckRequest;
use tokio::sync::{mpsc, oneshot};

use super::session::Order;
use crate::Error;

/// The right to settle one delivery, once. Dropped unused, it leaves the delivery to its ack
/// timeout.
pub struct AckHandle {
    pub(super) delivery_id: String,
    pub(super) next_offset: i64,
    pub(super) orders: mpsc::UnboundedSender<Order>,
}

/// The server's answer to a settle. The settle is under way whether this is awaited or not.
///
/// # Errors
/// Resolves to [`Error::Rejected`] when the server refused it, to [`Error::Closed`] when the
/// subscription ended first.
pub struct AckReceipt(oneshot::Receiver<Result<(), Error>>);

/// A settle waiting for its answer.
pub(super) struct Settle {
    pub(super) request: AckRequest,
    pub(super) reply: oneshot::Sender<Result<(), Error>>,
}

impl AckHandle {
    /// The token that names the delivery to the server. Opaque.
    pub fn delivery_id(&self) -> &str {
        &self.delivery_id
    }

    /// Says that the event is processed. Events may be acknowledged in any order.
    pub fn ack(self) -> AckReceipt {
        self.settle(true, String::new(), Vec::new(), Vec::new())
    }

    /// Says that the event could not be processed: the server delivers it again after a
    /// backoff, or gives it to the dead letters when its attempts are used up.
    pub fn nack(self, reason: impl Into<String>) -> AckReceipt {
        self.settle(false, reason.into(), Vec::new(), Vec::new())
    }

    pub(super) fn settle_except(self, failed: Vec<u32>, reason: String) -> AckReceipt {
        self.settle(true, reason, failed, Vec::new())
    }

    pub(super) fn settle_only(self, only: Vec<u32>) -> AckReceipt {
        self.settle(true, String::new(), Vec::new(), only)
    }

    fn settle(self, success: bool, error: String, failed: Vec<u32>, only: Vec<u32>) -> AckReceipt {
        let (reply, receipt) = oneshot::channel();
        // A closed channel drops the reply, which the receipt reports as closed.
        let _ = self.orders.send(Order::Settle(Settle {
            request: AckRequest {
                delivery_id: self.delivery_id,
                success,
                error,
                next_offset: self.next_offset,
                failed,
                only,
            },
            reply,
        }));
        AckReceipt(receipt)
    }
}

impl Future for AckReceipt {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }
}

impl fmt::Debug for AckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckHandle")
            .field("delivery_id", &self.delivery_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AckReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AckReceipt")
    }
}
