//! Publishing stored events again: under new ids, to another topic, at other times.

use super::super::event_service::Events;
use super::super::forward::{Forwarded, Over};
use super::pace::Pace;
use super::read::{Read, Reader};
use super::{event_ms, planned, read_on};
use crate::edge::validate::{self, LAST_SCHEDULE_MS};
use crate::edge::view::View;
use crate::engine::StoredEvent;
use bytes::Bytes;
use chronos_proto::cronos_db::{Event, RepublishProgress, RepublishRequest};
use chronos_proto::raw;
use chronos_proto::server::replay_service_server::ReplayService;
use futures::stream::{BoxStream, StreamExt};
use prost::Message;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Events and bytes that are published at a time.
const BATCH: (usize, usize) = (256, 1 << 20);

/// Serves ReplayService.
#[derive(Clone)]
pub struct Republisher {
    engine: View,
    publisher: Arc<Forwarded<Events>>,
}

impl Republisher {
    /// Reads from this engine and publishes wherever events belong.
    pub fn new(engine: &View, publisher: Arc<Forwarded<Events>>) -> Self {
        Self {
            engine: engine.clone(),
            publisher,
        }
    }
}

impl Over for Republisher {
    fn over(&self, view: View) -> Self {
        Self {
            engine: view,
            publisher: Arc::clone(&self.publisher),
        }
    }
}

#[tonic::async_trait]
impl ReplayService for Republisher {
    type RepublishStream = BoxStream<'static, Result<RepublishProgress, Status>>;

    async fn republish(
        &self,
        request: Request<RepublishRequest>,
    ) -> Result<Response<Self::RepublishStream>, Status> {
        let request = request.into_inner();
        if request.id_prefix.is_empty() {
            return Err(Status::invalid_argument(
                "id_prefix is required: an event published under its own id is a duplicate",
            ));
        }
        let range = request
            .range
            .clone()
            .ok_or_else(|| Status::invalid_argument("range is required"))?;
        let (handle, plan) = planned(&self.engine, range)?;
        let republish = Republish {
            publisher: self.publisher.clone(),
            request,
            pace: Pace::new(&plan),
            left: plan.most,
            progress: RepublishProgress {
                offset: -1,
                ..RepublishProgress::default()
            },
            batch: Vec::new(),
            bytes: 0,
        };
        let (sender, receiver) = mpsc::channel(1);
        let reader = Reader::new(&self.engine, handle, plan);
        tokio::spawn(async move {
            if let Err(status) = republish.run(reader, &sender).await {
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }
}

type Sender = mpsc::Sender<Result<RepublishProgress, Status>>;

/// One call under way.
struct Republish {
    publisher: Arc<Forwarded<Events>>,
    request: RepublishRequest,
    pace: Pace,
    /// Events that may still be read.
    left: u64,
    progress: RepublishProgress,
    batch: Vec<Bytes>,
    bytes: usize,
}

impl Republish {
    async fn run(mut self, mut reader: Reader, sender: &Sender) -> Result<(), Status> {
        loop {
            let (read, rest) = read_on(reader).await?;
            reader = rest;
            self.progress.skipped = reader.skipped_so_far() as i64;
            let done = read.is_empty();
            for read in read {
                if self.left == 0 {
                    break;
                }
                self.left -= 1;
                if let Some(at) = self.pace.next(event_ms(&read))
                    && at > tokio::time::Instant::now()
                {
                    // Nobody waits for what may leave already.
                    self.flush(sender).await?;
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = sender.closed() => return Ok(()),
                    }
                }
                self.add(read);
                if self.batch.len() >= BATCH.0 || self.bytes >= BATCH.1 {
                    self.flush(sender).await?;
                }
            }
            self.progress.done = done || self.left == 0;
            self.flush(sender).await?;
            if self.progress.done || sender.is_closed() {
                return Ok(());
            }
        }
    }

    fn add(&mut self, read: Read) {
        self.progress.read += 1;
        self.progress.axis_ts = read.axis_ms;
        self.progress.offset = read.event.offset as i64;
        match changed(&self.request, &read.event) {
            Ok(body) => {
                self.bytes += body.len();
                self.batch.push(body);
            }
            Err(error) => {
                self.progress.refused += 1;
                if self.progress.first_error.is_empty() {
                    self.progress.first_error = error;
                }
            }
        }
    }

    /// Publishes what is collected, and says how far the call is.
    async fn flush(&mut self, sender: &Sender) -> Result<(), Status> {
        if self.batch.is_empty() && !self.progress.done {
            return Ok(());
        }
        let request = raw::PublishBatchRequest {
            events: std::mem::take(&mut self.batch),
            ..raw::PublishBatchRequest::default()
        };
        self.bytes = 0;
        if !request.events.is_empty() {
            let published = self.publisher.publish_anywhere(request).await?;
            self.progress.published += i64::from(published.published_count);
            self.progress.duplicates += i64::from(published.duplicate_count);
            if published.error_count > 0 {
                // Checked before, so this is no rule that an event breaks: the partition did not take
                // it. The same call may be made again.
                return Err(Status::unavailable(published.error));
            }
        }
        // Who went away is noticed by the caller.
        let _ = sender.send(Ok(self.progress.clone())).await;
        Ok(())
    }
}

/// An event as it is to be published.
fn changed(request: &RepublishRequest, event: &StoredEvent) -> Result<Bytes, String> {
    let mut changed = Event::decode(event.body.clone()).map_err(|error| error.to_string())?;
    changed.message_id.insert_str(0, &request.id_prefix);
    if !request.target_topic.is_empty() {
        changed.topic.clone_from(&request.target_topic);
    }
    changed.schedule_ts = event
        .schedule_ms
        .saturating_add(request.shift_ms)
        .clamp(1, LAST_SCHEDULE_MS);
    // The time is absolute now, and what expires does so as long after it as before.
    changed.deliver_after_ms = None;
    if changed.expires_at != 0 {
        changed.expires_at = changed.expires_at.saturating_add(request.shift_ms);
    }
    let body = changed.encode_to_vec();
    validate::event(&body, 0).map_err(|error| error.to_string())?;
    Ok(body.into())
}
