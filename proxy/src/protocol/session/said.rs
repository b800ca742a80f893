//! What a client's next stretch says, statement by statement, before any of it is sent: a simple query, or everything up to
//! Sync or Flush. On a sharded database it is known by this where the stretch belongs.

use std::rc::Rc;

use routing_rules::{Format, Parameter};

use super::prepared::Statement;
use super::{Reading, Session};
use crate::protocol::frame::{self, HEADER};
use crate::protocol::message::{Bind, Named, Parse, cstr, query_text};

/// A stretch longer than this is refused on a sharded database: it is held until it has come whole.
pub const STRETCH_MAX: usize = 64 << 20;

/// A client's next stretch.
#[derive(Debug)]
pub enum Said<'s> {
    /// It has not come whole.
    Open,
    /// It is longer than may be.
    TooLong,
    /// Its frames make no sense, or it names what is not there: the server says so in its own words.
    Unclear(Stretch<'s>),
    /// It says this.
    Told(Stretch<'s>),
}

/// All of it.
#[derive(Debug)]
pub struct Stretch<'s> {
    /// How many bytes it is long.
    pub bytes: usize,
    /// The kind of its last frame: Query, Sync, Flush, or what stands for itself.
    pub ends: u8,
    /// What is run.
    pub statements: Vec<Spoken<'s>>,
    /// What is only prepared.
    pub prepares: Vec<Parse<'s>>,
    /// A function is called by its number.
    pub calls: bool,
}

/// One statement that is run, or bound to be.
#[derive(Debug)]
pub struct Spoken<'s> {
    /// Its text.
    pub text: &'s [u8],
    /// What is bound to it; `None`: it is a simple query.
    pub bound: Option<Bound<'s>>,
    /// The statement by a name, if it is one that is remembered.
    pub statement: Option<&'s Rc<Statement>>,
}

/// Parameters of one Bind.
#[derive(Debug)]
pub struct Bound<'s> {
    /// Types of the statement's parameters as its Parse has them, four bytes each.
    types: &'s [u8],
    formats: &'s [u8],
    values: &'s [u8],
    count: usize,
}

impl Session {
    /// Reads the stretch that `input` begins with.
    pub fn said<'s>(&'s self, input: &'s [u8]) -> Said<'s> {
        let mut stretch = Stretch {
            bytes: 0,
            ends: 0,
            statements: Vec::new(),
            prepares: Vec::new(),
            calls: false,
        };
        loop {
            let rest = &input[stretch.bytes..];
            let header = match frame::header(rest) {
                Ok(Some(header)) => header,
                Ok(None) => return Said::Open,
                Err(_) => return Said::Unclear(stretch),
            };
            if stretch.bytes + header.total > STRETCH_MAX {
                return Said::TooLong;
            }
            if header.total > rest.len() {
                return Said::Open;
            }
            stretch.bytes += header.total;
            stretch.ends = header.kind;
            let body = &rest[HEADER..header.total];
            if self.take(header.kind, body, &mut stretch).is_none() {
                return Said::Unclear(stretch);
            }
            if !matches!(header.kind, b'P' | b'B' | b'D' | b'E' | b'C') {
                return Said::Told(stretch);
            }
        }
    }

    /// Takes in one frame; `None`: it makes no sense.
    fn take<'s>(&'s self, kind: u8, body: &'s [u8], stretch: &mut Stretch<'s>) -> Option<()> {
        match kind {
            b'Q' => stretch.statements.push(Spoken {
                text: query_text(body)?,
                bound: None,
                statement: None,
            }),
            b'P' => stretch.prepares.push(Parse::read(body)?),
            b'B' => {
                let bind = Bind::read(body)?;
                let (text, types, statement) = self.named(bind.statement, &stretch.prepares)?;
                let bound = Bound::read(types, &body[bind.names_len..])?;
                stretch.statements.push(Spoken {
                    text,
                    bound: Some(bound),
                    statement,
                });
            }
            b'D' | b'C' => drop(Named::read(body)?),
            b'F' => stretch.calls = true,
            _ => {}
        }
        Some(())
    }

    /// Text and parameter types of what a Bind names.
    #[allow(clippy::type_complexity)]
    fn named<'s>(
        &'s self,
        name: &[u8],
        prepares: &[Parse<'s>],
    ) -> Option<(&'s [u8], &'s [u8], Option<&'s Rc<Statement>>)> {
        if let Some(parse) = prepares.iter().rev().find(|parse| parse.name == name) {
            let (text, types) = cstr(parse.rest)?;
            return Some((text, types.get(2..)?, None));
        }
        let statement = match name {
            b"" => None,
            name => Some(self.prepared.as_ref()?.get(name)?),
        };
        let body = statement.map_or(&self.unnamed.body[..], |statement| &statement.body);
        let (text, types) = cstr(body)?;
        Some((text, types.get(2..)?, statement))
    }

    /// May texts hold bytes that mean other characters than UTF-8's?
    pub fn speaks_otherwise(&self) -> bool {
        let encoding = self.reported.value(b"client_encoding").unwrap_or_default();
        !matches!(encoding, b"UTF8" | b"SQL_ASCII" | b"")
    }

    /// How texts are to be read now.
    pub fn lex_of(&self) -> routing_rules::Lex {
        Reading::new(&self.reported).lex
    }
}

