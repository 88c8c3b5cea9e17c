//! Any bytes where the log expects a record: an error, the end, or a record within the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = chronos_wal::decode_record(bytes) {
        assert!(record.body.len() <= bytes.len());
    }
});
