//! One reconciliation of a ChronosCluster.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action as Next;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::apply::{MANAGER, apply, delete_owned, is_ours};
use super::carry_out::Scene;
use super::look::{Look, look};
use super::monitoring::monitoring;
use super::status::{Seen, failed, status};
use super::{Context, Error, disks, events, seen, wanted};
use crate::api::{ChronosCluster, ChronosClusterStatus};
use crate::build::{
    self, Names, Record, client_service, disruption_budget, nodes_service, service_account,
};
use crate::database;
use crate::plan::{Action, Desired, Observed, Step, plan};

/// Brings the objects to what was built, looks, plans one step, carries it out, and writes the status.
///
/// # Errors
/// What Kubernetes or the database refused. It is in the status as well.
pub async fn reconcile(cluster: Arc<ChronosCluster>, context: Arc<Context>) -> Result<Next, Error> {
    let names = Names::of(&cluster);
    if cluster.metadata.deletion_timestamp.is_some() {
        // Whatever it is made of names it as its owner and goes by itself: there is no finalizer
        // that could get stuck.
        return Ok(Next::await_change());
    }
    let namespace = cluster.namespace().ok_or(Error::Incomplete)?;
    let turn = turn(&context, &cluster, &namespace, &names).await;
    let Turn { status, outcome } = turn.unwrap_or_else(|error| Turn {
        status: failed(&cluster, &error, &Timestamp::now().to_string()),
        outcome: Err(error),
    });
    write_status(&context, &cluster, &namespace, status).await?;
    if outcome.is_ok() {
        context.backoff.worked(&key(&cluster));
    }
    outcome
}

/// Forgets a cluster that is gone.
pub(super) fn forget(cluster: &ChronosCluster, context: &Context) {
    context.databases.forget(&Names::of(cluster));
    context.backoff.worked(&key(cluster));
}

/// What came of a turn.
struct Turn {
    status: ChronosClusterStatus,
    /// When the next one is, or what was not done though nothing else is left to do.
    outcome: Result<Next, Error>,
}

/// What is done rests on what was seen right before: so the objects come first.
async fn turn(
    context: &Context,
    cluster: &ChronosCluster,
    namespace: &str,
    names: &Names,
) -> Result<Turn, Error> {
    let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), namespace);
    let name = names.stateful_set();
    let get_set = async || {
        let set = sets.get_opt(&name).await;
        set.map_err(Error::kubernetes("the StatefulSet"))
    };
    let mut set = get_set().await?;
    let mut record = record(context, cluster, namespace, set.as_ref()).await?;
    let paused = wanted::is_paused(cluster);
    let size = set.as_ref().map_or(0, |set| seen::set(set).replicas);
    let (mut refused, mut missing) = (None, None);
    if !paused {
        record.joinable = size.clamp(1, cluster.spec.replicas.max(1));
        refused = apply_objects(context, cluster, namespace, &record, set.as_ref()).await?;
        missing = monitoring(context, cluster, namespace).await;
        set = get_set().await?;
    }
    let Look {
        database,
        certificates,
        observed,
        status: answer,
        silence,
        claims,
        at,
    } = look(
        context,
        namespace,
        names,
        cluster,
        set.as_ref(),
        size.max(cluster.spec.replicas),
    )
    .await?;
    if let Some(answer) = &answer
        && record.cluster_id.is_none()
        && !answer.cluster_id.is_empty()
    {
        record.cluster_id = Some(answer.cluster_id.clone());
        if !paused {
            apply(&context.client, &record.config_map(cluster)).await?;
        }
        let note = format!("The database has the id {}.", answer.cluster_id);
        events::about_cluster(context, cluster, EventType::Normal, "Founded", note).await;
    }
    let mut desired = wanted::desired(cluster, &record, certificates.missing.as_ref());
    if let Some(answer) = &answer {
        // Disks that an earlier cluster of this name left behind bring its number along.
        desired.copies = answer.replication_factor;
    }
    let scene = Scene {
        context,
        cluster,
        namespace,
        record: &record,
        set: set.as_ref(),
        observed: &observed,
        database: database.as_ref(),
        at,
    };
    let (step, not_grown) = take_a_step(&scene, &desired).await?;
    tell(context, cluster, &step).await;
    let seen = Seen {
        cluster,
        record: &record,
        observed: &observed,
        desired: &desired,
        database: answer.as_ref(),
        silence: silence.as_deref(),
        step: &step,
        refused: refused.as_ref(),
        monitoring: missing.as_deref(),
        tls: certificates.missing.as_ref(),
        disks: disks::lacking(&claims, size, desired.claim_bytes),
        not_grown: not_grown.as_deref(),
    };
    let status = status(&seen, &Timestamp::now().to_string());
    // A change that goes on is not slowed down by it.
    let goes_on = matches!(step, Step::Act(_) | Step::Wait(_));
    let outcome = match refused {
        Some(error) if !goes_on => Err(error),
        _ => Ok(Next::requeue(pause(&step, &observed))),
    };
    Ok(Turn { status, outcome })
}

/// What was decided when the cluster was made; made now if it is new.
async fn record(
    context: &Context,
    cluster: &ChronosCluster,
    namespace: &str,
    set: Option<&StatefulSet>,
) -> Result<Record, Error> {
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let found = maps
        .get_opt(&Names::of(cluster).record())
        .await
        .map_err(Error::kubernetes("the record"))?;
    let image = &context.settings.default_image;
    let anew = Record::recovered(cluster, set, image);
    // One that is somebody else's is a former cluster's of this name, and goes with it.
    let ours = found.filter(|found| is_ours(&found.metadata, &anew.config_map(cluster).metadata));
    Ok(ours.as_ref().and_then(Record::read).unwrap_or(anew))
}

