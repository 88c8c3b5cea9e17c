//! DeadLetterService in front of the partitions of a cluster.

use super::call::{Answer, Call, Partitions, Share, name_leaders, with_leaders};
use super::outcome::{Repeat, broken, unmarked};
use super::{Forwarded, Over, Way, asking, asking_steps, spread, spread_steps};
use crate::edge::dead_letters::{DeadLetters, Place, page_size};
use crate::edge::view::View;
use chronos_proto::MAX_MESSAGE_BYTES;
use chronos_proto::cronos_db::dead_letter_service_client::DeadLetterServiceClient;
use chronos_proto::cronos_db::{
    DeadLetter, DeadLetterFilter, DiscardDeadLettersRequest, DiscardDeadLettersResponse,
    EditDeadLetterRequest, GetDeadLetterRequest, ListDeadLettersRequest, ListDeadLettersResponse,
    RedriveDeadLettersRequest, RedriveProgress,
};
use chronos_proto::server::dead_letter_service_server::DeadLetterService;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tonic::{Request, Response, Status};

impl Over for DeadLetters {
    fn over(&self, view: View) -> Self {
        Self(view)
    }
}

/// Asks the leader of the partition that a letter's id names; what is no id is judged here.
macro_rules! of_letter {
    ($self:ident, $request:ident, $method:ident, $repeat:expr) => {{
        let call = spread!($self, $request, $method);
        let Some(partition) = partition_of(&call, &$request.get_ref().id) else {
            return $self.local.$method($request).await;
        };
        let message = $request.into_inner();
        let ask = asking!($self, call, DeadLetterServiceClient, $method, |share| {
            message.clone()
        });
        let Answer { share, value } = call.ask_one(partition, $repeat, ask).await?;
        Ok(with_leaders(value.into_inner(), [&share]))
    }};
}

#[tonic::async_trait]
impl DeadLetterService for Forwarded<DeadLetters> {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let call = spread!(self, request, list_dead_letters);
        let Some(partitions) = filtered(&call, request.get_ref().filter.as_ref()) else {
            return self.local.list_dead_letters(request).await;
        };
        let message = request.into_inner();
        let ask = asking!(
            self,
            call,
            DeadLetterServiceClient,
            list_dead_letters,
            |share| { message.clone() }
        );
        let (mut pages, mut shares) = (Vec::new(), Vec::new());
        for Answer { share, value } in call.ask(partitions, Repeat::Harmless, ask).await? {
            pages.push(value.into_inner());
            shares.push(share);
        }
        Ok(with_leaders(
            merged(pages, page_size(message.page_size)),
            &shares,
        ))
    }

    async fn get_dead_letter(
        &self,
        request: Request<GetDeadLetterRequest>,
    ) -> Result<Response<DeadLetter>, Status> {
        of_letter!(self, request, get_dead_letter, Repeat::Harmless)
    }

    async fn edit_dead_letter(
        &self,
        request: Request<EditDeadLetterRequest>,
    ) -> Result<Response<DeadLetter>, Status> {
        of_letter!(self, request, edit_dead_letter, Repeat::Harmless)
    }

    type RedriveDeadLettersStream = BoxStream<'static, Result<RedriveProgress, Status>>;

    async fn redrive_dead_letters(
        &self,
        request: Request<RedriveDeadLettersRequest>,
    ) -> Result<Response<Self::RedriveDeadLettersStream>, Status> {
        let call = spread_steps!(self, request, redrive_dead_letters);
        let wanted = request.get_ref();
        let Some(partitions) = meant(&call, &wanted.ids, wanted.filter.as_ref()) else {
            return self.local.redrive_dead_letters(request).await;
        };
        let message = request.into_inner();
        let count = partitions.len() as f64;
        let asked = call.ask(partitions, Repeat::Untaken, |share: Share| {
            let message = RedriveDeadLettersRequest {
                ids: within(&message.ids, &share.partitions),
                // Each leader has its part of the rate.
                events_per_second: message.events_per_second * share.partitions.len() as f64
                    / count,
                ..message.clone()
            };
            let local = self.part(&call, &share);
            async move {
                let Some(peer) = &share.peer else {
                    let redriving = local.redrive_dead_letters(Request::new(message)).await;
                    return redriving.map_err(unmarked);
                };
                let mut client = DeadLetterServiceClient::new(peer.channel())
                    .max_decoding_message_size(MAX_MESSAGE_BYTES);
                let redriving = client.redrive_dead_letters(share.request(message)).await?;
                Ok(redriving.map(|it| it.map(|it| it.map_err(broken)).boxed()))
            }
        });
        let (mut parts, mut shares) = (Vec::new(), Vec::new());
        for Answer { share, value } in asked.await? {
            parts.push(value.into_inner());
            shares.push(share);
        }
        let mut response = Response::new(together(parts).boxed());
        name_leaders(response.metadata_mut(), &shares);
        Ok(response)
    }

    async fn discard_dead_letters(
        &self,
        request: Request<DiscardDeadLettersRequest>,
    ) -> Result<Response<DiscardDeadLettersResponse>, Status> {
        let call = spread_steps!(self, request, discard_dead_letters);
        let wanted = request.get_ref();
        let Some(partitions) = meant(&call, &wanted.ids, wanted.filter.as_ref()) else {
            return self.local.discard_dead_letters(request).await;
        };
        let message = request.into_inner();
        let ask = asking_steps!(
            self,
            call,
            DeadLetterServiceClient,
            discard_dead_letters,
            |share| {
                DiscardDeadLettersRequest {
                    ids: within(&message.ids, &share.partitions),
                    ..message.clone()
                }
            }
        );
        let (mut whole, mut shares) = (DiscardDeadLettersResponse::default(), Vec::new());
        for Answer { share, value } in call.ask(partitions, Repeat::Untaken, ask).await? {
            let part = value.into_inner();
            whole.matched += part.matched;
            whole.discarded += part.discarded;
            whole.missing += part.missing;
            shares.push(share);
        }
        Ok(with_leaders(whole, &shares))
    }
}

