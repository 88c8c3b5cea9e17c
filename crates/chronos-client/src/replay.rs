//! Reading stored events again.

use chronos_proto::MAX_MESSAGE_BYTES;
use chronos_proto::cronos_db::replay_service_client::ReplayServiceClient;
use chronos_proto::cronos_db::{
    Event, ReplayEvent, ReplayRequest, RepublishProgress, RepublishRequest,
};
use futures::{Stream, StreamExt};

use crate::{Client, Error};

/// Which stored events of a partition to read. They come in the order of its log, whether
/// they have fired or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayRange {
    /// So many events from an offset on; a count of 0 means 1000.
    Offsets {
        /// The first offset.
        start: u64,
        /// How many events.
        count: u64,
    },
    /// Events whose schedule_ts lies in a range.
    Times {
        /// First schedule_ts, Unix ms, inclusive.
        start_ms: i64,
        /// Last schedule_ts, Unix ms, inclusive; 0 means now.
        end_ms: i64,
    },
}

impl Client {
    /// Reads stored events of one partition. No consumer group is touched. The stream ends
    /// after the last event of the range; it is not resumed when it breaks.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Rejected`] for a partition or range that does not exist.
    pub async fn replay(
        &self,
        topic: &str,
        partition_id: u32,
        range: ReplayRange,
    ) -> Result<impl Stream<Item = Result<Event, Error>> + Send + Unpin + 'static, Error> {
        let mut request = ReplayRequest {
            topic: topic.to_string(),
            partition_id: i32::try_from(partition_id).unwrap_or(i32::MAX),
            ..ReplayRequest::default()
        };
        match range {
            ReplayRange::Offsets { start, count } => {
                request.start_offset = i64::try_from(start).unwrap_or(i64::MAX);
                request.count = i64::try_from(count).unwrap_or(i64::MAX);
            }
            ReplayRange::Times { start_ms, end_ms } => {
                // Zero for both would ask for offsets; nothing is scheduled at 0.
                request.start_ts = start_ms.max(1);
                request.end_ts = end_ms;
            }
        }
        let replayed = self.replay_as(request).await?;
        Ok(replayed.map(|replayed| {
            replayed?
                .event
                .ok_or(Error::Unexpected("replayed event is missing"))
        }))
    }

    /// Reads stored events of one partition in any order and at any pace that the wire contract
    /// knows.
    ///
    /// # Errors
    /// As [`Client::replay`].
    pub async fn replay_as(
        &self,
        request: ReplayRequest,
    ) -> Result<impl Stream<Item = Result<ReplayEvent, Error>> + Send + Unpin + 'static, Error>
    {
        let partition_id = u32::try_from(request.partition_id).ok();
        let answer = self
            .call(partition_id, |channel| {
                let (mut events, request) = (self.events(channel), request.clone());
                async move { events.replay(request).await }
            })
            .await?;
        Ok(answer
            .value
            .map(|replayed| replayed.map_err(|status| Error::from_status(&status, 1))))
    }

    /// Publishes stored events again. The server works as long as the stream is read; what it says
    /// last has `done` set. With the same prefix of ids, doing it again changes nothing.
    ///
    /// # Errors
    /// As [`Client::replay`].
    pub async fn republish(
        &self,
        request: RepublishRequest,
    ) -> Result<impl Stream<Item = Result<RepublishProgress, Error>> + Send + Unpin + 'static, Error>
    {
        let range = request.range.as_ref();
        let partition_id = range.and_then(|range| u32::try_from(range.partition_id).ok());
        let answer = self
            .call(partition_id, |channel| {
                let mut replays =
                    ReplayServiceClient::new(channel).max_encoding_message_size(MAX_MESSAGE_BYTES);
                let request = request.clone();
                async move { replays.republish(request).await }
            })
            .await?;
        Ok(answer
            .value
            .map(|progress| progress.map_err(|status| Error::from_status(&status, 1))))
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;
    use crate::NewEvent;
    use crate::fake::Fake;

    #[tokio::test]
    async fn reads_a_range_of_offsets() {
        let fake = Fake::start(1).await;
        let client = fake.client().await;
        for id in 0..5 {
            client
                .publish(NewEvent::new("t", format!("{id}"), "p"))
                .await
                .unwrap();
        }
        let range = ReplayRange::Offsets { start: 1, count: 3 };
        let read: Vec<Event> = client
            .replay("t", 0, range)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        let offsets: Vec<i64> = read.iter().map(|event| event.offset).collect();
        assert_eq!(offsets, [1, 2, 3]);
    }
}
