//! Batches of deliveries, answered together.

use std::time::Duration;

use chronos_proto::cronos_db::{self, Event};
use tokio::sync::mpsc;

use super::session::{Arrival, Order};
use super::{AckHandle, AckReceipt};
use crate::Error;

/// One event of a batch.
#[derive(Debug)]
pub struct BatchEvent {
    event: Event,
    attempt: u32,
}

/// Events, due now, for this member, with one answer for all of them.
#[derive(Debug)]
pub struct Batch {
    events: Vec<BatchEvent>,
    ack_timeout: Duration,
    handle: AckHandle,
}

impl BatchEvent {
    /// The event, with what the server says about it.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// 1 for the first delivery of this event to the group, then counting up.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The event.
    pub fn into_event(self) -> Event {
        self.event
    }
}

impl Batch {
    /// The events, at least one.
    pub fn events(&self) -> &[BatchEvent] {
        &self.events
    }

    /// After how long without an answer the server delivers the events again.
    pub fn ack_timeout(&self) -> Duration {
        self.ack_timeout
    }

    /// The events, and the handle that answers for all of them.
    pub fn into_parts(self) -> (Vec<BatchEvent>, AckHandle) {
        (self.events, self.handle)
    }

    /// Says that all events are processed.
    pub fn ack(self) -> AckReceipt {
        self.handle.ack()
    }

    /// Says that none could be processed. See [`AckHandle::nack`].
    pub fn nack(self, reason: impl Into<String>) -> AckReceipt {
        self.handle.nack(reason)
    }

    /// Says that all are processed but those at these positions of [`Self::events`], which are
    /// delivered again, or become dead letters, each by itself.
    pub fn ack_except(
        self,
        failed: impl IntoIterator<Item = u32>,
        reason: impl Into<String>,
    ) -> AckReceipt {
        let failed = failed.into_iter().collect();
        self.handle.settle_except(failed, reason.into())
    }
}

impl Batch {
    /// Says that the first `count` events are processed, and nothing of the others.
    pub fn ack_first(self, count: u32) -> AckReceipt {
        match count as usize >= self.events.len() {
            true => self.handle.ack(),
            false => self.handle.settle_only((0..count).collect()),
        }
    }
}

impl Arrival for Batch {
    const BATCHED: bool = true;

    fn arrive(
        message: cronos_db::Delivery,
        orders: mpsc::UnboundedSender<Order>,
    ) -> Result<Self, Error> {
        let single = message.event.map(|event| BatchEvent {
            event,
            attempt: u32::try_from(message.attempt).unwrap_or(0),
        });
        let batched = message.batched.into_iter().filter_map(|batched| {
            let event = batched.event?;
            let attempt = u32::try_from(batched.attempt).unwrap_or(0);
            Some(BatchEvent { event, attempt })
        });
        // A server that knows no batches sends single events.
        let events: Vec<_> = single.into_iter().chain(batched).collect();
        let next_offset = (events.last())
            .ok_or(Error::Unexpected("delivery without an event"))?
            .event
            .offset
            .saturating_add(1);
        Ok(Self {
            events,
            ack_timeout: Duration::from_millis(u64::try_from(message.ack_timeout_ms).unwrap_or(0)),
            handle: AckHandle {
                delivery_id: message.delivery_id,
                next_offset,
                orders,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive(message: cronos_db::Delivery) -> (Batch, mpsc::UnboundedReceiver<Order>) {
        let (orders, inbox) = mpsc::unbounded_channel();
        (Batch::arrive(message, orders).unwrap(), inbox)
    }

    fn batched(offset: i64) -> cronos_db::BatchedEvent {
        cronos_db::BatchedEvent {
            event: Some(Event {
                offset,
                ..Event::default()
            }),
            attempt: 2,
            lateness_ms: 0,
        }
    }

    #[test]
    fn one_request_answers_a_batch() {
        let message = cronos_db::Delivery {
            delivery_id: "id".into(),
            batched: vec![batched(5), batched(6)],
            ..cronos_db::Delivery::default()
        };
        let (batch, mut inbox) = arrive(message);
        assert_eq!(batch.events().len(), 2);
        assert_eq!(batch.events()[1].attempt(), 2);
        let _receipt = batch.ack_except([1], "why");
        let Ok(Order::Settle(settle)) = inbox.try_recv() else {
            panic!("no settle");
        };
        let request = settle.request;
        assert_eq!(
            (request.delivery_id.as_str(), request.success),
            ("id", true)
        );
        assert_eq!((request.failed, request.error), (vec![1], "why".into()));
        assert_eq!(request.next_offset, 7);
    }

    #[test]
    fn a_server_without_batches_serves_one_event_each() {
        let message = cronos_db::Delivery {
            event: Some(Event::default()),
            attempt: 1,
            ..cronos_db::Delivery::default()
        };
        assert_eq!(arrive(message).0.events().len(), 1);
        let (orders, _inbox) = mpsc::unbounded_channel();
        assert!(Batch::arrive(cronos_db::Delivery::default(), orders).is_err());
    }
}
