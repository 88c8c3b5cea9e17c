//! Where records were recently found, so that the next read need not search.

use parking_lot::Mutex;

const SLOTS: usize = 512;

/// What is remembered of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) index: u64,
    pub(crate) position: u64,
    /// Size of the body, when the header has been read and checked; otherwise the record's
    /// position is only where the one before it ended.
    pub(crate) body_bytes: Option<u32>,
}

/// A small table by index. A newer hint replaces an older one in its slot.
#[derive(Debug)]
pub(crate) struct Hints {
    slots: Box<[Mutex<Option<Hint>>]>,
}

impl Hints {
    pub(crate) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Mutex::new(None)).collect(),
        }
    }

    pub(crate) fn get(&self, index: u64) -> Option<Hint> {
        self.slot(index).lock().filter(|hint| hint.index == index)
    }

    pub(crate) fn put(&self, hint: Hint) {
        let mut slot = self.slot(hint.index).lock();
        let known = slot.is_some_and(|old| old.index == hint.index && old.body_bytes.is_some());
        if hint.body_bytes.is_some() || !known {
            *slot = Some(hint);
        }
    }

    pub(crate) fn clear(&self) {
        for slot in &self.slots {
            *slot.lock() = None;
        }
    }

    fn slot(&self, index: u64) -> &Mutex<Option<Hint>> {
        &self.slots[(index % SLOTS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checked_hint_is_not_replaced_by_a_guess() {
        let hints = Hints::new();
        let checked = Hint {
            index: 3,
            position: 64,
            body_bytes: Some(5),
        };
        hints.put(checked);
        hints.put(Hint {
            body_bytes: None,
            ..checked
        });
        assert_eq!(hints.get(3), Some(checked));
        assert_eq!(hints.get(3 + SLOTS as u64), None);
        hints.put(Hint {
            index: 3 + SLOTS as u64,
            body_bytes: None,
            ..checked
        });
        assert_eq!(hints.get(3), None);
        hints.clear();
        assert_eq!(hints.get(3 + SLOTS as u64), None);
    }
}
