//! A unit that asks one question and could be answered without a server: a simple query, or Bind, Execute and Sync with the
//! Parse and the Describe that may go with them. What it asks, and what becomes of the session when it is answered.

use routing_rules::{Control, Effects, Lex, Parameter, Script, read};

use super::lazy_begin::NO_TYPES;
use super::said::Bound;
use super::unit::UNIT_MAX;
use super::{Desk, Pooling, Session};
use crate::protocol::frame::{self, HEADER};
use crate::protocol::message::{Bind, Named, Parse, cstr, query_text};
use crate::protocol::reply;

/// What a unit asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Asking {
    /// It has not come whole.
    Open,
    /// It is no question that could be answered without a server, because of this.
    Not(&'static str),
    /// This.
    This(Question),
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Bytes of the unit.
    pub bytes: usize,
    /// Text, terminator and parameter types as in a Parse; then formats and values of the parameters and formats of the
    /// results as in a Bind, where formats that are all text are left out. Equal bodies ask the same.
    pub body: Vec<u8>,
    /// Bytes of the body up to the end of the parameter types.
    pub statement_len: usize,
    /// The answer begins with a RowDescription.
    pub is_described: bool,
    is_simple: bool,
    brings_unnamed: bool,
}

impl Question {
    /// Its text.
    pub fn text(&self) -> &[u8] {
        cstr(&self.body).map_or(&self.body[..], |(text, _)| text)
    }

    /// The values of its parameters, in whatever format they are; NULLs left out.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.body[self.statement_len..];
        let formats = take_count(&mut rest).unwrap_or_default();
        rest = rest.get(usize::from(formats) * 2..).unwrap_or_default();
        let mut left = take_count(&mut rest).unwrap_or_default();
        std::iter::from_fn(move || {
            while left > 0 {
                left -= 1;
                let (length, after) = rest.split_first_chunk::<4>()?;
                let Ok(bytes) = usize::try_from(i32::from_be_bytes(*length)) else {
                    rest = after;
                    continue;
                };
                let value = after.get(..bytes)?;
                rest = &after[bytes..];
                return Some(value);
            }
            None
        })
    }

    /// Its parameters with their types, as far as it says them.
    pub fn parameters(&self) -> Vec<Parameter<'_>> {
        let (statement, rest) = self.body.split_at(self.statement_len);
        let types = cstr(statement).and_then(|(_, types)| types.get(2..));
        let bound = Bound::read(types.unwrap_or_default(), rest);
        bound.map_or(Vec::new(), |bound| bound.parameters(None))
    }

    /// A text without parameters, asked for in text.
    pub fn simple(text: &[u8], bytes: usize) -> Self {
        let mut body = Vec::with_capacity(text.len() + NO_TYPES + NO_VALUES.len());
        body.extend_from_slice(text);
        body.extend_from_slice(&[0; NO_TYPES]);
        let statement_len = body.len();
        body.extend_from_slice(&NO_VALUES);
        Question {
            bytes,
            body,
            statement_len,
            is_described: true,
            is_simple: true,
            brings_unnamed: false,
        }
    }
}

/// No formats, no values, no formats of results.
const NO_VALUES: [u8; 6] = [0; 6];

/// Most bodies are no longer.
const BODY_BYTES: usize = 256;

/// The next frame of a kind: its body and all its bytes.
fn next(input: &[u8], kinds: &[u8]) -> Result<(u8, usize), Asking> {
    match frame::header(input) {
        Ok(Some(header)) if !kinds.contains(&header.kind) => Err(Asking::Not(NOT_ONE)),
        Ok(Some(header)) if header.total > UNIT_MAX => Err(Asking::Not("it is too long")),
        Ok(Some(header)) if header.total <= input.len() => Ok((header.kind, header.total)),
        Ok(Some(_) | None) => Err(Asking::Open),
        Err(_) => Err(Asking::Not(NOT_ONE)),
    }
}

const NOT_ONE: &str = "it is not one plain question";

impl Session {
    /// What the unit that `input` begins with asks. The session holds no server.
    pub fn question(&mut self, input: &[u8]) -> Asking {
        if self.pooling != Pooling::Faithful {
            return Asking::Not("the pool's mode does not follow a session's settings");
        }
        let is_busy = self.refusal.is_some() || self.skip_to_sync || self.copy_in || self.stream_left > 0;
        if is_busy || !self.pins.is_empty() || self.reading().is_unsafe {
            return Asking::Not("the session keeps state of its own");
        }
        if !self.reads_committed() {
            return Asking::Not("its transaction reads from one snapshot");
        }
        let asking = match input.first() {
            Some(b'Q') => self.simple_question(input),
            _ => self.extended_question(input),
        };
        asking.unwrap_or_else(|why| why)
    }

    /// How texts are to be read.
    pub fn question_lex(&mut self) -> Lex {
        self.reading().lex
    }

    /// Is it in a transaction it was told of, though no server knows yet?
    pub fn is_begun(&self) -> bool {
        self.begin.is_some()
    }

    /// Would every statement of the transaction it has begun see what is committed by then?
    fn reads_committed(&mut self) -> bool {
        let Some(begin) = self.begin.clone() else {
            return true;
        };
        let text = query_text(begin.get(HEADER..).unwrap_or_default()).unwrap_or_default();
        let lex = self.lex();
        let default = self.settings.value(b"default_transaction_isolation");
        let is_plain = matches!(
            read(text, lex).control,
            Control::Begin {
                serializable: false,
                repeatable_read: false,
                ..
            }
        );
        is_plain && default.is_none_or(|level| level == b"read committed")
    }

