//! Shows that the checker can fail: known failures are switched on in the server, one at a time,
//! and each must be caught by the rule that it breaks. Without a mutant the same work is clean.

mod options;
mod promises;

use chronos_tests::checker::{Report, Rule};
use chronos_tests::workload::Run;
use futures::StreamExt;
use std::collections::BTreeSet;

/// A mutant, and the rules of which at least one must catch it.
type Mutant = (&'static str, &'static [Rule]);

/// Does the work with each mutant and prints which rule caught it. `CHRONOS_TEST_MUTANTS` says which
/// ones, by name.
async fn each_is_caught<W: Future<Output = (Run, Report)>>(
    mutants: &[Mutant],
    work: impl Fn(&'static str, u64) -> W,
) {
    const AT_A_TIME: usize = 5;
    let named = std::env::var("CHRONOS_TEST_MUTANTS").ok();
    let is_wanted = |mutant: &str| {
        let names = named.as_deref().map(|names| names.split(','));
        names.is_none_or(|mut names| names.any(|name| name == mutant))
    };
    let runs = (0..)
        .zip(mutants)
        .filter(|(_, (mutant, _))| is_wanted(mutant))
        .map(|(number, (mutant, expected))| {
            let done = work(mutant, number);
            async move {
                let (run, report) = done.await;
                let broken = report.broken_rules();
                let caught = expected.iter().find(|rule| broken.contains(rule)).copied();
                let unexpected = broken.iter().any(|rule| !expected.contains(rule));
                if unexpected && let Some(path) = run.keep() {
                    println!("{mutant} also broke other rules: {path}");
                }
                let example = caught.and_then(|rule| {
                    let violation = report.violations.iter().find(|it| it.rule == rule);
                    violation.map(|it| it.message.clone())
                });
                (number, *mutant, caught, broken, example.unwrap_or_default())
            }
        });
    let mut table: Vec<_> = futures::stream::iter(runs)
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    table.sort_by_key(|(number, ..)| *number);
    println!("| mutant | caught by | also | example |\n|---|---|---|---|");
    let mut missed = Vec::new();
    for (_, mutant, caught, broken, example) in &table {
        let others: BTreeSet<&str> = broken
            .iter()
            .filter(|rule| Some(**rule) != *caught)
            .map(|rule| rule.number())
            .collect();
        let others = others.into_iter().collect::<Vec<_>>().join(", ");
        println!(
            "| {mutant} | {} | {others} | {example} |",
            caught.map_or("-", Rule::number)
        );
        if caught.is_none() {
            missed.push(*mutant);
        }
    }
    assert!(
        missed.is_empty(),
        "not caught: {missed:?} (was the server built with --features chronos-node/mutants?)"
    );
}
