//! `chronos-sim`: runs seeds of the simulator and says what came of them.

use chronos_sim::document;
use chronos_sim::faults::Kind;
use chronos_sim::mutants::{self, MUTANTS, Mutant, Search};
use chronos_sim::plan::{Plan, Wish};
use chronos_sim::run::{REPEATS, Report, count_panics, run};
use chronos_sim::seeds::{Summary, run_seeds};
use chronos_sim::shrink::shrink;
use clap::Parser;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Seeds that meet every class of faults.
const ENOUGH_SEEDS: u64 = 100;
/// Violations of one run, and runs, that are printed.
const MOST_VIOLATIONS: usize = 5;
const MOST_REPORTS: usize = 20;

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
    /// Makes the failing run of --seed smaller.
    #[arg(long, requires = "seed")]
    shrink: bool,
    /// Stops at the first seed that fails.
    #[arg(long)]
    until_failure: bool,
    /// Says only how many seeds it took to the first failure, and which rule failed.
    #[arg(long, hide = true)]
    terse: bool,
    /// Re-creates a known failure (in a build with the feature `mutants`).
    #[arg(long, conflicts_with = "mutants")]
    mutant: Option<String>,
    /// Prints how many seeds it takes to notice each known failure, as a table.
    #[arg(long)]
    mutants: bool,
    /// How often each known failure is looked for, from starting points of their own.
    #[arg(long, default_value_t = 7)]
    rounds: u64,
    /// A known failure to look for; all without. May be repeated.
    #[arg(long, requires = "mutants", conflicts_with = "write")]
    only: Vec<String>,
    /// Puts the table of known failures, or that of the faults, into this document.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Threads, instead of one for each processor.
    #[arg(long)]
    threads: Option<usize>,
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::named(name).ok_or_else(|| {
        let names: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
        format!("the classes of faults are {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match (&arguments.mutant, arguments.mutants) {
        (Some(name), _) => return with_mutant(name),
        (None, true) => return print_mutants(&arguments),
        (None, false) => count_panics(),
    }
    let wish = Wish {
        seconds: arguments.seconds,
        nodes: arguments.nodes,
        clients: arguments.clients,
        without: arguments.without.iter().copied().collect(),
        trace: arguments.trace,
    };
    let passed = match arguments.seed {
        Some(seed) if arguments.shrink => smaller(seed, &wish),
        Some(seed) => one(seed, &wish),
        None => {
            let seeds = arguments.from..arguments.from + arguments.seeds;
            let threads = arguments.threads;
            let summary = run_seeds(seeds, &wish, arguments.until_failure, threads);
            match arguments.terse {
                true => print!("{}", mutants::terse(&summary, arguments.from)),
                false => print_summary(&summary),
            }
            // A few seeds need not meet everything.
            let is_partial = summary.runs < ENOUGH_SEEDS
                || arguments.nodes.is_some()
                || !arguments.without.is_empty();
            let is_complete = is_partial || summary.missing().is_empty();
            let passed = summary.failed.is_empty() && summary.unsteady.is_empty() && is_complete;
            passed && write(&arguments, "faults", &summary.table())
        }
    };
    match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Does what was asked once more, in a process with a mutant.
fn with_mutant(name: &str) -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let mut others = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.to_string_lossy().as_ref() {
            "--mutant" => drop(arguments.next()),
            text if text.starts_with("--mutant=") => {}
            _ => others.push(argument),
        }
    }
    let status = std::env::current_exe().and_then(|program| {
        let mut command = Command::new(program);
        command.args(others).env("CHRONOS_MUTANT", name).status()
    });
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot start this program again: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_mutants(arguments: &Arguments) -> ExitCode {
    if !cfg!(feature = "mutants") {
        eprintln!("this build has no mutants; build it with --features mutants");
        return ExitCode::FAILURE;
    }
    let is_wanted = |mutant: &&Mutant| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == mutant.name)
    };
    let wanted: Vec<Mutant> = MUTANTS.iter().filter(is_wanted).copied().collect();
    let search = Search {
        rounds: arguments.rounds.max(1),
        most: arguments.seeds,
    };
    let head = format!(
        "Starting points: {}; seeds from each, at most: {}.\n\n{}",
        search.rounds,
        search.most,
        mutants::HEAD
    );
    print!("{head}");
    let table = Mutex::new((head, true));
    let told = mutants::notice_all(&wanted, search, |mutant, notice| {
        let row = mutants::row(mutant, notice);
        print!("{row}");
        let (table, all_noticed) = &mut *table.lock();
        table.push_str(&row);
        *all_noticed &= notice.most().is_some();
    });
    if let Err(error) = told {
        eprintln!("cannot start this program again: {error}");
        return ExitCode::FAILURE;
    }
    let (table, all_noticed) = table.into_inner();
    match all_noticed && write(arguments, "mutants", &table) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Puts a part into the document that was asked for, if one was.
fn write(arguments: &Arguments, part: &str, text: &str) -> bool {
    let Some(path) = &arguments.write else {
        return true;
    };
    match document::write(path, part, text) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("cannot write: {error}");
            false
        }
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

fn smaller(seed: u64, wish: &Wish) -> bool {
    let Some((wish, report)) = shrink(seed, wish) else {
        println!("seed {seed} breaks no rule");
        return true;
    };
    println!("{:#?}", Plan::of(seed, &wish));
    let without = wish.without.iter().map(|kind| format!(" --without {kind}"));
    let number = |name: &str, value: Option<u64>| {
        value.map_or(String::new(), |value| format!(" --{name} {value}"))
    };
    println!(
        "chronos-sim --seed {seed}{}{}{}{}",
        number("seconds", wish.seconds),
        number("nodes", wish.nodes.map(|nodes| nodes as u64)),
        number("clients", wish.clients),
        without.collect::<String>(),
    );
    print_violations(&report);
    false
}

fn print_violations(report: &Report) {
    for violation in report.violations.iter().take(MOST_VIOLATIONS) {
        println!("seed {} breaks {violation}", report.seed);
    }
}

/// What is needed to see a failure again: the commit, and the options.
fn print_how_to_repeat() {
    let options: Vec<String> = std::env::args().skip(1).collect();
    let git = Command::new("git").args(["rev-parse", "HEAD"]).output();
    let commit = git.ok().filter(|output| output.status.success());
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!(
        "at commit {} with the options {:?}; chronos-sim --seed N --trace shows one run, --shrink makes it smaller",
        commit.as_deref().unwrap_or("unknown"),
        options.join(" "),
    );
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
    for kind in summary.missing() {
        println!("no run had the fault {kind}");
    }
    for report in summary.failed.iter().take(MOST_REPORTS) {
        print_violations(report);
    }
    if !summary.failed.is_empty() {
        print_how_to_repeat();
    }
    println!("{} seeds failed", summary.failed.len());
}
