//! The routing function as a client of the wire contract computes it, written apart from the
//! server's so that the suites compare two implementations.

/// FNV-1a, 64 bits.
#[must_use]
pub fn fnv1a_64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The partition of an event: by its partition key, or by its message id when the key is empty.
#[must_use]
pub fn partition(partition_key: &str, message_id: &str, partition_count: u32) -> i32 {
    let key = if partition_key.is_empty() {
        message_id
    } else {
        partition_key
    };
    let partition = fnv1a_64(key.as_bytes()) % u64::from(partition_count.max(1));
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// A fingerprint of what a consumer receives: the payload and the meta map in key order.
#[must_use]
pub fn content_hash<'a>(
    payload: &[u8],
    meta: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> u64 {
    let mut pairs: Vec<_> = meta.into_iter().collect();
    pairs.sort();
    let mut bytes = Vec::with_capacity(payload.len() + 8);
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(payload);
    for (key, value) in pairs {
        for text in [key, value] {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    fnv1a_64(&bytes)
}

/// Key and partition of the wire contract's test vectors, for 16 partitions.
pub const VECTORS_16: &[(&str, i32)] = &[
    ("", 5),
    ("a", 12),
    ("pub-0-event-0", 9),
    ("pub-7-event-42", 14),
    ("route-probe-key-0", 2),
    ("default-topic", 0),
    ("demo-topic", 8),
    ("load-test-topic", 2),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_s_vectors_hold() {
        assert_eq!(fnv1a_64(b"a"), 0xaf63_dc4c_8601_ec8c);
        for (key, expected) in VECTORS_16 {
            assert_eq!(partition(key, key, 16), *expected, "{key}");
        }
    }

    #[test]
    fn the_content_hash_sees_payload_and_meta() {
        let meta = |key: &str, value: &str| {
            std::collections::HashMap::from([(key.to_string(), value.to_string())])
        };
        let hash = content_hash(b"x", &meta("k", "v"));
        assert_eq!(hash, content_hash(b"x", &meta("k", "v")));
        assert_ne!(hash, content_hash(b"y", &meta("k", "v")));
        assert_ne!(hash, content_hash(b"x", &meta("kv", "")));
    }
}
