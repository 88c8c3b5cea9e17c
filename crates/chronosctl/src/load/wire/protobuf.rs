//! Writing and scanning protobuf fields (<https://protobuf.dev/programming-guides/encoding/>).

use bytes::BufMut;

/// Wire type of integers.
const VARINT: u64 = 0;
/// Wire type of strings, bytes and messages.
const LEN: u64 = 2;

/// Appends `value` as a varint.
pub(crate) fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Appends an integer field.
pub(crate) fn put_uint(out: &mut impl BufMut, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3 | VARINT);
    put_varint(out, value);
}

/// Appends the key and the length of a string, bytes or message field whose content follows.
pub(crate) fn put_len(out: &mut impl BufMut, field: u32, len: usize) {
    put_varint(out, u64::from(field) << 3 | LEN);
    put_varint(out, len as u64);
}

/// Appends a string, bytes or message field.
pub(crate) fn put_bytes(out: &mut impl BufMut, field: u32, value: &[u8]) {
    put_len(out, field, value.len());
    out.put_slice(value);
}

/// Bytes that `value` takes as a varint.
pub(crate) const fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// An integer.
    Uint(u64),
    /// A string, bytes or message.
    Bytes(&'a [u8]),
    /// A fixed-width number, of which the load generator reads none.
    Fixed,
}

/// The message is not protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The fields of one message, in order.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let key = self.varint()?;
        let value = match key & 7 {
            VARINT => Value::Uint(self.varint()?),
            LEN => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            1 => self.take(8).map(|_| Value::Fixed)?,
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed),
        };
        Ok((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_back_as_written() {
        let mut out = Vec::new();
        put_uint(&mut out, 1, u64::MAX);
        put_bytes(&mut out, 2, b"abc");
        put_uint(&mut out, 1000, 0);
        let fields: Result<Vec<_>, _> = Fields::new(&out).collect();
        assert_eq!(
            fields.unwrap(),
            [
                (1, Value::Uint(u64::MAX)),
                (2, Value::Bytes(b"abc")),
                (1000, Value::Uint(0))
            ]
        );
    }

    #[test]
    fn varint_lengths_agree_with_the_writer() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value), "{value}");
            }
        }
    }

    #[test]
    fn every_truncation_ends_the_scan() {
        let mut out = Vec::new();
        put_bytes(&mut out, 2, b"abc");
        for len in 1..out.len() {
            assert!(
                Fields::new(&out[..len]).any(|field| field.is_err()),
                "{len}"
            );
        }
        assert!(Fields::new(&[0xff; 11]).any(|field| field.is_err()));
    }
}
