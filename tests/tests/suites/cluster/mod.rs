//! Three nodes as processes under load and faults, with clients outside whose history is checked.
//!
//! | module | what it shows |
//! |---|---|
//! | `load` | publishers and consumers that go to any node, and what is checked at the end |
//! | `faults` | what is done to a cluster |
//! | `scenarios` | one fault of each kind |
//! | `chaos` | faults at random, for as long as asked for |

mod chaos;
mod faults;
mod load;
mod scenarios;
