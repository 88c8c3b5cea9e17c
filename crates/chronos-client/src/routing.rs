//! Which partition an event belongs to. Every client and server computes the same.

use chronos_proto::cronos_db::Event;
use chronos_proto::raw::PARTITION_KEY;

/// FNV-1a, 64 bits, of Fowler, Noll and Vo.
pub fn fnv1a_64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The partition of a routing key among `partition_count` partitions; 0 when there are none.
pub fn partition_of(key: &str, partition_count: u32) -> u32 {
    if partition_count == 0 {
        return 0;
    }
    (fnv1a_64(key.as_bytes()) % u64::from(partition_count)) as u32
}

/// The partition of a routing key in a topic that spreads over `spread` partitions only, neighbours from
/// the one on that its name decides; as [`partition_of`] for a topic that has no such setting.
pub fn partition_in_topic(
    topic: &str,
    key: &str,
    spread: Option<u32>,
    partition_count: u32,
) -> u32 {
    match spread {
        Some(spread) if partition_count > 0 => {
            let first = u64::from(partition_of(topic, partition_count));
            let step = partition_of(key, spread.clamp(1, partition_count));
            ((first + u64::from(step)) % u64::from(partition_count)) as u32
        }
        _ => partition_of(key, partition_count),
    }
}

/// What an event is routed by: meta `partition_key` if it is not empty, else message_id.
pub fn routing_key(event: &Event) -> &str {
    match event.meta.get(PARTITION_KEY) {
        Some(key) if !key.is_empty() => key,
        _ => &event.message_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_other_clients() {
        assert_eq!(fnv1a_64(b"a"), 0xaf63_dc4c_8601_ec8c);
        for (key, partition) in [
            ("", 5),
            ("a", 12),
            ("pub-0-event-0", 9),
            ("pub-7-event-42", 14),
            ("route-probe-key-0", 2),
            ("default-topic", 0),
            ("demo-topic", 8),
            ("load-test-topic", 2),
        ] {
            assert_eq!(partition_of(key, 16), partition, "{key}");
        }
        assert_eq!(partition_of("anything", 1), 0);
        assert_eq!(partition_of("anything", 0), 0);
    }

    #[test]
    fn a_topic_may_spread_over_neighbours() {
        let first = partition_of("t", 16);
        for key in ["a", "b", "c", "d"] {
            assert_eq!(partition_in_topic("t", key, Some(1), 16), first);
            let third = partition_in_topic("t", key, Some(3), 16);
            assert!((0..3).any(|step| third == (first + step) % 16));
            let free = partition_of(key, 16);
            assert_eq!(partition_in_topic("t", key, None, 16), free);
        }
        assert_eq!(partition_in_topic("t", "a", Some(3), 0), 0);
        assert_eq!(partition_in_topic("t", "a", Some(99), 1), 0);
    }

    #[test]
    fn an_empty_partition_key_does_not_route() {
        let mut event = Event {
            message_id: "id".into(),
            ..Event::default()
        };
        assert_eq!(routing_key(&event), "id");
        event.meta.insert(PARTITION_KEY.into(), String::new());
        assert_eq!(routing_key(&event), "id");
        event.meta.insert(PARTITION_KEY.into(), "k".into());
        assert_eq!(routing_key(&event), "k");
    }
}
