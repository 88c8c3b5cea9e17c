//! Replay: stored events again, by offset or by time, whether they have fired or not.

use super::status;
use super::subscribe::stored;
use crate::engine::{Engine, Handle, ReadError, clock};
use chronos_core::mutant;
use chronos_proto::cronos_db::ReplayRequest;
use chronos_proto::raw;
use futures::stream::Stream;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Events read at a time.
const READ_EVENTS: u64 = 256;
/// Events that wait for the client to take them.
const BUFFER: usize = 512;
/// Events of an offset replay that names no count.
const DEFAULT_COUNT: u64 = 1000;
/// Pause per event at speed 1; speed `s` divides it.
const PACE: Duration = Duration::from_millis(10);

/// What to replay.
#[derive(Debug, Clone)]
struct Plan {
    topic: String,
    from: u64,
    upto: u64,
    most: u64,
    /// Inclusive range of schedule_ts, in time mode.
    schedule_ms: Option<(i64, i64)>,
    pause: Option<Duration>,
}

/// Serves one call.
pub fn serve(
    engine: &Engine,
    request: ReplayRequest,
) -> Result<impl Stream<Item = Result<raw::ReplayEvent, Status>> + Send + use<>, Status> {
    let number = u32::try_from(request.partition_id)
        .map_err(|_| Status::unknown("partition_id must be 0 or greater"))?;
    let handle = engine
        .partition(number)
        .ok_or_else(|| status::no_such_partition(request.partition_id))?;
    let plan = plan(request, handle);
    let handle = handle.clone();
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(async move { replay(&handle, plan, sender).await });
    Ok(ReceiverStream::new(receiver))
}

fn plan(request: ReplayRequest, handle: &Handle) -> Plan {
    let next_offset = handle.state.lock().next_offset();
    let by_time = request.start_ts > 0 || request.end_ts > 0;
    let end_ts = if request.end_ts > 0 {
        request.end_ts
    } else {
        clock::now_ms()
    };
    let paced = request.speed.is_finite() && request.speed > 0.0 && request.speed != 1.0;
    Plan {
        topic: request.topic,
        from: if by_time {
            0
        } else {
            request.start_offset.max(0) as u64
        },
        upto: next_offset,
        most: match u64::try_from(request.count) {
            _ if by_time => u64::MAX,
            Ok(0) | Err(_) => DEFAULT_COUNT,
            Ok(count) => count,
        },
        schedule_ms: by_time.then_some((request.start_ts, end_ts)),
        pause: paced.then(|| PACE.div_f64(request.speed.max(1e-3))),
    }
}

type Sender = mpsc::Sender<Result<raw::ReplayEvent, Status>>;

/// Sends the events of the plan until it is done or the client is gone.
async fn replay(handle: &Handle, plan: Plan, sender: Sender) {
    let (mut at, mut sent) = (plan.from, 0);
    while at < plan.upto && sent < plan.most {
        let (events, next) = match read(handle, &plan, at) {
            Ok(read) => read,
            Err(error) => {
                let _ = sender.send(Err(status::of_read(&error))).await;
                return;
            }
        };
        at = next;
        for event in events {
            if sent == plan.most {
                return;
            }
            if mutant!("replay-skips") && event.offset % 7 == 3 {
                continue;
            }
            let event = raw::ReplayEvent {
                event: stored(event, handle.number),
                replay_offset: sent as i64,
                ..raw::ReplayEvent::default()
            };
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
            sent += 1;
            if let Some(pause) = plan.pause {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Reads some events from `at` on that the plan asks for; returns them and where to go on.
fn read(
    handle: &Handle,
    plan: &Plan,
    at: u64,
) -> Result<(Vec<crate::engine::StoredEvent>, u64), ReadError> {
    let batch = handle.events.batch_of(at)?;
    let batch_end = batch.first_offset + batch.count();
    if let Some((start, end)) = plan.schedule_ms
        && (batch.schedule_ms.1 < start || batch.schedule_ms.0 > end)
    {
        return Ok((Vec::new(), batch_end.max(at + 1)));
    }
    let next = batch_end.min(at + READ_EVENTS).min(plan.upto).max(at + 1);
    let offsets: Vec<u64> = (at..next).collect();
    let (mut events, mut failed) = (Vec::new(), None);
    handle.events.read(&offsets, &mut |_, read| match read {
        Ok(event) => events.push(event),
        Err(error) => failed = failed.take().or(Some(error)),
    });
    if let Some(error) = failed {
        return Err(error);
    }
    events.retain(|event| {
        let in_time = plan
            .schedule_ms
            .is_none_or(|(start, end)| (start..=end).contains(&event.schedule_ms));
        in_time && (plan.topic.is_empty() || event.topic() == plan.topic.as_bytes())
    });
    Ok((events, next))
}
