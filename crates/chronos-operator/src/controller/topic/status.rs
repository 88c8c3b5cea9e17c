//! From what came of a topic to its status: pure.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use crate::api::{
    Condition, ConditionStatus, ScheduledTopic, ScheduledTopicStatus, TopicConditionType, seeded,
    set_condition,
};
use crate::database::Topic;

/// What came of a reconciliation.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// The topic is as the spec says.
    Agrees(Box<View>),
    /// It was not, though the spec had not changed; now it is.
    Corrected(Box<View>),
    /// The resource is left alone.
    Paused,
    /// Another resource has the topic.
    Taken(String),
    /// The operator may not look at the cluster.
    Unreadable(String),
    /// There is no such cluster, or it is going.
    ClusterMissing,
    /// The cluster does not allow topics of this namespace.
    NotAllowed,
    /// The cluster's nodes are stopped.
    ClusterAsleep,
    /// The database does not answer.
    Silent(String),
    /// The database refuses the spec.
    Refused(String),
}

/// The topic as the database has it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct View {
    pub(super) topic: Topic,
    pub(super) next_fire_ms: Option<i64>,
    /// The leader of every partition of the database.
    pub(super) leaders: Vec<String>,
}

pub(super) fn status(topic: &ScheduledTopic, outcome: &Outcome, now: &str) -> ScheduledTopicStatus {
    let generation = topic.metadata.generation.unwrap_or_default();
    let mut status = topic.status.clone().unwrap_or_default();
    status.topic_name = topic.topic_name().to_owned();
    let names = TopicConditionType::ALL.map(TopicConditionType::name);
    for seed in seeded(&names, generation, now) {
        if status.conditions.iter().all(|old| old.type_ != seed.type_) {
            status.conditions.push(seed);
        }
    }
    if let Outcome::Agrees(view) | Outcome::Corrected(view) = outcome {
        show(&mut status, view);
    }
    // Says of which spec the topic was brought about; a later one is not yet.
    if !matches!(outcome, Outcome::Silent(_)) {
        status.observed_generation = generation;
    }
    for (kind, holds, reason, message) in conditions(outcome) {
        let condition = Condition {
            type_: kind.name().to_owned(),
            status: holds,
            reason: reason.to_owned(),
            message,
            last_transition_time: now.to_owned(),
            observed_generation: generation,
        };
        set_condition(&mut status.conditions, condition);
    }
    status
}

fn show(status: &mut ScheduledTopicStatus, view: &View) {
    // The database names the partitions that hold something. A topic without a number of its own
    // is in all of them.
    let chosen = view.topic.settings.partitions;
    let all = u32::try_from(view.leaders.len()).ok();
    let leads = |partition: usize| {
        chosen.is_none()
            || u32::try_from(partition).is_ok_and(|id| view.topic.partitions.contains(&id))
    };
    let leaders: BTreeSet<&String> = view
        .leaders
        .iter()
        .enumerate()
        .filter(|(partition, leader)| leads(*partition) && !leader.is_empty())
        .map(|(_, leader)| leader)
        .collect();
    status.partitions = chosen.and_then(|count| u32::try_from(count).ok()).or(all);
    status.leaders = leaders.into_iter().cloned().collect();
    status.pending = Some(view.topic.pending);
    status.version = Some(view.topic.version);
    status.next_fire = view
        .next_fire_ms
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map(|time| time.to_string());
}