/// Everything but the number of pods, which is the planner's. Returns what was refused that running pods do not
/// need: it must not keep a broken one from being replaced.
async fn apply_objects(
    context: &Context,
    cluster: &ChronosCluster,
    namespace: &str,
    record: &Record,
    set: Option<&StatefulSet>,
) -> Result<Option<Error>, Error> {
    let client = &context.client;
    apply(client, &record.config_map(cluster)).await?;
    let size = set.map_or(0, |set| seen::set(set).replicas);
    if set.is_some() {
        let as_large = build::stateful_set(cluster, record, size, set)?;
        apply(client, &as_large).await?;
    }
    let budget = async {
        let Some(budget) = disruption_budget(cluster, size) else {
            let api: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), namespace);
            let uid = cluster.uid().unwrap_or_default();
            return delete_owned(&api, Names::of(cluster).cluster(), &uid).await;
        };
        apply(client, &budget).await
    };
    let besides = [
        apply(client, &service_account(cluster)).await,
        apply(client, &nodes_service(cluster)).await,
        apply(client, &client_service(cluster)).await,
        budget.await,
    ];
    Ok(besides.into_iter().find_map(Result::err))
}

/// Plans and carries out one step. Disks that cannot be grown, for example because their StorageClass
/// does not allow it, and a member that cannot be given up hold nothing else up: then the step is the one after
/// it. The first reason why a disk did not grow comes along.
async fn take_a_step(
    scene: &Scene<'_>,
    desired: &Desired,
) -> Result<(Step, Option<String>), Error> {
    let mut desired = desired.clone();
    let mut refused = None;
    loop {
        let step = plan(scene.observed, &desired);
        let Step::Act(action) = &step else {
            return Ok((step, refused));
        };
        match (perform(scene, action).await, action) {
            (Ok(()), _) => return Ok((step, refused)),
            (
                Err(error @ Error::Database(database::Error::Refused(_))),
                Action::Remove { lost: true, .. },
            ) => {
                desired.replace = None;
                let (kind, reason) = (EventType::Warning, "NotGivenUp");
                let note = format!("The member that force-replace names was not given up: {error}");
                events::about_cluster(scene.context, scene.cluster, kind, reason, note).await;
            }
            (Err(error), Action::GrowClaim { ordinal, .. }) => {
                tracing::warn!(%error, "a disk cannot be grown");
                desired.fixed_claims.insert(*ordinal);
                refused.get_or_insert_with(|| error.to_string());
            }
            (Err(error), _) => return Err(error),
        }
    }
}

async fn perform(scene: &Scene<'_>, action: &Action) -> Result<(), Error> {
    let reason = events::reason(action);
    tracing::info!(reason, "{action}");
    scene.carry_out(action).await?;
    scene.context.metrics.acted(action, reason);
    events::about_action(scene.context, scene.cluster, action).await;
    Ok(())
}

/// Says what the plan is. Actions were told of when they were carried out.
async fn tell(context: &Context, cluster: &ChronosCluster, step: &Step) {
    match step {
        Step::Act(_) => {}
        Step::Wait(wait) => tracing::debug!(reason = wait.reason(), "{wait}"),
        Step::Calm(calm) => tracing::debug!(reason = ?calm, "There is nothing to do."),
        Step::Blocked(blocker) => {
            tracing::debug!(reason = blocker.reason(), "{blocker}");
            let note = blocker.to_string();
            let reason = blocker.reason();
            events::about_cluster(context, cluster, EventType::Warning, reason, note).await;
        }
    }
}

/// Watches tell what Kubernetes does; the database has to be asked again.
fn pause(step: &Step, observed: &Observed) -> Duration {
    match step {
        Step::Act(_) => Duration::from_secs(1),
        Step::Wait(_) => Duration::from_secs(3),
        Step::Blocked(_) => Duration::from_secs(15),
        Step::Calm(_) if observed.database.is_some() => Duration::from_secs(20),
        Step::Calm(_) => Duration::from_secs(120),
    }
}

async fn write_status(
    context: &Context,
    cluster: &ChronosCluster,
    namespace: &str,
    new: ChronosClusterStatus,
) -> Result<(), Error> {
    if cluster.status.as_ref() == Some(&new) {
        return Ok(());
    }
    let old = cluster.status.as_ref();
    if old.is_none_or(|old| (old.phase, &old.phase_reason) != (new.phase, &new.phase_reason)) {
        tracing::info!(phase = ?new.phase, "{}", new.phase_reason);
    }
    let clusters: Api<ChronosCluster> = Api::namespaced(context.client.clone(), namespace);
    let patch = json!({
        "apiVersion": "chronosdb.io/v1alpha1",
        "kind": "ChronosCluster",
        "status": new,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    let written = clusters
        .patch_status(&cluster.name_any(), &parameters, &Patch::Apply(patch))
        .await;
    match written {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()).map_err(Error::kubernetes("the status")),
    }
}

/// What names a cluster among those that fail.
pub(super) fn key(cluster: &ChronosCluster) -> String {
    format!(
        "cluster {}/{}",
        cluster.namespace().unwrap_or_default(),
        cluster.name_any()
    )
}
