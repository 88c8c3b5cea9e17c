//! How far back the index still points into the log.

use super::entry::{Commands, event, publish_of};
use super::replica::{Entry, NUMBER, Replica};
use crate::command::carry::{Moved, Stretch};
use crate::command::{Builder, Kind};
use crate::partition::places::floor_of_places;

fn publish(replica: &mut Replica, ids: &[&str]) {
    let events: Vec<_> = ids.iter().map(|id| event(id, 1_000)).collect();
    replica.apply(&Entry::Commands(Commands {
        now_ms: 10,
        ahead_ms: 0,
        term: 1,
        sections: vec![publish_of(&events)],
    }));
}

fn moved(replica: &mut Replica, moved: &Moved) {
    let mut builder = Builder::new(0);
    builder.push(Kind::Moved, &moved.encode());
    let body = builder.finish(10, 0, 1);
    replica.apply(&Entry::Raw { body, term: 1 });
}

fn floor(replica: &Replica) -> Option<u64> {
    floor_of_places(replica.partition.store(), NUMBER).unwrap()
}

/// Offset `first_offset` alone stands in entry `log_index` from now on.
fn carry_of(removed: std::ops::Range<u64>, first_offset: u64, log_index: u64) -> Moved {
    Moved {
        log_index,
        section_count: 1,
        carried_upto: removed.end,
        removed: Vec::from([removed]),
        stretches: vec![Stretch {
            first_offset,
            count: 1,
            now_ms: 10,
            term: 1,
            schedule_ms: (1_000, 1_000),
        }],
        ..Moved::default()
    }
}

#[test]
fn the_floor_is_the_oldest_entry_that_an_event_stands_in() {
    let mut replica = Replica::new();
    assert_eq!(floor(&replica), None);
    replica.apply(&Entry::Blank);
    replica.apply(&Entry::Blank);
    for ids in [["a", "b"], ["c", "d"], ["e", "f"]] {
        publish(&mut replica, &ids);
    }
    assert_eq!(floor(&replica), Some(2));
    // The second event of the first entry is carried to entry 4, which was written before the move.
    moved(&mut replica, &carry_of(0..2, 1, 4));
    assert_eq!(floor(&replica), Some(3));
    // Those of the second are carried further back than others that were never carried.
    moved(&mut replica, &carry_of(2..4, 2, 5));
    assert_eq!(
        floor(&replica),
        Some(4),
        "entry 4 holds a carried event and others"
    );
    moved(&mut replica, &carry_of(0..4, 3, 6));
    moved(&mut replica, &carry_of(4..6, 4, 7));
    assert_eq!(floor(&replica), Some(6));
    replica.checkpoint();
    replica.crash();
    assert_eq!(floor(&replica), Some(6));
}

#[test]
fn with_nothing_left_there_is_no_floor() {
    let mut replica = Replica::new();
    publish(&mut replica, &["a"]);
    let mut nothing = Moved::default();
    nothing.removed.push(0..1);
    nothing.carried_upto = 1;
    moved(&mut replica, &nothing);
    assert_eq!(floor(&replica), None);
}
