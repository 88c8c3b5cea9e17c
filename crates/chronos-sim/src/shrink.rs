//! Making a failing run smaller: fewer classes of faults, fewer clients, less time, for as long as
//! the same rule fails.

use crate::faults::Kind;
use crate::plan::{Plan, Wish};
use crate::rules::Rule;
use crate::run::{Report, run};

/// A wish under which a seed still breaks the same rule first, with what came of it. `None` when the
/// seed breaks none.
#[must_use]
pub fn shrink(seed: u64, wish: &Wish) -> Option<(Wish, Report)> {
    let mut report = run(Plan::of(seed, wish));
    let rule = first_rule(&report)?;
    let mut wish = wish.clone();
    let mut try_wish = |candidate: Wish, wish: &mut Wish| {
        let smaller = run(Plan::of(seed, &candidate));
        let still_fails = first_rule(&smaller) == Some(rule);
        if still_fails {
            (*wish, report) = (candidate, smaller);
        }
        still_fails
    };
    for kind in Kind::ALL {
        let mut candidate = wish.clone();
        if candidate.without.insert(kind) && Plan::of(seed, &wish).faults.contains(&kind) {
            try_wish(candidate, &mut wish);
        }
    }
    while let clients @ 2.. = Plan::of(seed, &wish).clients {
        let candidate = Wish {
            clients: Some(clients / 2),
            ..wish.clone()
        };
        if !try_wish(candidate, &mut wish) {
            break;
        }
    }
    while let seconds @ 2.. = Plan::of(seed, &wish).seconds {
        let candidate = Wish {
            seconds: Some(seconds * 2 / 3),
            ..wish.clone()
        };
        if !try_wish(candidate, &mut wish) {
            break;
        }
    }
    Some((wish, report))
}

fn first_rule(report: &Report) -> Option<Rule> {
    report.violations.first().map(|violation| violation.rule)
}
