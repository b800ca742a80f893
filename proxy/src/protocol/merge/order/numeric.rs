//! `numeric` compared as it is written, in decimal or in groups of four digits; its digits are never computed with.

use std::cmp::Ordering;

use super::Misread;

/// What a number is before its digits are looked at, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    MinusInfinity,
    Negative,
    Zero,
    Positive,
    Infinity,
    NaN,
}

/// A number in decimal.
#[derive(Debug, PartialEq, Eq)]
pub struct Text<'a> {
    class: Class,
    /// Without leading zeros.
    whole: &'a [u8],
    /// Without trailing zeros.
    fraction: &'a [u8],
}

impl<'a> Text<'a> {
    pub fn read(value: &'a [u8]) -> Result<Self, Misread> {
        let special = |class| Text {
            class,
            whole: b"",
            fraction: b"",
        };
        match value {
            b"NaN" => return Ok(special(Class::NaN)),
            b"Infinity" => return Ok(special(Class::Infinity)),
            b"-Infinity" => return Ok(special(Class::MinusInfinity)),
            _ => {}
        }
        let (is_negative, digits) = match value {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        let point = digits.iter().position(|&byte| byte == b'.');
        let (whole, fraction) = match point {
            Some(point) => (&digits[..point], &digits[point + 1..]),
            None => (digits, &b""[..]),
        };
        if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
            return Err(Misread);
        }
        let first = whole.iter().position(|&byte| byte != b'0').unwrap_or(whole.len());
        let last = fraction
            .iter()
            .rposition(|&byte| byte != b'0')
            .map_or(0, |at| at + 1);
        let (whole, fraction) = (&whole[first..], &fraction[..last]);
        let class = match (whole.is_empty() && fraction.is_empty(), is_negative) {
            (true, _) => Class::Zero,
            (false, true) => Class::Negative,
            (false, false) => Class::Positive,
        };
        Ok(Text {
            class,
            whole,
            fraction,
        })
    }

    pub fn cmp(&self, other: &Text<'_>) -> Ordering {
        let size = || {
            let whole = self
                .whole
                .len()
                .cmp(&other.whole.len())
                .then_with(|| self.whole.cmp(other.whole));
            whole.then_with(|| self.fraction.cmp(other.fraction))
        };
        by_class(self.class, other.class, size)
    }
}

/// A number as `numeric_send` writes it.
#[derive(Debug)]
pub struct Binary<'a> {
    class: Class,
    /// The first digit group stands for so many powers of 10000.
    weight: i16,
    /// Groups of two bytes, big-endian, without zeros at either end.
    groups: &'a [u8],
}

impl<'a> Binary<'a> {
    pub fn read(value: &'a [u8]) -> Result<Self, Misread> {
        let (head, mut groups) = value.split_first_chunk::<8>().ok_or(Misread)?;
        let [a, b, c, d, e, f, ..] = *head;
        let count = usize::from(u16::from_be_bytes([a, b]));
        let mut weight = i16::from_be_bytes([c, d]);
        let sign = u16::from_be_bytes([e, f]);
        if groups.len() != count * 2 {
            return Err(Misread);
        }
        while let [0, 0, rest @ ..] = groups {
            groups = rest;
            weight = weight.checked_sub(1).ok_or(Misread)?;
        }
        while let [rest @ .., 0, 0] = groups {
            groups = rest;
        }
        let class = match (sign, groups.is_empty()) {
            (0x0000 | 0x4000, true) => Class::Zero,
            (0x0000, false) => Class::Positive,
            (0x4000, false) => Class::Negative,
            (0xC000, _) => Class::NaN,
            (0xD000, _) => Class::Infinity,
            (0xF000, _) => Class::MinusInfinity,
            (_, _) => return Err(Misread),
        };
        Ok(Binary {
            class,
            weight,
            groups,
        })
    }

    pub fn cmp(&self, other: &Binary<'_>) -> Ordering {
        let size = || {
            self.weight
                .cmp(&other.weight)
                .then_with(|| self.groups.cmp(other.groups))
        };
        by_class(self.class, other.class, size)
    }
}

fn by_class(one: Class, other: Class, size: impl FnOnce() -> Ordering) -> Ordering {
    match (one, other) {
        (Class::Positive, Class::Positive) => size(),
        (Class::Negative, Class::Negative) => size().reverse(),
        (one, other) => one.cmp(&other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(weight: i16, sign: u16, groups: &[u16]) -> Vec<u8> {
        let mut out = (groups.len() as u16).to_be_bytes().to_vec();
        out.extend_from_slice(&weight.to_be_bytes());
        out.extend_from_slice(&sign.to_be_bytes());
        out.extend_from_slice(&2_u16.to_be_bytes());
        groups
            .iter()
            .for_each(|group| out.extend_from_slice(&group.to_be_bytes()));
        out
    }

    #[test]
    fn binary_numbers_in_order() {
        let list = [
            binary(0, 0xF000, &[]),
            binary(1, 0x4000, &[1]),
            binary(0, 0x4000, &[5, 1]),
            binary(0, 0x4000, &[5]),
            binary(0, 0, &[]),
            binary(-1, 0, &[5000]),
            binary(0, 0, &[1]),
            binary(0, 0, &[1, 1]),
            binary(0, 0, &[9999]),
            binary(1, 0, &[1]),
            binary(0, 0xD000, &[]),
            binary(0, 0xC000, &[]),
        ];
        for (at, one) in list.iter().enumerate() {
            for (other_at, other) in list.iter().enumerate() {
                let (one, other) = (
                    Binary::read(one).expect("good"),
                    Binary::read(other).expect("good"),
                );
                assert_eq!(one.cmp(&other), at.cmp(&other_at), "{one:?} {other:?}");
            }
        }
        let (one, other) = (binary(1, 0, &[0, 7]), binary(0, 0, &[7, 0]));
        let (one, other) = (
            Binary::read(&one).expect("good"),
            Binary::read(&other).expect("good"),
        );
        assert_eq!(one.cmp(&other), Ordering::Equal);
    }
}
