//! A tenant's key, read exactly as PostgreSQL would read it, or not at all. Which shard it belongs on is not decided here.

use std::fmt;

/// The type of the columns that say whose a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// `uuid`.
    Uuid,
    /// `smallint`, `integer` and `bigint`: they compare and hash alike.
    Integer,
    /// `text` and `varchar`, in a deterministic collation and UTF-8.
    Text,
    /// `char(n)`: blanks at the end don't count.
    Char,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Of type `uuid`.
    Uuid([u8; 16]),
    /// Of an integer type.
    Integer(i64),
    /// Of a text type. Of `char(n)`: without blanks at its end.
    Text(Box<str>),
}

/// Why a value is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAKey {
    /// NULL belongs to no tenant.
    Null,
    /// PostgreSQL would not read it as the key's type, or only some versions would.
    Unreadable(KeyType),
    /// Bytes of a type that is not the key's.
    WrongType(KeyType),
    /// A binary value of a type nobody has said.
    UnknownType,
}

/// How a parameter's bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As text.
    Text,
    /// In the type's binary form.
    Binary,
}

impl KeyType {
    /// By the name in the rules, or in SQL.
    pub fn named(name: &str) -> Option<KeyType> {
        Some(match name {
            "uuid" => KeyType::Uuid,
            "smallint" | "integer" | "bigint" | "int" | "int2" | "int4" | "int8" => KeyType::Integer,
            "text" | "varchar" | "character varying" => KeyType::Text,
            "char" | "bpchar" | "character" => KeyType::Char,
            _ => return None,
        })
    }

    /// The word for it in messages.
    pub fn word(self) -> &'static str {
        match self {
            KeyType::Uuid => "uuid",
            KeyType::Integer => "integer",
            KeyType::Text => "text",
            KeyType::Char => "char",
        }
    }

    /// Reads what stands between the quotes of a constant, or a parameter in text format. `1_000` and `0x10` are refused:
    /// PostgreSQL reads them since version 16 only.
    ///
    /// ```
    /// use routing_rules::{Key, KeyType};
    ///
    /// assert_eq!(KeyType::Integer.read_text(" 42 "), Ok(Key::Integer(42)));
    /// assert!(KeyType::Integer.read_text("4.0").is_err());
    /// let braces = "{A0EEBC99-9C0B4EF8-BB6D6BB9BD380A11}";
    /// let plain = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    /// assert_eq!(KeyType::Uuid.read_text(braces), KeyType::Uuid.read_text(plain));
    /// ```
    pub fn read_text(self, text: &str) -> Result<Key, NotAKey> {
        let key = match self {
            KeyType::Uuid => uuid(text.as_bytes()).map(Key::Uuid),
            KeyType::Integer => integer(text).map(Key::Integer),
            KeyType::Text => plain(text).map(|text| Key::Text(text.into())),
            KeyType::Char => plain(text).map(|text| Key::Text(text.trim_end_matches(' ').into())),
        };
        key.ok_or(NotAKey::Unreadable(self))
    }

    /// Reads a value of the type with this OID in text or binary format; OID 0 is the key's own type. Text is UTF-8.
    pub fn read(self, oid: u32, format: Format, bytes: Option<&[u8]>) -> Result<Key, NotAKey> {
        let bytes = bytes.ok_or(NotAKey::Null)?;
        if !self.takes(oid) {
            return Err(NotAKey::WrongType(self));
        }
        let text = || str::from_utf8(bytes).map_err(|_| NotAKey::Unreadable(self));
        match (format, self) {
            // Cast to the key's type, or PostgreSQL has no such comparison.
            (Format::Binary, _) if is_text(oid) => self.read_text(text()?),
            (Format::Binary, KeyType::Uuid) => match bytes.try_into() {
                Ok(uuid) => Ok(Key::Uuid(uuid)),
                Err(_) => Err(NotAKey::Unreadable(self)),
            },
            (Format::Binary, KeyType::Integer) => binary_integer(bytes, oid)
                .map(Key::Integer)
                .ok_or(NotAKey::Unreadable(self)),
            (Format::Text, _) | (Format::Binary, KeyType::Text | KeyType::Char) => self.read_text(text()?),
        }
    }

    /// Does a comparison with a value of this type compare keys of ours as we do?
    pub fn takes(self, oid: u32) -> bool {
        match self {
            _ if oid == 0 => true,
            KeyType::Uuid => oid == oid::UUID || is_text(oid),
            KeyType::Integer => matches!(oid, oid::INT2 | oid::INT4 | oid::INT8) || is_text(oid),
            // char(n) = text compares as text, in which blanks count: only an exact match is the same key.
            KeyType::Text => matches!(oid, oid::TEXT | oid::VARCHAR),
            KeyType::Char => matches!(oid, oid::TEXT | oid::VARCHAR | oid::BPCHAR),
        }
    }

    /// The type with this OID, if keys may have it. `numeric` may not: 1 and 1.0 are equal and look different.
    pub fn of(oid: u32) -> Option<KeyType> {
        Some(match oid {
            oid::UUID => KeyType::Uuid,
            oid::INT2 | oid::INT4 | oid::INT8 => KeyType::Integer,
            oid::TEXT | oid::VARCHAR => KeyType::Text,
            oid::BPCHAR => KeyType::Char,
            _ => return None,
        })
    }
}

