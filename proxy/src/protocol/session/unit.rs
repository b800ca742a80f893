//! What a client's next unit asks of a server, found out before any of it is sent: a simple query, or everything up to
//! Sync.

use std::cell::RefCell;
use std::rc::Rc;

use routing_rules::{Access, Control, Names, Texts, Transaction, Why, read};

use super::{Session, Unnamed};
use crate::protocol::frame::{self, HEADER};
use crate::protocol::message::{Bind, Named, Parse, cstr, query_text};

/// What the database has beyond the builtins.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The names.
    pub names: &'a Names,
    /// Tells these names from others.
    pub stamp: u64,
    /// What texts were found to do by them, or by others.
    pub texts: &'a RefCell<Texts>,
}

/// A client's next unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// It has not come whole, and nothing in it writes so far.
    Open,
    /// What it asks for is known.
    Told(Asked),
}

/// What a unit asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What it does to data.
    pub access: Access,
    /// It is flushed before its Sync, and may still write.
    pub is_flushed: bool,
    /// How many bytes it is long.
    pub bytes: usize,
    /// It is one statement, as far as it was read.
    pub is_single: bool,
    /// Its batch, in a transaction, executes more than that.
    pub is_among_others: bool,
}

/// A unit longer than this goes to the primary unread.
pub const UNIT_MAX: usize = 64 * 1024;

/// What a stretch of a unit adds up to.
struct Reader<'a> {
    known: Option<Known<'a>>,
    /// It brought an unnamed statement itself.
    brings_unnamed: bool,
    /// The names of the others: reads all of them, as it would have ended otherwise.
    brings: Vec<&'a [u8]>,
    /// It has bound a portal, or its transaction may have.
    has_portal: bool,
    says_something: bool,
}

