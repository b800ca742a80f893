//! Texts of `bytea`. Which form one has, `hex` or `escape`, it says itself: a backslash that stands for itself is written twice.

use std::cmp::Ordering;

use super::Misread;

/// How two values compare.
///
/// # Errors
/// [`Misread`]
pub(super) fn compare(one: &[u8], other: &[u8]) -> Result<Ordering, Misread> {
    if one.starts_with(b"\\x") && other.starts_with(b"\\x") {
        return Ok(one.cmp(other));
    }
    let (mut one, mut other) = (Bytes::of(one), Bytes::of(other));
    loop {
        match (one.next().transpose()?, other.next().transpose()?) {
            (None, None) => return Ok(Ordering::Equal),
            (left, right) if left != right => return Ok(left.cmp(&right)),
            (_, _) => {}
        }
    }
}

/// The bytes of a value.
struct Bytes<'a> {
    text: &'a [u8],
    is_hex: bool,
}

impl<'a> Bytes<'a> {
    fn of(text: &'a [u8]) -> Self {
        match text.strip_prefix(b"\\x") {
            Some(text) => Bytes { text, is_hex: true },
            None => Bytes { text, is_hex: false },
        }
    }

    /// The byte that such digits stand for.
    fn number(digits: &[u8], base: u32) -> Result<u8, Misread> {
        let value = digits.iter().try_fold(0, |value, digit| {
            let digit = char::from(*digit).to_digit(base)?;
            Some(value * base + digit)
        });
        value.and_then(|value| value.try_into().ok()).ok_or(Misread)
    }
}

impl Iterator for Bytes<'_> {
    type Item = Result<u8, Misread>;

    fn next(&mut self) -> Option<Self::Item> {
        let (byte, used) = match (self.is_hex, self.text) {
            (_, []) => return None,
            (true, [high, low, ..]) => (Self::number(&[*high, *low], 16), 2),
            (false, [b'\\', b'\\', ..]) => (Ok(b'\\'), 2),
            (false, [b'\\', a, b, c, ..]) => (Self::number(&[*a, *b, *c], 8), 4),
            (true, _) | (false, [b'\\', ..]) => (Err(Misread), self.text.len()),
            (false, [byte, ..]) => (Ok(*byte), 1),
        };
        self.text = &self.text[used..];
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_in_postgresqls_order() {
        // '', 00, 00 01, 41, 5c, 5c 78, 7f, ff
        let hex = [
            "\\x", "\\x00", "\\x0001", "\\x41", "\\x5c", "\\x5c78", "\\x7f", "\\xff",
        ];
        let escape = ["", "\\000", "\\000\\001", "A", "\\\\", "\\\\x", "\\177", "\\377"];
        for (at, one) in hex.iter().zip(escape).enumerate() {
            for (other_at, other) in hex.iter().zip(escape).enumerate() {
                for (one, other) in [(*one.0, *other.0), (one.1, other.1), (*one.0, other.1)] {
                    let compared = compare(one.as_bytes(), other.as_bytes());
                    assert_eq!(compared, Ok(at.cmp(&other_at)), "{one} {other}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_bytea_is_not_read() {
        for text in ["\\", "\\1", "\\12", "\\400", "\\a00", "\\x0", "\\xg0", "\\+12"] {
            assert!(
                compare(text.as_bytes(), b"").is_err() || compare(text.as_bytes(), b"\\000").is_err(),
                "{text}"
            );
        }
    }
}
