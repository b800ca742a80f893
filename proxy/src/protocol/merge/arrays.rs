//! Columns of rows as binary arrays: a row's value in binary is an array's element as it is.

use crate::protocol::reply;

/// Columns that grow row by row, within a number of bytes.
#[derive(Debug)]
pub struct Arrays {
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Column {
    elements: Vec<u8>,
    has_null: bool,
}

/// They would take more memory than they may.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMuch;

impl Arrays {
    /// So many empty columns.
    pub fn new(columns: usize, bytes_max: usize) -> Arrays {
        Arrays {
            columns: std::iter::repeat_with(Column::default).take(columns).collect(),
            rows: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// How many rows they have.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`TooMuch`]
    pub fn add<'a>(&mut self, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<(), TooMuch> {
        let mut values = values;
        for column in &mut self.columns {
            let value = values.next().flatten();
            self.bytes += 4 + value.map_or(0, <[u8]>::len);
            match value {
                Some(value) => {
                    column
                        .elements
                        .extend_from_slice(&(value.len() as u32).to_be_bytes());
                    column.elements.extend_from_slice(value);
                }
                None => {
                    column.elements.extend_from_slice(&(-1_i32).to_be_bytes());
                    column.has_null = true;
                }
            }
        }
        self.rows += 1;
        // A message can't be longer than this, whatever is allowed.
        match self.bytes > self.bytes_max.min(MESSAGE_MAX) || self.rows > i32::MAX as usize {
            true => Err(TooMuch),
            false => Ok(()),
        }
    }

    /// Appends the body of a Bind of unnamed to unnamed: these arrays, their elements being of these types, then `more`
    /// parameters with their formats.
    pub fn bind(&self, out: &mut Vec<u8>, types: &[u32], more: &[(u16, Option<&[u8]>)], formats: &[u16]) {
        reply::frame(out, b'B', |out| {
            out.extend_from_slice(b"\0\0");
            let count = (self.columns.len() + more.len()) as u16;
            out.extend_from_slice(&count.to_be_bytes());
            for _ in &self.columns {
                out.extend_from_slice(&1_u16.to_be_bytes());
            }
            for (format, _) in more {
                out.extend_from_slice(&format.to_be_bytes());
            }
            out.extend_from_slice(&count.to_be_bytes());
            for (place, column) in self.columns.iter().enumerate() {
                column.write(out, self.rows, types.get(place).copied().unwrap_or(0));
            }
            for (_, value) in more {
                match value {
                    Some(value) => {
                        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                        out.extend_from_slice(value);
                    }
                    None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                }
            }
            out.extend_from_slice(&(formats.len() as u16).to_be_bytes());
            for format in formats {
                out.extend_from_slice(&format.to_be_bytes());
            }
        });
    }
}

impl Column {
    /// As `array_recv` reads it: dimensions, NULLs?, the elements' type, then length and lower bound, then the elements.
    fn write(&self, out: &mut Vec<u8>, rows: usize, type_oid: u32) {
        let dimensions = u32::from(rows > 0);
        let length = 12 + dimensions as usize * 8 + self.elements.len();
        out.extend_from_slice(&(length as u32).to_be_bytes());
        out.extend_from_slice(&dimensions.to_be_bytes());
        out.extend_from_slice(&u32::from(self.has_null).to_be_bytes());
        out.extend_from_slice(&type_oid.to_be_bytes());
        if rows > 0 {
            out.extend_from_slice(&(rows as u32).to_be_bytes());
            out.extend_from_slice(&1_u32.to_be_bytes());
        }
        out.extend_from_slice(&self.elements);
    }
}

/// PostgreSQL takes no message and makes no value of 1 GiB.
const MESSAGE_MAX: usize = 0x3f00_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_said_at_once() {
        let mut arrays = Arrays::new(2, 40);
        assert_eq!(arrays.add([Some(&b"abc"[..]), None].into_iter()), Ok(()));
        assert_eq!(arrays.add([Some(&[0; 99][..]), None].into_iter()), Err(TooMuch));
    }
}
