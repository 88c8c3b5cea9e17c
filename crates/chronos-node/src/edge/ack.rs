//! Ack: answers to deliveries, one response for each, in order, once it is durable.

use super::delivery_id::DeliveryId;
use crate::delivery::Ack;
use crate::engine::{Answers, Engine, Message, Refused};
use chronos_core::types::{GroupNumber, PartitionNumber};
use chronos_proto::cronos_db::{AckRequest, AckResponse};
use futures::stream::{self, Stream, StreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use tonic::{Status, Streaming};

/// Answers taken together when they arrive together.
const CHUNK: usize = 1024;
/// Chunks of a stream that may wait for the log.
const CHUNKS_UNDER_WAY: usize = 64;
/// Longest reason that is kept of a failure, bytes.
const REASON_BYTES: usize = 1024;

type Reply = (PartitionNumber, oneshot::Receiver<Result<(), Refused>>);

/// Answers of one chunk on their way.
struct Chunk {
    responses: Vec<AckResponse>,
    /// The partition that each response depends on, if any.
    partitions: Vec<Option<PartitionNumber>>,
    replies: Vec<Reply>,
    /// Why the client's side of the call ended early, if it did.
    broken: Option<Status>,
}

/// Serves one call.
pub fn serve(
    engine: Arc<Engine>,
    requests: Streaming<AckRequest>,
) -> impl Stream<Item = Result<AckResponse, Status>> + Send {
    until_broken(requests)
        .ready_chunks(CHUNK)
        .then(move |requests| {
            let engine = Arc::clone(&engine);
            async move { send(&engine, requests).await }
        })
        .map(finish)
        .buffered(CHUNKS_UNDER_WAY)
        .flat_map(stream::iter)
}

/// The requests up to the first error and with it. A transport may repeat the error of a malformed
/// message for ever.
fn until_broken<T>(
    requests: impl Stream<Item = Result<T, Status>>,
) -> impl Stream<Item = Result<T, Status>> {
    let mut broken = false;
    requests.take_while(move |request| {
        let goes_on = !broken;
        broken = request.is_err();
        std::future::ready(goes_on)
    })
}

/// Hands the answers to their partitions, in order.
async fn send(engine: &Engine, requests: Vec<Result<AckRequest, Status>>) -> Chunk {
    let mut chunk = Chunk {
        responses: Vec::new(),
        partitions: Vec::new(),
        replies: Vec::new(),
        broken: None,
    };
    let mut acks: BTreeMap<PartitionNumber, Vec<(GroupNumber, Ack)>> = BTreeMap::new();
    for request in requests {
        let request = match request {
            Ok(request) => request,
            Err(status) => {
                chunk.broken = Some(status);
                break;
            }
        };
        let (response, partition) = match read(engine, &request) {
            Ok(id) => {
                let reason = shortened(request.error);
                let ack = Ack {
                    key: id.key,
                    attempt: id.attempt,
                    success: request.success,
                    reason,
                };
                acks.entry(id.partition).or_default().push((id.group, ack));
                let response = AckResponse {
                    success: true,
                    error: String::new(),
                    committed_offset: request.next_offset,
                };
                (response, Some(id.partition))
            }
            Err(error) => (
                AckResponse {
                    success: false,
                    error: error.into(),
                    committed_offset: 0,
                },
                None,
            ),
        };
        chunk.responses.push(response);
        chunk.partitions.push(partition);
    }
    for (partition, acks) in acks {
        let (reply, answered) = oneshot::channel();
        if let Some(handle) = engine.partition(partition) {
            // A failure to send drops the reply, which `finish` sees.
            let _ = handle.send(Message::Answers(Answers { acks, reply })).await;
        }
        chunk.replies.push((partition, answered));
    }
    chunk
}

/// Waits until the answers are durable.
async fn finish(chunk: Chunk) -> Vec<Result<AckResponse, Status>> {
    let Chunk {
        mut responses,
        partitions,
        replies,
        broken,
    } = chunk;
    for (partition, reply) in replies {
        let refused = match reply.await {
            Ok(Ok(())) => continue,
            Ok(Err(refused)) => refused,
            Err(_) => Refused::Stopping(partition),
        };
        for (response, depends_on) in responses.iter_mut().zip(&partitions) {
            if *depends_on == Some(partition) {
                *response = AckResponse {
                    success: false,
                    error: refused.to_string(),
                    committed_offset: 0,
                };
            }
        }
    }
    let responses = responses.into_iter().map(Ok);
    responses.chain(broken.map(Err)).collect()
}

fn read(engine: &Engine, request: &AckRequest) -> Result<DeliveryId, &'static str> {
    if request.delivery_id.is_empty() {
        return Err("delivery_id is required");
    }
    let id = DeliveryId::decode(&request.delivery_id).ok_or("delivery_id is malformed")?;
    if engine.partition(id.partition).is_none() {
        return Err("delivery_id names a partition that does not exist");
    }
    Ok(id)
}

fn shortened(mut reason: String) -> String {
    if reason.len() > REASON_BYTES {
        let end = (0..=REASON_BYTES)
            .rev()
            .find(|at| reason.is_char_boundary(*at))
            .unwrap_or(0);
        reason.truncate(end);
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_broken_stream_ends_with_its_error_even_if_that_repeats() {
        let forever = stream::iter([Ok(1), Ok(2)])
            .chain(stream::repeat_with(|| Err(Status::internal("broken"))));
        let read: Vec<_> = until_broken(forever).collect().await;
        assert_eq!(read.len(), 3);
        assert!(read[2].is_err());
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        assert_eq!(shortened("short".into()), "short");
        let cut = shortened("é".repeat(600));
        assert_eq!(cut.len(), REASON_BYTES);
        assert!(cut.chars().all(|c| c == 'é'));
    }
}
