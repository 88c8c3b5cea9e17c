//! The one table from errors to gRPC statuses. No catch-all arm: a new error needs a decision here.
//!
//! `UNAVAILABLE` says that the request surely had no effect and may be sent again.

use crate::engine::{ReadError, Refused};
use chronos_core::types::PartitionNumber;
use tonic::Status;

/// A topic that was not created, where none is created by being used.
pub fn no_such_topic(topic: &str) -> Status {
    Status::not_found(format!(
        "topic {topic} does not exist: create it with `chronosctl topic create {topic}`, or start \
         the node with -auto-create-topics"
    ))
}

/// Marks a status: the partition that surely did nothing of what it was asked.
pub const NOT_TAKEN: &str = "chronos-not-taken";

/// What a request to a partition failed with.
pub fn of_refused(refused: &Refused) -> Status {
    match refused {
        Refused::Stopping(number) => not_taken(Status::unavailable(refused.to_string()), *number),
        Refused::NoCatalog => Status::unavailable(refused.to_string()),
        Refused::NotLeader(number) => {
            not_taken(Status::failed_precondition(refused.to_string()), *number)
        }
        Refused::Unknown(_) => Status::aborted(refused.to_string()),
        Refused::Failed(_) => Status::internal(refused.to_string()),
    }
}

fn not_taken(mut status: Status, partition: PartitionNumber) -> Status {
    if let Ok(value) = partition.to_string().parse() {
        status.metadata_mut().insert(NOT_TAKEN, value);
    }
    status
}

/// What reading a stored event failed with.
pub fn of_read(error: &ReadError) -> Status {
    match error {
        ReadError::Missing { .. } => Status::not_found(error.to_string()),
        ReadError::Damaged { .. } | ReadError::Log(_) | ReadError::Index(_) => {
            Status::data_loss(error.to_string())
        }
    }
}

/// A partition that a client of EventService named does not exist. Existing clients know this one as
/// `UNKNOWN`.
pub fn no_such_partition(partition: i32) -> Status {
    Status::unknown(format!("partition {partition} not found"))
}

/// Too much is under way.
pub fn overloaded() -> Status {
    Status::resource_exhausted(
        "too many bytes of publishes are under way: slow down and try again later",
    )
}

/// A topic's quota is used up; nothing of the request was taken.
pub fn quota(topic: &str, what: &str, limit: u64, wait: std::time::Duration) -> Status {
    let wait_ms = wait.as_micros().div_ceil(1_000).max(1);
    let mut status = Status::resource_exhausted(format!(
        "{what} {limit} of topic {topic} is used up: try again in {wait_ms} ms"
    ));
    if let Ok(value) = wait_ms.to_string().parse() {
        status.metadata_mut().insert("retry-after-ms", value);
    }
    status
}
