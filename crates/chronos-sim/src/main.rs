//! `chronos-sim`: runs seeds of the simulator and says what came of them.

use chronos_sim::faults::Kind;
use chronos_sim::plan::{Plan, Wish};
use chronos_sim::run::{REPEATS, Report, count_panics, run};
use chronos_sim::seeds::{Summary, run_seeds};
use clap::Parser;
use std::process::ExitCode;

/// Simulates a cluster with faults, from a seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Runs this seed only, twice, and says whether it repeats itself.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Runs so many seeds.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// Begins with this seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seconds of simulated time with faults, instead of what the seed says.
    #[arg(long)]
    seconds: Option<u64>,
    /// Nodes, instead of what the seed says.
    #[arg(long)]
    nodes: Option<usize>,
    /// Clients that publish, instead of what the seed says.
    #[arg(long)]
    clients: Option<u64>,
    /// A class of faults to leave out. May be repeated.
    #[arg(long, value_parser = kind)]
    without: Vec<Kind>,
    /// Prints what happens in the run of --seed.
    #[arg(long)]
    trace: bool,
    /// Stops at the first seed that fails.
    #[arg(long)]
    until_failure: bool,
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::named(name).ok_or_else(|| {
        let names: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
        format!("the classes of faults are {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    count_panics();
    let wish = Wish {
        seconds: arguments.seconds,
        nodes: arguments.nodes,
        clients: arguments.clients,
        without: arguments.without.iter().copied().collect(),
        trace: arguments.trace,
    };
    let passed = match arguments.seed {
        Some(seed) => one(seed, &wish),
        None => {
            let seeds = arguments.from..arguments.from + arguments.seeds;
            let summary = run_seeds(seeds, &wish, arguments.until_failure);
            print_summary(&summary);
            summary.failed.is_empty() && summary.unsteady.is_empty()
        }
    };
    match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn one(seed: u64, wish: &Wish) -> bool {
    let plan = Plan::of(seed, wish);
    let report = run(plan.clone());
    for line in &report.trace {
        print!("{line}");
    }
    let again = run(plan.clone());
    println!("{plan:#?}");
    println!(
        "seed {seed}: trace {}, {} operations, {} entries, {} s simulated",
        report.hash,
        report.operations,
        report.entries,
        report.simulated_ms / 1_000
    );
    for (kind, count) in &report.faults {
        println!("  {count:>8} {kind}");
    }
    let repeats = !REPEATS || again.hash == report.hash;
    if !repeats {
        println!(
            "seed {seed} does not repeat itself: the second trace is {}",
            again.hash
        );
    }
    print_violations(&report);
    report.violations.is_empty() && repeats
}

fn print_violations(report: &Report) {
    for violation in report.violations.iter().take(5) {
        println!("seed {} breaks {violation}", report.seed);
    }
}

fn print_summary(summary: &Summary) {
    println!(
        "{} runs in {:.1} s ({:.1} a second), {} operations, {:.1} hours simulated, {} run twice",
        summary.runs,
        summary.seconds,
        summary.runs as f64 / summary.seconds,
        summary.operations,
        summary.simulated_ms as f64 / 3_600_000.0,
        summary.repeated,
    );
    println!("faults:");
    let counts = summary.faults.counts();
    for kind in Kind::ALL {
        println!("  {:>10} {kind}", counts.get(&kind).copied().unwrap_or(0));
    }
    for seed in &summary.unsteady {
        println!("seed {seed} does not repeat itself");
    }
    for report in summary.failed.iter().take(20) {
        print_violations(report);
    }
    println!("{} seeds failed", summary.failed.len());
}
