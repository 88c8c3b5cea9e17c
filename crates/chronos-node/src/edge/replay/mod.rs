//! Replay: stored events again, in the order of the log, of their times or of their firing.
//!
//! | file | holds |
//! |---|---|
//! | `plan.rs` | what a request asks for, and which events belong to it |
//! | `read.rs` | reading it while retention and compaction run |
//! | `pace.rs` | how fast |
//! | `republish.rs` | publishing what is read |

mod pace;
mod plan;
mod read;
mod republish;

pub use republish::Republisher;

use super::status;
use super::subscribe::stored;
use super::view::View;
use crate::engine::{Handle, ReadError, Refused};
use chronos_core::mutant;
use chronos_proto::cronos_db::ReplayRequest;
use chronos_proto::raw;
use futures::stream::Stream;
use pace::Pace;
use plan::Plan;
use read::{Read, Reader};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Events that wait for the client to take them.
const BUFFER: usize = 512;

/// Events of a replay, and the offset from which on they are stored.
pub struct Replaying<S> {
    /// At or after the first offset asked for.
    pub available_from: u64,
    /// The events.
    pub events: S,
}

/// Serves one call.
pub async fn serve(
    engine: &View,
    request: ReplayRequest,
) -> Result<Replaying<impl Stream<Item = Result<raw::ReplayEvent, Status>> + Send + use<>>, Status>
{
    let (handle, plan) = planned(engine, request)?;
    let reader = Reader::new(engine, handle.clone(), plan.clone());
    let available_from = reader.available_from();
    still_led(&reader)?;
    let available_from = available_from.map_err(|error| status::of_read(&error))?;
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(async move { replay(&handle, plan, reader, sender).await });
    Ok(Replaying {
        available_from,
        events: ReceiverStream::new(receiver),
    })
}

fn planned(engine: &View, request: ReplayRequest) -> Result<(Handle, Plan), Status> {
    let number = u32::try_from(request.partition_id)
        .map_err(|_| Status::unknown("partition_id must be 0 or greater"))?;
    let handle = engine.partition(number).ok_or_else(|| {
        // The lead may have been lost since the call came.
        match engine.missing() == Some(number) {
            true => status::of_refused(&Refused::NotLeader(number)),
            false => status::no_such_partition(request.partition_id),
        }
    })?;
    let plan = Plan::of(request, &handle)?;
    Ok((handle, plan))
}

type Sender = mpsc::Sender<Result<raw::ReplayEvent, Status>>;

/// An error once this node has lost the lead that it had when the replay began: whoever leads now goes
/// on.
fn still_led(reader: &Reader) -> Result<(), Status> {
    match reader.is_led() {
        true => Ok(()),
        false => Err(Status::unavailable(format!(
            "{}, retry against the partition leader",
            Refused::NotLeader(reader.partition())
        ))),
    }
}

/// Reads on, off the threads that serve. What is read, and that there is no more, counts only while
/// this node leads.
async fn read_on(mut reader: Reader) -> Result<(Vec<Read>, Reader), Status> {
    let read = tokio::task::spawn_blocking(move || {
        let read: Result<Vec<Read>, ReadError> = reader.next();
        (read, reader)
    });
    let (read, reader) = read
        .await
        .map_err(|_| Status::unavailable("the server is shutting down"))?;
    // Before an error is told: what is being removed cannot be read.
    still_led(&reader)?;
    let read = read.map_err(|error| status::of_read(&error))?;
    Ok((read, reader))
}

/// Sends the events of the plan until it is done or the client is gone.
async fn replay(handle: &Handle, plan: Plan, mut reader: Reader, sender: Sender) {
    let mut pace = Pace::new(&plan);
    let mut sent = 0;
    while sent < plan.most {
        let events = match read_on(reader).await {
            Ok((events, rest)) => {
                reader = rest;
                events
            }
            Err(status) => {
                let _ = sender.send(Err(status)).await;
                return;
            }
        };
        if events.is_empty() {
            return;
        }
        for read in events {
            if sent == plan.most {
                return;
            }
            if mutant!("replay-skips") && read.event.offset % 7 == 3 {
                continue;
            }
            if let Some(at) = pace.next(event_ms(&read)) {
                tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = sender.closed() => return,
                }
            }
            let event = raw::ReplayEvent {
                event: stored(read.event, handle.number),
                replay_offset: sent as i64,
                skipped: read.skipped as i64,
                axis_ts: read.axis_ms,
            };
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
            sent += 1;
        }
    }
}

/// When an event happened, as far as the pace is concerned: its time on the axis, or else its
/// schedule_ts.
fn event_ms(read: &Read) -> i64 {
    match read.axis_ms {
        0 => read.event.schedule_ms,
        axis_ms => axis_ms,
    }
}

#[cfg(test)]
mod tests;