impl Session {
    /// Reads the unit that `input` begins with. `in_transaction`: one is open on a server already.
    pub fn unit<'a>(&mut self, input: &'a [u8], known: Option<Known<'a>>, in_transaction: bool) -> Unit {
        let mut reader = Reader {
            known,
            brings_unnamed: false,
            brings: Vec::new(),
            has_portal: in_transaction,
            says_something: false,
        };
        let mut asked = Asked {
            access: Access::Read,
            is_flushed: false,
            bytes: 0,
            is_single: true,
            is_among_others: false,
        };
        loop {
            let rest = &input[asked.bytes..];
            let header = match frame::header(rest) {
                Ok(Some(header)) if header.total <= UNIT_MAX => header,
                Ok(None) if input.len() < UNIT_MAX => return Unit::Open,
                Ok(_) | Err(_) => return told(asked, Err(Why::Unclear)),
            };
            if header.total > rest.len() {
                return match input.len() < UNIT_MAX {
                    true => Unit::Open,
                    false => told(asked, Err(Why::Unclear)),
                };
            }
            asked.bytes += header.total;
            let body = &rest[HEADER..header.total];
            let frame = self.read_frame(header.kind, body, &mut reader, &mut asked);
            let ends = matches!(header.kind, b'Q' | b'S' | b'H');
            if frame.is_err() && !ends && in_transaction {
                match executes(input) {
                    Some(count) => asked.is_among_others = count > 1,
                    None if input.len() < UNIT_MAX => return Unit::Open,
                    None => asked.is_among_others = true,
                }
            }
            if ends || frame.is_err() {
                return told(asked, frame);
            }
        }
    }

    fn read_frame<'a>(
        &mut self,
        kind: u8,
        body: &'a [u8],
        reader: &mut Reader<'a>,
        asked: &mut Asked,
    ) -> Result<(), Why> {
        match kind {
            b'Q' => {
                let text = query_text(body).ok_or(Why::Unclear)?;
                let told = self.text_access(text, reader.known);
                if told.is_err() {
                    asked.is_single = read(text, self.lex()).statements == 1;
                }
                told
            }
            b'P' => {
                let parse = Parse::read(body).ok_or(Why::Unclear)?;
                match parse.name {
                    b"" => reader.brings_unnamed = true,
                    name => reader.brings.push(name),
                }
                reader.says_something = true;
                self.text_access(parse.text, reader.known)
            }
            b'B' => {
                let bind = Bind::read(body).ok_or(Why::Unclear)?;
                reader.has_portal = true;
                reader.says_something = true;
                self.statement_access(bind.statement, reader)
            }
            b'D' => match Named::read(body).ok_or(Why::Unclear)? {
                Named::Statement(name) => {
                    reader.says_something = true;
                    self.statement_access(name, reader)
                }
                Named::Portal(_) if reader.has_portal => Ok(()),
                Named::Portal(_) => Err(Why::Unclear),
            },
            b'E' if reader.has_portal => {
                reader.says_something = true;
                Ok(())
            }
            b'C' => Ok(()),
            b'H' => {
                asked.is_flushed = true;
                Ok(())
            }
            b'S' if reader.says_something => Ok(()),
            b'S' => Err(Why::Empty),
            _ => Err(Why::Unclear),
        }
    }

    fn statement_access(&mut self, name: &[u8], reader: &Reader<'_>) -> Result<(), Why> {
        let Some(known) = reader.known else {
            return Err(Why::NamesUnknown);
        };
        if name.is_empty() {
            if reader.brings_unnamed {
                return Ok(());
            }
            let unnamed = std::mem::take(&mut self.unnamed);
            let told = self.unnamed_access(&unnamed, known);
            self.unnamed = unnamed;
            return told;
        }
        if reader.brings.contains(&name) {
            return Ok(());
        }
        let statement = self.prepared.as_ref().and_then(|map| map.get(name)).cloned();
        let Some(statement) = statement else {
            return Err(Why::Unclear);
        };
        if let Some((stamp, access)) = &*statement.access.borrow()
            && *stamp == known.stamp
        {
            return as_result(access.clone());
        }
        let text = cstr(&statement.body).map_or(&b""[..], |(text, _)| text);
        let told = self.text_access(text, Some(known));
        let access = told.clone().map_or_else(Access::Write, |()| Access::Read);
        *statement.access.borrow_mut() = Some((known.stamp, access));
        told
    }

    fn unnamed_access(&mut self, unnamed: &Unnamed, known: Known<'_>) -> Result<(), Why> {
        let (text, _) = cstr(&unnamed.body).ok_or(Why::Unclear)?;
        self.text_access(text, Some(known))
    }

    fn text_access(&mut self, text: &[u8], known: Option<Known<'_>>) -> Result<(), Why> {
        let reading = self.reading();
        if reading.is_unsafe {
            return Err(Why::Unclear);
        }
        let Some(known) = known else {
            return Err(Why::NamesUnknown);
        };
        let mut texts = known.texts.borrow_mut();
        as_result(texts.access(text, reading.lex, known.names, known.stamp))
    }

    /// A replica has refused a unit. If one text alone can be meant, its like is no read any more.
    pub fn refused_unit(&mut self, unit: &[u8], texts: &mut Texts, stamp: u64) {
        let mut meant: Option<Rc<[u8]>> = None;
        let (mut at, lex) = (0, self.lex());
        while let Ok(Some(header)) = frame::header(&unit[at..])
            && at + header.total <= unit.len()
        {
            let body = &unit[at + HEADER..at + header.total];
            at += header.total;
            let text = match header.kind {
                b'Q' => query_text(body).map(Rc::from),
                b'P' => Parse::read(body).map(|parse| Rc::from(parse.text)),
                b'B' => Bind::read(body).and_then(|bind| self.text_of(bind.statement)),
                _ => None,
            };
            let another = |meant: &Rc<[u8]>| text.as_ref().is_some_and(|text| text != meant);
            if meant.as_ref().is_some_and(another) {
                return;
            }
            meant = text.or(meant);
        }
        if let Some(text) = meant {
            texts.refused(&text, lex, stamp);
        }
    }

    /// The text of a statement the client has; how it was classed is forgotten.
    fn text_of(&self, name: &[u8]) -> Option<Rc<[u8]>> {
        if name.is_empty() {
            return cstr(&self.unnamed.body).map(|(text, _)| Rc::from(text));
        }
        let statement = self.prepared.as_ref()?.get(name)?;
        statement.access.replace(None);
        cstr(&statement.body).map(|(text, _)| Rc::from(text))
    }

    /// Does its next transaction, or the one it has begun, see one state of the data from begin to end?
    pub fn isolates(&self) -> bool {
        let is_strict = |value: Option<&[u8]>| {
            value.is_some_and(|value| {
                ["repeatable read", "serializable"]
                    .iter()
                    .any(|strict| value.eq_ignore_ascii_case(strict.as_bytes()))
            })
        };
        let by_default = || is_strict(self.settings.value(b"default_transaction_isolation"));
        let begin = self.begin.as_deref().or_else(|| self.lane_begin());
        let Some(begin) = begin else {
            return by_default();
        };
        let text = query_text(begin.get(HEADER..).unwrap_or_default()).unwrap_or_default();
        match read(text, self.lex_of()).control {
            Control::Begin {
                serializable,
                repeatable_read,
                ..
            } if serializable || repeatable_read => true,
            // READ COMMITTED by name counts as the default too: to be too strict refuses, and loses nothing.
            _ => by_default(),
        }
    }

    /// The transaction the next unit would be the first of.
    pub fn transaction(&mut self) -> Transaction {
        let is_on = |value: Option<&[u8]>| matches!(value, Some(b"on" | b"true" | b"yes" | b"1"));
        let default_is = |name: &[u8]| self.settings.value(name);
        let reads_by_default = is_on(default_is(b"default_transaction_read_only"));
        let by_default = default_is(b"default_transaction_isolation") == Some(b"serializable");
        let Some(begin) = self.begin.clone() else {
            return match by_default {
                true => Transaction::Serializable,
                false => Transaction::None,
            };
        };
        let text = query_text(begin.get(HEADER..).unwrap_or_default()).unwrap_or_default();
        match read(text, self.lex()).control {
            Control::Begin {
                serializable: true, ..
            } => Transaction::Serializable,
            Control::Begin {
                repeatable_read: false,
                ..
            } if by_default => Transaction::Serializable,
            Control::Begin { read_only: true, .. } => Transaction::ReadOnly,
            Control::Begin {
                read_write: false, ..
            } if reads_by_default => Transaction::ReadOnly,
            _ => Transaction::ReadWrite,
        }
    }
}

/// How many Executes a batch has, up to its Sync or Flush; `None`: that has not come.
fn executes(input: &[u8]) -> Option<usize> {
    let (mut at, mut count) = (0, 0);
    while let Ok(Some(header)) = frame::header(&input[at..])
        && at + header.total <= input.len()
    {
        at += header.total;
        match header.kind {
            b'S' | b'H' => return Some(count),
            b'E' => count += 1,
            _ => {}
        }
    }
    None
}

fn as_result(access: Access) -> Result<(), Why> {
    match access {
        Access::Read => Ok(()),
        Access::Write(why) => Err(why),
    }
}

fn told(asked: Asked, frame: Result<(), Why>) -> Unit {
    Unit::Told(Asked {
        access: frame.map_or_else(Access::Write, |()| Access::Read),
        ..asked
    })
}
