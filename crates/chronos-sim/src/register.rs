//! C11: cancel, move and fire of one event happen in some order that explains every answer.
//!
//! Each event is a register: scheduled for a time, cancelled, or fired. A call takes effect at one
//! moment between its invocation and its return; the passing of time fires a scheduled event at any
//! moment at or after its time. The search for an order is that of Wing and Gong, "Testing and
//! Verifying Concurrent Objects" (1993), with Lowe's memory of visited states ("Testing for
//! Linearizability", 2017). Histories are per event and short, so it ends quickly.

use std::collections::HashSet;

/// What was asked of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// How does it stand?
    Get,
    /// Never deliver it.
    Cancel,
    /// Deliver it at this time, Unix ms.
    Reschedule(i64),
    /// Deliver it now.
    FireNow,
    /// A consumer got it.
    Deliver,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It is scheduled for this time, Unix ms.
    Scheduled(i64),
    /// It is cancelled, by this call.
    Cancelled,
    /// It is moved, by this call.
    Rescheduled,
    /// It is fired, by this call.
    Fired,
    /// It was fired before.
    AlreadyFired,
    /// It was cancelled before.
    AlreadyCancelled,
    /// Nothing came back: it may have happened or not.
    Unknown,
}

/// One call and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// What was asked.
    pub call: Call,
    /// What was answered.
    pub answer: Answer,
    /// When it began, microseconds of any clock.
    pub invoked_us: i64,
    /// When it was over, microseconds of the same clock; the end of time when it never was.
    pub returned_us: i64,
    /// The wall clock when it was over, Unix ms: nothing fires by itself before its time.
    pub wall_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Scheduled(i64),
    Cancelled,
    Fired,
}

/// Why a history cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no order of these calls explains their answers: {0}")]
pub struct Impossible(String);

/// How far ahead of its time the server may release an event and answer that it was too late,
/// milliseconds. Delivery never is.
const RELEASE_AHEAD_MS: i64 = 100;

/// Looks for an order of the calls on one event, first scheduled for `scheduled_ms`.
///
/// # Errors
/// There is none.
pub fn check(scheduled_ms: i64, history: &[Operation]) -> Result<(), Impossible> {
    assert!(history.len() <= 64, "a history of one event is short");
    let all = match history.len() {
        64 => u64::MAX,
        len => (1 << len) - 1,
    };
    let mut seen = HashSet::new();
    let mut open = vec![(0_u64, State::Scheduled(scheduled_ms))];
    while let Some((done, state)) = open.pop() {
        // What was never answered need not have happened.
        let left = |i: usize| done & (1 << i) == 0;
        let known = |i: usize| history[i].answer != Answer::Unknown;
        if (0..history.len()).all(|i| !left(i) || !known(i)) {
            return Ok(());
        }
        if done == all || !seen.insert((done, state)) {
            continue;
        }
        // Nothing may be put before a call that returned before it began.
        let first_return = (0..history.len())
            .filter(|i| left(*i))
            .map(|i| history[i].returned_us)
            .min();
        for (i, operation) in history.iter().enumerate() {
            if left(i) && first_return.is_some_and(|first| operation.invoked_us <= first) {
                for after in outcomes(state, operation) {
                    open.push((done | 1 << i, after));
                }
            }
        }
    }
    Err(Impossible(format!("{history:?}")))
}

/// The states after an operation that begins in `state` and gets its answer; none if it cannot get
/// it. Time may fire the event first.
fn outcomes(state: State, operation: &Operation) -> Vec<State> {
    let mut before = vec![state];
    if let State::Scheduled(at_ms) = state
        && operation.wall_ms.saturating_add(RELEASE_AHEAD_MS) >= at_ms
    {
        before.push(State::Fired);
    }
    before
        .into_iter()
        .filter_map(|state| step(state, operation))
        .collect()
}

