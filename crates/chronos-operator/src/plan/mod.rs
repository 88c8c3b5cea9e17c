//! The planner: from what is and what is wanted, the one next step.
//!
//! ```text
//! Observed ─┐
//!           ├─► rules, in order; the first that has something to say decides ──► Step
//! Desired ──┘
//! ```
//!
//! It remembers nothing: an operator that is killed in the middle of anything plans the same next
//! step when it comes back. It asks what the database says and draws no conclusions from counts of
//! pods. While the database is silent, only what does not serve is touched.
//!
//! Invariants, checked by the property tests:
//! - a pod whose node serves is deleted only while every partition keeps a majority without it,
//!   and only when no other pod is missing;
//! - a pod that is broken may always be replaced;
//! - what a node lacks itself never holds up the restart that may mend it, if the others can spare it;
//! - a claim is deleted only after its member was removed, and was marked before;
//! - the set shrinks only by nodes that are members no more, or to sleep;
//! - with nothing going wrong any more, the plan comes to an end.

mod claims;
mod hibernate;
mod observed;
mod repair;
mod rolling;
mod scale_down;
mod scale_up;
mod settled;
mod size;
mod step;
mod upkeep;

#[cfg(test)]
mod tests;

pub use observed::{
    Claim, Database, Desired, Drain, Node, Observed, Pod, PodCondition, Replace, Set,
};
pub use step::{Action, Blocker, Calm, Disruption, Resize, Step, Wait};

/// One rule: what it has to say about this situation, if anything.
type Rule = fn(&Observed, &Desired) -> Option<Step>;

/// The rules in the order of their weight: what must not be done comes before what should be,
/// repair before change, size before content.
const RULES: [Rule; 16] = [
    hibernate::paused,
    size::exists,
    size::another_database,
    claims::grow,
    hibernate::sleep,
    size::wake,
    scale_down::restore,
    repair::broken_pods,
    repair::database_silent,
    repair::lost_disks,
    scale_down::shrink,
    scale_down::leftovers,
    scale_up::grow,
    upkeep::drains_and_zones,
    rolling::roll,
    settled::settled,
];

/// The next step.
pub fn plan(observed: &Observed, desired: &Desired) -> Step {
    RULES
        .iter()
        .find_map(|rule| rule(observed, desired))
        .unwrap_or(Step::Calm(Calm::Settled))
}
