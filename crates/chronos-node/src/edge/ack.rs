//! Ack: answers to deliveries, one response for each, in order, once it is durable.

use super::batch_id::{self, BatchId};
use super::delivery_id::DeliveryId;
use super::status;
use super::view::View;
use crate::delivery::{Ack, AckRun};
use crate::engine::{Answers, Message, Refused};
use chronos_core::mutant;
use chronos_core::types::{GroupNumber, PartitionNumber};
use chronos_proto::cronos_db::{AckRequest, AckResponse};
use futures::stream::{self, Stream, StreamExt};
use std::collections::BTreeMap;
use tokio::sync::oneshot;
use tonic::{Status, Streaming};

/// Answers taken together when they arrive together.
pub const CHUNK: usize = 1024;
/// Chunks of a stream that may wait for the log.
pub const CHUNKS_UNDER_WAY: usize = 64;
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
    /// Another node asks: it has to know when a partition is not led here.
    is_forwarded: bool,
}

/// Serves one call.
pub fn serve(
    engine: View,
    requests: Streaming<AckRequest>,
) -> impl Stream<Item = Result<AckResponse, Status>> + Send {
    until_broken(requests)
        .ready_chunks(CHUNK)
        .then(move |requests| {
            let engine = engine.clone();
            async move { send(&engine, requests).await }
        })
        .map(finish)
        .buffered(CHUNKS_UNDER_WAY)
        .flat_map(stream::iter)
}

/// Answers some requests, in order.
///
/// # Errors
/// The view names its partitions, and one of them did not take its part.
pub async fn answer(engine: &View, requests: Vec<AckRequest>) -> Result<Vec<AckResponse>, Status> {
    let requests = requests.into_iter().map(Ok).collect();
    let answers = finish(send(engine, requests).await).await;
    answers.into_iter().collect()
}

/// The partition that a delivery's id names, if it looks like one.
pub fn partition_of(delivery_id: &str) -> Option<PartitionNumber> {
    let single = delivery_id.strip_prefix("b:").unwrap_or(delivery_id);
    single.split(':').next()?.parse().ok()
}

