//! Any bytes where the log expects a record: an error, or a record that comes back from its own
//! encoding.
#![no_main]

use bytes::Bytes;
use chronos_wal::{Record, decode_record, encode_record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, [u8; 16], Vec<u8>, Option<(u16, u8)>)| {
    let (index, meta, body, damage) = input;
    let _ = decode_record(&body);
    // The greatest index has no successor, so no record has it.
    let index = index.min(u64::MAX - 1);

    // Random bytes hardly ever have the right checksums, so damage is done to a good record.
    let record = Record {
        index,
        meta,
        body: Bytes::from(body),
    };
    let mut bytes = encode_record(&record);
    let place = damage.map(|(at, mask)| (usize::from(at) % bytes.len(), mask));
    if let Some((at, mask)) = place {
        bytes[at] ^= mask;
    }
    match decode_record(&bytes) {
        Ok((read, len)) => {
            assert_eq!(len, bytes.len());
            assert_eq!(
                (read.index, read.meta, &read.body),
                (record.index, record.meta, &record.body)
            );
        }
        Err(error) => assert!(place.is_some_and(|(_, mask)| mask != 0), "{error}"),
    }
    for len in [0, bytes.len() / 2, bytes.len() - 1] {
        assert!(decode_record(&bytes[..len]).is_err());
    }
});