type Said = (TopicConditionType, ConditionStatus, &'static str, String);

fn conditions(outcome: &Outcome) -> Vec<Said> {
    use TopicConditionType as Type;
    let (true_, false_) = (ConditionStatus::True, ConditionStatus::False);
    let paused = *outcome == Outcome::Paused;
    let mut all = vec![(
        Type::Paused,
        paused.into(),
        if paused { "Paused" } else { "NotPaused" },
        String::new(),
    )];
    let not_ready = |reason, message: &str| (Type::Ready, false_, reason, message.to_owned());
    match outcome {
        Outcome::Agrees(_) | Outcome::Corrected(_) => {
            let drifted = matches!(outcome, Outcome::Corrected(_));
            all.push((Type::Ready, true_, "Agrees", String::new()));
            all.push((Type::SpecValid, true_, "Accepted", String::new()));
            all.push((
                Type::Drifted,
                drifted.into(),
                if drifted { "Corrected" } else { "Agrees" },
                String::new(),
            ));
        }
        Outcome::Paused => {}
        Outcome::Taken(other) => all.push(not_ready(
            "NameTaken",
            &format!("The older ScheduledTopic {other} is about the same topic. Delete one of them."),
        )),
        Outcome::Unreadable(why) => all.push(not_ready(
            "ClusterUnreadable",
            &format!(
                "The operator may not look at the cluster: {why}. Its chart's watchNamespaces has to \
                 list the cluster's namespace."
            ),
        )),
        Outcome::ClusterMissing => all.push(not_ready(
            "ClusterMissing",
            "There is no such ChronosCluster. Make it, or correct clusterRef in a new ScheduledTopic.",
        )),
        Outcome::NotAllowed => all.push(not_ready(
            "NamespaceNotAllowed",
            "The cluster does not list this namespace in topicNamespaces.",
        )),
        Outcome::ClusterAsleep => all.push(not_ready(
            "ClusterHibernated",
            "The cluster's nodes are stopped; the topic waits until they are back.",
        )),
        Outcome::Silent(why) => all.push(not_ready("DatabaseSilent", why)),
        Outcome::Refused(why) => {
            all.push(not_ready("SpecRefused", why));
            all.push((Type::SpecValid, false_, "Refused", why.clone()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::database::TopicSettings;

    fn topic() -> ScheduledTopic {
        serde_json::from_value(json!({
            "apiVersion": "chronosdb.io/v1alpha1", "kind": "ScheduledTopic",
            "metadata": { "name": "orders", "namespace": "n", "generation": 2 },
            "spec": { "clusterRef": { "name": "db" } },
        }))
        .unwrap()
    }

    fn get<'a>(status: &'a ScheduledTopicStatus, name: &str) -> &'a Condition {
        let mut all = status.conditions.iter();
        all.find(|condition| condition.type_ == name).unwrap()
    }

    #[test]
    fn a_topic_without_a_number_of_its_own_is_everywhere() {
        let view = View {
            leaders: ["a", "b", "b"].map(str::to_owned).into(),
            ..View::default()
        };
        let status = status(&topic(), &Outcome::Agrees(Box::new(view)), "t");
        assert_eq!(status.partitions, Some(3));
        assert_eq!(status.leaders, ["a", "b"]);
    }

    #[test]
    fn a_topic_that_agrees_shows_where_it_is() {
        let view = View {
            topic: Topic {
                settings: TopicSettings {
                    partitions: Some(2),
                    ..TopicSettings::default()
                },
                partitions: vec![1, 2],
                pending: 9,
                version: 3,
                ..Topic::default()
            },
            next_fire_ms: Some(0),
            leaders: ["a", "b", "b"].map(str::to_owned).into(),
        };
        let status = status(&topic(), &Outcome::Agrees(Box::new(view)), "t");
        assert_eq!(status.leaders, ["b"]);
        assert_eq!((status.partitions, status.pending), (Some(2), Some(9)));
        assert_eq!(status.next_fire.as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(status.topic_name, "orders");
        assert_eq!(get(&status, "Ready").status, ConditionStatus::True);
        assert_eq!(get(&status, "Drifted").status, ConditionStatus::False);
    }

    #[test]
    fn a_silent_database_has_not_seen_the_spec() {
        let silent = Outcome::Silent("no answer".to_owned());
        let status = status(&topic(), &silent, "t");
        assert_eq!(status.observed_generation, 0);
        assert_eq!(get(&status, "Ready").reason, "DatabaseSilent");
        assert_eq!(get(&status, "SpecValid").status, ConditionStatus::Unknown);
    }
}
