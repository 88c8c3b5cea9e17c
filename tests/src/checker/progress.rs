//! C9: a group's committed offsets never fall, whatever happens to the server.
//!
//! That the set of settled events only grows is seen from outside as "nothing comes again after
//! its ack was confirmed", which is C5.

use std::collections::HashMap;

use super::{Index, Rule, Violation};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut greatest: HashMap<(&str, i32), (i64, usize, u64)> = HashMap::new();
    let mut violations = Vec::new();
    for read in &index.group_states {
        for (partition, committed) in &read.op.committed {
            let key = (read.op.group.as_str(), *partition);
            let (before, line, returned_us) =
                greatest
                    .get(&key)
                    .copied()
                    .unwrap_or((i64::MIN, read.line, 0));
            if *committed < before && returned_us <= read.record.t_inv_us {
                violations.push(Violation {
                    rule: Rule::Progress,
                    message: format!(
                        "group {:?} fell back from {before} to {committed} on partition {partition}",
                        read.op.group
                    ),
                    evidence: vec![line, read.line],
                });
            } else if *committed > before {
                greatest.insert(key, (*committed, read.line, read.record.t_ret_us));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use crate::checker::Rule;
    use crate::checker::scenario::Scenario;

    #[test]
    fn falling_back() {
        let mut it = Scenario::bare();
        it.group_state("g", 5).fault(10).group_state("g", 3);
        it.breaks(Rule::Progress);
    }

    #[test]
    fn going_forward() {
        let mut it = Scenario::bare();
        it.group_state("g", -1)
            .group_state("h", 9)
            .fault(10)
            .group_state("g", -1);
        it.group_state("g", 0).clean();
    }
}
