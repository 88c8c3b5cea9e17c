//! PauseService: pausing topics and consumer groups.

use super::status;
use super::validate::{GROUP_BYTES, LAST_SCHEDULE_MS, TOPIC_BYTES};
use crate::engine::{Engine, PauseStanding, clock};
use chronos_core::catalog::{self, Pause, Target};
use chronos_proto::cronos_db::pause_target::Target as WireTarget;
use chronos_proto::cronos_db::{
    ListPausesRequest, ListPausesResponse, PauseInfo, PauseRequest, PauseResponse, PauseTarget,
    ResumeRequest, ResumeResponse, WhilePaused,
};
use chronos_proto::server::pause_service_server::PauseService;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Longest reason, bytes.
const REASON_BYTES: usize = 1024;

/// Serves PauseService.
pub struct PauseCalls(pub Arc<Engine>);

fn target_of(target: Option<PauseTarget>) -> Result<Target, String> {
    let (target, name, bytes, most) = match target.and_then(|it| it.target) {
        Some(WireTarget::Topic(topic)) => {
            let bytes = topic.len();
            (Target::Topic(topic), "topic", bytes, TOPIC_BYTES)
        }
        Some(WireTarget::Group(group)) if group.is_empty() => {
            return Err("the group to pause or to resume has no name".into());
        }
        Some(WireTarget::Group(group)) => {
            let bytes = group.len();
            (Target::Group(group), "group", bytes, GROUP_BYTES)
        }
        None => return Err("target is required: a topic or a group".into()),
    };
    match bytes > most {
        true => Err(format!(
            "{name} has {bytes} bytes, at most {most} are allowed"
        )),
        false => Ok(target),
    }
}

fn pause_of(request: PauseRequest, now_ms: i64) -> Result<(Target, Pause), String> {
    let while_paused = match request.while_paused() {
        WhilePaused::Hold if request.while_paused != 0 => {
            return Err(format!("unknown while_paused {}", request.while_paused));
        }
        WhilePaused::Hold => catalog::WhilePaused::Hold,
        WhilePaused::Drop => catalog::WhilePaused::Drop,
    };
    let target = target_of(request.target)?;
    let PauseRequest {
        reason,
        until_ts,
        for_ms,
        ..
    } = request;
    if reason.len() > REASON_BYTES {
        return Err(format!(
            "reason has {} bytes, at most {REASON_BYTES} are allowed",
            reason.len()
        ));
    }
    let until_ms = match (until_ts, for_ms) {
        (0, 0) => 0,
        (0, for_ms) if for_ms > 0 => now_ms.saturating_add(for_ms),
        (0, for_ms) => return Err(format!("for_ms {for_ms} is negative")),
        (until_ts, 0) if until_ts > now_ms => until_ts,
        (until_ts, 0) => return Err(format!("until_ts {until_ts} is not after now, {now_ms}")),
        _ => return Err("until_ts and for_ms are both given, only one may be".into()),
    };
    if until_ms > LAST_SCHEDULE_MS {
        return Err(format!("the pause ends at {until_ms}, after the year 9999"));
    }
    let pause = Pause {
        reason,
        since_ms: now_ms,
        until_ms,
        while_paused,
    };
    Ok((target, pause))
}

fn info(target: Target, pause: Pause, dropped: u64) -> PauseInfo {
    let target = match target {
        Target::Topic(topic) => WireTarget::Topic(topic),
        Target::Group(group) => WireTarget::Group(group),
    };
    let while_paused = match pause.while_paused {
        catalog::WhilePaused::Hold => WhilePaused::Hold,
        catalog::WhilePaused::Drop => WhilePaused::Drop,
    };
    PauseInfo {
        target: Some(PauseTarget {
            target: Some(target),
        }),
        reason: pause.reason,
        since_ts: pause.since_ms,
        until_ts: pause.until_ms,
        while_paused: while_paused.into(),
        dropped: i64::try_from(dropped).unwrap_or(i64::MAX),
    }
}

#[tonic::async_trait]
impl PauseService for PauseCalls {
    async fn pause(
        &self,
        request: Request<PauseRequest>,
    ) -> Result<Response<PauseResponse>, Status> {
        let (target, pause) =
            pause_of(request.into_inner(), clock::now_ms()).map_err(Status::invalid_argument)?;
        (self.0.pause(target.clone(), pause.clone()).await)
            .map_err(|refused| status::of_refused(&refused))?;
        tracing::info!(
            ?target,
            until_ms = pause.until_ms,
            while_paused = ?pause.while_paused,
            "paused"
        );
        Ok(Response::new(PauseResponse {
            pause: Some(info(target, pause, 0)),
        }))
    }

    async fn resume(
        &self,
        request: Request<ResumeRequest>,
    ) -> Result<Response<ResumeResponse>, Status> {
        let target = target_of(request.into_inner().target).map_err(Status::invalid_argument)?;
        let was_paused = (self.0.resume(target.clone()).await)
            .map_err(|refused| status::of_refused(&refused))?;
        tracing::info!(?target, was_paused, "resumed");
        Ok(Response::new(ResumeResponse { was_paused }))
    }

    async fn list_pauses(
        &self,
        _: Request<ListPausesRequest>,
    ) -> Result<Response<ListPausesResponse>, Status> {
        let described = |paused: PauseStanding| info(paused.target, paused.pause, paused.dropped);
        Ok(Response::new(ListPausesResponse {
            pauses: self.0.pauses().into_iter().map(described).collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> PauseRequest {
        PauseRequest {
            target: Some(PauseTarget {
                target: Some(WireTarget::Topic("t".into())),
            }),
            ..PauseRequest::default()
        }
    }

    fn until(change: impl FnOnce(&mut PauseRequest)) -> Result<i64, String> {
        let mut request = request();
        change(&mut request);
        pause_of(request, 1_000).map(|(_, pause)| pause.until_ms)
    }

    #[test]
    fn a_pause_ends_at_a_time_after_a_time_or_not_by_itself() {
        assert_eq!(until(|_| {}), Ok(0));
        assert_eq!(until(|it| it.until_ts = 1_001), Ok(1_001));
        assert_eq!(until(|it| it.for_ms = 5), Ok(1_005));
        for (what, refused) in [
            ("not after now", until(|it| it.until_ts = 1_000)),
            ("not after now", until(|it| it.until_ts = -1)),
            ("negative", until(|it| it.for_ms = -1)),
            ("both", until(|it| (it.for_ms, it.until_ts) = (1, 2_000))),
            ("year 9999", until(|it| it.for_ms = i64::MAX)),
            ("year 9999", until(|it| it.until_ts = i64::MAX)),
            ("while_paused 7", until(|it| it.while_paused = 7)),
            ("at most 1024", until(|it| it.reason = "x".repeat(1025))),
            ("target is required", until(|it| it.target = None)),
        ] {
            let error = refused.unwrap_err();
            assert!(error.contains(what), "{what}: {error}");
        }
    }

    #[test]
    fn a_group_needs_a_name_and_a_topic_does_not() {
        let named = |target| {
            target_of(Some(PauseTarget {
                target: Some(target),
            }))
        };
        assert_eq!(
            named(WireTarget::Topic(String::new())),
            Ok(Target::Topic(String::new()))
        );
        assert!(named(WireTarget::Group(String::new())).is_err());
        assert!(named(WireTarget::Group("x".repeat(256))).is_err());
        assert!(named(WireTarget::Topic("x".repeat(255))).is_ok());
    }
}
