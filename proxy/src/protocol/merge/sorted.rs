//! Rows whose order only PostgreSQL knows: one statement over their sort keys gives it. The rows are held until then.

use super::arrays::{Arrays, TooMuch};
use super::order::TEXT;
use crate::protocol::reply;

/// A sort key that PostgreSQL compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The column, from 0.
    pub column: usize,
    /// The type's OID.
    pub type_oid: u32,
    /// The type's name, as `format_type` writes it.
    pub type_name: String,
    /// Are its values binary?
    pub is_binary: bool,
    /// Under C?
    pub is_c: bool,
    /// DESC?
    pub descending: bool,
    /// NULLS FIRST?
    pub nulls_first: bool,
}

/// Rows that wait for their order.
#[derive(Debug)]
pub struct Held {
    rows: Vec<u8>,
    ends: Vec<usize>,
    keys: Arrays,
    bytes_max: usize,
}

impl Held {
    /// None yet.
    pub fn new(keys: usize, bytes_max: usize) -> Held {
        Held {
            rows: Vec::new(),
            ends: Vec::new(),
            keys: Arrays::new(keys, bytes_max),
            bytes_max,
        }
    }

    /// Adds a row, as the client shall have it, and its keys.
    ///
    /// # Errors
    /// [`TooMuch`]
    pub fn add<'a>(
        &mut self,
        keys: impl Iterator<Item = Option<&'a [u8]>>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TooMuch> {
        write(&mut self.rows);
        self.ends.push(self.rows.len());
        self.keys.add(keys)?;
        match self.rows.len() > self.bytes_max {
            true => Err(TooMuch),
            false => Ok(()),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One of them, whole.
    pub fn row(&self, place: usize) -> Option<&[u8]> {
        let end = *self.ends.get(place)?;
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.rows[start..end])
    }

    /// The messages that ask for the order: rows of one int4 in binary, the places of rows from 1.
    pub fn question(&self, keys: &[Asked]) -> Vec<u8> {
        let mut out = Vec::new();
        reply::frame(&mut out, b'P', |out| {
            out.push(0);
            reply::cstr(out, statement(keys).as_bytes());
            out.extend_from_slice(&0_u16.to_be_bytes());
        });
        let types: Vec<u32> = keys
            .iter()
            .map(|key| if key.is_binary { key.type_oid } else { TEXT })
            .collect();
        self.keys.bind(&mut out, &types, &[], &[1]);
        reply::frame(&mut out, b'E', |out| out.extend_from_slice(&[0; 5]));
        reply::frame(&mut out, b'S', |_| ());
        out
    }
}

/// Equal rows stay in the order they came in.
fn statement(keys: &[Asked]) -> String {
    let mut arrays = Vec::new();
    let mut columns = Vec::new();
    let mut order = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        let name = format!("k{place}");
        let sent = if key.is_binary {
            &key.type_name
        } else {
            "pg_catalog.text"
        };
        arrays.push(format!("${}::{sent}[]", place + 1));
        let cast = if key.is_binary {
            String::new()
        } else {
            format!("::{}", key.type_name)
        };
        order.push(format!(
            "{name}{cast}{} {} NULLS {}",
            if key.is_c { " COLLATE \"C\"" } else { "" },
            if key.descending { "DESC" } else { "ASC" },
            if key.nulls_first { "FIRST" } else { "LAST" },
        ));
        columns.push(name);
    }
    format!(
        "SELECT o::pg_catalog.int4 FROM ROWS FROM (pg_catalog.unnest({})) WITH ORDINALITY AS k({}, o) ORDER BY {}, o",
        arrays.join(", "),
        columns.join(", "),
        order.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_their_place() {
        let mut held = Held::new(1, 100);
        for row in [&b"one"[..], b"", b"three"] {
            assert_eq!(
                held.add([Some(row)].into_iter(), |out| out.extend_from_slice(row)),
                Ok(())
            );
        }
        assert_eq!(held.row(0), Some(&b"one"[..]));
        assert_eq!(held.row(1), Some(&b""[..]));
        assert_eq!(held.row(2), Some(&b"three"[..]));
        assert_eq!((held.row(3), held.len(), held.is_empty()), (None, 3, false));
        assert_eq!(
            held.add([None].into_iter(), |out| out.extend_from_slice(&[0; 99])),
            Err(TooMuch)
        );
    }
}
