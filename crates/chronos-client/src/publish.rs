//! Publishing one event.

use bytes::Bytes;
use chronos_proto::cronos_db::{Event, ExistingEvent, PastPolicy};
use chronos_proto::raw::PublishRequest;
use prost::Message;

use crate::{Client, Error, partition_of, routing_key};

/// Where a published event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Stored by this call.
    Stored {
        /// The partition that took it.
        partition_id: u32,
        /// Position in the partition, from 0.
        offset: u64,
    },
    /// Stored, but not known where: a try of this call got no answer, and the next one heard
    /// that the id is known. (Or the id was known long before; the wire cannot tell.)
    StoredEarlier,
    /// Not stored, because its time had passed and [`IfPast::Drop`] was asked for.
    Dropped,
}

/// What the server said of an event to publish.
#[derive(Clone, Debug, PartialEq)]
pub enum PublishAnswer {
    /// Stored by this call.
    Stored {
        /// The partition that took it.
        partition_id: u32,
        /// Position in the partition, from 0.
        offset: u64,
        /// When it is due, Unix ms. Of an event with a delay it is what the server computed.
        schedule_ts: i64,
    },
    /// The id is known; nothing was changed by the try that heard so.
    Known {
        /// The event that has the id, if it was asked for and the server says so.
        existing: Option<ExistingEvent>,
        /// Whether an earlier try of this call got no answer, and may be what stored it.
        retried_uncertain: bool,
    },
    /// Not stored, because its time had passed and [`IfPast::Drop`] was asked for.
    Dropped,
}

/// What to do with an event whose time has passed, by the server's clock, when it arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfPast {
    /// Store it and deliver it now.
    #[default]
    Now,
    /// Refuse it.
    Reject,
    /// Do not store it, which is no error.
    Drop,
}

/// How to publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions {
    /// Store the event even if its id is known.
    pub allow_duplicate: bool,
    /// What to do when its time has passed.
    pub if_past: IfPast,
}

impl IfPast {
    fn wire(self) -> i32 {
        match self {
            Self::Now => PastPolicy::Now as i32,
            Self::Reject => PastPolicy::Reject as i32,
            Self::Drop => PastPolicy::Drop as i32,
        }
    }
}

impl Client {
    /// Stores one event; returns when it is durable by the node's fsync mode.
    ///
    /// # Errors
    /// [`Error::Duplicate`] when the id was stored before this call, [`Error::Rejected`] for an
    /// invalid event, [`Error::Throttled`] when a quota of its topic is used up for longer than the
    /// policy waits, [`Error::Unavailable`] when no node answered (the event may be stored or not:
    /// publish it again with the same id).
    pub async fn publish(&self, event: impl Into<Event>) -> Result<Published, Error> {
        self.publish_with(event, PublishOptions::default()).await
    }

    /// Stores one event even if its id is known. A try that got no answer may have stored it
    /// once already.
    ///
    /// # Errors
    /// As [`Self::publish`], without [`Error::Duplicate`].
    pub async fn publish_allowing_duplicate(
        &self,
        event: impl Into<Event>,
    ) -> Result<Published, Error> {
        let options = PublishOptions {
            allow_duplicate: true,
            ..PublishOptions::default()
        };
        self.publish_with(event, options).await
    }

    /// Stores one event as the options say. With [`IfPast::Reject`] or [`IfPast::Drop`], a try that
    /// got no answer may have stored the event though a later one, which came too late, was refused.
    ///
    /// # Errors
    /// As [`Self::publish`]; a refusal of a past time is [`Error::Rejected`].
    pub async fn publish_with(
        &self,
        event: impl Into<Event>,
        options: PublishOptions,
    ) -> Result<Published, Error> {
        match self.send_one(event.into(), options, false).await? {
            PublishAnswer::Stored {
                partition_id,
                offset,
                ..
            } => Ok(Published::Stored {
                partition_id,
                offset,
            }),
            PublishAnswer::Known {
                retried_uncertain: true,
                ..
            } => Ok(Published::StoredEarlier),
            PublishAnswer::Known { .. } => Err(Error::Duplicate),
            PublishAnswer::Dropped => Ok(Published::Dropped),
        }
    }

    /// As [`Self::publish_with`], and tells all that the server says: when the event is due, and of a
    /// duplicate which event has its id.
    ///
    /// # Errors
    /// As [`Self::publish_with`]; a duplicate is [`PublishAnswer::Known`] instead.
    pub async fn publish_in_full(
        &self,
        event: impl Into<Event>,
        options: PublishOptions,
    ) -> Result<PublishAnswer, Error> {
        self.send_one(event.into(), options, true).await
    }