/// The requests up to the first error and with it. A transport may repeat the error of a malformed
/// message for ever.
pub fn until_broken<T>(
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
async fn send(engine: &View, requests: Vec<Result<AckRequest, Status>>) -> Chunk {
    let mut chunk = Chunk {
        responses: Vec::new(),
        partitions: Vec::new(),
        replies: Vec::new(),
        broken: None,
        is_forwarded: engine.is_part(),
    };
    let mut answers: BTreeMap<PartitionNumber, Settles> = BTreeMap::new();
    for request in requests {
        let request = match request {
            Ok(request) => request,
            Err(status) => {
                chunk.broken = Some(status);
                break;
            }
        };
        let next_offset = request.next_offset;
        let (response, partition) = match take(engine, request, &mut answers) {
            Ok(partition) => {
                let response = AckResponse {
                    success: true,
                    error: String::new(),
                    committed_offset: next_offset,
                };
                (response, Some(partition))
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
    for (partition, Settles { acks, runs }) in answers {
        let (reply, answered) = oneshot::channel();
        if let Some(handle) = engine.partition(partition) {
            // A failure to send drops the reply, which `finish` sees.
            let _ = handle
                .send(Message::Answers(Answers { acks, runs, reply }))
                .await;
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
        is_forwarded,
    } = chunk;
    for (partition, reply) in replies {
        let refused = match reply.await {
            Ok(Ok(())) => continue,
            Ok(Err(refused)) => refused,
            Err(_) => Refused::Stopping(partition),
        };
        if is_forwarded {
            return vec![Err(status::of_refused(&refused))];
        }
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

/// Answers for one partition.
#[derive(Default)]
struct Settles {
    acks: Vec<(GroupNumber, Ack)>,
    runs: Vec<(GroupNumber, AckRun)>,
}

/// Reads one request; the partition that it is for.
fn take(
    engine: &View,
    request: AckRequest,
    answers: &mut BTreeMap<PartitionNumber, Settles>,
) -> Result<PartitionNumber, &'static str> {
    if request.delivery_id.is_empty() {
        return Err("delivery_id is required");
    }
    // A forwarded answer to a partition that is no longer led here is refused as a whole later.
    let exists = |partition| match engine.is_part() || engine.partition(partition).is_some() {
        true => Ok(partition),
        false => Err("delivery_id names a partition that does not exist"),
    };
    if BatchId::is_one(&request.delivery_id) {
        let id = BatchId::decode(&request.delivery_id).ok_or("delivery_id is malformed")?;
        let partition = exists(id.partition)?;
        let settles = answers.entry(partition).or_default();
        take_batch(id, request, settles)?;
        return Ok(partition);
    }
    let id = DeliveryId::decode(&request.delivery_id).ok_or("delivery_id is malformed")?;
    let partition = exists(id.partition)?;
    if !request.failed.is_empty() || !request.only.is_empty() {
        return Err("failed and only are for batches, delivery_id is of a single delivery");
    }
    let ack = Ack {
        key: id.key,
        attempt: id.attempt,
        success: request.success,
        reason: shortened(request.error),
    };
    let settles = answers.entry(partition).or_default();
    settles.acks.push((id.group, ack));
    Ok(partition)
}

/// What became of a position of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Processed,
    Failed,
}

/// Reads the answer to a batch: runs of what was processed, and each failure by itself.
fn take_batch(id: BatchId, request: AckRequest, settles: &mut Settles) -> Result<(), &'static str> {
    let group = id.group;
    if mutant!("batch-answer-lost") {
        return Ok(());
    }
    let of_the_whole = request.failed.is_empty() && request.only.is_empty();
    if request.success && (of_the_whole || mutant!("batch-answer-settles-all")) {
        settles
            .runs
            .extend(id.runs.into_iter().map(|run| (group, run)));
        return Ok(());
    }
    let of_all = match (request.success, request.only.is_empty()) {
        _ if mutant!("batch-failure-repeats-all") && !request.failed.is_empty() => Said::Failed,
        (_, false) => Said::Nothing,
        (true, true) => Said::Processed,
        (false, true) => Said::Failed,
    };
    let of_only = match request.success {
        _ if of_all == Said::Failed => Said::Failed,
        true => Said::Processed,
        false => Said::Failed,
    };
    let mut said = vec![of_all; id.events() as usize];
    let positions = (request.only.iter().map(|at| (at, of_only)))
        .chain(request.failed.iter().map(|at| (at, Said::Failed)));
    for (at, what) in positions {
        match said.get_mut(*at as usize) {
            Some(said) => *said = what,
            None => return Err("failed or only names a position that the batch does not have"),
        }
    }
    let reason = shortened(request.error);
    let mut runs = Vec::new();
    for (dispatch, said) in id.dispatches().zip(said) {
        match said {
            Said::Nothing => {}
            Said::Processed => batch_id::push(&mut runs, dispatch.key, dispatch.attempt),
            Said::Failed => settles.acks.push((
                group,
                Ack {
                    key: dispatch.key,
                    attempt: dispatch.attempt,
                    success: false,
                    reason: reason.clone(),
                },
            )),
        }
    }
    settles
        .runs
        .extend(runs.into_iter().map(|run| (group, run)));
    Ok(())
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
    use crate::delivery::{Dispatch, SessionId};
    use chronos_core::types::DueKey;

    #[tokio::test]
    async fn a_broken_stream_ends_with_its_error_even_if_that_repeats() {
        let forever = stream::iter([Ok(1), Ok(2)])
            .chain(stream::repeat_with(|| Err(Status::internal("broken"))));
        let read: Vec<_> = until_broken(forever).collect().await;
        assert_eq!(read.len(), 3);
        assert!(read[2].is_err());
    }

    fn answer(request: AckRequest) -> Result<(Vec<u64>, Vec<u64>), &'static str> {
        let mut settles = Settles::default();
        let mut id = BatchId::new(0, 3, SessionId(1));
        for offset in [4, 5, 6, 9] {
            id.push(Dispatch {
                key: DueKey::new(7, offset),
                attempt: 1,
                letter: None,
            });
        }
        take_batch(id, request, &mut settles)?;
        let processed = (settles.runs.iter())
            .flat_map(|(_, run)| run.first.offset..run.first.offset + run.count)
            .collect();
        let failed = settles.acks.iter().map(|(_, ack)| ack.key.offset).collect();
        assert!(settles.acks.iter().all(|(_, ack)| ack.reason == "why"));
        Ok((processed, failed))
    }

    #[test]
    fn a_batch_is_answered_as_a_whole_or_in_parts() {
        let said = |success, failed: &[u32], only: &[u32]| {
            answer(AckRequest {
                success,
                failed: failed.to_vec(),
                only: only.to_vec(),
                error: "why".into(),
                ..AckRequest::default()
            })
        };
        assert_eq!(said(true, &[], &[]), Ok((vec![4, 5, 6, 9], vec![])));
        assert_eq!(said(false, &[], &[]), Ok((vec![], vec![4, 5, 6, 9])));
        assert_eq!(said(true, &[1], &[]), Ok((vec![4, 6, 9], vec![5])));
        assert_eq!(said(true, &[], &[0, 3]), Ok((vec![4, 9], vec![])));
        assert_eq!(said(true, &[2], &[0]), Ok((vec![4], vec![6])));
        assert_eq!(said(false, &[], &[3]), Ok((vec![], vec![9])));
        assert!(said(true, &[4], &[]).is_err());
        assert!(said(true, &[], &[u32::MAX]).is_err());
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        assert_eq!(shortened("short".into()), "short");
        let cut = shortened("é".repeat(600));
        assert_eq!(cut.len(), REASON_BYTES);
        assert!(cut.chars().all(|c| c == 'é'));
    }
}
