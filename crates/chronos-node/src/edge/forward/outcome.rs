//! What a failed part of a call means: whether it surely had no effect, and may be asked again.

use super::super::status::NOT_TAKEN;
use std::error::Error;
use tonic::{Code, ConnectError, Status};

/// When a part of a call may be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// When it surely had no effect.
    Untaken,
    /// Also when that is not known: asking twice does no harm.
    Harmless,
}

/// What is known of a part that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It surely had no effect, and another node or a later time may do better.
    Untaken,
    /// It may have had its effect.
    Nothing,
    /// The answer is the client's.
    Answered,
}

impl Repeat {
    /// Whether what failed like this may be asked again.
    pub fn allows(self, status: &Status) -> bool {
        match known(status) {
            Known::Untaken => true,
            Known::Nothing => self == Repeat::Harmless,
            Known::Answered => false,
        }
    }
}

/// A failure as the client is told it. What broke between nodes is not for clients, and does not say
/// whether the call had its effect.
pub fn told(status: Status) -> Status {
    match known(&status) {
        Known::Answered => status,
        Known::Untaken => Status::unavailable(format!("{}: try again", status.message())),
        Known::Nothing if status.code() == Code::Aborted => status,
        Known::Nothing => Status::aborted(format!(
            "it is not known whether the leader took the request ({}): retry with the same message id",
            status.message()
        )),
    }
}

/// A failure in the midst of a stream of a leader's answers, as the client is told it.
pub fn broken(status: Status) -> Status {
    match known(&status) {
        Known::Answered => status,
        Known::Untaken | Known::Nothing => Status::unavailable(format!(
            "the leader is gone ({}): go on after what you have received",
            status.message()
        )),
    }
}

/// Without the mark that it surely had no effect: for a call of several steps, of which some may have
/// been done.
pub fn unmarked(mut status: Status) -> Status {
    if status.metadata_mut().remove(NOT_TAKEN).is_some() {
        return Status::aborted(format!(
            "{}: part of the request may be done, look before you repeat it",
            status.message()
        ));
    }
    status
}

/// The same, if it is one of this node's own steps.
pub fn unmarked_if(is_here: bool, status: Status) -> Status {
    match is_here {
        true => unmarked(status),
        false => status,
    }
}

fn known(status: &Status) -> Known {
    if status.metadata().contains_key(NOT_TAKEN) || never_left(status) {
        return Known::Untaken;
    }
    match status.code() {
        // The client is gone, or its time is over.
        Code::DeadlineExceeded => Known::Answered,
        Code::Aborted | Code::Unavailable | Code::Cancelled => Known::Nothing,
        // What the transport has to say comes with its cause; what a node answers does not.
        _ if status.source().is_some() => Known::Nothing,
        _ => Known::Answered,
    }
}

/// Whether there was no connection to send it on.
fn never_left(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::status::of_refused;
    use crate::engine::Refused;

    #[test]
    fn only_what_surely_had_no_effect_is_asked_again() {
        let connect = ConnectError("refused".into());
        for (status, untaken, harmless) in [
            (of_refused(&Refused::NotLeader(1)), true, true),
            (of_refused(&Refused::Stopping(1)), true, true),
            (Status::from_error(Box::new(connect)), true, true),
            (of_refused(&Refused::Unknown(1)), false, true),
            (Status::unavailable("broken"), false, true),
            (Status::from_error("broken".into()), false, true),
            (of_refused(&Refused::Failed(1)), false, false),
            (Status::invalid_argument("bad"), false, false),
            (Status::unknown("partition 7 not found"), false, false),
        ] {
            assert_eq!(Repeat::Untaken.allows(&status), untaken, "{status:?}");
            assert_eq!(Repeat::Harmless.allows(&status), harmless, "{status:?}");
        }
    }

    #[test]
    fn clients_hear_whether_it_is_known() {
        let code = |status| told(status).code();
        assert_eq!(code(of_refused(&Refused::NotLeader(1))), Code::Unavailable);
        assert_eq!(code(Status::from_error("broken".into())), Code::Aborted);
        assert_eq!(code(of_refused(&Refused::Unknown(1))), Code::Aborted);
        assert_eq!(code(Status::not_found("no")), Code::NotFound);
        let partly = unmarked(of_refused(&Refused::NotLeader(1)));
        assert!(!Repeat::Untaken.allows(&partly));
    }
}
