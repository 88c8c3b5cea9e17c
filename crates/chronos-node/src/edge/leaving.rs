//! Whether a delivery may still leave this node.
//!
//! Between the moment at which a leader hands an event out and the moment at which the transport
//! takes it, a client may not read, or the whole process may stand still. Somebody else may lead by
//! then, and have had the event settled. So the lease is asked for again at the way out.

use crate::engine::Handle;
use std::time::{Duration, Instant};

/// A lease is relied on for so long without asking again, a small part of what it has to spare. A
/// process that stood still finds this over.
const TRUSTED: Duration = Duration::from_millis(1);

/// While it is not known whether the node leads, it is asked this often.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// What may become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// It leaves.
    Leave,
    /// It is not known: ask again after a while.
    Wait(Duration),
    /// The lead in which it was handed out is over.
    Never,
}

/// The way out of one partition, for what its leader of one term hands out.
pub struct Leaving {
    handle: Handle,
    term: u64,
    asked: Option<Instant>,
}

impl Leaving {
    /// For what the leader of this term hands out.
    pub fn new(handle: Handle, term: u64) -> Self {
        Self {
            handle,
            term,
            asked: None,
        }
    }

    /// What may become of the next delivery, at this moment.
    pub fn may(&mut self) -> May {
        let now = Instant::now();
        if self.asked.is_some_and(|asked| now - asked < TRUSTED) {
            return May::Leave;
        }
        self.asked = None;
        if self.handle.may_deliver(self.term) {
            self.asked = Some(now);
            May::Leave
        } else if self.handle.is_led() && self.handle.term() == self.term {
            May::Wait(ASK_AGAIN)
        } else {
            May::Never
        }
    }
}
