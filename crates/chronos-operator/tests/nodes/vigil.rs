//! Watches the pods and claims of a cluster all through a scenario: what the operator must never do
//! is seen while it happens, not afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use chronos_operator::api::ChronosCluster;
use chronos_operator::build::{RETIRED_ANNOTATION, ordinal};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use tokio::task::JoinHandle;

use crate::stage::{CLUSTER, Stage, is_ready, uid};

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Sights {
    /// Pods in the order in which they were stopped.
    pub stopped: Vec<String>,
    /// The most nodes that did not serve at the same time, of those that had served.
    pub most_missing: usize,
    /// Who led the catalog when nobody but the first that was stopped had been drained.
    pub catalog_leader: Option<String>,
    /// Claims that were deleted although nobody had said that their members are gone.
    pub claims_lost: Vec<String>,
    now: BTreeMap<String, Watched>,
    served: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Watched {
    uid: String,
    is_ready: bool,
    is_going: bool,
}

/// Somebody who watches.
pub struct Vigil {
    sights: Arc<Mutex<Sights>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Vigil {
    /// Watches the nodes with ordinals below `nodes`, and all claims.
    pub fn over(stage: &Stage, nodes: u32) -> Self {
        let sights = Arc::new(Mutex::new(Sights::default()));
        let (of_pods, of_claims) = (Arc::clone(&sights), Arc::clone(&sights));
        let counts = move |pod: &Pod| {
            ordinal(&pod.name_any(), CLUSTER).is_some_and(|ordinal| ordinal < nodes)
        };
        let pods = each(stage.api(), move |event: Event<Pod>| match event {
            Event::Apply(pod) | Event::InitApply(pod) if counts(&pod) => {
                of_pods.lock().unwrap().see(&pod);
            }
            Event::Delete(pod) if counts(&pod) => of_pods.lock().unwrap().miss(&pod),
            _ => {}
        });
        let claims = each(
            stage.api(),
            move |event: Event<PersistentVolumeClaim>| match event {
                Event::Apply(claim) | Event::InitApply(claim)
                    if claim.metadata.deletion_timestamp.is_some() =>
                {
                    of_claims.lock().unwrap().claim_goes(&claim);
                }
                Event::Delete(claim) => of_claims.lock().unwrap().claim_goes(&claim),
                _ => {}
            },
        );
        let of_clusters = Arc::clone(&sights);
        let clusters = each(stage.api(), move |event: Event<ChronosCluster>| {
            if let Event::Apply(cluster) | Event::InitApply(cluster) = event {
                of_clusters.lock().unwrap().see_members(&cluster);
            }
        });
        Self {
            sights,
            tasks: vec![
                tokio::spawn(pods),
                tokio::spawn(claims),
                tokio::spawn(clusters),
            ],
        }
    }

    /// Ends.
    pub fn end(self) -> Sights {
        for task in &self.tasks {
            task.abort();
        }
        self.sights.lock().unwrap().clone()
    }
}

async fn each<K>(api: Api<K>, mut see: impl FnMut(Event<K>))
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let events = watcher::watcher(api, watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        // While the API server is away there is nothing to see; it is asked again.
        if let Ok(event) = event {
            see(event);
        }
    }
}

impl Sights {
    fn see(&mut self, pod: &Pod) {
        let seen = Watched {
            uid: uid(pod),
            is_ready: is_ready(pod),
            is_going: pod.metadata.deletion_timestamp.is_some(),
        };
        let name = pod.name_any();
        if seen.is_ready {
            self.served.insert(name.clone());
        }
        let before = self.now.insert(name.clone(), seen.clone());
        let went = before.is_some_and(|before| before.is_going && before.uid == seen.uid);
        if seen.is_going && !went {
            self.stopped.push(name);
        }
        self.count();
    }

    fn miss(&mut self, pod: &Pod) {
        let name = pod.name_any();
        let is_this = self.now.get(&name).is_some_and(|it| it.uid == uid(pod));
        if is_this
            && let Some(last) = self.now.remove(&name)
            && !last.is_going
        {
            self.stopped.push(name);
        }
        self.count();
    }

    fn count(&mut self) {
        let serves = |name: &&String| self.now.get(*name).is_some_and(|pod| pod.is_ready);
        let missing = self.served.iter().filter(|name| !serves(name)).count();
        self.most_missing = self.most_missing.max(missing);
    }

    fn see_members(&mut self, cluster: &ChronosCluster) {
        let members = cluster.status.iter().flat_map(|status| &status.members);
        let members: Vec<_> = members.collect();
        let first = self.stopped.first();
        let draining = members.iter().filter(|it| it.state == "draining");
        let others = draining.filter(|it| first.is_some_and(|first| *first != it.name));
        if self.stopped.len() > 1 || others.count() > 0 {
            return;
        }
        if let Some(leader) = members.iter().find(|it| it.catalog == "leader") {
            self.catalog_leader = Some(leader.name.clone());
        }
    }

    fn claim_goes(&mut self, claim: &PersistentVolumeClaim) {
        if !claim.annotations().contains_key(RETIRED_ANNOTATION) {
            self.claims_lost.push(claim.name_any());
        }
    }
}