fn is_text(oid: u32) -> bool {
    matches!(oid, oid::TEXT | oid::VARCHAR | oid::UNKNOWN)
}

/// OIDs of `pg_type.dat`.
mod oid {
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const UNKNOWN: u32 = 705;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const UUID: u32 = 2950;
}

/// `string_to_uuid` of `uuid.c`: pairs of hexadecimal digits, a hyphen allowed after each second pair, braces around all.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let inner = match text.strip_prefix(b"{") {
        Some(rest) => rest.strip_suffix(b"}")?,
        None => text,
    };
    let mut rest = inner;
    let mut uuid = [0; 16];
    for (place, byte) in uuid.iter_mut().enumerate() {
        let (pair, after) = rest.split_at_checked(2)?;
        *byte = hex(pair[0])? << 4 | hex(pair[1])?;
        rest = match after.strip_prefix(b"-") {
            Some(after) if place % 2 == 1 && place < 15 => after,
            Some(_) => return None,
            None => after,
        };
    }
    rest.is_empty().then_some(uuid)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// `pg_strtoint64` of PostgreSQL 15: white space around, a sign, decimal digits.
fn integer(text: &str) -> Option<i64> {
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    let is_decimal = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_decimal.then(|| trimmed.parse().ok()).flatten()
}

fn plain(text: &str) -> Option<&str> {
    (!text.contains('\0')).then_some(text)
}

fn binary_integer(bytes: &[u8], oid: u32) -> Option<i64> {
    let expected = match oid {
        oid::INT2 => 2,
        oid::INT4 => 4,
        oid::INT8 => 8,
        _ => bytes.len(),
    };
    if bytes.len() != expected {
        return None;
    }
    match bytes.len() {
        2 => bytes
            .try_into()
            .ok()
            .map(|bytes| i16::from_be_bytes(bytes).into()),
        4 => bytes
            .try_into()
            .ok()
            .map(|bytes| i32::from_be_bytes(bytes).into()),
        8 => bytes.try_into().ok().map(i64::from_be_bytes),
        _ => None,
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Uuid(bytes) => {
                for (place, byte) in bytes.iter().enumerate() {
                    let hyphen = if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(f, "{hyphen}{byte:02x}")?;
                }
                Ok(())
            }
            Key::Integer(value) => write!(f, "{value}"),
            Key::Text(text) => f.write_str(text),
        }
    }
}

/// Never shows the value: it may be another tenant's.
impl fmt::Display for NotAKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAKey::Null => f.write_str("the key is NULL, which belongs to no shard"),
            NotAKey::Unreadable(kind) => write!(f, "a key is no {}", kind.word()),
            NotAKey::WrongType(kind) => write!(
                f,
                "a key is compared with a value of another type than {}",
                kind.word()
            ),
            NotAKey::UnknownType => f.write_str("a binary parameter is a key, and its type is not known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_read_as_postgresql_reads_them() {
        let good = [
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
        ];
        for text in good {
            assert_eq!(
                KeyType::Uuid.read_text(text),
                KeyType::Uuid.read_text(good[0]),
                "{text}"
            );
            assert!(KeyType::Uuid.read_text(text).is_ok(), "{text}");
        }
        let bad = [
            "",
            " a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11-",
            "a0-eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee--bc999c0b4ef8bb6d6bb9bd380a11",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a1",
            "g0eebc999c0b4ef8bb6d6bb9bd380a11",
        ];
        for text in bad {
            assert!(KeyType::Uuid.read_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn integers_are_read_where_all_versions_agree() {
        for (text, value) in [
            ("7", 7),
            (" \t-7\n", -7),
            ("+0", 0),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(
                KeyType::Integer.read_text(text),
                Ok(Key::Integer(value)),
                "{text}"
            );
        }
        for text in [
            "",
            "-",
            "1_000",
            "0x10",
            "1.0",
            "1e3",
            "9223372036854775808",
            "1 2",
            "--1",
            "٣",
        ] {
            assert!(KeyType::Integer.read_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn binary_values_need_their_types_width() {
        let kind = KeyType::Integer;
        let seven = Ok(Key::Integer(7));
        assert_eq!(kind.read(21, Format::Binary, Some(&[0, 7])), seven);
        assert_eq!(kind.read(23, Format::Binary, Some(&[0, 0, 0, 7])), seven);
        assert_eq!(
            kind.read(0, Format::Binary, Some(&[0, 0, 0, 0, 0, 0, 0, 7])),
            seven
        );
        assert!(kind.read(23, Format::Binary, Some(&[0, 7])).is_err());
        assert!(kind.read(1700, Format::Text, Some(b"7")).is_err());
        assert_eq!(kind.read(23, Format::Text, None), Err(NotAKey::Null));
        assert_eq!(
            KeyType::Char.read(1042, Format::Binary, Some(b"ab  ")),
            Ok(Key::Text("ab".into()))
        );
        assert!(KeyType::Text.read(1042, Format::Text, Some(b"ab")).is_err());
        assert!(KeyType::Text.read(25, Format::Text, Some(b"\xff")).is_err());
    }
}
