//! Where a key's value is written in a statement: a constant of its text or a parameter of its Bind. A statement's tree
//! knows places only; values are read here, when they are there.

use crate::place::{Format, Key, KeyType, NotAKey};
use crate::sql::Pieces;

/// A place that holds one key, or an array of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// NULL itself.
    Null,
    /// A constant, by its place among the text's constants.
    Literal(u32),
    /// A number with a minus in front.
    Negative(u32),
    /// A constant array: `'{1,2}'`.
    LiteralArray(u32),
    /// A parameter, from 1.
    Parameter(u16),
    /// A parameter that is an array of keys.
    ParameterArray(u16),
}

/// A parameter as a Bind brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// Its type by the Parse or the server's ParameterDescription; 0 if nobody has said.
    pub type_oid: u32,
    /// How it is written.
    pub format: Format,
    /// Its bytes, in UTF-8 where they are text; `None` is NULL.
    pub bytes: Option<&'a [u8]>,
}

/// All values of one execution.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The text in pieces.
    pub pieces: &'a Pieces<'a>,
    /// Its parameters, the first being `$1`. May be empty while nothing is bound: slots of parameters fail then.
    pub parameters: &'a [Parameter<'a>],
    /// Parameters that are compared with keys and used nowhere else, so that the server gives them the keys' type.
    pub only_keys: &'a [u16],
}

impl Values<'_> {
    /// The keys of a slot.
    pub fn keys(&self, slot: &Slot, kind: KeyType) -> Result<Vec<Key>, NotAKey> {
        match slot {
            Slot::Null => Err(NotAKey::Null),
            Slot::Literal(number) => Ok(vec![kind.read_text(&self.literal(*number, kind)?)?]),
            Slot::Negative(number) => {
                let text = self.literal(*number, kind)?;
                Ok(vec![kind.read_text(&format!("-{text}"))?])
            }
            Slot::LiteralArray(number) => text_array(&self.literal(*number, kind)?, kind),
            Slot::Parameter(number) => {
                let parameter = self.parameter(*number)?;
                self.check_type(*number, parameter, kind)?;
                Ok(vec![kind.read(
                    parameter.type_oid,
                    parameter.format,
                    parameter.bytes,
                )?])
            }
            Slot::ParameterArray(number) => self.array(*number, kind),
        }
    }

    /// How many elements an array has, of whatever type; none if it is NULL.
    pub fn count(&self, slot: &Slot, kind: KeyType) -> Result<usize, NotAKey> {
        let wrong = NotAKey::Unreadable(kind);
        match slot {
            Slot::LiteralArray(number) => text_count(&self.literal(*number, kind)?).ok_or(wrong),
            Slot::ParameterArray(number) => {
                let parameter = self.parameter(*number)?;
                match (parameter.bytes, parameter.format) {
                    (None, _) => Ok(0),
                    (Some(bytes), Format::Binary) => binary_count(bytes).ok_or(wrong),
                    (Some(bytes), Format::Text) => {
                        str::from_utf8(bytes).ok().and_then(text_count).ok_or(wrong)
                    }
                }
            }
            Slot::Null | Slot::Literal(_) | Slot::Negative(_) | Slot::Parameter(_) => Err(wrong),
        }
    }

    fn literal(&self, number: u32, kind: KeyType) -> Result<String, NotAKey> {
        self.pieces.value(number).ok_or(NotAKey::Unreadable(kind))
    }

    fn parameter(&self, number: u16) -> Result<&Parameter<'_>, NotAKey> {
        let place = usize::from(number).wrapping_sub(1);
        self.parameters.get(place).ok_or(NotAKey::UnknownType)
    }

    /// The type of a parameter that is used elsewhere too may be another one than the key's: then its bytes mean something
    /// else in binary format, and blanks at the end of a text may not count.
    fn check_type(&self, number: u16, parameter: &Parameter<'_>, kind: KeyType) -> Result<(), NotAKey> {
        if parameter.type_oid != 0 || self.only_keys.contains(&number) {
            return Ok(());
        }
        let ends_blank = parameter.bytes.is_some_and(|bytes| bytes.last() == Some(&b' '));
        match (parameter.format, kind) {
            (Format::Binary, _) => Err(NotAKey::UnknownType),
            (Format::Text, KeyType::Text | KeyType::Char) if ends_blank => Err(NotAKey::UnknownType),
            (Format::Text, _) => Ok(()),
        }
    }

    fn array(&self, number: u16, kind: KeyType) -> Result<Vec<Key>, NotAKey> {
        let parameter = self.parameter(number)?;
        let bytes = parameter.bytes.ok_or(NotAKey::Null)?;
        let element = element_type(parameter.type_oid).ok_or(NotAKey::WrongType(kind))?;
        if !kind.takes(element) {
            return Err(NotAKey::WrongType(kind));
        }
        match parameter.format {
            Format::Binary => binary_array(bytes, kind),
            Format::Text => {
                let text = str::from_utf8(bytes).map_err(|_| NotAKey::Unreadable(kind))?;
                text_array(text, kind)
            }
        }
    }
}

