//! Names that nobody else uses.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// A fresh id of 32 hex digits: the time in ms, then random bits. Ids made later sort later.
pub fn unique_id() -> String {
    let ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    let low = random_u64();
    let high = random_u64() & 0xffff;
    format!("{:012x}{high:04x}{low:016x}", ms & 0xffff_ffff_ffff)
}

/// Random bits good enough for names and jitter, not for secrets. The standard library
/// seeds its hash maps from the operating system; that is where they come from.
pub(crate) fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_and_have_one_shape() {
        let ids: HashSet<String> = (0..1000).map(|_| unique_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 32));
    }
}
