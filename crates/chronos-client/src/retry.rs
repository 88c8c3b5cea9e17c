//! When to try again, and after how long.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};

use crate::unique::random_u64;

/// How often a failed request is tried again. Only requests that met an unavailable node, a
/// deadline, an aborted transaction, the wrong leader or a quota that says when to come again are;
/// whatever was refused for what it is stays refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries altogether, at least 1.
    pub attempts: u32,
    /// Pause before the second try; doubles with every further one.
    pub initial_backoff: Duration,
    /// Longest pause. A request that the server asks to come again later than that fails with
    /// [`Error::Throttled`](crate::Error::Throttled).
    pub max_backoff: Duration,
}

impl Default for RetryPolicy {
    /// 5 tries within about a second, plus the time that the tries take.
    fn default() -> Self {
        Self {
            attempts: 5,
            initial_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
        }
    }
}

impl RetryPolicy {
    /// Never tries again.
    pub fn never() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }

    /// The pause after `failures` failed tries: between half and all of the doubled value, so
    /// that clients that failed together do not come back together.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let full = self
            .initial_backoff
            .saturating_mul(1 << doublings)
            .min(self.max_backoff);
        let full_us = u64::try_from(full.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(full_us / 2 + random_u64() % (full_us / 2 + 1))
    }

    /// The pause when the server said how long to wait: at least that, and a little longer so that
    /// clients that were told the same do not come back together. `None` when it is too long to wait.
    pub(crate) fn throttled(&self, wait: Duration) -> Option<Duration> {
        (wait <= self.max_backoff).then(|| wait.saturating_add(self.backoff(1)))
    }
}

/// What a failed try means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Another try makes no sense.
    Final,
    /// Another try may succeed; whether this one took effect is not known.
    Uncertain,
    /// Another try may succeed at another node; this one did not take effect.
    WrongLeader,
    /// Another try may succeed after this time; this one did not take effect.
    Throttled(Duration),
}

/// The wordings by which a server says that another node leads.
const WRONG_LEADER: [&str; 9] = [
    "not leader",
    "not the leader",
    "stale leader",
    "leader changed",
    "no leader",
    "leader not found",
    "wrong leader",
    "leader mismatch",
    "leader election",
];

pub(crate) fn verdict(status: &Status) -> Verdict {
    match effective_code(status) {
        Code::Unavailable | Code::DeadlineExceeded | Code::Aborted => Verdict::Uncertain,
        Code::FailedPrecondition => {
            let message = status.message().to_lowercase();
            if WRONG_LEADER.iter().any(|words| message.contains(words)) {
                Verdict::WrongLeader
            } else {
                Verdict::Final
            }
        }
        Code::ResourceExhausted => retry_after(status).map_or(Verdict::Final, Verdict::Throttled),
        _ => Verdict::Final,
    }
}

/// How long the server asks to wait, if it does.
fn retry_after(status: &Status) -> Option<Duration> {
    let wait_ms = status.metadata().get("retry-after-ms")?.to_str().ok()?;
    wait_ms.parse().ok().map(Duration::from_millis)
}

/// Whether a node gave this status, and not the connection to it, or the wait for it.
pub(crate) fn is_of_the_node(status: &Status) -> bool {
    status.source().is_none() && status.code() != Code::DeadlineExceeded
}

/// The status code, where a connection that broke counts as unavailable. tonic reports some
/// of those as UNKNOWN; unlike a status that a server sent, they have a source.
pub(crate) fn effective_code(status: &Status) -> Code {
    match status.code() {
        Code::Unknown | Code::Internal | Code::Cancelled if status.source().is_some() => {
            Code::Unavailable
        }
        code => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_codes_and_a_wrong_leader_are_tried_again() {
        for code in (0..=16).map(Code::from_i32) {
            let uncertain = matches!(
                code,
                Code::Unavailable | Code::DeadlineExceeded | Code::Aborted
            );
            let expected = if uncertain {
                Verdict::Uncertain
            } else {
                Verdict::Final
            };
            assert_eq!(verdict(&Status::new(code, "words")), expected, "{code:?}");
        }
        let moved = Status::failed_precondition("partition 3: Not The Leader");
        assert_eq!(verdict(&moved), Verdict::WrongLeader);
    }

    #[test]
    fn a_used_up_quota_is_tried_again_when_the_server_says_after_how_long() {
        let mut status = Status::resource_exhausted("used up");
        assert_eq!(verdict(&status), Verdict::Final);
        for (told, expected) in [
            ("250", Verdict::Throttled(Duration::from_millis(250))),
            ("0", Verdict::Throttled(Duration::ZERO)),
            ("soon", Verdict::Final),
            ("-1", Verdict::Final),
        ] {
            let value = told.parse().unwrap();
            status.metadata_mut().insert("retry-after-ms", value);
            assert_eq!(verdict(&status), expected, "{told}");
        }
        let policy = RetryPolicy::default();
        for wait_ms in [0, 1, 700, 2_000] {
            let wait = Duration::from_millis(wait_ms);
            let pause = policy.throttled(wait).unwrap();
            assert!(pause >= wait && pause <= wait + policy.initial_backoff);
        }
        assert_eq!(policy.throttled(Duration::from_millis(2_001)), None);
        assert_eq!(policy.throttled(Duration::MAX), None);
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = RetryPolicy::default();
        for (failures, full_ms) in [(1, 50), (2, 100), (3, 200), (7, 2000), (u32::MAX, 2000)] {
            let pause = policy.backoff(failures);
            assert!(
                pause <= Duration::from_millis(full_ms),
                "{failures}: {pause:?}"
            );
            assert!(
                pause >= Duration::from_millis(full_ms / 2),
                "{failures}: {pause:?}"
            );
        }
    }
}
