//! How two values of a sort key compare, for the types whose order is known exactly; for all others PostgreSQL is asked
//! (`sorted`).
//!
//! Values are as a server sent them. One that can't be read is a [`Misread`]: an answer is then an error, never a wrong order.

use std::cmp::Ordering;

mod bytea;
mod dates;
mod numeric;

/// How the values of one key are written, and so how they compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Byte by byte, as they are: text under C, bytea in binary, uuid in both formats, time.
    Bytes,
    /// `bytea` in hex or escaped.
    ByteaText,
    /// Text of a boolean: `f` and `t`; or a byte, 0 and 1.
    Bool,
    /// Whole numbers in decimal.
    WholeText,
    /// Whole numbers of 2, 4 or 8 bytes. Dates, times and timestamps are such.
    Whole,
    /// Four bytes without a sign.
    Oid,
    /// Floating point in decimal.
    FloatText,
    /// Four or eight bytes of it.
    Float,
    /// `numeric` in decimal.
    NumericText,
    /// `numeric` as `numeric_send` writes it.
    Numeric,
    /// A date or a timestamp in ISO style.
    DateText,
}

/// A value is not what its type says.
#[derive(Debug, PartialEq, Eq)]
pub struct Misread;

/// What the order of texts and the form of dates depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    /// Text compares byte by byte: it is under C, and comes in the server's own encoding.
    pub text_is_bytes: bool,
    /// DateStyle is ISO.
    pub dates_are_iso: bool,
    /// `extra_float_digits` is above 0: floating point is written exactly.
    pub floats_are_exact: bool,
}

impl Order {
    /// How values of this type compare in this format. `None`: only PostgreSQL knows.
    pub fn of(type_oid: u32, format: u16, ways: Ways) -> Option<Order> {
        let is_binary = format == 1;
        match (type_oid, is_binary) {
            (BOOL, _) => Some(Order::Bool),
            (INT8 | INT2 | INT4, true) => Some(Order::Whole),
            (INT8 | INT2 | INT4 | OID, false) => Some(Order::WholeText),
            (OID, true) => Some(Order::Oid),
            (FLOAT4 | FLOAT8, true) => Some(Order::Float),
            (FLOAT4 | FLOAT8, false) => ways.floats_are_exact.then_some(Order::FloatText),
            (NUMERIC, true) => Some(Order::Numeric),
            (NUMERIC, false) => Some(Order::NumericText),
            (TEXT | VARCHAR, _) => ways.text_is_bytes.then_some(Order::Bytes),
            (UUID, _) | (BYTEA, true) => Some(Order::Bytes),
            (BYTEA, false) => Some(Order::ByteaText),
            (DATE | TIMESTAMP | TIMESTAMPTZ | TIME, true) => Some(Order::Whole),
            (DATE | TIMESTAMP | TIMESTAMPTZ, false) => ways.dates_are_iso.then_some(Order::DateText),
            (TIME, false) => Some(Order::Bytes),
            (_, _) => None,
        }
    }

    /// The value of a whole number.
    pub fn whole(self, value: &[u8]) -> Option<i64> {
        match self {
            Order::Whole => whole(value).ok(),
            _ => whole_text(value).ok(),
        }
    }

    /// How two values compare, neither being NULL.
    ///
    /// # Errors
    /// [`Misread`]
    pub fn compare(self, one: &[u8], other: &[u8]) -> Result<Ordering, Misread> {
        Ok(match self {
            Order::Bytes => one.cmp(other),
            Order::ByteaText => bytea::compare(one, other)?,
            Order::Bool => bool_of(one)?.cmp(&bool_of(other)?),
            Order::WholeText => whole_text(one)?.cmp(&whole_text(other)?),
            Order::Whole => whole(one)?.cmp(&whole(other)?),
            Order::Oid => oid(one)?.cmp(&oid(other)?),
            Order::FloatText => floats(float_text(one)?, float_text(other)?),
            Order::Float => floats(float(one)?, float(other)?),
            Order::NumericText => numeric::Text::read(one)?.cmp(&numeric::Text::read(other)?),
            Order::Numeric => numeric::Binary::read(one)?.cmp(&numeric::Binary::read(other)?),
            Order::DateText => dates::instant(one)?.cmp(&dates::instant(other)?),
        })
    }
}

