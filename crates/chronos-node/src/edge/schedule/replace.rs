//! CancelAndPublish: one event goes, another comes, both or neither.

use super::super::admission::Admission;
use super::super::publish::{Publisher, Sections};
use super::super::status;
use super::super::validate::{self, Invalid};
use super::super::view::View;
use super::answer::{message, outcome, scheduled};
use super::{find, version};
use crate::engine::{Message, Replace, clock};
use bytes::Bytes;
use chronos_core::command::change::{self, Action};
use chronos_core::partition::Verdict;
use chronos_proto::cronos_db::{
    CancelAndPublishRequest, CancelAndPublishResponse, ScheduleOutcome,
};
use prost::Message as _;
use tonic::Status;

/// Serves one call.
pub async fn replace(
    engine: &View,
    publisher: &Publisher,
    request: CancelAndPublishRequest,
) -> Result<CancelAndPublishResponse, Status> {
    let if_version = version(request.if_version)?;
    let event = request
        .publish
        .ok_or_else(|| Status::invalid_argument("publish is required"))?;
    let bytes = Bytes::from(event.encode_to_vec());
    let fields = validate::event(&bytes, clock::now_ms()).map_err(|invalid| match invalid {
        Invalid::Rule(error) => Status::invalid_argument(error),
        Invalid::Encoding(error) => Status::invalid_argument(error.to_string()),
    })?;
    let Some(found) = find::find(engine, request.cancel.as_ref())? else {
        return Ok(told(ScheduleOutcome::NotFound, 0));
    };
    let mut admission = Admission::new(engine, clock::now_ms());
    admission.add(fields.topic, bytes.len(), fields.schedule_ts)?;
    let _room = admission.admit(engine.engine()).await?;
    let mut sections = Sections::new(engine, 1);
    let partition = sections.push(&fields, &bytes, false);
    if partition != found.handle.number {
        return Err(Status::failed_precondition(format!(
            "the event to cancel is in partition {}, the one to publish belongs to partition \
             {partition}: give both the same partition_key",
            found.handle.number
        )));
    }
    let Some(((_, window_ms), section)) = sections.into_iter().next() else {
        return Err(Status::internal("a publish of one event has no section"));
    };
    let permit = publisher
        .room_for(section.len())
        .await
        .map_err(|failed| failed.status())?;
    let item = found.item(Action::Cancel, if_version);
    let section = change::Replace::encode(
        &item,
        &section.finish_with(publisher.dedup_ttl_ms, window_ms),
    );
    let (changed, published) = found
        .handle
        .ask(|reply| {
            Message::Replace(Replace {
                section: section.into(),
                permit,
                reply,
            })
        })
        .await
        .map_err(|refused| status::of_refused(&refused))?;
    let outcome = match changed.verdict {
        Verdict::Found => ScheduleOutcome::Duplicate,
        verdict => outcome(verdict),
    };
    let mut response = told(outcome, changed.version.version);
    response.partition_id = partition as i32;
    if outcome == ScheduleOutcome::Cancelled {
        response.offset = published.first_offset as i64;
    }
    response.cancelled = Some(scheduled(
        &found.handle,
        &found.event,
        Some(changed.version),
        changed.fired,
        false,
    ));
    Ok(response)
}

fn told(outcome: ScheduleOutcome, version: u64) -> CancelAndPublishResponse {
    CancelAndPublishResponse {
        outcome: outcome as i32,
        message: message(outcome, version),
        ..CancelAndPublishResponse::default()
    }
}
