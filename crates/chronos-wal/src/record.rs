//! One record, and how it looks in a file.

use bytes::Bytes;

/// Bytes of a record before its body.
pub(crate) const HEADER_BYTES: usize = 48;
/// Largest body of a record: 64 MiB.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// First bytes of each record. The first one does not occur in UTF-8 text.
pub(crate) const MAGIC: [u8; 4] = [0xC7, b'r', b'e', b'c'];

/// One entry of the log.
///
/// In a file it is a header of 48 bytes, all numbers little-endian, followed by the body:
///
/// | bytes | what |
/// |---|---|
/// | 0..4 | magic `C7 72 65 63` |
/// | 4..8 | length of the body |
/// | 8..16 | index |
/// | 16..24 | durable index + 1; 0 = none |
/// | 24..40 | meta |
/// | 40..44 | CRC32C of the body |
/// | 44..48 | CRC32C of: the segment's salt (8 bytes), the position of the record in the file (8 bytes), bytes 0..44 |
/// | 48.. | the body |
///
/// The header has a checksum of its own, so that a damaged length is noticed before it is used. It
/// covers the salt and the position, so that bytes which merely look like a record (a body that
/// contains a copy of one, old blocks of another file) are never taken for one.
///
/// *Durable index* is the highest index that was known to be durable when the record was written.
/// Recovery uses it to tell a torn tail, which is cut off, from damage to records that had been
/// stored safely, which is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Place in the log; each record has the index of the one before plus one. Less than
    /// [`u64::MAX`].
    pub index: u64,
    /// Sixteen bytes that mean nothing to the log.
    pub meta: [u8; 16],
    /// The content; at most [`MAX_BODY_BYTES`].
    pub body: Bytes,
}

impl Record {
    /// Bytes the record takes in a file.
    pub fn stored_bytes(&self) -> u64 {
        (HEADER_BYTES + self.body.len()) as u64
    }
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are fewer bytes than the record needs.
    #[error("the record is cut off")]
    Incomplete,
    /// A record does not begin here.
    #[error("no record begins here")]
    Magic,
    /// The header is damaged.
    #[error("the header's checksum does not match")]
    HeaderChecksum,
    /// The header is intact but states what no writer writes.
    #[error("the header makes no sense")]
    Header,
    /// The body is damaged.
    #[error("the body's checksum does not match")]
    BodyChecksum,
}

/// Decodes the record at the start of `bytes`, as it stands at the start of a file with salt 0;
/// returns it with the number of bytes it takes. Never panics, whatever the bytes.
pub fn decode_record(bytes: &[u8]) -> Result<(Record, usize), DecodeError> {
    let header = Header::decode(bytes, Place::default())?;
    let end = HEADER_BYTES + header.body_bytes as usize;
    let body = bytes
        .get(HEADER_BYTES..end)
        .ok_or(DecodeError::Incomplete)?;
    header.check_body(body)?;
    let record = Record {
        index: header.index,
        meta: header.meta,
        body: Bytes::copy_from_slice(body),
    };
    Ok((record, end))
}

/// The inverse of [`decode_record`]. A body of more than [`MAX_BODY_BYTES`] gives bytes that do
/// not decode.
pub fn encode_record(record: &Record) -> Vec<u8> {
    let mut bytes = Header::of(record, None).encode(Place::default()).to_vec();
    bytes.extend_from_slice(&record.body);
    bytes
}

/// Where a record stands; part of its checksum.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) salt: u64,
    pub(crate) position: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) index: u64,
    pub(crate) durable: Option<u64>,
    pub(crate) meta: [u8; 16],
    pub(crate) body_bytes: u32,
    pub(crate) body_crc: u32,
}

impl Header {
    pub(crate) fn of(record: &Record, durable: Option<u64>) -> Self {
        Self {
            index: record.index,
            durable,
            meta: record.meta,
            body_bytes: u32::try_from(record.body.len()).unwrap_or(u32::MAX),
            body_crc: crc32c::crc32c(&record.body),
        }
    }