/// One sort key: where it stands in a row, and how its values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The column, from 0.
    pub column: usize,
    /// How values compare.
    pub order: Order,
    /// DESC?
    pub descending: bool,
    /// NULLS FIRST?
    pub nulls_first: bool,
}

impl Key {
    /// How two rows compare by this key.
    ///
    /// # Errors
    /// [`Misread`]
    pub fn compare(&self, one: Option<&[u8]>, other: Option<&[u8]>) -> Result<Ordering, Misread> {
        Ok(match (one, other) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) if self.nulls_first => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) if self.nulls_first => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(one), Some(other)) => {
                let order = self.order.compare(one, other)?;
                if self.descending { order.reverse() } else { order }
            }
        })
    }
}

/// Is text of this type the value itself, whatever `extra_float_digits` says? Of types that users made nobody knows.
pub fn is_written_whole(type_oid: u32) -> bool {
    // "char", name, cidr, macaddr8, money, macaddr, inet, interval, timetz, varbit, pg_lsn, tsvector, tsquery, jsonb, xid8
    const OTHERS: [u32; 15] = [
        18, 19, 650, 774, 790, 829, 869, 1186, 1266, 1562, 3220, 3614, 3615, 3802, 5069,
    ];
    matches!(
        type_oid,
        BOOL | BYTEA
            | INT8
            | INT2
            | INT4
            | TEXT
            | OID
            | VARCHAR
            | BPCHAR
            | BIT
            | DATE
            | TIME
            | TIMESTAMP
            | TIMESTAMPTZ
            | NUMERIC
            | UUID
    ) || OTHERS.contains(&type_oid)
}

/// Types by their OIDs (`pg_type.dat`).
pub const BOOL: u32 = 16;
/// bytea
pub const BYTEA: u32 = 17;
/// bigint
pub const INT8: u32 = 20;
/// smallint
pub const INT2: u32 = 21;
/// integer
pub const INT4: u32 = 23;
/// text
pub const TEXT: u32 = 25;
/// oid
pub const OID: u32 = 26;
/// real
pub const FLOAT4: u32 = 700;
/// double precision
pub const FLOAT8: u32 = 701;
/// character varying
pub const VARCHAR: u32 = 1043;
/// character
pub const BPCHAR: u32 = 1042;
/// bit
pub const BIT: u32 = 1560;
/// date
pub const DATE: u32 = 1082;
/// time without time zone
pub const TIME: u32 = 1083;
/// timestamp without time zone
pub const TIMESTAMP: u32 = 1114;
/// timestamp with time zone
pub const TIMESTAMPTZ: u32 = 1184;
/// numeric
pub const NUMERIC: u32 = 1700;
/// uuid
pub const UUID: u32 = 2950;

fn bool_of(value: &[u8]) -> Result<bool, Misread> {
    match value {
        b"t" | b"\x01" => Ok(true),
        b"f" | b"\0" => Ok(false),
        _ => Err(Misread),
    }
}

fn whole_text(value: &[u8]) -> Result<i64, Misread> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Misread)
}

