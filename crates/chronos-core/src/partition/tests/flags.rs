//! What a partition remembers of a topic beyond its name.

use crate::command::publish::{self, NewEvent, Options};
use crate::command::{Builder, Kind};
use crate::partition::{Effects, LogPosition, Partition};
use crate::store::MemoryStore;
use crate::types::{DueKey, TopicNumber};

fn publish(partition: &mut Partition<MemoryStore>, index: u64, topic: u8, priority: u8) -> Effects {
    let body = [index as u8, topic];
    let mut events = publish::Builder::default();
    let event = NewEvent {
        schedule_ms: 5,
        body: &body,
        id: (0, 1),
        topic: (1, 1),
        allow_duplicate: false,
    };
    let options = Options {
        priority,
        ..Options::default()
    };
    events.push_with(event, options);
    let mut builder = Builder::new(0);
    builder.push(Kind::Publish, &events.finish(1_000));
    let position = LogPosition { term: 1, index };
    partition
        .apply(position, &builder.finish(10, 0, 1))
        .unwrap()
}

fn prioritized(partition: &Partition<MemoryStore>) -> Vec<TopicNumber> {
    let mut topics: Vec<_> = partition.topics().prioritized().collect();
    topics.sort_unstable();
    topics
}

#[test]
fn a_topic_with_priorities_is_told_once_and_remembered_over_checkpoints() {
    let store = MemoryStore::new();
    let mut partition = Partition::open(0, store.clone()).unwrap();
    let told: Vec<_> = [(b'a', 0), (b'b', 9), (b'b', 1), (b'a', 0)]
        .into_iter()
        .zip(0..)
        .map(|((topic, priority), index)| {
            publish(&mut partition, index, topic, priority).prioritized
        })
        .collect();
    assert_eq!(told, [vec![], vec![1], vec![], vec![]]);
    let checkpoint = partition.begin_checkpoint(&[], DueKey::MIN).unwrap();
    checkpoint.write(&store).unwrap();
    partition.finish_checkpoint();
    let mut partition = Partition::open(0, store.clone()).unwrap();
    assert_eq!(prioritized(&partition), [1]);
    assert_eq!(publish(&mut partition, 4, b'b', 2).prioritized, []);
    assert_eq!(publish(&mut partition, 5, b'a', 2).prioritized, [0]);
    // Not in a checkpoint: the log is applied again.
    let mut partition = Partition::open(0, store).unwrap();
    assert_eq!(publish(&mut partition, 4, b'b', 2).prioritized, []);
    assert_eq!(publish(&mut partition, 5, b'a', 2).prioritized, [0]);
    assert_eq!(prioritized(&partition), [0, 1]);
}