    pub(crate) fn encode(&self, place: Place) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.index.to_le_bytes());
        let durable = self.durable.map_or(0, |index| index.saturating_add(1));
        bytes[16..24].copy_from_slice(&durable.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.meta);
        bytes[40..44].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = header_crc(&bytes[..44], place);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes the header at the start of `bytes`; what follows it is not looked at.
    pub(crate) fn decode(bytes: &[u8], place: Place) -> Result<Self, DecodeError> {
        let (bytes, _) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(DecodeError::Incomplete)?;
        if bytes[0..4] != MAGIC {
            return Err(DecodeError::Magic);
        }
        if read_u32(bytes, 44) != header_crc(&bytes[..44], place) {
            return Err(DecodeError::HeaderChecksum);
        }
        let mut meta = [0; 16];
        meta.copy_from_slice(&bytes[24..40]);
        let header = Self {
            index: read_u64(bytes, 8),
            durable: read_u64(bytes, 16).checked_sub(1),
            meta,
            body_bytes: read_u32(bytes, 4),
            body_crc: read_u32(bytes, 40),
        };
        let sensible = header.body_bytes as usize <= MAX_BODY_BYTES
            && header.index < u64::MAX
            && header.durable.is_none_or(|durable| durable < header.index);
        sensible.then_some(header).ok_or(DecodeError::Header)
    }

    pub(crate) fn check_body(&self, body: &[u8]) -> Result<(), DecodeError> {
        if crc32c::crc32c(body) == self.body_crc || crate::mutant!("body-not-checked") {
            Ok(())
        } else {
            Err(DecodeError::BodyChecksum)
        }
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }
}

fn header_crc(fields: &[u8], place: Place) -> u32 {
    let mut seed = [0; 16];
    seed[0..8].copy_from_slice(&place.salt.to_le_bytes());
    seed[8..16].copy_from_slice(&place.position.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&seed), fields)
}

/// The number at `at`; the caller has checked that it is there.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

/// The number at `at`; the caller has checked that it is there.
pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record {
        Record {
            index: 7,
            meta: *b"0123456789abcdef",
            body: Bytes::from_static(b"a body"),
        }
    }

    #[test]
    fn layout_is_fixed() {
        let bytes = encode_record(&record());
        assert_eq!(bytes.len(), 54);
        assert_eq!(bytes[..8], [0xC7, 0x72, 0x65, 0x63, 6, 0, 0, 0]);
        assert_eq!(
            bytes[8..24],
            [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(&bytes[24..40], b"0123456789abcdef");
        assert_eq!(read_u32(&bytes, 40), crc32c::crc32c(b"a body"));
        assert_eq!(
            read_u32(&bytes, 44),
            header_crc(&bytes[..44], Place::default())
        );
        assert_eq!(&bytes[48..], b"a body");
        assert_eq!(decode_record(&bytes), Ok((record(), 54)));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = encode_record(&record());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_record(&bad).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(decode_record(&bytes[..len]), Err(DecodeError::Incomplete));
        }
    }

    #[test]
    fn a_record_counts_only_where_it_was_written() {
        let place = Place {
            salt: 3,
            position: 64,
        };
        let bytes = Header::of(&record(), Some(6)).encode(place);
        assert!(Header::decode(&bytes, place).is_ok());
        for other in [
            Place { salt: 4, ..place },
            Place {
                position: 65,
                ..place
            },
            Place::default(),
        ] {
            assert_eq!(
                Header::decode(&bytes, other),
                Err(DecodeError::HeaderChecksum)
            );
        }
    }

    #[test]
    fn nonsense_with_a_good_checksum_is_refused() {
        let header = Header::of(&record(), None);
        for bad in [
            Header {
                body_bytes: MAX_BODY_BYTES as u32 + 1,
                ..header
            },
            Header {
                index: u64::MAX,
                ..header
            },
            Header {
                durable: Some(7),
                ..header
            },
        ] {
            let bytes = bad.encode(Place::default());
            assert_eq!(
                Header::decode(&bytes, Place::default()),
                Err(DecodeError::Header)
            );
        }
    }

    proptest! {
        #[test]
        fn round_trip(index in 0..u64::MAX, meta: [u8; 16], body: Vec<u8>, rest: Vec<u8>) {
            let record = Record { index, meta, body: body.into() };
            let mut bytes = encode_record(&record);
            let len = bytes.len();
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(decode_record(&bytes), Ok((record, len)));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = decode_record(&bytes);
        }
    }
}
