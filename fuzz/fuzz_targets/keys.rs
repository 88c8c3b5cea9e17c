//! Any bytes as keys and values of the index: each is an error or something that comes back.
#![no_main]

use chronos_core::keys::{batch, chunk, dead, dedup, meta, run};
use chronos_core::settled::Settled;
use chronos_core::types::DueKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8], &[u8])| {
    let (kind, key, value) = input;
    match kind % 7 {
        0 => {
            if let Ok(read) = batch::Batch::decode(key, value) {
                assert_eq!(batch::Batch::decode(key, &read.encode()), Ok(read));
            }
        }
        1 => {
            if let Ok((_, bucket, first_offset)) = chunk::decode_key(key) {
                let mut due: Vec<DueKey> = Vec::new();
                if chunk::decode(bucket, first_offset, value, |key| due.push(key)).is_ok() {
                    assert_eq!(chunk::count(value), Ok(due.len() as u64));
                }
            }
        }
        2 => {
            if let Ok(read) = dead::DeadLetter::decode(value) {
                assert_eq!(dead::DeadLetter::decode(&read.encode()), Ok(read));
            }
        }
        3 => {
            let _ = dedup::decode_key(key);
            if let Ok(read) = dedup::Accepted::decode(value) {
                assert_eq!(dedup::Accepted::decode(&read.encode()), Ok(read));
            }
        }
        4 => {
            let _ = meta::decode_key(key);
        }
        5 => {
            let _ = run::decode_key(key);
            if let Ok(count) = run::decode(value) {
                assert_eq!(run::decode(&run::encode(count)), Ok(count));
            }
        }
        _ => {
            if let Ok(read) = Settled::decode(value) {
                let mut bytes = Vec::new();
                read.encode(&mut bytes);
                assert_eq!(Settled::decode(&bytes), Ok(read));
            }
        }
    }
});
