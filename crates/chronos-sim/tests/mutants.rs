//! The list of mutants, the code that has them, and the table in the documentation are of the same.

use chronos_sim::document::part;
use chronos_sim::mutants::{HEAD, MUTANTS};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Seeds within which each mutant has to be noticed, wherever one begins.
const MOST_SEEDS: u64 = 1000;
/// The crates of which simulations run the code.
const SIMULATED: [&str; 4] = ["chronos-core", "chronos-wal", "chronos-raft", "chronos-sim"];

/// Mutants that simulations hardly ever meet, or that cannot show in one because what is stored or asked
/// for again makes up for them. Tests of their own crates notice them.
const NOT_SIMULATED: [&str; 6] = [
    "any-note-of-a-commit",
    "buried-twice",
    "cut-not-synced",
    "lease-kept-on-transfer",
    "old-sidecar-kept",
    "votes-right-after-restart",
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn listed() -> BTreeSet<String> {
    MUTANTS
        .iter()
        .map(|mutant| mutant.name.to_owned())
        .collect()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_list_has_every_mutant_of_the_code_and_no_other() {
    let mut files = Vec::new();
    for name in SIMULATED {
        sources(&crates().join(name).join("src"), &mut files);
    }
    let mut in_code = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for call in line.split("mutant!(\"").skip(1) {
                in_code.insert(call.split('"').next().unwrap().to_owned());
            }
        }
    }
    for name in NOT_SIMULATED {
        assert!(in_code.remove(name), "{name} is in no code");
    }
    assert_eq!(in_code, listed());
    assert_eq!(MUTANTS.len(), listed().len(), "a name is listed twice");
}

#[test]
fn the_table_has_every_mutant_and_each_was_noticed() {
    let document = crates().join("../docs/reliability.md");
    let document = std::fs::read_to_string(document).unwrap();
    let table = part(&document, "mutants").unwrap();
    let (_, rows) = table
        .split_once(HEAD)
        .expect("it has the head that is written");
    let mut names = BTreeSet::new();
    for row in rows.lines() {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, of, does, rules, median, most] = cells[..] else {
            panic!("not a row: {row}");
        };
        let name = name.trim_matches('`');
        let mutant = MUTANTS.iter().find(|mutant| mutant.name == name);
        assert_eq!(
            mutant.map(|mutant| (mutant.of, mutant.does)),
            Some((of, does)),
            "{row}"
        );
        assert!(!rules.is_empty(), "{row}");
        for seeds in [median, most] {
            let seeds: u64 = seeds
                .parse()
                .unwrap_or_else(|_| panic!("not noticed: {row}"));
            assert!((1..=MOST_SEEDS).contains(&seeds), "{row}");
        }
        names.insert(name.to_owned());
    }
    assert_eq!(names, listed(), "`make reliability` writes the table");
}
