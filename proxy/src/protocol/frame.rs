//! Walks frames: a type byte, a length, a body. Knows nothing of what bodies mean.
//!
//! After startup every message is one byte of type and a big-endian length that counts itself but not the type
//! (PostgreSQL, "Message Formats").

/// Bytes before the body.
pub const HEADER: usize = 5;

/// A frame's type and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type byte.
    pub kind: u8,
    /// Length of the whole frame, header included, in bytes.
    pub total: usize,
}

/// A length no frame can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength {
    /// The type byte before it.
    pub kind: u8,
    /// The length as it was sent.
    pub length: u32,
}

/// The frame that begins at the front of `bytes`; `None` while its header is incomplete.
///
/// # Errors
/// A length below 4 or above 2³¹-1, which PostgreSQL refuses too.
pub fn header(bytes: &[u8]) -> Result<Option<Header>, BadLength> {
    let Some((head, _)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let [kind, a, b, c, d] = *head;
    let length = u32::from_be_bytes([a, b, c, d]);
    if length < 4 || length > i32::MAX as u32 {
        return Err(BadLength { kind, length });
    }
    Ok(Some(Header {
        kind,
        total: length as usize + 1,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_needs_five_bytes() {
        assert_eq!(header(b"Q\0\0\0"), Ok(None));
        assert_eq!(header(b"Q\0\0\0\x04"), Ok(Some(Header { kind: b'Q', total: 5 })));
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for length in [0u32, 3, 0x8000_0000, u32::MAX] {
            let mut bytes = vec![b'D'];
            bytes.extend_from_slice(&length.to_be_bytes());
            assert_eq!(header(&bytes), Err(BadLength { kind: b'D', length }));
        }
    }
}
