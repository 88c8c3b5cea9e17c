//! Two resources that name the same topic of the same cluster would change it back and forth, and the
//! deletion of one would take the other's events. The older one has it.

use std::sync::{PoisonError, RwLock};

use kube::ResourceExt;
use kube::runtime::reflector::Store;

use super::may_use;
use crate::api::{ChronosCluster, ScheduledTopic};

/// All ScheduledTopics that the operator looks after, as watched.
#[derive(Default)]
pub struct Known(RwLock<Vec<Store<ScheduledTopic>>>);

impl Known {
    /// Takes in those of a namespace, or of all.
    pub(in crate::controller) fn add(&self, some: Store<ScheduledTopic>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.push(some);
    }

    /// Forgets all: others will be watched.
    pub(in crate::controller) fn clear(&self) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.clear();
    }

    /// The namespace and name of an older resource that has this one's topic.
    pub(super) async fn older(
        &self,
        topic: &ScheduledTopic,
        cluster: &ChronosCluster,
    ) -> Option<String> {
        let all = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for some in all {
            // Fails only when nobody watches any more: then this is the last look as well.
            let _ = some.wait_until_ready().await;
            let others = some.state();
            let found = others.iter().find(|other| precedes(other, topic, cluster));
            if let Some(other) = found {
                let namespace = other.namespace().unwrap_or_default();
                return Some(format!("{namespace}/{}", other.name_any()));
            }
        }
        None
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
}