    async fn send_one(
        &self,
        event: Event,
        options: PublishOptions,
        return_existing: bool,
    ) -> Result<PublishAnswer, Error> {
        let partition = partition_of(routing_key(&event), self.partition_count());
        let request = PublishRequest {
            event: Some(Bytes::from(event.encode_to_vec())),
            allow_duplicate: options.allow_duplicate,
            past: options.if_past.wire(),
            return_existing,
        };
        let answer = self
            .call(Some(partition), |channel| {
                let (mut events, request) = (self.raw_events(channel), request.clone());
                async move { events.publish(request).await }
            })
            .await?;
        let response = answer.value;
        if response.success {
            return Ok(PublishAnswer::Stored {
                partition_id: u32::try_from(response.partition_id)
                    .map_err(|_| Error::Unexpected("negative partition_id"))?,
                offset: u64::try_from(response.offset)
                    .map_err(|_| Error::Unexpected("negative offset"))?,
                schedule_ts: response.schedule_ts,
            });
        }
        if response.dropped {
            return Ok(PublishAnswer::Dropped);
        }
        match Error::rejected(response.error) {
            Error::Duplicate => Ok(PublishAnswer::Known {
                existing: response.existing,
                retried_uncertain: answer.retried_uncertain,
            }),
            error => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tonic::{Code, Status};

    use super::*;
    use crate::NewEvent;
    use crate::fake::{Fake, PublishStep};

    fn event() -> NewEvent {
        NewEvent::new("topic", "id", "payload").at_ms(77)
    }

    #[tokio::test]
    async fn an_unavailable_node_is_tried_again() {
        let fake = Fake::start(1).await;
        fake.script_publish([
            PublishStep::Fail(Status::unavailable("starting")),
            PublishStep::Fail(Status::aborted("raced")),
            PublishStep::Fail(Status::failed_precondition("not the leader")),
        ]);
        let client = fake.client().await;
        assert_eq!(
            client.publish(event()).await.unwrap(),
            Published::Stored {
                partition_id: 0,
                offset: 0
            }
        );
        let stored = fake.stored();
        assert_eq!(stored.len(), 1);
        assert_eq!(
            (stored[0].message_id.as_str(), stored[0].schedule_ts),
            ("id", 77)
        );
    }

    #[tokio::test]
    async fn a_duplicate_after_an_uncertain_try_is_success() {
        let fake = Fake::start(1).await;
        fake.script_publish([PublishStep::StoreThenFail(Status::unavailable("gone"))]);
        let client = fake.client().await;
        assert_eq!(
            client.publish(event()).await.unwrap(),
            Published::StoredEarlier
        );
        assert!(matches!(
            client.publish(event()).await,
            Err(Error::Duplicate)
        ));
        assert!(matches!(
            client.publish_allowing_duplicate(event()).await,
            Ok(Published::Stored { offset: 1, .. })
        ));
    }

    #[tokio::test]
    async fn a_duplicate_can_ask_which_event_has_its_id() {
        let fake = Fake::start(1).await;
        let client = fake.client().await;
        let options = PublishOptions::default();
        let stored = client.publish_in_full(event(), options).await.unwrap();
        assert_eq!(
            stored,
            PublishAnswer::Stored {
                partition_id: 0,
                offset: 0,
                schedule_ts: 77
            }
        );
        let again = client.publish_in_full(event(), options).await.unwrap();
        assert!(
            matches!(
                &again,
                PublishAnswer::Known {
                    existing: Some(existing),
                    retried_uncertain: false,
                } if (existing.offset, existing.schedule_ts) == (0, 77)
            ),
            "{again:?}"
        );
    }

    #[tokio::test]
    async fn a_duplicate_after_a_refusal_by_a_follower_is_a_duplicate() {
        let fake = Fake::start(1).await;
        let client = fake.client().await;
        client.publish(event()).await.unwrap();
        fake.script_publish([PublishStep::Fail(Status::failed_precondition("no leader"))]);
        assert!(matches!(
            client.publish(event()).await,
            Err(Error::Duplicate)
        ));
    }

    #[tokio::test]
    async fn a_refused_request_is_not_tried_again() {
        let fake = Fake::start(1).await;
        fake.script_publish([PublishStep::Fail(Status::resource_exhausted("full"))]);
        let client = fake.client().await;
        assert!(matches!(
            client.publish(event()).await,
            Err(Error::Status {
                code: Code::ResourceExhausted,
                ..
            })
        ));
        assert!(fake.stored().is_empty());
        assert!(matches!(
            client.publish(NewEvent::new("t", "", "p")).await,
            Err(Error::Rejected(words)) if words == "message_id is required"
        ));
    }

    #[tokio::test]
    async fn a_throttled_request_waits_as_long_as_the_server_says() {
        let throttled = |wait_ms: u64| {
            let mut status = Status::resource_exhausted("used up");
            let value = wait_ms.to_string().parse().unwrap();
            status.metadata_mut().insert("retry-after-ms", value);
            PublishStep::Fail(status)
        };
        let fake = Fake::start(1).await;
        let client = fake.client_with(Duration::from_millis(200)).await;
        fake.script_publish([throttled(80), throttled(40)]);
        let begin = Instant::now();
        let stored = client.publish(event()).await.unwrap();
        assert!(matches!(stored, Published::Stored { offset: 0, .. }));
        assert!(begin.elapsed() >= Duration::from_millis(120));
        // Longer than the policy waits: the caller decides.
        fake.script_publish([throttled(60_000)]);
        let later = NewEvent::new("topic", "later", "payload");
        assert!(matches!(
            client.publish(later).await,
            Err(Error::Throttled { retry_after, .. }) if retry_after.as_secs() == 60
        ));
        assert_eq!(fake.stored().len(), 1);
    }

    #[tokio::test]
    async fn leaders_are_called_unless_only_the_addresses_can_be() {
        let fake = Fake::start(1).await;
        // A port that nothing listens on.
        fake.name_leader("127.0.0.1:1");
        for direct in [true, false] {
            let mut options = fake.options(Duration::from_millis(5));
            options.retry.attempts = 1;
            options.direct = direct;
            let client = Client::connect(options).await.unwrap();
            assert_eq!(client.publish(event()).await.is_err(), direct);
        }
    }

    #[tokio::test]
    async fn a_dead_node_is_unavailable() {
        let fake = Fake::start(1).await;
        let client = fake.client().await;
        fake.stop().await;
        assert!(matches!(
            client.publish(event()).await,
            Err(Error::Unavailable { .. })
        ));
    }
}