fn whole(value: &[u8]) -> Result<i64, Misread> {
    match *value {
        [a, b] => Ok(i16::from_be_bytes([a, b]).into()),
        [a, b, c, d] => Ok(i32::from_be_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Ok(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => Err(Misread),
    }
}

fn oid(value: &[u8]) -> Result<u32, Misread> {
    value.try_into().map(u32::from_be_bytes).map_err(|_| Misread)
}

fn float(value: &[u8]) -> Result<f64, Misread> {
    match *value {
        [a, b, c, d] => Ok(f32::from_be_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Ok(f64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => Err(Misread),
    }
}

fn float_text(value: &[u8]) -> Result<f64, Misread> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Misread)
}

/// As `float8_cmp_internal`: NaN is equal to itself and above all others, and zero has no sign.
fn floats(one: f64, other: f64) -> Ordering {
    match one.partial_cmp(&other) {
        Some(order) => order,
        None => one.is_nan().cmp(&other.is_nan()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAYS: Ways = Ways {
        text_is_bytes: true,
        dates_are_iso: true,
        floats_are_exact: true,
    };

    /// Each list in PostgreSQL's order.
    #[test]
    fn texts_in_postgresqls_order() {
        let lists: [(u32, &[&str]); 7] = [
            (BOOL, &["f", "t"]),
            (INT4, &["-10", "-9", "0", "7", "12"]),
            (
                FLOAT8,
                &[
                    "-Infinity",
                    "-1e+20",
                    "-0.5",
                    "1e-05",
                    "3",
                    "1e+300",
                    "Infinity",
                    "NaN",
                ],
            ),
            (
                NUMERIC,
                &[
                    "-Infinity",
                    "-123.4",
                    "-123.39",
                    "-0.001",
                    "0",
                    "0.0009",
                    "0.001",
                    "1",
                    "1.5",
                    "9.99",
                    "10.0",
                    "99999999999999999999999999999.1",
                    "Infinity",
                    "NaN",
                ],
            ),
            (
                DATE,
                &[
                    "-infinity",
                    "4713-01-01 BC",
                    "0044-03-15 BC",
                    "0001-01-01",
                    "1999-12-31",
                    "10000-01-01",
                    "infinity",
                ],
            ),
            (
                TIMESTAMP,
                &[
                    "-infinity",
                    "2024-01-01 00:00:00",
                    "2024-01-01 00:00:00.000001",
                    "2024-01-01 00:00:00.5",
                    "2024-12-31 23:59:59.999999",
                    "infinity",
                ],
            ),
            (
                TIMESTAMPTZ,
                &[
                    "2024-10-27 02:30:00+02",
                    "2024-10-27 02:10:00+01",
                    "2024-10-27 02:30:00+01",
                    "2024-10-27 03:00:00-05:30",
                ],
            ),
        ];
        for (type_oid, list) in lists {
            let order = Order::of(type_oid, 0, WAYS).expect("known");
            for (at, one) in list.iter().enumerate() {
                for (other_at, other) in list.iter().enumerate() {
                    let compared = order.compare(one.as_bytes(), other.as_bytes());
                    assert_eq!(compared, Ok(at.cmp(&other_at)), "{one} {other}");
                }
            }
        }
    }

    #[test]
    fn equal_values_written_differently_are_equal() {
        let numeric = Order::NumericText;
        for (one, other) in [("1.50", "1.5"), ("0", "0.000"), ("-2", "-2.0"), ("100", "100.0")] {
            assert_eq!(
                numeric.compare(one.as_bytes(), other.as_bytes()),
                Ok(Ordering::Equal)
            );
        }
        assert_eq!(Order::FloatText.compare(b"-0", b"0"), Ok(Ordering::Equal));
    }

    #[test]
    fn what_is_no_value_has_no_order() {
        for order in [
            Order::Bool,
            Order::WholeText,
            Order::Whole,
            Order::Oid,
            Order::FloatText,
            Order::Float,
            Order::NumericText,
            Order::Numeric,
            Order::DateText,
        ] {
            for junk in [&b""[..], b"x", b"\xff\xff\xff", b"--1", b"2024-13-99x"] {
                assert_eq!(order.compare(junk, junk), Err(Misread), "{order:?} {junk:?}");
            }
        }
        assert_eq!(Order::of(1186, 1, WAYS), None, "interval");
    }

    #[test]
    fn nulls_go_where_they_are_told() {
        let key = |descending, nulls_first| Key {
            column: 0,
            order: Order::WholeText,
            descending,
            nulls_first,
        };
        let one = Some(&b"1"[..]);
        assert_eq!(key(false, false).compare(one, None), Ok(Ordering::Less));
        assert_eq!(key(true, true).compare(one, None), Ok(Ordering::Greater));
        assert_eq!(key(true, false).compare(one, None), Ok(Ordering::Less));
        assert_eq!(key(true, false).compare(one, Some(b"2")), Ok(Ordering::Greater));
    }
}