fn step(state: State, operation: &Operation) -> Option<State> {
    let moved = match operation.call {
        Call::Get | Call::Deliver => state,
        Call::Cancel => State::Cancelled,
        Call::Reschedule(at_ms) => State::Scheduled(at_ms),
        Call::FireNow => State::Fired,
    };
    match (operation.call, operation.answer, state) {
        (Call::Deliver, _, State::Fired) => Some(State::Fired),
        (Call::Deliver, ..) => None,
        (_, Answer::Unknown, State::Scheduled(_)) => Some(moved),
        (_, Answer::Unknown, _) => Some(state),
        (Call::Get, Answer::Scheduled(told_ms), State::Scheduled(at_ms)) => {
            (told_ms == at_ms).then_some(state)
        }
        (Call::Cancel, Answer::Cancelled, State::Scheduled(_))
        | (Call::Reschedule(_), Answer::Rescheduled, State::Scheduled(_))
        | (Call::FireNow, Answer::Fired, State::Scheduled(_)) => Some(moved),
        (_, Answer::AlreadyFired, State::Fired) => Some(state),
        (_, Answer::AlreadyCancelled, State::Cancelled) => Some(state),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(call: Call, answer: Answer, from: i64, to: i64) -> Operation {
        Operation {
            call,
            answer,
            invoked_us: from,
            returned_us: to,
            wall_ms: to,
        }
    }

    const FAR: i64 = 1_000_000;

    #[test]
    fn what_can_be_is_accepted() {
        let concurrent = [
            operation(Call::Cancel, Answer::Cancelled, 1, 10),
            operation(Call::Reschedule(FAR), Answer::Rescheduled, 2, 9),
            operation(Call::Get, Answer::AlreadyCancelled, 11, 12),
        ];
        assert!(check(FAR, &concurrent).is_ok());
        let moved_then_due = [
            operation(Call::Reschedule(500), Answer::Rescheduled, 1, 2),
            operation(Call::Deliver, Answer::Fired, 0, 501),
            operation(Call::Cancel, Answer::AlreadyFired, 600, 601),
        ];
        assert!(check(FAR, &moved_then_due).is_ok());
        let lost_answer = [
            operation(Call::Cancel, Answer::Unknown, 1, i64::MAX),
            operation(Call::Get, Answer::AlreadyCancelled, 5, 6),
        ];
        assert!(check(FAR, &lost_answer).is_ok());
        let never_happened = [
            operation(Call::Cancel, Answer::Unknown, 1, i64::MAX),
            operation(Call::Get, Answer::Scheduled(FAR), 5, 6),
        ];
        assert!(check(FAR, &never_happened).is_ok());
    }

    #[test]
    fn what_cannot_be_is_found() {
        let cancelled_and_delivered = [
            operation(Call::Cancel, Answer::Cancelled, 1, 2),
            operation(Call::Deliver, Answer::Fired, 0, FAR + 1),
        ];
        assert!(check(FAR, &cancelled_and_delivered).is_err());
        let cancelled_and_fired = [
            operation(Call::Cancel, Answer::Cancelled, 1, 10),
            operation(Call::FireNow, Answer::Fired, 1, 10),
        ];
        assert!(check(FAR, &cancelled_and_fired).is_err());
        let too_late_before_its_time = [operation(Call::Cancel, Answer::AlreadyFired, 1, 2)];
        assert!(check(FAR, &too_late_before_its_time).is_err());
        let delivered_at_the_old_time = [
            operation(Call::Reschedule(FAR), Answer::Rescheduled, 1, 2),
            operation(Call::Deliver, Answer::Fired, 0, 600),
        ];
        assert!(check(500, &delivered_at_the_old_time).is_err());
        let stale_read = [
            operation(Call::Reschedule(900), Answer::Rescheduled, 1, 2),
            operation(Call::Get, Answer::Scheduled(FAR), 3, 4),
        ];
        assert!(check(FAR, &stale_read).is_err());
    }
}
