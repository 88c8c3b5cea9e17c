//! Answers to deliveries, at the leaders of their partitions: one response for each, in order.
//!
//! Twice the same answer is as good as once, so a leader that is gone costs nothing but time.

use super::call::{Call, Partitions, Share};
use super::event_service::client;
use super::outcome::Repeat;
use crate::edge::ack::{self, CHUNK, CHUNKS_UNDER_WAY, until_broken};
use crate::edge::view::View;
use chronos_core::types::PartitionNumber;
use chronos_proto::cronos_db::{AckRequest, AckResponse};
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use std::sync::Arc;
use tonic::{Status, Streaming};

/// Serves one call.
pub fn serve(
    call: Call,
    requests: Streaming<AckRequest>,
) -> impl Stream<Item = Result<AckResponse, Status>> + Send {
    let call = Arc::new(call);
    until_broken(requests)
        .ready_chunks(CHUNK)
        .map(move |chunk| answered(call.again(), chunk))
        .buffered(CHUNKS_UNDER_WAY)
        .flat_map(stream::iter)
}

/// Answers a chunk of requests; the error that broke the client's side comes last.
async fn answered(
    call: Call,
    chunk: Vec<Result<AckRequest, Status>>,
) -> Vec<Result<AckResponse, Status>> {
    let mut requests = Vec::with_capacity(chunk.len());
    let mut broken = None;
    for request in chunk {
        match request {
            Ok(request) => requests.push((placed(&call, &request), request)),
            Err(status) => broken = Some(status),
        }
    }
    let mut responses: Vec<Option<AckResponse>> = vec![None; requests.len()];
    // What names no partition is judged here.
    let unplaced = of(&requests, |partition| partition.is_none());
    let judged = ack::answer(&View::whole(Arc::clone(call.engine())), unplaced).await;
    put(&mut responses, &requests, |it| it.is_none(), judged);

    let partitions: Partitions = requests.iter().filter_map(|(it, _)| *it).collect();
    let asked = call.ask_each(partitions.clone(), Repeat::Harmless, |share: Share| {
        let within = of(&requests, |it| {
            it.is_some_and(|it| share.partitions.contains(&it))
        });
        let view = call.view(&share);
        async move {
            let Some(peer) = &share.peer else {
                return ack::answer(&view, within).await;
            };
            let sent = within.len();
            let request = share.request(stream::iter(within));
            let answers = client(peer.channel()).ack(request).await?.into_inner();
            let answers: Vec<_> = answers.try_collect().await?;
            match answers.len() == sent {
                true => Ok(answers),
                false => Err(Status::unavailable("the leader left answers out")),
            }
        }
    });
    match asked.await {
        Ok(answers) => {
            for answer in answers {
                let within = |it: Option<PartitionNumber>| {
                    it.is_some_and(|it| answer.share.partitions.contains(&it))
                };
                put(&mut responses, &requests, within, answer.value);
            }
        }
        Err(status) => put(&mut responses, &requests, |it| it.is_some(), Err(status)),
    }
    let responses = responses.into_iter().map(|response| {
        Ok(response.unwrap_or_else(|| refused("the answer was not taken: send it again")))
    });
    responses.chain(broken.map(Err)).collect()
}

type Placed = (Option<PartitionNumber>, AckRequest);

/// The partition that a request is for.
fn placed(call: &Call, request: &AckRequest) -> Option<PartitionNumber> {
    let partition = ack::partition_of(&request.delivery_id)?;
    call.exists(i32::try_from(partition).ok()?)
}

/// The requests for some partitions, in order.
fn of(requests: &[Placed], which: impl Fn(Option<PartitionNumber>) -> bool) -> Vec<AckRequest> {
    let wanted = requests.iter().filter(|(partition, _)| which(*partition));
    wanted.map(|(_, request)| request.clone()).collect()
}

/// Puts the answers for some partitions where their requests are.
fn put(
    responses: &mut [Option<AckResponse>],
    requests: &[Placed],
    which: impl Fn(Option<PartitionNumber>) -> bool,
    answers: Result<Vec<AckResponse>, Status>,
) {
    let (mut answers, otherwise) = match answers {
        Ok(answers) => (answers.into_iter(), None),
        Err(status) => (Vec::new().into_iter(), Some(refused(status.message()))),
    };
    for (response, (partition, _)) in responses.iter_mut().zip(requests) {
        if which(*partition) {
            *response = answers.next().or_else(|| otherwise.clone());
        }
    }
}

fn refused(why: &str) -> AckResponse {
    AckResponse {
        success: false,
        error: why.to_owned(),
        committed_offset: 0,
    }
}