impl<'s> Spoken<'s> {
    /// What is bound to it.
    pub fn parameters(&self) -> Vec<Parameter<'s>> {
        let Some(bound) = &self.bound else {
            return Vec::new();
        };
        match self.statement {
            Some(statement) => bound.parameters(statement.described.borrow().as_deref()),
            None => bound.parameters(None),
        }
    }
}

impl<'s> Bound<'s> {
    /// Reads what stands behind the names of a Bind.
    pub(super) fn read(types: &'s [u8], rest: &'s [u8]) -> Option<Self> {
        let (formats, rest) = counted(rest, 2)?;
        let (count, values) = rest.split_first_chunk::<2>()?;
        let bound = Bound {
            types,
            formats,
            values,
            count: usize::from(u16::from_be_bytes(*count)),
        };
        // Each has a length, and result formats follow.
        let mut rest = values;
        for _ in 0..bound.count {
            let (_, after) = value(rest)?;
            rest = after;
        }
        counted(rest, 2)?;
        Some(bound)
    }

    /// The parameters, the first being `$1`. `described`: their types as the server has told them, if it has.
    pub fn parameters(&self, described: Option<&[u32]>) -> Vec<Parameter<'s>> {
        let mut parameters = Vec::with_capacity(self.count);
        let mut rest = self.values;
        for at in 0..self.count {
            let Some((bytes, after)) = value(rest) else {
                break;
            };
            rest = after;
            let own = self.types.get(at * 4..at * 4 + 4).map_or(0, number);
            let type_oid = match own {
                0 => described.and_then(|types| types.get(at)).copied().unwrap_or(0),
                own => own,
            };
            let format = match self.formats.len() {
                0 => 0,
                2 => self.formats[1],
                _ => self.formats.get(at * 2 + 1).copied().unwrap_or(0),
            };
            parameters.push(Parameter {
                type_oid,
                format: if format == 0 { Format::Text } else { Format::Binary },
                bytes,
            });
        }
        parameters
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u32::from(byte))
}

/// A count and as many things of this size.
fn counted(bytes: &[u8], size: usize) -> Option<(&[u8], &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*count)) * size)
}

/// A value with its length in front; -1 is NULL.
fn value(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    match i32::from_be_bytes(*length) {
        -1 => Some((None, rest)),
        length => {
            let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((Some(value), rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::reply;
    use crate::protocol::session::reported::Reported;
    use crate::protocol::session::settings::Shared;

    fn session() -> Session {
        Session::new(1, Shared::default(), Reported::default())
    }

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        reply::frame(&mut out, kind, |out| out.extend_from_slice(body));
        out
    }

    #[test]
    fn a_batch_says_what_is_bound() {
        let session = session();
        let mut input = frame(b'P', b"\0select $1, $2\0\0\x01\0\0\0\x17");
        let bind = b"\0\0\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\0";
        input.extend(frame(b'B', bind));
        input.extend(frame(b'E', b"\0\0\0\0\0"));
        assert!(matches!(session.said(&input), Said::Open));
        input.extend(frame(b'S', b""));
        let Said::Told(stretch) = session.said(&input) else {
            panic!("whole");
        };
        assert_eq!((stretch.bytes, stretch.ends), (input.len(), b'S'));
        let spoken = &stretch.statements[0];
        assert_eq!(spoken.text, b"select $1, $2");
        let parameters = spoken
            .bound
            .as_ref()
            .map(|bound| bound.parameters(Some(&[0, 20])));
        let parameter = |type_oid, bytes| Parameter {
            type_oid,
            format: Format::Binary,
            bytes,
        };
        let expected = vec![parameter(23, Some(&b"\0\0\0\x07"[..])), parameter(20, None)];
        assert_eq!(parameters, Some(expected));
    }

    #[test]
    fn what_is_cut_short_is_never_read_past() {
        let session = session();
        let body = b"\0\0\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\0";
        let parse = frame(b'P', b"\0select 1\0\0\0");
        for len in 0..body.len() {
            let mut input = parse.clone();
            input.extend(frame(b'B', &body[..len]));
            assert!(matches!(session.said(&input), Said::Unclear(_)), "{len} bytes");
        }
        let unknown = frame(b'B', b"\0nobody\0\0\0\0\0\0\0");
        assert!(matches!(session.said(&unknown), Said::Unclear(_)));
    }
}
