//! What the nodes of a group say to each other, in bytes.
//!
//! Written by hand, so that the bodies of entries travel as the bytes they have on disk: a request
//! is one part with everything small, followed by the bodies, none of them copied. Integers are
//! little-endian.
//!
//! [`Message`] is a request and [`Answer`] what comes back; their layouts are on the types. What
//! is known is not sent: an append is of the leader that sends it, and the index of an entry is
//! the one after the entry before it. So there are few ways in which bytes can be well-formed and
//! make no sense, and [`Message::decode`] refuses the rest.

mod answer;
mod input;
mod request;

pub(crate) use answer::Answer;

pub(crate) use request::{Append, Ask, Envelope, Message};

/// The first byte of every request and answer.
const VERSION: u8 = 1;

#[cfg(test)]
mod tests;
