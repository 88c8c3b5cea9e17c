//! From what came of a topic to its status: pure.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use crate::api::{
    Condition, ConditionStatus, ScheduledTopic, ScheduledTopicStatus, TopicConditionType, seeded,
    set_condition,
};
use crate::database::{Error, Topic};

/// What is said of a topic that somebody else deleted.
pub(super) const LOST: &str = "The topic was gone from the database and was made again. The events \
     that were pending in it are lost.";

/// What came of a reconciliation.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// The topic is as the spec says.
    Agrees(Drift, Box<View>),
    /// The resource is left alone.
    Paused,
    /// Another resource has the topic.
    Taken(String),
    /// It is not known whether another resource has it.
    Unwatched(String),
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

/// What somebody else had done to a topic that now is as the spec says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Drift {
    None,
    Changed,
    Deleted,
}

/// The topic as the database has it.
#[derive(Debug, PartialEq)]
pub(super) struct View {
    pub(super) topic: Topic,
    pub(super) next_fire_ms: Result<Option<i64>, Error>,
    /// The leader of every partition of the database.
    pub(super) leaders: Result<Vec<String>, Error>,
}

/// Whether the topic was ever as the resource says. One that was refused is about a topic of somebody
/// else.
pub(super) fn was_brought(topic: &ScheduledTopic) -> bool {
    let status = topic.status.as_ref();
    status.is_some_and(|status| status.version.is_some())
}

