//! The suites across processes: each test starts real servers and talks to them over the wire.
//!
//! | module | what it shows |
//! |---|---|
//! | `wire` | what existing clients rely on, and what would break them |
//! | `grpcurl` | README's commands as printed |
//! | `bad_input` | a clear error, and nothing changed |
//! | `delivery` | groups, credits, acks, retries, dead letters, takeover |
//! | `dead_letters` | listing, editing, redriving and discarding what groups gave up on |
//! | `pause` | topics and groups held and dropped, for a while and across restarts |
//! | `replay` | replays by offset, schedule and fire time, and republishing |
//! | `retention` | the log's beginning goes; what somebody needs does not |
//! | `recovery` | kill -9, restarts, graceful stops, refused directories |
//! | `topics` | settings of topics, quotas, deletion |
//! | `schedule` | cancel, move, fire, list and count what is scheduled |
//! | `predecessor` | one test for each known failure of the predecessor that concerns one node |
//! | `regressions` | what went wrong in other systems, by project and number |
//! | `mutants` | known failures switched on, and the checker catching each |
//! | `tls` | connections of clients and between nodes, and certificates that are renewed |
//! | `cluster` | three nodes under load and faults |
//! | `cli`, `kubectl`, `config` | `chronosctl`; as a plugin of kubectl; flags, environment and file of the server |

mod bad_input;
mod cli;
mod cluster;
mod config;
mod dead_letters;
mod delivery;
mod grpcurl;
mod kubectl;
mod mutants;
mod pause;
mod predecessor;
mod recovery;
mod regressions;
mod replay;
mod retention;
mod schedule;
mod tls;
mod topics;
mod wire;

use chronos_tests::client::Client;
use chronos_tests::server::Server;

/// The seed of a run: the one in the code, moved by `CHRONOS_TEST_SEED` to try others.
fn seed(base: u64) -> u64 {
    let moved = std::env::var("CHRONOS_TEST_SEED")
        .ok()
        .and_then(|it| it.parse().ok());
    base.wrapping_add(moved.unwrap_or(0_u64).wrapping_mul(1_000))
}

/// A ready server and a client of it. The server ends when it is dropped.
async fn serve(args: &[&str]) -> (Server, Client) {
    let server = Server::start(args)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let client = Client::new(server.channel().unwrap());
    (server, client)
}
