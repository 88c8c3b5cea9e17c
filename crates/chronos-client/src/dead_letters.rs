//! Dead letters: what groups gave up on.

use chronos_proto::MAX_MESSAGE_BYTES;
use chronos_proto::cronos_db::dead_letter_service_client::DeadLetterServiceClient;
use chronos_proto::cronos_db::{
    DeadLetter, DiscardDeadLettersRequest, DiscardDeadLettersResponse, EditDeadLetterRequest,
    GetDeadLetterRequest, ListDeadLettersRequest, ListDeadLettersResponse,
    RedriveDeadLettersRequest, RedriveProgress,
};
use futures::{Stream, StreamExt};
use tonic::transport::Channel;

use crate::{Client, Error};

fn service(channel: Channel) -> DeadLetterServiceClient<Channel> {
    DeadLetterServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

impl Client {
    /// A page of a group's dead letters.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a group that does not exist.
    pub async fn dead_letters(
        &self,
        request: ListDeadLettersRequest,
    ) -> Result<ListDeadLettersResponse, Error> {
        let answer = self
            .call(None, |channel| {
                let (mut letters, request) = (service(channel), request.clone());
                async move { letters.list_dead_letters(request).await }
            })
            .await?;
        Ok(answer.value)
    }

    /// One dead letter with its event.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn dead_letter(&self, id: &str) -> Result<DeadLetter, Error> {
        let request = GetDeadLetterRequest {
            id: id.to_owned(),
            with_payload: true,
        };
        let answer = self
            .call(None, |channel| {
                let (mut letters, request) = (service(channel), request.clone());
                async move { letters.get_dead_letter(request).await }
            })
            .await?;
        Ok(answer.value)
    }

    /// Changes what a redrive of a letter delivers; returns the letter as it is then.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Conflict`] when the letter is being delivered again.
    pub async fn edit_dead_letter(
        &self,
        request: EditDeadLetterRequest,
    ) -> Result<DeadLetter, Error> {
        let answer = self
            .call(None, |channel| {
                let (mut letters, request) = (service(channel), request.clone());
                async move { letters.edit_dead_letter(request).await }
            })
            .await?;
        Ok(answer.value)
    }

    /// Delivers dead letters to their group again. The server works as long as the stream is read;
    /// what it says last has `done` set.
    ///
    /// # Errors
    /// [`Error::Status`] for a filter without a bound in time.
    pub async fn redrive_dead_letters(
        &self,
        request: RedriveDeadLettersRequest,
    ) -> Result<impl Stream<Item = Result<RedriveProgress, Error>> + Send + Unpin + 'static, Error>
    {
        let answer = self
            .call(None, |channel| {
                let (mut letters, request) = (service(channel), request.clone());
                async move { letters.redrive_dead_letters(request).await }
            })
            .await?;
        Ok(answer
            .value
            .map(|progress| progress.map_err(|status| Error::from_status(&status, 1))))
    }

    /// Forgets dead letters for good.
    ///
    /// # Errors
    /// [`Error::Status`] for a filter without a bound in time.
    pub async fn discard_dead_letters(
        &self,
        request: DiscardDeadLettersRequest,
    ) -> Result<DiscardDeadLettersResponse, Error> {
        let answer = self
            .call(None, |channel| {
                let (mut letters, request) = (service(channel), request.clone());
                async move { letters.discard_dead_letters(request).await }
            })
            .await?;
        Ok(answer.value)
    }
}
