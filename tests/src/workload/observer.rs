//! Reads what the server says about itself, for the rules that compare it with the history.

use chronos_proto::cronos_db::{
    GetConsumerGroupRequest, GetPartitionRequest, GetSchedulerStatusRequest, ReplayRequest,
};
use tonic::Status;

use crate::history::{GroupState, Op, Outcome, PartitionState, Replay, ReplayRange, Seen};
use crate::routing;
use crate::server::Server;

use super::Run;

impl Run {
    /// Reads every partition: its counts, and all its events by a replay.
    ///
    /// # Errors
    /// The server's status.
    pub async fn observe_partitions(&self) -> Result<(), Status> {
        let process = self.process();
        let client = self.client();
        for partition in 0..i32::try_from(self.settings.partition_count).unwrap_or(i32::MAX) {
            let called = self.recorder.now();
            let info = GetPartitionRequest {
                partition_id: partition,
            };
            let info = client
                .partitions
                .clone()
                .get_partition(info)
                .await?
                .into_inner();
            let status = GetSchedulerStatusRequest {
                partition_id: partition,
            };
            let status = client
                .partitions
                .clone()
                .get_scheduler_status(status)
                .await?
                .into_inner();
            let state = PartitionState {
                partition,
                active_timers: status.active_timers,
                last_offset: info.last_offset,
            };
            self.recorder
                .record(process, called, Outcome::Ok, Op::PartitionState(state));
            let everything = ReplayRange::Offsets {
                start: 0,
                count: 1_000_000,
            };
            self.observe_replay(partition, everything).await?;
        }
        Ok(())
    }

    /// Replays a range of a partition.
    ///
    /// # Errors
    /// The server's status.
    pub async fn observe_replay(&self, partition: i32, range: ReplayRange) -> Result<(), Status> {
        let mut request = ReplayRequest {
            partition_id: partition,
            ..ReplayRequest::default()
        };
        match range {
            ReplayRange::Offsets { start, count } => {
                (request.start_offset, request.count) = (start, count);
            }
            ReplayRange::Times { start_ms, end_ms } => {
                (request.start_ts, request.end_ts) = (start_ms, end_ms);
            }
        }
        let called = self.recorder.now();
        let replayed = self.client().replay(request).await?;
        let events = replayed
            .into_iter()
            .filter_map(|it| it.event)
            .map(|event| Seen {
                partition: event.partition_id,
                offset: event.offset,
                hash: routing::content_hash(&event.payload, &event.meta),
                id: event.message_id,
                topic: event.topic,
                schedule_ts: event.schedule_ts,
            });
        let replay = Replay {
            partition,
            range,
            events: events.collect(),
        };
        self.recorder
            .record(self.process(), called, Outcome::Ok, Op::Replay(replay));
        Ok(())
    }

    /// Reads a group's committed offsets.
    ///
    /// # Errors
    /// The server's status.
    pub async fn observe_group(&self, group: &str) -> Result<(), Status> {
        let called = self.recorder.now();
        let request = GetConsumerGroupRequest {
            group_id: group.to_string(),
        };
        let answer = self
            .client()
            .groups
            .get_consumer_group(request)
            .await?
            .into_inner();
        let state = GroupState {
            group: group.to_string(),
            committed: answer.committed_offsets.into_iter().collect(),
        };
        self.recorder
            .record(self.process(), called, Outcome::Ok, Op::GroupState(state));
        Ok(())
    }

    /// Reads how many events the server has dead-lettered since it started.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn observe_dead_letters(&self, server: &Server) -> std::io::Result<()> {
        let called = self.recorder.now();
        let count = server
            .metric("chronos_events_dead_lettered_total")
            .await?
            .round();
        let count = format!("{count}").parse().unwrap_or(0);
        self.recorder.record(
            self.process(),
            called,
            Outcome::Ok,
            Op::DeadLetters { count },
        );
        Ok(())
    }
}
