//! Sends dead letters back to their group.

use chronos_proto::cronos_db::dead_letter_service_client::DeadLetterServiceClient;
use chronos_proto::cronos_db::{
    DeadLetterFilter, ListDeadLettersRequest, RedriveDeadLettersRequest,
};
use tonic::Status;

use crate::history::{Op, Outcome, Redrive};

use super::Run;

impl Run {
    /// Redrives the dead letters that a group has now, up to a thousand.
    ///
    /// # Errors
    /// The server's status.
    pub async fn redrive(&self, group: &str) -> Result<(), Status> {
        let channel = crate::server::channel(&self.addresses[0]);
        let channel = channel.map_err(|error| Status::internal(error.to_string()))?;
        let mut letters = DeadLetterServiceClient::new(channel);
        let request = ListDeadLettersRequest {
            filter: Some(DeadLetterFilter {
                consumer_group: group.to_string(),
                ..DeadLetterFilter::default()
            }),
            page_size: 1_000,
            ..ListDeadLettersRequest::default()
        };
        let listed = letters.list_dead_letters(request).await?.into_inner();
        let redrive = Redrive {
            group: group.to_string(),
            events: listed
                .letters
                .iter()
                .map(|letter| (letter.partition_id, letter.offset))
                .collect(),
        };
        let called = self.recorder.now();
        let request = RedriveDeadLettersRequest {
            ids: listed.letters.into_iter().map(|letter| letter.id).collect(),
            ..RedriveDeadLettersRequest::default()
        };
        let mut progress = letters.redrive_dead_letters(request).await?.into_inner();
        while progress.message().await?.is_some() {}
        self.recorder
            .record(self.process(), called, Outcome::Ok, Op::Redrive(redrive));
        Ok(())
    }
}
