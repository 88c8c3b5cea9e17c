//! Three nodes as processes under load and faults, with clients outside whose history is checked.
//!
//! | module | what it shows |
//! |---|---|
//! | `load` | publishers and consumers that go to any node, and what is checked at the end |
//! | `faults` | what is done to a cluster |
//! | `scenarios` | one fault of each kind |
//! | `failover` | how long it takes until another node delivers |
//! | `paused` | a leader that stood still while another one took over |
//! | `power` | what was not synced is gone |
//! | `clock` | a node whose clock is wrong |
//! | `admin` | every node tells of the whole cluster and acts on it |
//! | `chaos` | faults at random, for as long as asked for |

mod admin;
mod chaos;
mod clock;
mod failover;
mod faults;
pub mod load;
mod paused;
mod power;
mod scenarios;