/// The partition that the id of a letter names; `None` when it is no id of one that exists.
fn partition_of(call: &Call, id: &str) -> Option<u32> {
    let place = Place::from_id(id)?;
    call.exists(i32::try_from(place.partition).ok()?)
}

/// The partitions that a filter is about; `None` when it names one that does not exist.
fn filtered(call: &Call, filter: Option<&DeadLetterFilter>) -> Option<Partitions> {
    match filter.and_then(|filter| filter.partition_id) {
        Some(partition) => Some(Partitions::from([call.exists(partition)?])),
        None => Some(call.all()),
    }
}

/// The partitions that ids or a filter mean; `None` when the request is to be judged here.
fn meant(call: &Call, ids: &[String], filter: Option<&DeadLetterFilter>) -> Option<Partitions> {
    match (ids.is_empty(), filter) {
        (true, filter) => filtered(call, filter),
        (false, Some(_)) => None,
        (false, None) => ids.iter().map(|id| partition_of(call, id)).collect(),
    }
}

/// The ids of letters in these partitions.
fn within(ids: &[String], partitions: &Partitions) -> Vec<String> {
    let is_within = |id: &&String| {
        Place::from_id(id).is_some_and(|place| partitions.contains(&place.partition))
    };
    ids.iter().filter(is_within).cloned().collect()
}

/// One page out of the leaders' pages, which were all read from the same place on. A page token is
/// where the next page begins.
fn merged(pages: Vec<ListDeadLettersResponse>, size: usize) -> ListDeadLettersResponse {
    let place = |letter: &DeadLetter| Place::from_id(&letter.id);
    let ends = pages
        .iter()
        .filter_map(|page| Place::from_id(&page.next_page_token));
    let mut next = ends.min();
    let total = pages.iter().map(|page| page.total).sum();
    let mut letters: Vec<DeadLetter> = pages.into_iter().flat_map(|page| page.letters).collect();
    letters.retain(|letter| next.is_none_or(|next| place(letter).is_some_and(|it| it < next)));
    letters.sort_by_key(place);
    if let Some(first_left) = letters.get(size) {
        next = place(first_left);
        letters.truncate(size);
    }
    ListDeadLettersResponse {
        letters,
        next_page_token: next.map(Place::id).unwrap_or_default(),
        total,
    }
}

type Progress = BoxStream<'static, Result<RedriveProgress, Status>>;

/// How far all leaders together are, after each step of one of them.
fn together(parts: Vec<Progress>) -> impl Stream<Item = Result<RedriveProgress, Status>> + Send {
    let mut so_far = vec![RedriveProgress::default(); parts.len()];
    let parts = (0..).zip(parts);
    let parts = parts.map(|(at, part): (usize, _)| part.map(move |it| (at, it)));
    stream::select_all(parts).map(move |(at, progress)| {
        so_far[at] = progress?;
        let mut whole = RedriveProgress {
            done: true,
            ..RedriveProgress::default()
        };
        for part in &so_far {
            whole.matched += part.matched;
            whole.redriven += part.redriven;
            whole.missing += part.missing;
            whole.done &= part.done;
        }
        Ok(whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(partition: u32, numbers: &[u64], next: &str) -> ListDeadLettersResponse {
        let letter = |number: &u64| DeadLetter {
            id: format!("{partition}:0:{number}"),
            ..DeadLetter::default()
        };
        ListDeadLettersResponse {
            letters: numbers.iter().map(letter).collect(),
            next_page_token: next.into(),
            total: 10,
        }
    }

    #[test]
    fn a_page_holds_what_comes_before_the_first_end() {
        let ids = |page: &ListDeadLettersResponse| -> Vec<String> {
            page.letters.iter().map(|it| it.id.clone()).collect()
        };
        let whole = merged(vec![page(2, &[0, 1], ""), page(0, &[5, 7], "0:0:9")], 9);
        assert_eq!(ids(&whole), ["0:0:5", "0:0:7"]);
        assert_eq!((whole.next_page_token.as_str(), whole.total), ("0:0:9", 20));
        let whole = merged(vec![page(1, &[0, 1], ""), page(0, &[5, 7], "")], 3);
        assert_eq!(ids(&whole), ["0:0:5", "0:0:7", "1:0:0"]);
        assert_eq!(whole.next_page_token, "1:0:1");
    }

    #[tokio::test]
    async fn progress_is_done_when_all_are() {
        let told = |matched, done| {
            Ok(RedriveProgress {
                matched,
                redriven: matched,
                missing: 0,
                done,
            })
        };
        let parts = vec![
            stream::iter([told(1, false), told(3, true)]).boxed(),
            stream::iter([told(2, true)]).boxed(),
        ];
        let all: Vec<_> = together(parts).map(Result::unwrap).collect().await;
        let last = all.last().unwrap();
        assert_eq!((last.matched, last.done), (5, true));
        assert_eq!(all.iter().filter(|it| it.done).count(), 1);
    }
}