/// The type of an array type's elements (`pg_type.dat`); 0 for 0.
fn element_type(array_oid: u32) -> Option<u32> {
    Some(match array_oid {
        0 => 0,
        1005 => 21,
        1007 => 23,
        1016 => 20,
        1009 => 25,
        1014 => 1042,
        1015 => 1043,
        2951 => 2950,
        _ => return None,
    })
}

/// An array of one dimension as `array_send` writes it: its element type is in it.
fn binary_array(bytes: &[u8], kind: KeyType) -> Result<Vec<Key>, NotAKey> {
    let wrong = NotAKey::Unreadable(kind);
    let mut rest = bytes;
    let mut word = || -> Result<u32, NotAKey> {
        let (word, after) = rest.split_first_chunk::<4>().ok_or(wrong)?;
        rest = after;
        Ok(u32::from_be_bytes(*word))
    };
    let (dimensions, _has_nulls, element) = (word()?, word()?, word()?);
    if !kind.takes(element) || element == 0 {
        return Err(NotAKey::WrongType(kind));
    }
    if dimensions == 0 {
        return Ok(Vec::new());
    }
    let (count, _lower_bound) = (word()?, word()?);
    if dimensions != 1 || count as usize > bytes.len() {
        return Err(wrong);
    }
    let mut keys = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (len, after) = rest.split_first_chunk::<4>().ok_or(wrong)?;
        let len = i32::from_be_bytes(*len);
        let len = usize::try_from(len).map_err(|_| NotAKey::Null)?;
        let (value, after) = after.split_at_checked(len).ok_or(wrong)?;
        keys.push(kind.read(element, Format::Binary, Some(value))?);
        rest = after;
    }
    match rest.is_empty() {
        true => Ok(keys),
        false => Err(wrong),
    }
}

/// The elements of an array of one dimension, by its header.
fn binary_count(bytes: &[u8]) -> Option<usize> {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    match word(0)? {
        0 => Some(0),
        1 => word(12).map(|count| count as usize),
        _ => None,
    }
}

/// The elements of an array of one dimension, whatever they are.
fn text_count(text: &str) -> Option<usize> {
    let blank = [' ', '\t', '\n', '\r'];
    let inner = text.trim_matches(blank).strip_prefix('{')?.strip_suffix('}')?;
    if inner.trim_matches(blank).is_empty() {
        return Some(0);
    }
    let (mut count, mut is_quoted, mut chars) = (1, false, inner.chars());
    while let Some(char) = chars.next() {
        match char {
            '\\' => drop(chars.next()?),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => count += 1,
            '{' | '}' if !is_quoted => return None,
            _ => {}
        }
    }
    (!is_quoted).then_some(count)
}

