//! The end of a random life: everything came to its end, once.

use super::*;

impl World {
    fn dead_letters(&self) -> BTreeSet<DueKey> {
        let mut keys = BTreeSet::new();
        let (from, to) = (dead::key(0, 0, 0), dead::key(0, 1, 0));
        let visit = &mut |_: &[u8], value: &[u8]| {
            assert!(
                keys.insert(DeadLetter::decode(value).unwrap().key),
                "buried twice"
            );
            ControlFlow::Continue(())
        };
        let store = self.partition.store();
        store.scan(Family::Dead, &from, &to, visit).unwrap();
        keys
    }

    /// A member that answers everything: the group comes to its end.
    pub(super) fn finish(mut self) {
        self.resume_all();
        let session = self.join(7, Wish::default());
        for _ in 0..10_000 {
            let open: Vec<_> = (self.open.iter())
                .map(|(key, open)| (*key, open.attempt))
                .collect();
            for (key, attempt) in &open {
                self.answer(*key, *attempt, true);
            }
            self.now_ms += 50;
            self.apply(command::Builder::new(0));
            self.deliver();
            let open_until_ms = self.timers.keys().next_back().map_or(0, |key| key.due_ms);
            if self.open.is_empty() && self.group.waiting() == 0 && self.now_ms > open_until_ms {
                break;
            }
        }
        self.propose();
        while !self.proposed.is_empty() {
            self.commit();
        }
        self.told_is_settled();
        let settled = &self.partition.groups()[0].settled;
        for key in self.wanted.keys() {
            assert!(settled.contains(*key), "{key:?} is lost");
        }
        let dead = self.dead_letters();
        for key in self.wanted.keys() {
            let buried = dead.contains(key);
            assert!(
                buried || self.processed.contains(key) || self.pauses.dropped.contains(key),
                "{key:?} is neither processed nor dead nor dropped"
            );
            assert!(
                !buried || self.given_up.contains(key),
                "{key:?} was not given up"
            );
        }
        let last = self.wanted.keys().next_back();
        assert!(
            last.is_none_or(|last| settled.cursor() >= *last),
            "the cursor stays at {:?}, all is settled up to {last:?}",
            settled.cursor()
        );
        assert!(settled.is_empty(), "ranges above the cursor for ever");
        assert!(self.partition.groups()[0].failures.is_empty());
        let (credit, shared) = &self.members[&session];
        assert_eq!(credit_left(shared), *credit);
    }
}
