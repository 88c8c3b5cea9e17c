//! PauseService in front of the partitions of a cluster. The catalog knows what is paused, and each
//! leader what it has dropped meanwhile.

use super::call::{Answer, Share, with_leaders};
use super::outcome::Repeat;
use super::{Forwarded, Over, Way, asking, spread};
use crate::edge::pause_service::PauseCalls;
use crate::edge::view::View;
use chronos_proto::cronos_db::pause_service_client::PauseServiceClient;
use chronos_proto::cronos_db::{
    ListPausesRequest, ListPausesResponse, PauseInfo, PauseRequest, PauseResponse, ResumeRequest,
    ResumeResponse,
};
use chronos_proto::server::pause_service_server::PauseService;
use std::sync::Arc;
use tonic::{Request, Response, Status};

impl Over for PauseCalls {
    /// What a node has dropped is one number for all its partitions.
    fn over(&self, view: View) -> Self {
        Self(Arc::clone(view.engine()))
    }
}

#[tonic::async_trait]
impl PauseService for Forwarded<PauseCalls> {
    async fn pause(
        &self,
        request: Request<PauseRequest>,
    ) -> Result<Response<PauseResponse>, Status> {
        self.local.pause(request).await
    }

    async fn resume(
        &self,
        request: Request<ResumeRequest>,
    ) -> Result<Response<ResumeResponse>, Status> {
        self.local.resume(request).await
    }

    async fn list_pauses(
        &self,
        request: Request<ListPausesRequest>,
    ) -> Result<Response<ListPausesResponse>, Status> {
        let call = spread!(self, request, list_pauses);
        let message = request.into_inner();
        let mine = self.local.list_pauses(Request::new(message)).await?;
        let mut pauses = mine.into_inner().pauses;
        let ask = asking!(self, call, PauseServiceClient, list_pauses, |share| message);
        let mut shares = Vec::new();
        for Answer { share, value } in call.ask(call.all(), Repeat::Harmless, ask).await? {
            // What this node has dropped is counted.
            if share.peer.is_some() {
                add(&mut pauses, &value.into_inner().pauses);
            }
            shares.push(share);
        }
        Ok(with_leaders(ListPausesResponse { pauses }, &shares))
    }
}

fn add(pauses: &mut [PauseInfo], others: &[PauseInfo]) {
    for pause in pauses {
        let same = others.iter().find(|other| other.target == pause.target);
        pause.dropped += same.map_or(0, |other| other.dropped);
    }
}
