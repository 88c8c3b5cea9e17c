//! DeadLetterService: what groups gave up on, and delivering it again.
//!
//! | file | holds |
//! |---|---|
//! | `filter.rs` | which letters a request means, and finding them page by page |
//! | `view.rs` | a letter as clients see it, with its event |
//! | `edit.rs` | what a redrive delivers instead of the stored event |
//! | `work.rs` | redriving and discarding, in chunks and at a rate |
//! | `leads.rs` | the leads that they rely on |

mod edit;
mod filter;
mod leads;
mod view;
mod work;

use super::status;
use super::view::View;
use crate::engine::{Handle, ReadError};
use chronos_core::types::{GroupNumber, PartitionNumber};
use chronos_proto::cronos_db::{
    DeadLetter, DiscardDeadLettersRequest, DiscardDeadLettersResponse, EditDeadLetterRequest,
    GetDeadLetterRequest, ListDeadLettersRequest, ListDeadLettersResponse,
    RedriveDeadLettersRequest, RedriveProgress,
};
use chronos_proto::server::dead_letter_service_server::DeadLetterService;
use filter::Filter;
use futures::stream::{BoxStream, StreamExt};
use leads::Leads;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
pub use view::with_body;
use work::{What, Which};

/// Letters on a page, when the request does not say, and at most.
const PAGE: (usize, usize) = (100, 1000);

/// Serves DeadLetterService.
#[derive(Clone)]
pub struct DeadLetters(pub View);

/// Where a letter is; in this order letters are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its partition.
    pub partition: PartitionNumber,
    /// The group that gave up on it.
    pub group: GroupNumber,
    /// Its number in the group.
    pub number: u64,
}

impl Place {
    /// As an id, or as a page token.
    pub fn id(self) -> String {
        format!("{}:{}:{}", self.partition, self.group, self.number)
    }

    /// Reads an id.
    pub fn from_id(id: &str) -> Option<Self> {
        let mut parts = id.split(':');
        let place = Self {
            partition: parts.next()?.parse().ok()?,
            group: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(place)
    }
}

/// How many letters a page may have.
pub fn page_size(asked: i32) -> usize {
    match usize::try_from(asked) {
        Ok(0) | Err(_) => PAGE.0,
        Ok(size) => size.min(PAGE.1),
    }
}

fn named(id: &str) -> Result<Place, Status> {
    Place::from_id(id).ok_or_else(|| {
        Status::invalid_argument(format!(
            "{id:?} is not the id of a dead letter: it has the form partition:group:number"
        ))
    })
}

fn handle_of(engine: &View, place: Place) -> Result<Handle, Status> {
    let handle = engine.partition(place.partition);
    handle.ok_or_else(|| unknown(place))
}

fn unknown(place: Place) -> Status {
    Status::not_found(format!("there is no dead letter {}", place.id()))
}

fn of_index(error: chronos_core::store::StoreError) -> Status {
    status::of_read(&ReadError::Index(error))
}

impl DeadLetters {
    /// Runs something that reads, off the threads that serve.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let engine = self.0.clone();
        tokio::task::spawn_blocking(move || read(&engine))
            .await
            .map_err(|_| Status::unavailable("the server is shutting down"))?
    }

    async fn get(&self, id: &str, with_payload: bool) -> Result<DeadLetter, Status> {
        let place = named(id)?;
        self.reading(move |engine| {
            let handle = handle_of(engine, place)?;
            let letter = handle
                .dead_letter(place.group, place.number)
                .map_err(of_index)?
                .ok_or_else(|| unknown(place))?;
            view::show(&handle, &[letter], with_payload)
                .pop()
                .ok_or_else(|| unknown(place))
        })
        .await
    }
}

#[tonic::async_trait]
impl DeadLetterService for DeadLetters {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let filter = Filter::of(request.filter.as_ref(), &self.0)?;
        let from = match request.page_token.as_str() {
            "" => None,
            token => Some(
                Place::from_id(token)
                    .ok_or_else(|| Status::invalid_argument("page_token is malformed"))?,
            ),
        };
        let most = page_size(request.page_size);
        self.reading(move |engine| {
            let (found, mut next) = filter.find(engine, from, most)?;
            let mut letters = Vec::with_capacity(found.len());
            for (handle, found) in filter::by_partition(engine, found) {
                let shown = view::show(&handle, &found, request.with_payload);
                let left = found.get(shown.len()).map(|letter| Place {
                    partition: handle.number,
                    group: letter.group,
                    number: letter.number,
                });
                letters.extend(shown);
                if left.is_some() {
                    next = left;
                    break;
                }
            }
            Ok(Response::new(ListDeadLettersResponse {
                letters,
                next_page_token: next.map(Place::id).unwrap_or_default(),
                total: filter.total(engine) as i64,
            }))
        })
        .await
    }

    async fn get_dead_letter(
        &self,
        request: Request<GetDeadLetterRequest>,
    ) -> Result<Response<DeadLetter>, Status> {
        let request = request.into_inner();
        let letter = self.get(&request.id, request.with_payload).await?;
        Ok(Response::new(letter))
    }

    async fn edit_dead_letter(
        &self,
        request: Request<EditDeadLetterRequest>,
    ) -> Result<Response<DeadLetter>, Status> {
        let request = request.into_inner();
        edit::edit(&self.0, &request).await?;
        self.get(&request.id, true).await.map(Response::new)
    }

    type RedriveDeadLettersStream = BoxStream<'static, Result<RedriveProgress, Status>>;

    async fn redrive_dead_letters(
        &self,
        request: Request<RedriveDeadLettersRequest>,
    ) -> Result<Response<Self::RedriveDeadLettersStream>, Status> {
        let request = request.into_inner();
        let leads = Leads::of(&self.0);
        let which = Which::of(&self.0, &request.ids, request.filter.as_ref())?;
        let rate = request.events_per_second;
        if !(rate.is_finite() && rate >= 0.0) {
            return Err(Status::invalid_argument(
                "events_per_second must be 0 or greater",
            ));
        }
        let engine = self.0.clone();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let what = What {
                discard: false,
                dry_run: request.dry_run,
                events_per_second: rate,
            };
            if let Err(status) = work::run(&engine, &leads, which, what, Some(&sender)).await {
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }

    async fn discard_dead_letters(
        &self,
        request: Request<DiscardDeadLettersRequest>,
    ) -> Result<Response<DiscardDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let leads = Leads::of(&self.0);
        let which = Which::of(&self.0, &request.ids, request.filter.as_ref())?;
        let what = What {
            discard: true,
            dry_run: request.dry_run,
            events_per_second: 0.0,
        };
        let counts = work::run(&self.0, &leads, which, what, None).await?;
        Ok(Response::new(DiscardDeadLettersResponse {
            matched: counts.matched,
            discarded: counts.redriven,
            missing: counts.missing,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_come_back(partition: u32, group: u32, number: u64) {
            let place = Place { partition, group, number };
            prop_assert_eq!(Place::from_id(&place.id()), Some(place));
        }

        #[test]
        fn anything_else_is_refused(text: String) {
            prop_assert_eq!(Place::from_id(&text), None);
            prop_assert!(named(&text).is_err());
        }
    }
}
