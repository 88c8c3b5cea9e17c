//! Outcomes of changes of the catalog on their way between nodes. A number never changes its meaning.

use chronos_core::catalog::Outcome;

/// The number of an outcome, and the node's if it has one.
pub fn encode(outcome: Outcome) -> (u32, u64) {
    match outcome {
        Outcome::Done => (1, 0),
        Outcome::Exists => (2, 0),
        Outcome::NotFound => (3, 0),
        Outcome::VersionMismatch => (4, 0),
        Outcome::Node(node) => (5, node),
        Outcome::Gone => (6, 0),
        Outcome::Taken => (7, 0),
        Outcome::InUse => (8, 0),
        Outcome::Busy => (9, 0),
        Outcome::Invalid => (10, 0),
    }
}

/// The outcome of a number; `None` for one that this version does not know.
pub fn decode(number: u32, node: u64) -> Option<Outcome> {
    Some(match number {
        1 => Outcome::Done,
        2 => Outcome::Exists,
        3 => Outcome::NotFound,
        4 => Outcome::VersionMismatch,
        5 => Outcome::Node(node),
        6 => Outcome::Gone,
        7 => Outcome::Taken,
        8 => Outcome::InUse,
        9 => Outcome::Busy,
        10 => Outcome::Invalid,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_round_trip() {
        let known = (0..100).filter_map(|number| decode(number, 7));
        for (count, outcome) in known.enumerate() {
            let (number, node) = encode(outcome);
            assert_eq!(number as usize, count + 1);
            assert_eq!(decode(number, node), Some(outcome));
        }
        assert_eq!(decode(0, 0), None);
    }
}
