//! Payload bytes that can be checked without being remembered.
//!
//! The bytes are a SplitMix64 stream (Steele, Lea, Flood: "Fast splittable pseudorandom number
//! generators", 2014) seeded by the event's counter and its schedule_ts. So one comparison finds a
//! payload that was damaged, one that belongs to another event, and a schedule_ts that changed on
//! the way. They do not compress.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The seed of the payload of event `counter`, due at `schedule_ms`.
pub(crate) fn seed(counter: u64, schedule_ms: i64) -> u64 {
    mix(counter.wrapping_mul(GOLDEN) ^ mix(schedule_ms as u64))
}

/// Fills `payload` from `seed`.
pub(crate) fn fill(payload: &mut [u8], seed: u64) {
    let mut state = seed;
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        word.copy_from_slice(&next(&mut state).to_le_bytes());
    }
    let rest = words.into_remainder();
    let last = next(&mut state).to_le_bytes();
    rest.copy_from_slice(&last[..rest.len()]);
}

/// Whether `payload` is what [`fill`] writes for `seed`.
pub(crate) fn matches(payload: &[u8], seed: u64) -> bool {
    let mut state = seed;
    let mut words = payload.chunks_exact(8);
    let mut difference = 0_u64;
    for word in &mut words {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        difference |= u64::from_le_bytes(bytes) ^ next(&mut state);
    }
    let rest = words.remainder();
    difference == 0 && next(&mut state).to_le_bytes()[..rest.len()] == *rest
}

/// A number between 0 and `below` - 1 that follows from `seed` (0 when `below` is 0).
pub(crate) fn pick(seed: u64, below: u64) -> u64 {
    ((u128::from(mix(seed.wrapping_add(GOLDEN))) * u128::from(below)) >> 64) as u64
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(GOLDEN);
    mix(*state)
}

fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_bit_is_noticed() {
        for len in [1, 7, 8, 9, 256] {
            let mut payload = vec![0; len];
            fill(&mut payload, seed(5, 1_000));
            assert!(matches(&payload, seed(5, 1_000)));
            for bit in 0..len * 8 {
                payload[bit / 8] ^= 1 << (bit % 8);
                assert!(!matches(&payload, seed(5, 1_000)), "{len} bytes, bit {bit}");
                payload[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn another_event_or_time_is_noticed() {
        let mut payload = vec![0; 16];
        fill(&mut payload, seed(5, 1_000));
        assert!(!matches(&payload, seed(6, 1_000)));
        assert!(!matches(&payload, seed(5, 1_001)));
        assert!(!matches(&payload[..8], seed(6, 1_000)));
    }

    #[test]
    fn picks_stay_below() {
        for counter in 0..1_000 {
            assert!(pick(counter, 7) < 7);
        }
        assert_eq!(pick(9, 0), 0);
    }
}