    fn simple_question(&mut self, input: &[u8]) -> Result<Asking, Asking> {
        let (_, bytes) = next(input, b"Q")?;
        let text = query_text(&input[HEADER..bytes]).ok_or(Asking::Not(NOT_ONE))?;
        Ok(Asking::This(Question::simple(text, bytes)))
    }

    fn extended_question(&mut self, input: &[u8]) -> Result<Asking, Asking> {
        let malformed = || Asking::Not(NOT_ONE);
        let (kind, mut at) = next(input, b"PB")?;
        let brings_unnamed = kind == b'P';
        let mut body = Vec::with_capacity(BODY_BYTES);
        let mut from = 0;
        if brings_unnamed {
            let parse = Parse::read(&input[HEADER..at]).ok_or_else(malformed)?;
            if !parse.name.is_empty() {
                return Err(Asking::Not("it prepares a statement"));
            }
            body.extend_from_slice(parse.rest);
            from = at;
            at += next(&input[at..], b"B")?.1;
        }
        let frame = &input[from + HEADER..at];
        let bind = Bind::read(frame).ok_or_else(malformed)?;
        if !brings_unnamed {
            self.known_body(bind.statement, &mut body)?;
        } else if !bind.statement.is_empty() {
            return Err(malformed());
        }
        if self.begin.is_some() && !bind.portal.is_empty() {
            return Err(Asking::Not("its portal outlives it"));
        }
        let statement_len = body.len();
        add_values(&frame[bind.names_len..], &mut body).ok_or_else(malformed)?;
        let (kind, more) = next(&input[at..], b"DE")?;
        let is_described = kind == b'D';
        let mut execute = at..at + more;
        if is_described {
            match Named::read(&input[at + HEADER..at + more]) {
                Some(Named::Portal(portal)) if portal == bind.portal => {}
                _ => return Err(malformed()),
            }
            let (_, last) = next(&input[at + more..], b"E")?;
            execute = at + more..at + more + last;
        }
        let (portal, rows) = cstr(&input[execute.start + HEADER..execute.end]).ok_or_else(malformed)?;
        if portal != bind.portal || rows != [0; 4] {
            return Err(Asking::Not("it asks for some of the rows"));
        }
        let (_, sync) = next(&input[execute.end..], b"S")?;
        if sync != HEADER {
            return Err(malformed());
        }
        Ok(Asking::This(Question {
            bytes: execute.end + sync,
            body,
            statement_len,
            is_described,
            is_simple: false,
            brings_unnamed,
        }))
    }

    /// The statement a Bind is of.
    fn known_body(&self, name: &[u8], body: &mut Vec<u8>) -> Result<(), Asking> {
        let unknown = || Asking::Not("its statement is not known here");
        if name.is_empty() {
            let is_there = self.unnamed.token != 0;
            is_there.then_some(()).ok_or_else(unknown)?;
            body.extend_from_slice(&self.unnamed.body);
            return Ok(());
        }
        let statement = self.statement(name).ok_or_else(unknown)?;
        if statement.asks_route.get() {
            return Err(Asking::Not("it asks pgshunt"));
        }
        body.extend_from_slice(&statement.body);
        Ok(())
    }

    /// Should the question go to a server: its text is known to be nothing but a query.
    pub fn asks_a_query(&mut self, question: &Question) {
        if question.is_simple {
            self.script = Some(Script::QUERY);
        }
    }

    /// The question is answered without a server: says so to the client, and takes note of what it does to the session.
    pub fn answers(
        &mut self,
        question: &Question,
        (description, rows): (&[u8], &[u8]),
        desk: &mut Desk<'_>,
        out: &mut Vec<u8>,
    ) {
        self.script = None;
        out.reserve(description.len() + rows.len() + 32);
        if question.is_simple {
            // As any Query, it ends the unnamed statement.
            self.unnamed.token = 0;
        } else if question.brings_unnamed {
            *desk.tokens += 1;
            self.unnamed.token = *desk.tokens;
            self.unnamed.body.clear();
            self.unnamed
                .body
                .extend_from_slice(&question.body[..question.statement_len]);
            self.unnamed.effects = Effects::EMPTY;
            self.unnamed.deallocates = None;
            desk.totals.client_parse_count += 1;
            reply::parse_complete(out);
        }
        if !question.is_simple {
            desk.totals.bind_count += 1;
            reply::frame(out, b'2', |_| ());
        }
        if question.is_described {
            out.extend_from_slice(description);
        }
        out.extend_from_slice(rows);
        reply::ready_for_query(out, self.status_alone());
        desk.totals.query_count += 1;
        desk.totals.xact_count += u64::from(self.begin.is_none());
    }
}

/// Adds what a Bind says behind its names, formats that are all text left out; `None` if it is malformed.
fn add_values(mut rest: &[u8], body: &mut Vec<u8>) -> Option<()> {
    add_formats(&mut rest, body)?;
    let count = take_count(&mut rest)?;
    body.extend_from_slice(&count.to_be_bytes());
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let bytes = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let whole = rest.get(..4 + bytes)?;
        body.extend_from_slice(whole);
        rest = after.get(bytes..)?;
    }
    add_formats(&mut rest, body)?;
    rest.is_empty().then_some(())
}

fn add_formats(rest: &mut &[u8], body: &mut Vec<u8>) -> Option<()> {
    let count = usize::from(take_count(rest)?);
    let (formats, after) = rest.split_at_checked(count * 2)?;
    *rest = after;
    if formats.iter().all(|byte| *byte == 0) {
        body.extend_from_slice(&[0; 2]);
    } else {
        body.extend_from_slice(&(count as u16).to_be_bytes());
        body.extend_from_slice(formats);
    }
    Some(())
}

fn take_count(rest: &mut &[u8]) -> Option<u16> {
    let (count, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(u16::from_be_bytes(*count))
}
