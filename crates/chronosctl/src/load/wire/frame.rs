//! The five bytes in front of each gRPC message: a compression flag and a 32-bit length
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use bytes::{Buf, BufMut, BytesMut};

/// Bytes in front of each message.
pub(crate) const HEADER_BYTES: usize = 5;
/// Longest message accepted, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Appends the header of a message of `len` bytes.
pub(crate) fn put_header(out: &mut impl BufMut, len: usize) {
    out.put_u8(0);
    out.put_u32(len as u32);
}

/// The stream does not hold gRPC messages that this client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// A message is marked as compressed although no compression was offered.
    Compressed,
    /// A message is longer than 64 MiB.
    TooLong(usize),
}

/// Cuts the chunks of a stream into messages, without copying those that lie within one chunk.
#[derive(Default)]
pub(crate) struct Deframer {
    partial: BytesMut,
}

impl Deframer {
    /// Calls `on_message` for each message that `chunk` completes.
    ///
    /// # Errors
    /// Stops at the first header that is not acceptable, or the first error of `on_message`.
    pub(crate) fn feed<E: From<FrameError>>(
        &mut self,
        mut chunk: &[u8],
        mut on_message: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !self.partial.is_empty() {
            let wanted = match message_len(&self.partial)? {
                None => HEADER_BYTES,
                Some(len) => HEADER_BYTES + len,
            };
            let missing = (wanted - self.partial.len()).min(chunk.len());
            self.partial.extend_from_slice(&chunk[..missing]);
            chunk.advance(missing);
            match message_len(&self.partial)? {
                Some(len) if self.partial.len() == HEADER_BYTES + len => {
                    on_message(&self.partial[HEADER_BYTES..])?;
                    self.partial.clear();
                }
                _ if chunk.is_empty() => return Ok(()),
                _ => {}
            }
        }
        while let Some(len) = message_len(chunk)? {
            let Some(message) = chunk.get(HEADER_BYTES..HEADER_BYTES + len) else {
                break;
            };
            on_message(message)?;
            chunk.advance(HEADER_BYTES + len);
        }
        self.partial.extend_from_slice(chunk);
        Ok(())
    }
}

fn message_len(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    if header[0] != 0 {
        return Err(FrameError::Compressed);
    }
    let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if len > MAX_MESSAGE_BYTES {
        return Err(FrameError::TooLong(len));
    }
    Ok(Some(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_flagged_or_huge_message_is_refused() {
        let mut deframer = Deframer::default();
        let refused = deframer.feed(&[1, 0, 0, 0, 0], |_| Ok::<_, FrameError>(()));
        assert_eq!(refused, Err(FrameError::Compressed));
        let refused = Deframer::default().feed(&[0, 255, 0, 0, 0], |_| Ok::<_, FrameError>(()));
        assert!(matches!(refused, Err(FrameError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn messages_survive_any_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..10),
            cuts in proptest::collection::vec(1_usize..12, 1..20),
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                put_header(&mut stream, message.len());
                stream.extend_from_slice(message);
            }
            let mut deframer = Deframer::default();
            let mut seen = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                let (chunk, left) = rest.split_at((*cut).min(rest.len()));
                rest = left;
                deframer
                    .feed(chunk, |message| {
                        seen.push(message.to_vec());
                        Ok::<_, FrameError>(())
                    })
                    .unwrap();
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(seen, messages);
        }
    }
}
