//! What becomes of an event whose time has passed when it is published.

use chronos_proto::cronos_db::PastPolicy;
use tonic::Status;

/// What to do with an event that is late on arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// Store it: it is due at once.
    Store,
    /// Refuse it, for this reason.
    Refuse,
    /// Count it, and do not store it.
    Drop,
}

/// Reads the policy of a request.
pub fn policy(past: i32) -> Result<PastPolicy, Status> {
    PastPolicy::try_from(past).map_err(|_| {
        Status::invalid_argument(format!(
            "past {past} is none of 0 (now), 1 (reject), 2 (drop)"
        ))
    })
}

/// Judges an event by the clock of this node.
pub fn judge(policy: PastPolicy, schedule_ms: i64, now_ms: i64) -> Late {
    if schedule_ms >= now_ms {
        return Late::Store;
    }
    match policy {
        PastPolicy::Now => Late::Store,
        PastPolicy::Reject => Late::Refuse,
        PastPolicy::Drop => Late::Drop,
    }
}

/// Why a late event is not stored.
pub fn reason(schedule_ms: i64, now_ms: i64) -> String {
    format!(
        "schedule_ts {schedule_ms} has passed, {} ms ago by this node's clock",
        now_ms.saturating_sub(schedule_ms)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_before_now_is_past() {
        for policy in [PastPolicy::Now, PastPolicy::Reject, PastPolicy::Drop] {
            assert_eq!(judge(policy, 100, 100), Late::Store);
            assert_eq!(judge(policy, 101, 100), Late::Store);
        }
        assert_eq!(judge(PastPolicy::Now, 99, 100), Late::Store);
        assert_eq!(judge(PastPolicy::Reject, 99, 100), Late::Refuse);
        assert_eq!(judge(PastPolicy::Drop, i64::MIN, 100), Late::Drop);
        assert!(policy(2).is_ok() && policy(3).is_err() && policy(-1).is_err());
        assert!(reason(90, 100).contains("10 ms ago"));
    }
}
