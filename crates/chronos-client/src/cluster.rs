//! The nodes of a cluster: looking at them, draining and removing them.

use chronos_proto::cronos_db::cluster_service_client::ClusterServiceClient;
use chronos_proto::cronos_db::leadership_service_client::LeadershipServiceClient;
use chronos_proto::cronos_db::{
    ClusterStatusRequest, ClusterStatusResponse, DrainNodeRequest, DrainScope, PreferLeaderRequest,
    RemoveNodeRequest, SetNodeZoneRequest, UndrainNodeRequest,
};

use crate::{Client, Error};

impl Client {
    /// How the cluster and each of its nodes stands, at one moment.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a majority of the catalog.
    pub async fn cluster_status(&self) -> Result<ClusterStatusResponse, Error> {
        let answer = self
            .call(None, |channel| async move {
                ClusterServiceClient::new(channel)
                    .cluster_status(ClusterStatusRequest {})
                    .await
            })
            .await?;
        Ok(answer.value)
    }

    /// Moves leaderships, or all that a node holds, to others; the status shows how far it is.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn drain_node(&self, name: &str, scope: DrainScope) -> Result<(), Error> {
        let request = DrainNodeRequest {
            name: name.to_owned(),
            scope: scope.into(),
        };
        self.call(None, |channel| {
            let request = request.clone();
            async move { ClusterServiceClient::new(channel).drain_node(request).await }
        })
        .await?;
        Ok(())
    }

    /// Says that a node is to lead a partition.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Conflict`] when the node holds no replica of it.
    pub async fn prefer_leader(&self, partition: u32, node: &str) -> Result<(), Error> {
        let request = PreferLeaderRequest {
            partition,
            node: node.to_owned(),
        };
        self.call(None, |channel| {
            let request = request.clone();
            async move {
                LeadershipServiceClient::new(channel)
                    .prefer_leader(request)
                    .await
            }
        })
        .await?;
        Ok(())
    }

    /// Ends a drain.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn undrain_node(&self, name: &str) -> Result<(), Error> {
        let request = UndrainNodeRequest {
            name: name.to_owned(),
        };
        self.call(None, |channel| {
            let request = request.clone();
            async move {
                ClusterServiceClient::new(channel)
                    .undrain_node(request)
                    .await
            }
        })
        .await?;
        Ok(())
    }

    /// Removes a node for good. Another try after an answer that was lost is
    /// [`Error::NotFound`], because the node is gone.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Conflict`] while it holds something.
    pub async fn remove_node(&self, request: RemoveNodeRequest) -> Result<(), Error> {
        self.call(None, |channel| {
            let request = request.clone();
            async move {
                ClusterServiceClient::new(channel)
                    .remove_node(request)
                    .await
            }
        })
        .await?;
        Ok(())
    }

    /// Says in which zone a node stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn set_node_zone(&self, name: &str, zone: &str) -> Result<(), Error> {
        let request = SetNodeZoneRequest {
            name: name.to_owned(),
            zone: zone.to_owned(),
        };
        self.call(None, |channel| {
            let request = request.clone();
            async move {
                ClusterServiceClient::new(channel)
                    .set_node_zone(request)
                    .await
            }
        })
        .await?;
        Ok(())
    }
}
