//! Evening out what nodes have to carry.
//!
//! While one node carries at least two more than another, something is moved from the one towards
//! the other: directly, or along a chain of nodes of which each gives one and gets one. The shortest
//! chain is taken, so as little moves as can be. These are the augmenting paths of a matching with
//! capacities (J. Hopcroft, R. Karp, SIAM Journal on Computing 2(4), 1973, for the plain case).

use std::cmp::Reverse;
use std::collections::VecDeque;

/// Something that is spread over nodes, item by item.
pub(super) trait Spread {
    /// How many items each node has.
    fn loads(&self) -> &[usize];

    /// For every node, which item may go there from `from`, if any.
    fn offers(&self, from: usize) -> Vec<Option<usize>>;

    /// Moves an item.
    fn shift(&mut self, item: usize, from: usize, to: usize);
}

/// Moves items until no node has two more than one that could relieve it.
pub(super) fn even_out(spread: &mut impl Spread) {
    while relieve_one(spread) {}
}

/// One chain of moves, from a node with as many items as possible. `false` when there is none.
fn relieve_one(spread: &mut impl Spread) -> bool {
    let loads = spread.loads().to_vec();
    let least = loads.iter().copied().min().unwrap_or(0);
    let mut sources: Vec<usize> = (0..loads.len())
        .filter(|node| loads[*node] >= least + 2)
        .collect();
    sources.sort_by_key(|node| Reverse(loads[*node]));
    let found = (sources.into_iter()).find_map(|source| chain(spread, &loads, source));
    found.is_some_and(|chain| follow(spread, &chain))
}

/// The shortest chain of nodes from `source` to one with at least two items less.
fn chain(spread: &impl Spread, loads: &[usize], source: usize) -> Option<Vec<usize>> {
    let mut came_from = vec![None; loads.len()];
    let mut queue = VecDeque::from([source]);
    while let Some(from) = queue.pop_front() {
        let offers = spread.offers(from);
        let mut reached: Vec<usize> = (0..loads.len())
            .filter(|to| *to != source && came_from[*to].is_none() && offers[*to].is_some())
            .collect();
        reached.sort_by_key(|to| loads[*to]);
        for to in reached {
            came_from[to] = Some(from);
            if loads[to] + 2 <= loads[source] {
                let mut chain = vec![to];
                let mut at = to;
                while let Some(from) = came_from[at] {
                    chain.push(from);
                    at = from;
                }
                return Some(chain);
            }
            queue.push_back(to);
        }
    }
    None
}

/// Moves one item along each link, from the chain's end to its source. A move may stand in the way
/// of another one of the same item; then what was done stays, which is no worse than before, and the
/// evening out ends.
fn follow(spread: &mut impl Spread, chain: &[usize]) -> bool {
    for link in chain.windows(2) {
        let (to, from) = (link[0], link[1]);
        let Some(item) = spread.offers(from)[to] else {
            return false;
        };
        spread.shift(item, from, to);
    }
    true
}
