//! Variable-length integers (LEB128) and zigzag, for small stored records.

/// A record ended early or holds a number out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("truncated or malformed record")]
pub struct Malformed;

/// Appends an unsigned number, 7 bits a byte, lowest first.
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number, zigzag encoded so that small magnitudes stay short.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends whether there is a number, and the number.
pub fn put_optional(out: &mut Vec<u8>, value: Option<u64>) {
    match value {
        None => put_u64(out, 0),
        Some(value) => {
            put_u64(out, 1);
            put_u64(out, value);
        }
    }
}

/// Appends 16 bytes, big-endian: a random identity has no small values to be short for.
pub fn put_u128(out: &mut Vec<u8>, value: u128) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Takes an unsigned number off the front of `input`.
pub fn take_u64(input: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for (i, byte) in input.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if i == 9 && bits > 1 {
            return Err(Malformed);
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            *input = &input[i + 1..];
            return Ok(value);
        }
    }
    Err(Malformed)
}

/// Takes a signed number off the front of `input`.
pub fn take_i64(input: &mut &[u8]) -> Result<i64, Malformed> {
    let raw = take_u64(input)?;
    Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// Takes an unsigned number that must fit 32 bits.
pub fn take_u32(input: &mut &[u8]) -> Result<u32, Malformed> {
    u32::try_from(take_u64(input)?).map_err(|_| Malformed)
}

/// Takes what [`put_optional`] appended.
pub fn take_optional(input: &mut &[u8]) -> Result<Option<u64>, Malformed> {
    match take_u64(input)? {
        0 => Ok(None),
        1 => Ok(Some(take_u64(input)?)),
        _ => Err(Malformed),
    }
}

/// Takes what [`put_u128`] appended.
pub fn take_u128(input: &mut &[u8]) -> Result<u128, Malformed> {
    let (bytes, rest) = input.split_first_chunk().ok_or(Malformed)?;
    *input = rest;
    Ok(u128::from_be_bytes(*bytes))
}

/// Takes a length and that many bytes.
pub fn take_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let len = usize::try_from(take_u64(input)?).map_err(|_| Malformed)?;
    let (bytes, rest) = input.split_at_checked(len).ok_or(Malformed)?;
    *input = rest;
    Ok(bytes)
}

/// Takes a length and that many bytes of UTF-8.
pub fn take_string(input: &mut &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(take_bytes(input)?)
        .map(str::to_owned)
        .map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(
            unsigned: u64,
            signed: i64,
            bytes: Vec<u8>,
            optional: Option<u64>,
            wide: u128,
        ) {
            let mut out = Vec::new();
            put_u64(&mut out, unsigned);
            put_i64(&mut out, signed);
            put_bytes(&mut out, &bytes);
            put_optional(&mut out, optional);
            put_u128(&mut out, wide);
            let mut input = out.as_slice();
            prop_assert_eq!(take_u64(&mut input), Ok(unsigned));
            prop_assert_eq!(take_i64(&mut input), Ok(signed));
            prop_assert_eq!(take_bytes(&mut input), Ok(bytes.as_slice()));
            prop_assert_eq!(take_optional(&mut input), Ok(optional));
            prop_assert_eq!(take_u128(&mut input), Ok(wide));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes: Vec<u8>) {
            let mut input = bytes.as_slice();
            while take_u64(&mut input).is_ok() && !input.is_empty() {}
            let _ = take_bytes(&mut bytes.as_slice());
            let _ = take_optional(&mut bytes.as_slice());
            let _ = take_u128(&mut bytes.as_slice());
        }
    }
}
