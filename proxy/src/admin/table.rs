//! Rows that pgshunt makes itself, and their bytes in either format. What they say is not decided here.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::protocol::reply;
pub use crate::protocol::reply::Column;

/// A text column.
pub const fn text(name: &'static str) -> Column {
    Column { name, oid: TEXT }
}

/// An int4 column.
pub const fn int(name: &'static str) -> Column {
    Column { name, oid: INT4 }
}

/// An int8 column.
pub const fn big(name: &'static str) -> Column {
    Column { name, oid: INT8 }
}

/// A numeric column.
pub const fn numeric(name: &'static str) -> Column {
    Column { name, oid: NUMERIC }
}

const TEXT: u32 = 25;
const INT4: u32 = 23;
const INT8: u32 = 20;
const NUMERIC: u32 = 1700;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// NULL
    Null,
    /// A text.
    Text(Cow<'static, str>),
    /// A whole number; what its column can't hold becomes the largest that it can.
    Count(u64),
}

impl From<&'static str> for Cell {
    fn from(text: &'static str) -> Self {
        Cell::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(Cow::Owned(text))
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Cell::Text(Cow::Owned(text.clone()))
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Self {
        Cell::Count(count)
    }
}

impl From<usize> for Cell {
    fn from(count: usize) -> Self {
        Cell::Count(count as u64)
    }
}

impl From<bool> for Cell {
    /// PgBouncer's flags are numbers.
    fn from(is: bool) -> Self {
        Cell::Count(u64::from(is))
    }
}

/// A row; as many cells as there are columns.
pub type Row = Vec<Cell>;

/// Appends one row as a `DataRow`. `format` is each column's: 0 text, 1 binary.
pub fn write_row(out: &mut Vec<u8>, columns: &[Column], row: &[Cell], format: impl Fn(usize) -> u16) {
    debug_assert_eq!(columns.len(), row.len(), "{columns:?}");
    let values: Vec<_> = columns
        .iter()
        .zip(row)
        .enumerate()
        .map(|(place, (column, cell))| value(cell, column.oid, format(place) == 1))
        .collect();
    reply::data_row(out, values.iter().map(Option::as_deref));
}

fn value<'a>(cell: &'a Cell, oid: u32, is_binary: bool) -> Option<Cow<'a, [u8]>> {
    match cell {
        Cell::Null => None,
        Cell::Text(text) => Some(Cow::Borrowed(text.as_bytes())),
        Cell::Count(count) => Some(Cow::Owned(number(*count, oid, is_binary))),
    }
}

fn number(count: u64, oid: u32, is_binary: bool) -> Vec<u8> {
    let int4 = i32::try_from(count).unwrap_or(i32::MAX);
    let int8 = i64::try_from(count).unwrap_or(i64::MAX);
    match (oid, is_binary) {
        (INT4, false) => int4.to_string().into_bytes(),
        (INT4, true) => int4.to_be_bytes().to_vec(),
        (INT8, false) => int8.to_string().into_bytes(),
        (INT8, true) => int8.to_be_bytes().to_vec(),
        (NUMERIC, true) => numeric_binary(count),
        (_, _) => count.to_string().into_bytes(),
    }
}

/// `numeric_send`: digits to the base of 10,000, the first one's weight, a sign, and no digits behind the point.
fn numeric_binary(mut count: u64) -> Vec<u8> {
    let mut digits = Vec::new();
    while count > 0 {
        digits.push((count % 10_000) as u16);
        count /= 10_000;
    }
    let weight = digits.len().saturating_sub(1) as u16;
    let head = [digits.len() as u16, weight, 0, 0];
    let all = head.into_iter().chain(digits.into_iter().rev());
    all.flat_map(u16::to_be_bytes).collect()
}

/// `2026-01-31 12:59:59 UTC`, as PgBouncer writes times.
pub fn time(at: SystemTime) -> Cell {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC").into()
}

/// The Gregorian date of a day counted from 1970-01-01: years are counted from March, so that a leap day is the last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_pgbouncer_writes_them() {
        let at = |seconds| time(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC".into());
        assert_eq!(at(951_782_399), "2000-02-28 23:59:59 UTC".into());
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC".into());
        assert_eq!(at(1_767_225_599), "2025-12-31 23:59:59 UTC".into());
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00:00 UTC".into());
    }

    #[test]
    fn numbers_in_both_formats() {
        assert_eq!(number(7, INT4, true), [0, 0, 0, 7]);
        assert_eq!(number(u64::MAX, INT4, false), b"2147483647");
        assert_eq!(number(u64::MAX, INT8, false), b"9223372036854775807");
        assert_eq!(number(u64::MAX, NUMERIC, false), b"18446744073709551615");
        assert_eq!(number(0, NUMERIC, true), [0, 0, 0, 0, 0, 0, 0, 0]);
        // 1,2345,0006 as PostgreSQL 15 sends 123450006::numeric.
        assert_eq!(
            number(123_450_006, NUMERIC, true),
            [0, 3, 0, 2, 0, 0, 0, 0, 0, 1, 9, 41, 0, 6]
        );
    }

    #[test]
    fn a_row_is_one_frame() {
        let mut out = Vec::new();
        let columns = [text("name"), int("count"), text("none")];
        let row = ["a".into(), 5u64.into(), Cell::Null];
        write_row(&mut out, &columns, &row, |_| 0);
        assert_eq!(out, b"D\0\0\0\x14\0\x03\0\0\0\x01a\0\0\0\x015\xff\xff\xff\xff");
    }
}