/// `{1,2}` or `{"a","b"}`: one dimension, no bounds, no NULL. What looks different from what `array_out` writes is refused.
fn text_array(text: &str, kind: KeyType) -> Result<Vec<Key>, NotAKey> {
    let wrong = NotAKey::Unreadable(kind);
    let inner = text.trim_matches([' ', '\t', '\n', '\r']);
    let inner = inner
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .ok_or(wrong)?;
    if inner.trim_matches([' ', '\t', '\n', '\r']).is_empty() {
        return Ok(Vec::new());
    }
    let mut keys = Vec::new();
    let mut chars = inner.chars().peekable();
    loop {
        while chars
            .next_if(|char| matches!(char, ' ' | '\t' | '\n' | '\r'))
            .is_some()
        {}
        let element = match chars.next_if_eq(&'"') {
            Some(_) => quoted_element(&mut chars).ok_or(wrong)?,
            None => plain_element(&mut chars).ok_or(wrong)?,
        };
        keys.push(kind.read_text(&element)?);
        while chars
            .next_if(|char| matches!(char, ' ' | '\t' | '\n' | '\r'))
            .is_some()
        {}
        match chars.next() {
            None => return Ok(keys),
            Some(',') => {}
            Some(_) => return Err(wrong),
        }
    }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn quoted_element(chars: &mut Chars<'_>) -> Option<String> {
    let mut element = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(element),
            '\\' => element.push(chars.next()?),
            other => element.push(other),
        }
    }
}

fn plain_element(chars: &mut Chars<'_>) -> Option<String> {
    let mut element = String::new();
    while let Some(char) = chars.next_if(|char| *char != ',') {
        if matches!(char, '"' | '\\' | '{' | '}') {
            return None;
        }
        element.push(char);
    }
    let element = element.trim_end_matches([' ', '\t', '\n', '\r']).to_owned();
    let is_null = element.eq_ignore_ascii_case("null");
    (!element.is_empty() && !is_null).then_some(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_arrays_are_read_as_postgresql_writes_them() {
        let ints = |text: &str| text_array(text, KeyType::Integer);
        let keys = |values: &[i64]| {
            Ok(values
                .iter()
                .map(|&value| Key::Integer(value))
                .collect::<Vec<Key>>())
        };
        assert_eq!(ints("{1,2}"), keys(&[1, 2]));
        assert_eq!(ints(" { 1 , -2 } "), keys(&[1, -2]));
        assert_eq!(ints("{}"), keys(&[]));
        for text in [
            "",
            "{",
            "{1,}",
            "{,1}",
            "{NULL}",
            "{{1}}",
            "[0:0]={1}",
            "{1 2}",
            "{1}x",
        ] {
            assert!(ints(text).is_err(), "{text}");
        }
        let texts = text_array(r#"{a b,"c,d","e\"f",""}"#, KeyType::Text).expect("read");
        let expected: Vec<Key> = ["a b", "c,d", "e\"f", ""]
            .map(|text| Key::Text(text.into()))
            .into();
        assert_eq!(texts, expected);
    }

    #[test]
    fn elements_are_counted_whatever_they_are() {
        for (text, count) in [
            ("{}", Some(0)),
            ("{ }", Some(0)),
            ("{1,NULL}", Some(2)),
            (r#"{"a,b","{","\"",c\,d}"#, Some(4)),
            ("{{1},{2}}", None),
            ("[0:1]={1,2}", None),
            ("{\"}", None),
        ] {
            assert_eq!(text_count(text), count, "{text}");
        }
        let words = |words: &[u32]| {
            words
                .iter()
                .flat_map(|word| word.to_be_bytes())
                .collect::<Vec<u8>>()
        };
        assert_eq!(binary_count(&words(&[1, 0, 700, 5, 1])), Some(5));
        assert_eq!(binary_count(&words(&[0, 0, 700])), Some(0));
        assert_eq!(binary_count(&words(&[2, 0, 700, 5, 1, 5, 1])), None);
        assert_eq!(binary_count(&words(&[1, 0])), None);
    }

    #[test]
    fn binary_arrays_bring_their_element_type() {
        let array = |element: u32, values: &[i32]| {
            let mut bytes = Vec::new();
            for word in [1, 0, element, values.len() as u32, 1] {
                bytes.extend(word.to_be_bytes());
            }
            for value in values {
                bytes.extend(4_i32.to_be_bytes());
                bytes.extend(value.to_be_bytes());
            }
            bytes
        };
        assert_eq!(
            binary_array(&array(23, &[7, -1]), KeyType::Integer),
            Ok(vec![Key::Integer(7), Key::Integer(-1)])
        );
        assert!(binary_array(&array(700, &[7]), KeyType::Integer).is_err());
        let whole = array(23, &[7, 8]);
        for len in 0..whole.len() {
            assert!(
                binary_array(&whole[..len], KeyType::Integer).is_err(),
                "{len} bytes"
            );
        }
    }
}
