//! What has to change for a topic to be as wanted: pure.

use crate::database::TopicSettings;

/// The change.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Difference {
    /// Settings that get another value.
    pub(super) changed: TopicSettings,
    /// Settings that go back to their default, by the name on the wire.
    pub(super) cleared: Vec<&'static str>,
    /// The number of partitions differs, which cannot be changed.
    pub(super) partitions: bool,
}

impl Difference {
    pub(super) fn between(wanted: &TopicSettings, there: &TopicSettings) -> Self {
        let mut difference = Self {
            // A spec that leaves it to the database takes what there is.
            partitions: wanted.partitions.is_some() && wanted.partitions != there.partitions,
            ..Self::default()
        };
        macro_rules! compare {
            ($($field:ident),+) => {
                $(match (wanted.$field, there.$field) {
                    (Some(wanted), there) if Some(wanted) != there => {
                        difference.changed.$field = Some(wanted);
                    }
                    (None, Some(_)) => difference.cleared.push(stringify!($field)),
                    _ => {}
                })+
            };
        }
        compare!(
            retention_age_ms,
            retention_bytes,
            dedup_window_ms,
            ack_timeout_ms,
            max_retries,
            backoff_first_ms,
            backoff_factor,
            backoff_max_ms,
            backoff_jitter,
            max_horizon_ms,
            events_per_second,
            bytes_per_second,
            max_pending_events,
            max_pending_bytes
        );
        difference
    }

    /// Whether nothing has to change.
    pub(super) fn is_empty(&self) -> bool {
        self.changed == TopicSettings::default() && self.cleared.is_empty()
    }
}

/// What to do about a topic that has another number of partitions, which is fixed.
pub(super) fn of_partitions(there: Option<i32>) -> String {
    let (has, other) = match there {
        Some(count) => (
            format!("partitions: {count}"),
            format!("with partitions: {count}"),
        ),
        None => (
            "all partitions of the cluster".to_owned(),
            "without partitions".to_owned(),
        ),
    };
    format!(
        "the topic exists and has {has}, which is fixed: delete the topic with its events, and it is made \
         anew as this ScheduledTopic says; or delete this ScheduledTopic and make one {other}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_changed_and_what_is_too_much_is_cleared() {
        let wanted = TopicSettings {
            ack_timeout_ms: Some(1),
            max_retries: Some(3),
            ..TopicSettings::default()
        };
        let there = TopicSettings {
            partitions: Some(4),
            ack_timeout_ms: Some(1),
            max_retries: Some(5),
            backoff_factor: Some(2.0),
            ..TopicSettings::default()
        };
        let difference = Difference::between(&wanted, &there);
        assert_eq!(
            difference,
            Difference {
                changed: TopicSettings {
                    max_retries: Some(3),
                    ..TopicSettings::default()
                },
                cleared: vec!["backoff_factor"],
                partitions: false,
            }
        );
        assert!(Difference::between(&wanted, &wanted).is_empty());
    }

    #[test]
    fn partitions_are_fixed() {
        let wanted = TopicSettings {
            partitions: Some(1),
            ..TopicSettings::default()
        };
        assert!(Difference::between(&wanted, &TopicSettings::default()).partitions);
        assert!(!Difference::between(&TopicSettings::default(), &wanted).partitions);
    }

    #[test]
    fn who_wants_other_partitions_is_told_what_to_do() {
        let told = of_partitions(Some(16));
        assert!(told.contains("has partitions: 16, "), "{told}");
        assert!(told.ends_with("make one with partitions: 16"), "{told}");
        let told = of_partitions(None);
        assert!(told.ends_with("make one without partitions"), "{told}");
    }

    /// Whatever somebody changed, the change that is found undoes it.
    #[test]
    fn a_difference_leads_back() {
        let wanted = TopicSettings {
            dedup_window_ms: Some(7),
            ..TopicSettings::default()
        };
        for there in [
            TopicSettings {
                dedup_window_ms: Some(8),
                ..TopicSettings::default()
            },
            TopicSettings {
                dedup_window_ms: None,
                ..TopicSettings::default()
            },
        ] {
            let difference = Difference::between(&wanted, &there);
            assert_eq!(difference.changed, wanted);
            assert!(difference.cleared.is_empty());
        }
    }
}
