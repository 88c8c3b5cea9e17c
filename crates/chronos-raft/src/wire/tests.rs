//! What is written is read back, and nothing else is.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::input::WireError;
use super::{Answer, Append, Ask, Envelope, Message};
use crate::machine::LogId;
use crate::types::{Command, LogEntry, Membership, Payload, Vote};

fn log_id() -> impl Strategy<Value = LogId> {
    (any::<u64>(), any::<u64>()).prop_map(|(term, index)| LogId { term, index })
}

fn envelope() -> impl Strategy<Value = Envelope> {
    (any::<u32>(), any::<u64>(), any::<u64>()).prop_map(|(group, from, to)| Envelope {
        group,
        from,
        to,
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let command = prop::collection::vec(any::<u8>(), 0..40);
    let voters = prop::collection::btree_set(any::<u64>(), 1..4);
    prop_oneof![
        Just(Payload::Blank),
        command.prop_map(|bytes| Payload::Normal(Command(bytes.into()))),
        voters.prop_map(|voters| {
            let nodes: BTreeMap<u64, ()> = voters.iter().map(|id| (*id, ())).collect();
            Payload::Membership(Membership::new(vec![voters], nodes).unwrap())
        }),
    ]
}

/// Entries that follow one another, with terms that never go down.
fn append() -> impl Strategy<Value = Append> {
    let prev = prop::option::of((0..1_u64 << 40, 0..1_u64 << 40));
    let entries = prop::collection::vec((0..3_u64, payload()), 0..6);
    (prev, prop::option::of(log_id()), entries, 0..3_u64).prop_map(|(prev, commit, steps, more)| {
        let prev = prev.map(|(term, index)| LogId { term, index });
        let mut term = prev.map_or(0, |prev| prev.term);
        let first = prev.map_or(0, |prev| prev.index + 1);
        let mut entries = Vec::new();
        for (index, (step, payload)) in (first..).zip(steps) {
            term += step;
            let log_id = LogId { term, index }.into();
            entries.push(LogEntry { log_id, payload });
        }
        Append {
            term: term + more,
            prev,
            commit,
            entries,
        }
    })
}

fn message() -> impl Strategy<Value = Message> {
    let ask =
        || (any::<u64>(), prop::option::of(log_id())).prop_map(|(term, last)| Ask { term, last });
    prop_oneof![
        append().prop_map(Message::Append),
        (ask(), any::<bool>()).prop_map(|(ask, transfer)| Message::Vote { ask, transfer }),
        ask().prop_map(Message::PreVote),
        (any::<u64>(), any::<u64>(), prop::option::of(log_id()))
            .prop_map(|(term, to, last)| Message::Transfer { term, to, last }),
        (any::<u64>(), log_id()).prop_map(|(term, floor)| Message::Seed { term, floor }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let vote = || {
        (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, node, committed)| {
            if committed {
                Vote::new_committed(term, node)
            } else {
                Vote::new(term, node)
            }
        })
    };
    prop_oneof![
        Just(Answer::Appended),
        Just(Answer::Conflict),
        vote().prop_map(Answer::HigherVote),
        (any::<bool>(), vote(), prop::option::of(log_id())).prop_map(|(granted, vote, last)| {
            Answer::Voted {
                granted,
                vote,
                last,
            }
        }),
        Just(Answer::Transferred),
        prop::option::of(log_id()).prop_map(Answer::NotFlushed),
        Just(Answer::SeedPending),
        Just(Answer::SeedHeld),
        "[a-zé]{0,40}".prop_map(Answer::Refused),
    ]
}

fn bytes_of(message: &Message, envelope: Envelope) -> Bytes {
    message.clone().encode(envelope).concat().into()
}

proptest! {
    #[test]
    fn messages_round_trip(message in message(), envelope in envelope()) {
        let bytes = bytes_of(&message, envelope);
        prop_assert_eq!(Message::decode(bytes), Ok((envelope, message)));
    }

    #[test]
    fn every_cut_and_every_extra_byte_of_a_message_is_refused(
        message in message(),
        envelope in envelope(),
    ) {
        let bytes = bytes_of(&message, envelope);
        for len in 0..bytes.len() {
            prop_assert!(Message::decode(bytes.slice(..len)).is_err(), "{} bytes", len);
        }
        let mut long = bytes.to_vec();
        long.push(0);
        prop_assert_eq!(Message::decode(long.into()), Err(WireError::Length));
    }

    #[test]
    fn answers_round_trip(answer in answer()) {
        prop_assert_eq!(Answer::decode(answer.encode()), Ok(answer));
    }

    /// Whatever decodes is what its own encoding says, so nothing is read in two ways.
    #[test]
    fn any_bytes_are_refused_or_understood(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        kind in 0..7_u8,
        is_versioned in any::<bool>(),
    ) {
        if is_versioned && bytes.len() > 1 {
            bytes[0] = 1;
            bytes[1] = kind;
        }
        let bytes = Bytes::from(bytes);
        if let Ok((envelope, message)) = Message::decode(bytes.clone()) {
            prop_assert_eq!(bytes_of(&message, envelope), bytes.clone());
        }
        // The text of a refusal may have been mended.
        match Answer::decode(bytes.clone()) {
            Err(_) | Ok(Answer::Refused(_)) => {}
            Ok(answer) => prop_assert_eq!(answer.encode(), bytes),
        }
    }
}

const ENVELOPE: Envelope = Envelope {
    group: 0x0102,
    from: 3,
    to: 4,
};

fn entry(term: u64, index: u64, body: &'static [u8]) -> LogEntry {
    LogEntry {
        log_id: LogId { term, index }.into(),
        payload: Payload::Normal(Command(Bytes::from_static(body))),
    }
}

#[test]
fn an_append_has_these_bytes_and_its_bodies_are_not_copied() {
    let body = Bytes::from(vec![7; 5]);
    let append = Append {
        term: 9,
        prev: Some(LogId { term: 8, index: 6 }),
        commit: None,
        entries: vec![LogEntry {
            log_id: LogId { term: 9, index: 7 }.into(),
            payload: Payload::Normal(Command(body.clone())),
        }],
    };
    let parts = Message::Append(append).encode(ENVELOPE);
    let small: &[&[u8]] = &[
        &[1, 1, 2, 1, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[4, 0, 0, 0, 0, 0, 0, 0],
        &[9, 0, 0, 0, 0, 0, 0, 0],
        &[1, 8, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0],
        &[0],
        &[1, 0, 0, 0],
        &[9, 0, 0, 0, 0, 0, 0, 0, 2, 5, 0, 0, 0],
    ];
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0], small.concat());
    assert_eq!(parts[1].as_ptr(), body.as_ptr());

    let whole = Bytes::from(parts.concat());
    let (_, decoded) = Message::decode(whole.clone()).unwrap();
    let Message::Append(Append { entries, .. }) = decoded else {
        panic!("{decoded:?}");
    };
    let Payload::Normal(Command(read)) = &entries[0].payload else {
        panic!("{entries:?}");
    };
    assert!(whole.as_ptr_range().contains(&read.as_ptr()));
}

#[test]
fn entries_that_no_leader_sends_are_refused() {
    let append = |term, prev, entries| {
        let message = Message::Append(Append {
            term,
            prev,
            commit: None,
            entries,
        });
        Message::decode(bytes_of(&message, ENVELOPE))
    };
    let prev = Some(LogId { term: 5, index: 9 });
    assert_eq!(
        append(6, prev, vec![entry(4, 10, b"")]),
        Err(WireError::Term)
    );
    assert_eq!(
        append(6, prev, vec![entry(7, 10, b"")]),
        Err(WireError::Term)
    );
    let last = Some(LogId {
        term: 5,
        index: u64::MAX,
    });
    assert_eq!(
        append(6, last, vec![entry(6, 0, b"")]),
        Err(WireError::Index)
    );
    assert!(append(6, last, vec![]).is_ok());
}

#[test]
fn a_count_of_entries_beyond_the_bytes_is_refused_before_room_is_made() {
    let message = Message::Append(Append {
        term: 1,
        prev: None,
        commit: None,
        entries: vec![],
    });
    let mut bytes = bytes_of(&message, ENVELOPE).to_vec();
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Message::decode(bytes.into()), Err(WireError::Length));
}

#[test]
fn a_refusal_is_cut_between_two_characters() {
    let long = Answer::Refused("é".repeat(2000)).encode();
    assert_eq!(Answer::decode(long), Ok(Answer::Refused("é".repeat(512))));
}

#[test]
fn unknown_versions_kinds_and_flags_are_refused() {
    let ask = Ask {
        term: 1,
        last: None,
    };
    let good = bytes_of(
        &Message::Vote {
            ask,
            transfer: true,
        },
        ENVELOPE,
    );
    for (at, value, error) in [
        (0, 2, WireError::Version(2)),
        (1, 0, WireError::Kind(0)),
        (1, 6, WireError::Kind(6)),
        (good.len() - 1, 2, WireError::Flag(2)),
    ] {
        let mut bad = good.to_vec();
        bad[at] = value;
        assert_eq!(Message::decode(bad.into()), Err(error));
    }
}
