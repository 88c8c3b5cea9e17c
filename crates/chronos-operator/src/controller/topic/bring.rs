//! Bringing the topic in the database to what the spec says.

use kube::runtime::events::EventType;

use super::difference::{Difference, of_partitions};
use super::settings::settings;
use super::status::{Drift, LOST, Outcome, View, agreed, was_brought};
use crate::api::ScheduledTopic;
use crate::controller::{Context, events};
use crate::database::{Database, Error, TopicSettings};

pub(super) async fn bring(
    context: &Context,
    topic: &ScheduledTopic,
    database: &dyn Database,
) -> Outcome {
    match try_bring(context, topic, database).await {
        Ok(outcome) => outcome,
        Err(Error::Silent(why)) => Outcome::Silent(why),
        Err(Error::Refused(why)) => Outcome::Refused(why),
    }
}

async fn try_bring(
    context: &Context,
    topic: &ScheduledTopic,
    database: &dyn Database,
) -> Result<Outcome, Error> {
    let name = topic.topic_name();
    let wanted = settings(&topic.spec);
    let found = database.topic(name).await?;
    // One that only exists because somebody used it is made like one that does not exist.
    let drift = match found.filter(|found| !found.automatic) {
        None => create(context, topic, database, &wanted).await?,
        Some(found) => {
            let difference = Difference::between(&wanted, &found.settings);
            if difference.partitions {
                return Ok(Outcome::Refused(of_partitions(found.settings.partitions)));
            }
            if difference.is_empty() {
                Drift::None
            } else {
                alter(context, topic, database, &difference).await?
            }
        }
    };
    let there = database.topic(name).await?.unwrap_or_default();
    // For people only: the topic is as it should be without it.
    let next_fire_ms = database.next_fire_ms(name).await;
    let leaders = database.leaders().await;
    let view = View {
        topic: there,
        next_fire_ms,
        leaders,
    };
    Ok(Outcome::Agrees(drift, Box::new(view)))
}

async fn create(
    context: &Context,
    topic: &ScheduledTopic,
    database: &dyn Database,
    wanted: &TopicSettings,
) -> Result<Drift, Error> {
    let name = topic.topic_name();
    database.create_topic(name, wanted).await?;
    if was_brought(topic) {
        tracing::warn!(topic = name, reason = "TopicRecreated", "{LOST}");
        let note = LOST.to_owned();
        events::about_topic(context, topic, EventType::Warning, "TopicRecreated", note).await;
        return Ok(Drift::Deleted);
    }
    tracing::info!(
        topic = name,
        reason = "TopicCreated",
        "The topic was created."
    );
    let note = format!("The topic {name} was created.");
    events::about_topic(context, topic, EventType::Normal, "TopicCreated", note).await;
    Ok(Drift::None)
}

async fn alter(
    context: &Context,
    topic: &ScheduledTopic,
    database: &dyn Database,
    difference: &Difference,
) -> Result<Drift, Error> {
    let name = topic.topic_name();
    database
        .alter_topic(name, &difference.changed, &difference.cleared)
        .await?;
    tracing::info!(
        topic = name,
        reason = "TopicAltered",
        "The topic was changed."
    );
    if !agreed(topic) {
        return Ok(Drift::None);
    }
    let note = "The topic was changed by somebody else, and was changed back.".to_owned();
    events::about_topic(context, topic, EventType::Warning, "Drifted", note).await;
    Ok(Drift::Changed)
}
