//! Descriptions of rows and rows, read within their bounds and written again with other formats or fewer columns.

use std::ops::Range;

use crate::protocol::message::cstr;
use crate::protocol::reply;

/// A RowDescription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Its columns.
    pub columns: Vec<Described>,
}

/// One column of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: Box<[u8]>,
    /// The table's OID and the column's number, both 0 for an expression.
    pub origin: (u32, u16),
    /// The type's OID.
    pub type_oid: u32,
    /// The type's size.
    pub size: i16,
    /// The type's modifier.
    pub modifier: i32,
    /// 0 text, 1 binary.
    pub format: u16,
}

impl Description {
    /// Reads a RowDescription's body; `None`: it is malformed.
    pub fn read(body: &[u8]) -> Option<Description> {
        let (count, mut rest) = body.split_first_chunk::<2>()?;
        let mut columns = Vec::new();
        for _ in 0..u16::from_be_bytes(*count) {
            let (name, after) = cstr(rest)?;
            let (fixed, after) = after.split_first_chunk::<18>()?;
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r] = *fixed;
            columns.push(Described {
                name: name.into(),
                origin: (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f])),
                type_oid: u32::from_be_bytes([g, h, i, j]),
                size: i16::from_be_bytes([k, l]),
                modifier: i32::from_be_bytes([m, n, o, p]),
                format: u16::from_be_bytes([q, r]),
            });
            rest = after;
        }
        rest.is_empty().then_some(Description { columns })
    }

    /// Appends it as a frame, in these formats.
    pub fn write(&self, out: &mut Vec<u8>, formats: &Formats) {
        reply::frame(out, b'T', |out| {
            out.extend_from_slice(&(self.columns.len() as u16).to_be_bytes());
            for (place, column) in self.columns.iter().enumerate() {
                reply::cstr(out, &column.name);
                out.extend_from_slice(&column.origin.0.to_be_bytes());
                out.extend_from_slice(&column.origin.1.to_be_bytes());
                out.extend_from_slice(&column.type_oid.to_be_bytes());
                out.extend_from_slice(&column.size.to_be_bytes());
                out.extend_from_slice(&column.modifier.to_be_bytes());
                out.extend_from_slice(&formats.of(place).to_be_bytes());
            }
        });
    }

    /// Are rows of the one rows of the other? Types that users made have other OIDs on other servers.
    pub fn fits(&self, other: &Description) -> bool {
        let is_same = |(one, other): (&Described, &Described)| {
            one.type_oid == other.type_oid
                || (one.type_oid >= FIRST_OWN_OID && other.type_oid >= FIRST_OWN_OID)
        };
        self.columns.len() == other.columns.len() && self.columns.iter().zip(&other.columns).all(is_same)
    }
}

/// The first OID of what is not PostgreSQL's own (`FirstNormalObjectId`).
pub const FIRST_OWN_OID: u32 = 16384;

/// The result formats of a Bind: none, one for all, or one each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Formats(pub Vec<u16>);

impl Formats {
    /// The format of one column.
    pub fn of(&self, place: usize) -> u16 {
        match &self.0[..] {
            [] => 0,
            [all] => *all,
            each => each.get(place).copied().unwrap_or(0),
        }
    }

    /// The same for so many columns, and then `hidden` more in binary.
    pub fn with_hidden(&self, columns: usize, hidden: usize) -> Formats {
        if hidden == 0 {
            return self.clone();
        }
        let own = (0..columns).map(|place| self.of(place));
        Formats(own.chain(std::iter::repeat_n(1, hidden)).collect())
    }

    /// Appends them as a Bind has them.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.0.len() as u16).to_be_bytes());
        for format in &self.0 {
            out.extend_from_slice(&format.to_be_bytes());
        }
    }
}

/// Where a row's columns are in its body: `None` for NULL. False if the row is malformed.
pub fn columns(body: &[u8], places: &mut Vec<Option<Range<usize>>>) -> bool {
    places.clear();
    let Some((count, _)) = body.split_first_chunk::<2>() else {
        return false;
    };
    let mut at = 2_usize;
    for _ in 0..u16::from_be_bytes(*count) {
        let Some((length, _)) = body.get(at..).and_then(|rest| rest.split_first_chunk::<4>()) else {
            return false;
        };
        at += 4;
        let length = i32::from_be_bytes(*length);
        match usize::try_from(length) {
            Err(_) if length == -1 => places.push(None),
            Err(_) => return false,
            Ok(length) if body.len() - at >= length => {
                places.push(Some(at..at + length));
                at += length;
            }
            Ok(_) => return false,
        }
    }
    at == body.len()
}

/// Appends a row with its first `count` columns only. `places` are those of the whole row.
pub fn write_first(out: &mut Vec<u8>, body: &[u8], places: &[Option<Range<usize>>], count: usize) {
    // A NULL takes four bytes, any other column as many more as it is long.
    let end = places.iter().take(count).fold(2, |at, place| {
        at + 4 + place.as_ref().map_or(0, ExactSizeIterator::len)
    });
    reply::frame(out, b'D', |out| {
        out.extend_from_slice(&(count.min(places.len()) as u16).to_be_bytes());
        out.extend_from_slice(&body[2..end]);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_within_its_bounds() {
        let mut row = Vec::new();
        let values: [Option<&[u8]>; 3] = [Some(b"ab"), None, Some(b"")];
        reply::data_row(&mut row, values.into_iter());
        let body = &row[5..];
        let mut places = Vec::new();
        assert!(columns(body, &mut places));
        assert_eq!(places, [Some(6..8), None, Some(16..16)]);
        for end in 0..body.len() {
            assert!(!columns(&body[..end], &mut places), "{end}");
        }
        assert!(!columns(b"\0\x01\xff\xff\xff\xfe", &mut places));
    }

    #[test]
    fn hidden_columns_are_cut_off() {
        let mut row = Vec::new();
        let values: [Option<&[u8]>; 3] = [Some(b"ab"), None, Some(b"xyz")];
        reply::data_row(&mut row, values.into_iter());
        let (body, mut places, mut out) = (&row[5..], Vec::new(), Vec::new());
        assert!(columns(body, &mut places));
        write_first(&mut out, body, &places, 2);
        let mut expected = Vec::new();
        reply::data_row(&mut expected, [Some(&b"ab"[..]), None].into_iter());
        assert_eq!(out, expected);
    }

    #[test]
    fn a_description_survives() {
        let columns = [
            reply::Column { name: "a", oid: 23 },
            reply::Column { name: "b", oid: 25 },
        ];
        let mut frame = Vec::new();
        reply::row_description(&mut frame, &columns);
        let read = Description::read(&frame[5..]).expect("well formed");
        let mut again = Vec::new();
        read.write(&mut again, &Formats::default());
        assert_eq!(frame, again);
        for end in 0..frame.len() - 5 {
            assert_eq!(Description::read(&frame[5..5 + end]), None);
        }
    }
}
