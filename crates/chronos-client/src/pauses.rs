//! Pausing topics and consumer groups.

use chronos_proto::cronos_db::pause_service_client::PauseServiceClient;
use chronos_proto::cronos_db::{
    ListPausesRequest, PauseInfo, PauseRequest, PauseTarget, ResumeRequest,
};

use crate::{Client, Error};

impl Client {
    /// Pauses a topic or a group: see `proto/cronos_db/pause.proto`. Returns the pause when nothing
    /// that it holds back is handed out any more.
    ///
    /// # Errors
    /// [`Error::Status`] for a pause that ends before it begins.
    pub async fn pause(&self, request: PauseRequest) -> Result<PauseInfo, Error> {
        let answer = self
            .call(None, |channel| {
                let request = request.clone();
                async move { PauseServiceClient::new(channel).pause(request).await }
            })
            .await?;
        Ok(answer.value.pause.unwrap_or_default())
    }

    /// Ends a pause; whether there was one.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn resume(&self, target: PauseTarget) -> Result<bool, Error> {
        let request = ResumeRequest {
            target: Some(target),
        };
        let answer = self
            .call(None, |channel| {
                let request = request.clone();
                async move { PauseServiceClient::new(channel).resume(request).await }
            })
            .await?;
        Ok(answer.value.was_paused)
    }

    /// What is paused: topics by name, then groups by name.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn pauses(&self) -> Result<Vec<PauseInfo>, Error> {
        let answer = self
            .call(None, |channel| async move {
                PauseServiceClient::new(channel)
                    .list_pauses(ListPausesRequest {})
                    .await
            })
            .await?;
        Ok(answer.value.pauses)
    }
}