/// Whether the topic was as the spec says when it was last compared with the spec as it is now. If it is
/// not any more, somebody else changed it.
pub(super) fn agreed(topic: &ScheduledTopic) -> bool {
    let Some(status) = &topic.status else {
        return false;
    };
    let accepted = status.conditions.iter().any(|condition| {
        condition.type_ == TopicConditionType::SpecValid.name()
            && condition.status == ConditionStatus::True
    });
    accepted && was_brought(topic) && Some(status.observed_generation) == topic.metadata.generation
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
    if let Outcome::Agrees(_, view) = outcome {
        show(&mut status, view);
    }
    // Says which spec the database was compared with; a later one is not yet.
    if matches!(outcome, Outcome::Agrees(..) | Outcome::Refused(_)) {
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

/// What was not answered stays as it was.
fn show(status: &mut ScheduledTopicStatus, view: &View) {
    let chosen = view.topic.settings.partitions;
    if let Some(count) = chosen.and_then(|count| u32::try_from(count).ok()) {
        status.partitions = Some(count);
    }
    // A node that is still starting lists none.
    if let Ok(leaders) = &view.leaders
        && !leaders.is_empty()
    {
        // The database names the partitions that hold something. A topic without a number of its own
        // is in all of them.
        if chosen.is_none() {
            status.partitions = u32::try_from(leaders.len()).ok();
        }
        let leads = |partition: usize| {
            chosen.is_none()
                || u32::try_from(partition).is_ok_and(|id| view.topic.partitions.contains(&id))
        };
        let named: BTreeSet<&String> = leaders
            .iter()
            .enumerate()
            .filter(|(partition, leader)| leads(*partition) && !leader.is_empty())
            .map(|(_, leader)| leader)
            .collect();
        status.leaders = named.into_iter().cloned().collect();
    }
    status.pending = Some(view.topic.pending);
    status.version = Some(view.topic.version);
    if let Ok(next_fire_ms) = view.next_fire_ms {
        status.next_fire = next_fire_ms
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .map(|time| time.to_string());
    }
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
        Outcome::Agrees(drift, _) => {
            all.push((Type::Ready, true_, "Agrees", String::new()));
            all.push((Type::SpecValid, true_, "Accepted", String::new()));
            let (reason, message) = match drift {
                Drift::None => ("Agrees", ""),
                Drift::Changed => ("Corrected", ""),
                Drift::Deleted => ("Recreated", LOST),
            };
            let drifted = *drift != Drift::None;
            all.push((Type::Drifted, drifted.into(), reason, message.to_owned()));
        }
        // What was so when it was looked at last may be different by now.
        Outcome::Paused => all.push((
            Type::Ready,
            ConditionStatus::Unknown,
            "Paused",
            "The operator leaves the topic alone, and does not look at it.".to_owned(),
        )),
        Outcome::Unwatched(why) => all.push((
            Type::Ready,
            ConditionStatus::Unknown,
            "TopicsUnwatched",
            why.clone(),
        )),
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

    /// Three partitions with two leaders.
    fn view() -> View {
        View {
            topic: Topic {
                pending: 9,
                version: 3,
                ..Topic::default()
            },
            next_fire_ms: Ok(Some(0)),
            leaders: Ok(["a", "b", "b"].map(str::to_owned).into()),
        }
    }

    fn agrees(drift: Drift) -> Outcome {
        Outcome::Agrees(drift, Box::new(view()))
    }

    /// The topic with the status that an outcome gave it.
    fn after(outcome: &Outcome) -> ScheduledTopic {
        let mut topic = topic();
        topic.status = Some(status(&topic, outcome, "t"));
        topic
    }

    #[test]
    fn a_topic_without_a_number_of_its_own_is_everywhere() {
        let status = status(&topic(), &agrees(Drift::None), "t");
        assert_eq!(status.partitions, Some(3));
        assert_eq!(status.leaders, ["a", "b"]);
    }

    #[test]
    fn a_topic_that_agrees_shows_where_it_is() {
        let mut view = view();
        view.topic.settings.partitions = Some(2);
        view.topic.partitions = vec![1, 2];
        let status = status(&topic(), &Outcome::Agrees(Drift::None, Box::new(view)), "t");
        assert_eq!(status.leaders, ["b"]);
        assert_eq!((status.partitions, status.pending), (Some(2), Some(9)));
        assert_eq!(status.next_fire.as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(status.topic_name, "orders");
        assert_eq!(status.observed_generation, 2);
        assert_eq!(get(&status, "Ready").status, ConditionStatus::True);
        assert_eq!(get(&status, "Drifted").status, ConditionStatus::False);
    }

    #[test]
    fn what_was_not_answered_stays_as_it_was() {
        let silent = || Error::Silent("no answer".to_owned());
        let topic = after(&agrees(Drift::None));
        for leaders in [Err(silent()), Ok(Vec::new())] {
            let unanswered = View {
                next_fire_ms: Err(silent()),
                leaders,
                ..view()
            };
            let outcome = Outcome::Agrees(Drift::None, Box::new(unanswered));
            let status = status(&topic, &outcome, "t");
            assert_eq!(Some(&status), topic.status.as_ref());
        }
        let nothing_pending = View {
            next_fire_ms: Ok(None),
            ..view()
        };
        let outcome = Outcome::Agrees(Drift::None, Box::new(nothing_pending));
        assert_eq!(status(&topic, &outcome, "t").next_fire, None);
    }

    #[test]
    fn what_others_did_is_told() {
        for (drift, holds, reason) in [
            (Drift::None, ConditionStatus::False, "Agrees"),
            (Drift::Changed, ConditionStatus::True, "Corrected"),
            (Drift::Deleted, ConditionStatus::True, "Recreated"),
        ] {
            let status = status(&topic(), &agrees(drift), "t");
            let drifted = get(&status, "Drifted");
            assert_eq!((drifted.status, &*drifted.reason), (holds, reason));
            assert_eq!(
                drifted.message.contains("are lost"),
                drift == Drift::Deleted
            );
            assert_eq!(get(&status, "Ready").status, ConditionStatus::True);
        }
    }

    #[test]
    fn only_what_was_compared_counts_as_changed_by_others() {
        assert!(!agreed(&topic()));
        let mut topic = after(&agrees(Drift::None));
        assert!(agreed(&topic));
        // The spec changes while nobody compares.
        topic.metadata.generation = Some(3);
        for outcome in [
            Outcome::Paused,
            Outcome::Taken("n/a".to_owned()),
            Outcome::Unwatched("b".to_owned()),
            Outcome::Unreadable("b".to_owned()),
            Outcome::ClusterMissing,
            Outcome::NotAllowed,
            Outcome::ClusterAsleep,
            Outcome::Silent("no answer".to_owned()),
        ] {
            topic.status = Some(status(&topic, &outcome, "t"));
            let observed = topic.status.as_ref().unwrap().observed_generation;
            assert_eq!(observed, 2, "{outcome:?}");
            assert!(!agreed(&topic), "{outcome:?}");
        }
        // One that was refused never held.
        let refused = Outcome::Refused("no".to_owned());
        topic.status = Some(status(&topic, &refused, "t"));
        assert_eq!(topic.status.as_ref().unwrap().observed_generation, 3);
        assert!(was_brought(&topic) && !agreed(&topic));
        topic.status = Some(status(&topic, &agrees(Drift::None), "t"));
        assert!(agreed(&topic));
    }

    #[test]
    fn a_paused_topic_is_not_called_ready() {
        let mut topic = after(&agrees(Drift::None));
        topic.metadata.generation = Some(3);
        let status = status(&topic, &Outcome::Paused, "t");
        let ready = get(&status, "Ready");
        assert_eq!(ready.status, ConditionStatus::Unknown);
        assert_eq!(ready.reason, "Paused");
        assert_eq!(get(&status, "Paused").status, ConditionStatus::True);
        assert_eq!(status.observed_generation, 2);
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
