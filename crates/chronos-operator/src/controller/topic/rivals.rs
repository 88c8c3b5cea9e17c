//! Two resources that name the same topic of the same cluster would change it back and forth, and the
//! deletion of one would take the other's events. The older one has it.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::reflector::Store;
use tokio::time::{Instant, timeout_at};

use super::{lets_in, may_use};
use crate::api::{ChronosCluster, ScheduledTopic};
use crate::controller::Error;

/// How long one look waits for what is not listed yet. A namespace that may not be watched, such as one
/// that is gone, never is.
const LIMIT: Duration = Duration::from_secs(5);

/// All ScheduledTopics that the operator looks after, as watched.
#[derive(Default)]
pub struct Known(RwLock<Vec<Watched>>);

/// The ScheduledTopics of a namespace, or of all.
#[derive(Clone)]
struct Watched {
    namespace: Option<String>,
    topics: Store<ScheduledTopic>,
}

impl Known {
    /// Takes in those of a namespace, or of all.
    pub(in crate::controller) fn add(
        &self,
        namespace: Option<&str>,
        topics: Store<ScheduledTopic>,
    ) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.push(Watched {
            namespace: namespace.map(str::to_owned),
            topics,
        });
    }

    /// Forgets all: others will be watched.
    pub(in crate::controller) fn clear(&self) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.clear();
    }

    /// The namespace and name of an older resource that has this one's topic. Fails when there may be one
    /// that is not listed yet.
    pub(super) async fn older(
        &self,
        topic: &ScheduledTopic,
        cluster: &ChronosCluster,
    ) -> Result<Option<String>, Error> {
        let all = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let until = Instant::now() + LIMIT;
        let mut unwatched = None;
        for watched in all {
            if !watched.concerns(cluster) {
                continue;
            }
            // Ends without a list when nobody watches any more: then this is the last look as well.
            let listed = timeout_at(until, watched.topics.wait_until_ready()).await;
            if listed.is_err() {
                unwatched = Some(watched.whose());
                continue;
            }
            let others = watched.topics.state();
            let found = others.iter().find(|other| precedes(other, topic, cluster));
            if let Some(other) = found {
                let namespace = other.namespace().unwrap_or_default();
                return Ok(Some(format!("{namespace}/{}", other.name_any())));
            }
        }
        match unwatched {
            None => Ok(None),
            Some(whose) => Err(Error::Unwatched(whose)),
        }
    }
}

impl Watched {
    /// Whether one of these may name the cluster. Those of a namespace that it does not let in take no
    /// name away.
    fn concerns(&self, cluster: &ChronosCluster) -> bool {
        let namespace = self.namespace.as_deref();
        namespace.is_none_or(|namespace| lets_in(cluster, namespace))
    }

    fn whose(&self) -> String {
        match &self.namespace {
            None => "all namespaces".to_owned(),
            Some(namespace) => format!("the namespace {namespace}"),
        }
    }
}

/// Whether both are about one topic of this cluster, and the other one was there before.
fn precedes(other: &ScheduledTopic, topic: &ScheduledTopic, cluster: &ChronosCluster) -> bool {
    let reference = &other.spec.cluster_ref;
    let home = reference.namespace.clone().or_else(|| other.namespace());
    let age = |topic: &ScheduledTopic| {
        let made = topic.metadata.creation_timestamp.as_ref();
        (made.map(|made| made.0), topic.metadata.uid.clone())
    };
    other.topic_name() == topic.topic_name()
        && reference.name == cluster.name_any()
        && home == cluster.namespace()
        && may_use(other, cluster)
        && age(other) < age(topic)
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;

    fn topic(namespace: &str, name: &str, second: u32, spec: Value) -> ScheduledTopic {
        serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ScheduledTopic",
            "metadata": {
                "name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"),
                "creationTimestamp": format!("2026-01-01T00:00:0{second}Z"),
            },
            "spec": spec,
        }))
        .unwrap()
    }

    fn cluster(others: &[&str]) -> ChronosCluster {
        serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ChronosCluster",
            "metadata": { "name": "db", "namespace": "n" },
            "spec": { "topicNamespaces": others },
        }))
        .unwrap()
    }

    #[test]
    fn the_older_one_has_the_topic() {
        let here = json!({ "clusterRef": { "name": "db" } });
        let named = json!({ "clusterRef": { "name": "db" }, "topicName": "orders" });
        let (first, second) = (
            topic("n", "orders", 1, here.clone()),
            topic("n", "again", 2, named),
        );
        let db = cluster(&[]);
        assert!(precedes(&first, &second, &db));
        assert!(!precedes(&second, &first, &db));
        assert!(!precedes(&first, &first, &db));
        let another = topic("n", "letters", 1, here);
        assert!(!precedes(&another, &second, &db));
    }

    #[test]
    fn who_may_not_use_the_cluster_takes_no_name_away() {
        let abroad = json!({ "clusterRef": { "name": "db", "namespace": "n" } });
        let stranger = topic("elsewhere", "orders", 1, abroad);
        let mine = topic("n", "orders", 2, json!({ "clusterRef": { "name": "db" } }));
        assert!(!precedes(&stranger, &mine, &cluster(&[])));
        assert!(precedes(&stranger, &mine, &cluster(&["elsewhere"])));
        let elsewhere = topic(
            "elsewhere",
            "orders",
            1,
            json!({ "clusterRef": { "name": "db" } }),
        );
        assert!(!precedes(&elsewhere, &mine, &cluster(&["elsewhere"])));
    }

    /// The namespace `gone` is never listed, `n` is.
    #[tokio::test(start_paused = true)]
    async fn only_what_may_hold_another_one_is_waited_for() {
        let here = json!({ "clusterRef": { "name": "db" } });
        let named = json!({ "clusterRef": { "name": "db" }, "topicName": "orders" });
        let (listed, mut writer) = store::<ScheduledTopic>();
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitApply(topic("n", "orders", 1, here.clone())));
        writer.apply_watcher_event(&Event::InitDone);
        let (never, _writer) = store::<ScheduledTopic>();
        let known = Known::default();
        known.add(Some("gone"), never.clone());
        known.add(Some("n"), listed);
        let (second, alone) = (
            topic("n", "again", 2, named),
            topic("n", "letters", 2, here),
        );

        let before = Instant::now();
        let found = known.older(&second, &cluster(&["elsewhere"])).await;
        assert_eq!(found.unwrap().as_deref(), Some("n/orders"));
        let found = known.older(&alone, &cluster(&["elsewhere"])).await;
        assert_eq!(found.unwrap(), None);
        assert_eq!(Instant::now(), before, "it waited");

        for others in ["gone", "*"] {
            let db = cluster(&[others]);
            let failed = known.older(&alone, &db).await.unwrap_err();
            assert!(
                matches!(&failed, Error::Unwatched(whose) if whose.ends_with("gone")),
                "{failed}"
            );
            // One that is known is enough.
            let found = known.older(&second, &db).await;
            assert_eq!(found.unwrap().as_deref(), Some("n/orders"));
        }
        assert!(before.elapsed() < LIMIT * 5, "it waited for long");

        known.clear();
        known.add(None, never);
        let failed = known.older(&alone, &cluster(&[])).await.unwrap_err();
        assert_eq!(failed.reason(), "TopicsUnwatched");
    }
}
