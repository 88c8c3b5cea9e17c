//! Known failures, and how many seeds it takes to notice each.
//!
//! A check that never fails proves nothing. A build with the feature `mutants` can re-create each of
//! these; one process has at most one of them.
//!
//! | file | holds |
//! |---|---|
//! | `list.rs` | the failures |
//! | `notice.rs` | looking for each, in processes of its own |
//! | `table.rs` | what came of it, as a table |

mod list;
mod notice;
mod table;

pub use list::MUTANTS;
pub use notice::{Search, notice_all, terse};
pub use table::{HEAD, row};

/// A failure that can be re-created.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    /// Its name, as `CHRONOS_MUTANT` has it.
    pub name: &'static str,
    /// What it is in: the core, the log, the replication, or the driver of simulations.
    pub of: &'static str,
    /// What it does.
    pub does: &'static str,
}

const fn mutant(name: &'static str, of: &'static str, does: &'static str) -> Mutant {
    Mutant { name, of, does }
}

/// How a mutant was noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notice {
    /// The first rule that noticed it and the seeds that took, for each round that noticed it.
    pub found: Vec<(u64, String)>,
    /// Rounds in which no seed noticed it.
    pub missed: u64,
}

impl Notice {
    /// The seeds that half of the rounds needed, at most.
    #[must_use]
    pub fn median(&self) -> Option<u64> {
        let rounds = self.found.len() + usize::try_from(self.missed).unwrap_or(usize::MAX);
        let mut seeds: Vec<u64> = self.found.iter().map(|(seeds, _)| *seeds).collect();
        seeds.sort_unstable();
        seeds.get(rounds / 2).copied()
    }

    /// The seeds that every round needed, at most; `None` when one did not notice it.
    #[must_use]
    pub fn most(&self) -> Option<u64> {
        let most = self.found.iter().map(|(seeds, _)| *seeds).max();
        most.filter(|_| self.missed == 0)
    }

    /// The rules that noticed it, the most frequent first.
    #[must_use]
    pub fn rules(&self) -> Vec<&str> {
        let mut counts: Vec<(usize, &str)> = Vec::new();
        for (_, rule) in &self.found {
            match counts.iter_mut().find(|(_, known)| known == rule) {
                Some((count, _)) => *count += 1,
                None => counts.push((1, rule)),
            }
        }
        counts.sort_by_key(|(count, rule)| (std::cmp::Reverse(*count), *rule));
        counts.into_iter().map(|(_, rule)| rule).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_noticed_nothing_counts_as_the_longest() {
        let found = |seeds: u64| (seeds, "C2 lost".to_owned());
        let mut notice = Notice {
            found: vec![found(9), found(1), found(4)],
            missed: 0,
        };
        assert_eq!((notice.median(), notice.most()), (Some(4), Some(9)));
        notice.missed = 2;
        assert_eq!((notice.median(), notice.most()), (Some(9), None));
        notice.missed = 4;
        assert_eq!(notice.median(), None);
    }

    #[test]
    fn rules_come_by_how_often_they_noticed_it() {
        let found = |rule: &str| (1, rule.to_owned());
        let notice = Notice {
            found: vec![found("stopped"), found("C2 lost"), found("C2 lost")],
            missed: 0,
        };
        assert_eq!(notice.rules(), ["C2 lost", "stopped"]);
    }
}
