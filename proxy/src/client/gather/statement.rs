//! What the session prepares and binds, and the messages a shard gets for it.

use std::cell::RefCell;

use routing_rules::{Format, Parameter};

use crate::protocol::merge::rows::{Description, FIRST_OWN_OID, Formats};
use crate::protocol::message::cstr;
use crate::protocol::reply;

/// A prepared statement, or a simple query's.
#[derive(Debug, Default)]
pub(super) struct Statement {
    /// Its text.
    pub text: Vec<u8>,
    /// The types of its parameters, as far as the client has said.
    pub types: Vec<u32>,
    /// What a shard has said of it.
    pub told: RefCell<Option<Told>>,
}

/// A shard's answer to Describe.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// The types of its parameters.
    pub types: Vec<u32>,
    /// Its rows; `None`: it has none.
    pub rows: Option<Description>,
}

impl Statement {
    /// Reads what stands behind the name in a Parse.
    pub(super) fn read(rest: &[u8]) -> Option<Statement> {
        let (text, rest) = cstr(rest)?;
        let (count, types) = rest.split_first_chunk::<2>()?;
        let types: Vec<u32> = types
            .chunks_exact(4)
            .map(|oid| u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]))
            .collect();
        (types.len() == usize::from(u16::from_be_bytes(*count))).then_some(Statement {
            text: text.into(),
            types,
            told: RefCell::default(),
        })
    }

    /// The types of its parameters, as far as anybody has said. Those that users made have other OIDs elsewhere.
    pub(super) fn types_for_shards(&self) -> Vec<u32> {
        let mut types = self.types_known();
        let is_own = |oid: &&mut u32| **oid >= FIRST_OWN_OID;
        types.iter_mut().filter(is_own).for_each(|oid| *oid = 0);
        types
    }

    /// The types of its parameters, as far as anybody has said.
    pub(super) fn types_known(&self) -> Vec<u32> {
        match &*self.told.borrow() {
            Some(told) => told.types.clone(),
            None => self.types.clone(),
        }
    }
}

/// The values of a Bind.
#[derive(Clone, Debug, Default)]
pub(super) struct Bound {
    /// How parameters are written.
    pub formats: Formats,
    /// Parameters; `None` is NULL.
    pub values: Vec<Option<Vec<u8>>>,
    /// How columns are to be written.
    pub results: Formats,
}

impl Bound {
    /// Reads what stands behind the names in a Bind.
    pub(super) fn read(rest: &[u8]) -> Option<Bound> {
        let (formats, rest) = shorts(rest)?;
        let (count, mut rest) = rest.split_first_chunk::<2>()?;
        let count = u16::from_be_bytes(*count);
        let mut values = Vec::new();
        for _ in 0..count {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (value, after) = match i32::from_be_bytes(*length) {
                -1 => (None, after),
                length => {
                    let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                    (Some(value.to_vec()), after)
                }
            };
            values.push(value);
            rest = after;
        }
        let (results, rest) = shorts(rest)?;
        let is_whole = rest.is_empty() && (formats.len() < 2 || formats.len() == values.len());
        is_whole.then_some(Bound {
            formats: Formats(formats),
            values,
            results: Formats(results),
        })
    }

    /// Its parameters as routing reads them.
    pub(super) fn parameters(&self, types: &[u32]) -> Vec<Parameter<'_>> {
        let parameter = |place: usize| Parameter {
            type_oid: types.get(place).copied().unwrap_or(0),
            format: match self.formats.of(place) {
                1 => Format::Binary,
                _ => Format::Text,
            },
            bytes: self.values[place].as_deref(),
        };
        (0..self.values.len()).map(parameter).collect()
    }

    /// Only these of its parameters, the first being 1, with their types.
    pub(super) fn picked(&self, parameters: &[u16], types: &[u32]) -> (Bound, Vec<u32>) {
        let places = || {
            parameters
                .iter()
                .map(|number| usize::from(*number).saturating_sub(1))
        };
        let bound = Bound {
            formats: Formats(places().map(|place| self.formats.of(place)).collect()),
            values: places()
                .map(|place| self.values.get(place).cloned().flatten())
                .collect(),
            results: self.results.clone(),
        };
        (
            bound,
            places()
                .map(|place| types.get(place).copied().unwrap_or(0))
                .collect(),
        )
    }

    /// Parse, Bind, Describe, Execute and Sync of a text with these parameters, all unnamed.
    pub(super) fn messages(&self, text: &[u8], types: &[u32], results: &Formats) -> Vec<u8> {
        let mut out = Vec::new();
        write_parse(&mut out, text, types);
        reply::frame(&mut out, b'B', |out| {
            out.extend_from_slice(b"\0\0");
            self.formats.write(out);
            out.extend_from_slice(&(self.values.len() as u16).to_be_bytes());
            for value in &self.values {
                match value {
                    Some(value) => {
                        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                        out.extend_from_slice(value);
                    }
                    None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                }
            }
            results.write(out);
        });
        reply::frame(&mut out, b'D', |out| out.extend_from_slice(b"P\0"));
        reply::frame(&mut out, b'E', |out| out.extend_from_slice(&[0; 5]));
        reply::frame(&mut out, b'S', |_| ());
        out
    }
}

/// Parse and Describe of a text, unnamed, and Sync.
pub(super) fn describe(text: &[u8], types: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    write_parse(&mut out, text, types);
    reply::frame(&mut out, b'D', |out| out.extend_from_slice(b"S\0"));
    reply::frame(&mut out, b'S', |_| ());
    out
}

/// A ParameterDescription's types.
pub(super) fn parameter_types(body: &[u8]) -> Vec<u32> {
    let types = body.get(2..).unwrap_or_default().chunks_exact(4);
    types
        .map(|oid| u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]))
        .collect()
}

pub(super) fn write_parse(out: &mut Vec<u8>, text: &[u8], types: &[u32]) {
    reply::frame(out, b'P', |out| {
        out.push(0);
        reply::cstr(out, text);
        out.extend_from_slice(&(types.len() as u16).to_be_bytes());
        for oid in types {
            out.extend_from_slice(&oid.to_be_bytes());
        }
    });
}

/// A list of 16-bit numbers behind its length.
fn shorts(bytes: &[u8]) -> Option<(Vec<u16>, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    let (numbers, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*count)) * 2)?;
    let numbers = numbers.chunks_exact(2);
    Some((
        numbers
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect(),
        rest,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bind_is_read_and_written() {
        let body = b"\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x01\0\x01";
        let bound = Bound::read(body).expect("well formed");
        assert_eq!(bound.values, [Some(b"ab".to_vec()), None]);
        assert_eq!(
            (bound.formats.of(0), bound.formats.of(1), bound.results.of(7)),
            (1, 1, 1)
        );
        let written = bound.messages(b"x", &[], &bound.results);
        assert!(written.windows(body.len()).any(|window| window == body));
        for end in 0..body.len() {
            assert!(Bound::read(&body[..end]).is_none(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_within_its_bounds(body in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Bound::read(&body);
            let _ = Statement::read(&body);
            let _ = parameter_types(&body);
        }
    }
}
