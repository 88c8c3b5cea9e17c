//! One run, from its seed to its report.

use crate::faults::{self, Kind};
use crate::node::{ACK_TIMEOUT, Node};
use crate::plan::Plan;
use crate::rules::{self, Evidence, Rule, Violation, late, liveness, offsets, shadow};
use crate::trace::TraceHash;
use crate::workload;
use crate::world::{Phase, World};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long the cluster may take to work again after the heal.
const RECOVERY: Duration = Duration::from_secs(30);
/// How long clients go on after it works again.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// How far ahead most events are published.
const MATURING: Duration = Duration::from_secs(35);
/// How long consumers may take to settle what is due then.
const DRAIN: Duration = Duration::from_secs(60);
/// How often a run looks at how it stands.
const GLANCE: Duration = Duration::from_millis(250);

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The hash of its trace.
    pub hash: TraceHash,
    /// The trace, if it was kept.
    pub trace: Vec<String>,
    /// Operations of clients.
    pub operations: u64,
    /// Entries of the log.
    pub entries: u64,
    /// Simulated time, milliseconds.
    pub simulated_ms: i64,
    /// Faults by class.
    pub faults: BTreeMap<Kind, u64>,
    /// What must not have been.
    pub violations: Vec<Violation>,
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Whether a seed gives the same trace each time: only in a build that may seed the runtime.
pub const REPEATS: bool = cfg!(tokio_unstable);

/// Counts panics from now on, which tasks would swallow. The message is printed as usual.
pub fn count_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.set(PANICS.get() + 1);
        print(panic);
    }));
}

/// Runs a plan on this thread.
///
/// # Panics
/// When the runtime cannot be built.
#[must_use]
pub fn run(plan: Plan) -> Report {
    PANICS.set(0);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    // Tokio wakes those who wait for the same thing in a random order.
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(
        &plan.seed.to_le_bytes(),
    ));
    let runtime = builder
        .build()
        .expect("a runtime without files and sockets needs nothing from the system");
    runtime.block_on(simulate(plan))
}

async fn simulate(plan: Plan) -> Report {
    let world = World::new(plan);
    for number in 1..=world.plan.nodes as u64 {
        let node = Node::new(&world, number);
        world.add_node(Arc::clone(&node));
        tokio::spawn(faults::supervise(Arc::clone(&world), node));
    }
    let clients = workload::start(&world);
    tokio::spawn(faults::run(Arc::clone(&world)));
    wait(&world, Duration::from_secs(world.plan.seconds), || false).await;

    world.enter(Phase::Liveness);
    faults::heal(&world);
    let healed_us = world.time.now_us();
    let works = || liveness::has_published(&world.history.records(), healed_us);
    if !wait(&world, RECOVERY, works).await {
        world
            .verdict
            .add(Rule::Liveness, "no publish succeeds after the heal");
    }
    wait(&world, AFTERWARDS, || false).await;

    world.enter(Phase::Drain);
    // Most of what was published for later falls due now.
    wait(&world, MATURING, || false).await;
    let drained = || late::overdue(&world.ledger.model(), world.time.now_ms()).is_none();
    if !wait(&world, DRAIN, drained).await
        && let Some((group, key)) = late::overdue(&world.ledger.model(), world.time.now_ms())
    {
        let text = format!("group {group} has not settled {key:?}, long after the heal");
        world.verdict.add(Rule::Late, text);
    }
    if !wait(&world, RECOVERY, || !world.is_changing()).await {
        world
            .verdict
            .add(Rule::Liveness, "the members do not change after the heal");
    }
    catch_up(&world, "after the heal").await;
    // What they have on their disks is enough to begin again.
    world.nodes().iter().for_each(|node| node.kill());
    catch_up(&world, "after a restart of all").await;
    // What is under way is still answered and written down.
    wait(&world, AFTERWARDS, || false).await;
    world.enter(Phase::Over);
    for client in clients {
        client.abort();
    }
    judge(&world);
    report(&world)
}

/// Waits until every replica has applied all that any did.
async fn catch_up(world: &World, when: &str) {
    if !wait(world, RECOVERY, || liveness::laggard(world).is_none()).await
        && let Some(number) = liveness::laggard(world)
    {
        let text = format!("node {number} does not catch up {when}");
        world.verdict.add(Rule::Liveness, text);
    }
}

/// Waits until a condition holds, a rule is broken, or a time is over. Says whether it holds.
async fn wait(world: &World, most: Duration, holds: impl Fn() -> bool) -> bool {
    let until = tokio::time::Instant::now() + most;
    while tokio::time::Instant::now() < until && world.verdict.is_clean() && PANICS.get() == 0 {
        if holds() {
            return true;
        }
        tokio::time::sleep(GLANCE).await;
    }
    // A run that failed already has nothing to add.
    !world.verdict.is_clean() || PANICS.get() > 0
}

fn judge(world: &World) {
    if PANICS.get() > 0 {
        world.verdict.add(Rule::Stopped, "something panicked");
    }
    if !world.verdict.is_clean() {
        return;
    }
    let model = world.ledger.model();
    for process in world.nodes().iter().filter_map(|node| node.process()) {
        shadow::check(world, &process);
        shadow::check_cold_start(world, &process);
        offsets::dump(&world.verdict, &process, &model);
    }
    let records = world.history.records();
    rules::mode::check(&world.verdict, &records, &model);
    rules::judge(&Evidence {
        records: &rules::mode::without_lost(&records),
        model: &model,
        verdict: &world.verdict,
        ack_timeout_us: ACK_TIMEOUT.as_micros() as i64,
        ended_us: world.time.now_us(),
    });
}

fn report(world: &World) -> Report {
    let report = Report {
        seed: world.plan.seed,
        hash: world.trace.hash(),
        trace: world.trace.take(),
        operations: world.history.records().operations(),
        entries: world.ledger.len(),
        simulated_ms: world.time.now_us() / 1_000,
        faults: world.faults.counts(),
        violations: world.verdict.violations(),
    };
    // Whatever nodes hold of one another goes with them.
    for node in world.nodes() {
        node.kill();
        world.remove_node(node.number);
    }
    report
}
