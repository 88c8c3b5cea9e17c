//! Carrying out the planner's step. Everything that is deleted is deleted by uid: another object of
//! the name is never meant.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;

use super::apply::{MANAGER, apply, gone_is_fine};
use super::look::FRESH;
use super::{Context, Error};
use crate::api::{ChronosCluster, quantity};
use crate::build::{Names, RETIRED_ANNOTATION, Record, stateful_set};
use crate::database::Database;
use crate::plan::{Action, Observed};

/// What an action is carried out on.
pub(super) struct Scene<'a> {
    pub(super) context: &'a Context,
    pub(super) cluster: &'a ChronosCluster,
    pub(super) namespace: &'a str,
    pub(super) record: &'a Record,
    pub(super) set: Option<&'a StatefulSet>,
    pub(super) observed: &'a Observed,
    pub(super) database: &'a dyn Database,
    /// When all of it was seen.
    pub(super) at: Instant,
}

impl Scene<'_> {
    /// Does it, if it still may be done.
    pub(super) async fn carry_out(&self, action: &Action) -> Result<(), Error> {
        if self.context.tenure.is_over() {
            return Err(Error::TenureOver);
        }
        if self.at.elapsed() > FRESH {
            return Err(Error::Stale);
        }
        let names = Names::of(self.cluster);
        match action {
            Action::Resize(replicas, _) => {
                let mut set = stateful_set(self.cluster, self.record, *replicas, self.set)?;
                // Refused when the set has changed since it was looked at.
                let seen = self.set.and_then(ResourceExt::resource_version);
                set.metadata.resource_version = seen;
                apply(&self.context.client, &set).await?;
            }
            Action::DeletePod { ordinal, uid, .. } => {
                self.delete::<Pod>(&names.pod(*ordinal), uid).await?;
            }
            Action::Drain(ordinal, scope) => {
                self.database.drain(&names.pod(*ordinal), *scope).await?;
            }
            Action::Undrain(ordinal) => self.database.undrain(&names.pod(*ordinal)).await?,
            Action::Remove {
                ordinal,
                number,
                lost,
            } => {
                let name = names.pod(*ordinal);
                self.database.remove(&name, *number, *lost).await?;
            }
            Action::RetireClaim { ordinal, uid } => {
                let node = self.observed.database.as_ref();
                let node = node.and_then(|database| database.nodes.get(ordinal));
                let number = node.map_or_else(|| "none".to_owned(), |node| node.number.to_string());
                self.annotate(&names.claim(*ordinal), uid, Some(number))
                    .await?;
            }
            Action::KeepClaim { ordinal, uid } => {
                self.annotate(&names.claim(*ordinal), uid, None).await?;
            }
            Action::ReplaceDisk {
                ordinal,
                claim,
                pod,
            } => {
                let name = names.claim(*ordinal);
                self.delete::<PersistentVolumeClaim>(&name, claim).await?;
                self.delete::<Pod>(&names.pod(*ordinal), pod).await?;
            }
            Action::DeleteClaim { ordinal, uid } => {
                let name = names.claim(*ordinal);
                self.delete::<PersistentVolumeClaim>(&name, uid).await?;
            }
            Action::GrowClaim { ordinal, bytes } => {
                let size = quantity::Bytes(*bytes).to_string();
                let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
                self.patch_claim(&names.claim(*ordinal), patch).await?;
            }
            Action::SetZone(ordinal, zone) => {
                self.database.set_zone(&names.pod(*ordinal), zone).await?;
            }
        }
        Ok(())
    }

    async fn delete<K>(&self, name: &str, uid: &str) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.context.client.clone(), self.namespace);
        let exactly = DeleteParams::default().preconditions(Preconditions {
            uid: Some(uid.to_owned()),
            ..Preconditions::default()
        });
        gone_is_fine(api.delete(name, &exactly).await.map(|_| ()))
    }

    /// The uid is part of the patch: the API server refuses it for another claim of the name.
    async fn annotate(&self, name: &str, uid: &str, value: Option<String>) -> Result<(), Error> {
        let annotations = BTreeMap::from([(RETIRED_ANNOTATION, value)]);
        let patch = json!({ "metadata": { "uid": uid, "annotations": annotations } });
        self.patch_claim(name, patch).await
    }

    async fn patch_claim(&self, name: &str, patch: serde_json::Value) -> Result<(), Error> {
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.context.client.clone(), self.namespace);
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        api.patch(name, &parameters, &Patch::Merge(patch))
            .await
            .map_err(Error::kubernetes("a change of a claim"))?;
        Ok(())
    }
}
