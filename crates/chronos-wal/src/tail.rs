//! The most recent records, in memory.

use std::collections::VecDeque;

use crate::record::Record;

/// Records at the end of the log. Bounded by bytes, except that those not yet completed stay.
#[derive(Debug)]
pub(crate) struct Tail {
    records: VecDeque<Record>,
    bytes: usize,
    max_bytes: usize,
}

impl Tail {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            records: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Adds the record after the last one.
    pub(crate) fn push(&mut self, record: Record) {
        debug_assert!(
            self.records
                .back()
                .is_none_or(|last| last.index + 1 == record.index)
        );
        self.bytes += cost(&record);
        self.records.push_back(record);
    }

    pub(crate) fn get(&self, index: u64) -> Option<&Record> {
        let first = self.records.front()?.index;
        let at = usize::try_from(index.checked_sub(first)?).ok()?;
        self.records.get(at)
    }

    /// Lets old records go, as far as they are completed.
    pub(crate) fn evict(&mut self, completed: u64) {
        while self.bytes > self.max_bytes
            && self
                .records
                .front()
                .is_some_and(|record| record.index <= completed)
        {
            if let Some(record) = self.records.pop_front() {
                self.bytes -= cost(&record);
            }
        }
    }

    /// Forgets the records after `last`; all of them for `None`.
    pub(crate) fn truncate_after(&mut self, last: Option<u64>) {
        while self
            .records
            .back()
            .is_some_and(|record| last.is_none_or(|last| record.index > last))
        {
            if let Some(record) = self.records.pop_back() {
                self.bytes -= cost(&record);
            }
        }
    }
}

fn cost(record: &Record) -> usize {
    size_of::<Record>() + record.body.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(index: u64) -> Record {
        Record {
            index,
            meta: [0; 16],
            body: Bytes::from(vec![0; 1000]),
        }
    }

    #[test]
    fn incomplete_records_stay() {
        let mut tail = Tail::new(1500);
        for index in 5..10 {
            tail.push(record(index));
        }
        tail.evict(6);
        assert!(tail.get(6).is_none());
        assert_eq!(tail.get(7).map(|r| r.index), Some(7));
        tail.evict(9);
        assert_eq!(tail.get(9).map(|r| r.index), Some(9));
        assert!(tail.get(8).is_none() && tail.get(10).is_none());
    }

    #[test]
    fn truncate_takes_from_the_end() {
        let mut tail = Tail::new(usize::MAX);
        for index in 5..10 {
            tail.push(record(index));
        }
        tail.truncate_after(Some(7));
        assert!(tail.get(7).is_some() && tail.get(8).is_none());
        tail.push(record(8));
        tail.truncate_after(None);
        assert!(tail.get(5).is_none());
        assert_eq!(tail.bytes, 0);
    }
}
