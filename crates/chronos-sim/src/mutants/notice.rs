//! Looking for mutants, each in processes of its own.

use super::{Mutant, Notice};
use crate::seeds::Summary;
use parking_lot::Mutex;
use std::io;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How mutants are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// How often each, from starting points that lie `most` seeds apart.
    pub rounds: u64,
    /// How many seeds a round has.
    pub most: u64,
}

#[derive(Debug, Default)]
struct Progress {
    notices: Vec<Notice>,
    /// Rounds of each mutant that are over.
    over: Vec<u64>,
    told: usize,
}

/// Looks for mutants, as many at a time as there are processors, and tells of each in order.
///
/// # Errors
/// When this program cannot be started once more.
pub fn notice_all(
    mutants: &[Mutant],
    search: Search,
    tell: impl Fn(&Mutant, &Notice) + Sync,
) -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let progress = Mutex::new(Progress {
        notices: vec![Notice::default(); mutants.len()],
        over: vec![0; mutants.len()],
        told: 0,
    });
    let work = || -> io::Result<()> {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed) as u64;
            let (at, round) = ((job / search.rounds) as usize, job % search.rounds);
            let Some(mutant) = mutants.get(at) else {
                return Ok(());
            };
            let found = look(mutant.name, round * search.most, search.most)?;
            let progress = &mut *progress.lock();
            match found {
                Some(found) => progress.notices[at].found.push(found),
                None => progress.notices[at].missed += 1,
            }
            progress.over[at] += 1;
            while let Some(over) = progress.over.get(progress.told)
                && *over == search.rounds
            {
                tell(&mutants[progress.told], &progress.notices[progress.told]);
                progress.told += 1;
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            let panicked = |_| Err(io::Error::other("a search panicked"));
            worker.join().unwrap_or_else(panicked)
        })
    })
}

fn look(name: &str, from: u64, most: u64) -> io::Result<Option<(u64, String)>> {
    let (from, most) = (from.to_string(), most.to_string());
    let output = Command::new(std::env::current_exe()?)
        .args(["--from", &from, "--seeds", &most])
        .args(["--threads", "1", "--until-failure", "--terse"])
        .env("CHRONOS_MUTANT", name)
        .stderr(Stdio::null())
        .output()?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let Some((seeds, rule)) = answer.trim().split_once(' ') else {
        return Ok(None);
    };
    Ok(seeds.parse().ok().map(|seeds| (seeds, rule.to_owned())))
}

/// What a process that looks for one mutant says of its seeds: how many it took, and the rule.
#[must_use]
pub fn terse(summary: &Summary, from: u64) -> String {
    let Some(report) = summary.failed.first() else {
        return String::new();
    };
    let rule = report
        .violations
        .first()
        .map(|first| first.rule.to_string());
    format!("{} {}", report.seed - from + 1, rule.unwrap_or_default())
}
