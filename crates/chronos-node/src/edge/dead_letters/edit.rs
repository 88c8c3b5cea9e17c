//! What a redrive delivers instead of the stored event.

use super::super::{status, validate};
use super::{handle_of, named, of_index, unknown, view};
use crate::edge::view::View;
use chronos_core::command::dead_letters::Action;
use chronos_proto::cronos_db::EditDeadLetterRequest;
use prost::Message;
use tonic::Status;

/// Changes what a letter delivers, through the log.
pub async fn edit(engine: &View, request: &EditDeadLetterRequest) -> Result<(), Status> {
    let place = named(&request.id)?;
    let handle = handle_of(engine, place)?;
    let mut letter = handle
        .dead_letter(place.group, place.number)
        .map_err(of_index)?
        .ok_or_else(|| unknown(place))?;
    let redriven = || {
        Status::failed_precondition(format!(
            "dead letter {} is being delivered again: it can be edited when it is dead again",
            request.id
        ))
    };
    if letter.redriven {
        return Err(redriven());
    }
    letter.edited &= !request.reset;
    let body = match (&request.payload, &request.meta) {
        (None, None) if request.reset => Vec::new(),
        (None, None) => {
            return Err(Status::invalid_argument(
                "nothing to change: give payload, meta or reset",
            ));
        }
        (payload, meta) => {
            let event = view::events(&handle, &[letter]).pop();
            let event = event
                .ok_or_else(|| unknown(place))?
                .map_err(Status::data_loss)?;
            let mut event = event.decoded;
            if let Some(payload) = payload {
                event.payload = payload.clone();
            }
            if let Some(edit) = meta {
                event.meta = edit.meta.clone();
            }
            let body = event.encode_to_vec();
            // Its time was judged when it was published: only what is changed is judged here.
            validate::event(&body, 0)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            body
        }
    };
    let action = Action::Edit {
        letter: place.number,
        body,
    };
    let changed = handle
        .change_letters(place.group, action)
        .await
        .map_err(|refused| status::of_refused(&refused))?;
    match changed.is_empty() {
        // It was redriven or discarded while the edit was made.
        true => Err(redriven()),
        false => Ok(()),
    }
}
