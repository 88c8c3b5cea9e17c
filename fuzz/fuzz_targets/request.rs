//! Any bytes as a publish request: the raw messages and the scan read what a full decode reads.
#![no_main]

use bytes::Bytes;
use chronos_proto::cronos_db;
use chronos_proto::raw::{self, scan_event};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|input: &[u8]| {
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(request) = raw::PublishRequest::decode(bytes.clone()) {
        if let Some(event) = &request.event {
            check_event(event);
        }
        let encoded = Bytes::from(request.encode_to_vec());
        assert_eq!(raw::PublishRequest::decode(encoded).as_ref(), Ok(&request));
    }
    if let Ok(request) = raw::PublishBatchRequest::decode(bytes.clone()) {
        request.events.iter().for_each(|event| check_event(event));
        let encoded = Bytes::from(request.encode_to_vec());
        assert_eq!(
            raw::PublishBatchRequest::decode(encoded).as_ref(),
            Ok(&request)
        );
    }
    let _ = raw::Delivery::decode(bytes.clone());
    let _ = raw::ReplayEvent::decode(bytes);
    check_event(input);
});

fn check_event(bytes: &[u8]) {
    let scanned = scan_event(bytes);
    let decoded = cronos_db::Event::decode(bytes);
    let (Ok(scanned), Ok(decoded)) = (&scanned, &decoded) else {
        // Only deep nesting of unknown groups may divide the two; see `scan_event`.
        let nested = decoded.is_err() && bytes.len() > 100;
        assert!(scanned.is_err() == decoded.is_err() || nested);
        return;
    };
    assert_eq!(scanned.message_id, decoded.message_id);
    assert_eq!(scanned.topic, decoded.topic);
    assert_eq!(scanned.payload, &decoded.payload[..]);
    assert_eq!(scanned.schedule_ts, decoded.schedule_ts);
    assert_eq!(
        scanned.partition_key,
        decoded.meta.get(raw::PARTITION_KEY).map(String::as_str)
    );
    assert_eq!(
        &bytes[scanned.message_id_range.clone()],
        scanned.message_id.as_bytes()
    );
    assert_eq!(
        &bytes[scanned.topic_range.clone()],
        scanned.topic.as_bytes()
    );
    assert_eq!(&bytes[scanned.payload_range.clone()], scanned.payload);
}
