//! Three nodes as processes under load and faults, with clients outside whose history is checked.
//!
//! | module | what it shows |
//! |---|---|
//! | `load` | publishers and consumers that go to any node, and what is checked at the end |
//! | `faults` | what is done to a cluster |
//! | `scenarios` | one fault of each kind |
//! | `failover` | how long it takes until another node delivers |
//! | `paused` | a leader that stood still while another one took over |
//! | `chaos` | faults at random, for as long as asked for |

mod chaos;
mod failover;
mod faults;
pub mod load;
mod paused;
mod scenarios;
