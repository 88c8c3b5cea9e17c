//! Messages that keep an event as the bytes it has on the wire.
//!
//! An embedded message and a `bytes` field are encoded alike, so an event can be taken out
//! of a request, checked by [`scan_event`], stored, and put into a delivery without ever
//! being decoded or encoded again.

mod delivery;
mod embedded;
mod publish;
mod replay;
mod scan;
pub(crate) mod services;
mod stored_event;

pub use delivery::{BatchedEvent, Delivery};
pub use publish::{PublishBatchRequest, PublishRequest};
pub use replay::ReplayEvent;
pub use scan::{EventFields, ScanError, scan_event};
pub use services::events::event_service_client;
pub use stored_event::{Stamp, StoredEvent};

/// Event meta key that routes the event instead of its message_id.
pub const PARTITION_KEY: &str = "partition_key";

/// Event meta key that, when "true", asks for an fsync before the answer.
pub const DURABLE_ACK: &str = "cronos.durable_ack";
