//! BEGIN by the extended protocol, answered before a server knows: a whole unit that begins a transaction and nothing
//! else. The transaction's first statement then chooses the server, and a client that only began holds none.

use routing_rules::{Control, read};

use super::firsts::Unseen;
use super::loose::no_transactions;
use super::{Desk, Pooling, Session};
use crate::protocol::frame::{self, HEADER};
use crate::protocol::message::{Bind, Named, Parse, cstr};
use crate::protocol::reply;

/// What stands behind a text without parameter types: its end and their count.
pub(super) const NO_TYPES: usize = 3;

/// Walks whole frames.
struct Frames<'a> {
    rest: &'a [u8],
    used: usize,
}

impl<'a> Frames<'a> {
    /// The body of the next frame if it is whole and of this kind.
    fn next(&mut self, kind: u8) -> Option<&'a [u8]> {
        let header = frame::header(self.rest).ok()??;
        if header.kind != kind || header.total > self.rest.len() {
            return None;
        }
        let body = &self.rest[HEADER..header.total];
        self.rest = &self.rest[header.total..];
        self.used += header.total;
        Some(body)
    }
}

impl Session {
    /// Answers `[Parse] Bind [Describe] Execute Sync` of a BEGIN, if that is exactly what `input` begins with.
    ///
    /// Returns how many bytes that took.
    pub(super) fn begin_unit(
        &mut self,
        input: &[u8],
        desk: &mut Desk<'_>,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        if self.begin.is_some() || self.unseen != Unseen::No {
            return None;
        }
        let mut frames = Frames { rest: input, used: 0 };
        let parsed = frames.next(b'P');
        let parse = match parsed {
            Some(body) => {
                let is_plain = |parse: &Parse<'_>| {
                    let has_no_types = parse.rest.len() == parse.text.len() + NO_TYPES;
                    parse.name.is_empty() && parse.text.len() < 200 && has_no_types
                };
                Some(Parse::read(body).filter(is_plain)?)
            }
            None => None,
        };
        let body = frames.next(b'B')?;
        let bind = Bind::read(body)?;
        // A portal with a name is there as long as the transaction.
        bind.portal.is_empty().then_some(())?;
        // No parameter formats, no parameters.
        body[bind.names_len..].starts_with(&[0; 4]).then_some(())?;
        let (text, tag) = match (parse, bind.statement) {
            (Some(parse), b"") => match read(parse.text, self.lex()).control {
                Control::Begin { tag, .. } => (parse.text.to_vec(), tag),
                _ => return None,
            },
            (None, name) if !name.is_empty() => {
                let statement = self.prepared.as_ref()?.get(name)?;
                (cstr(&statement.body)?.0.to_vec(), statement.begins?)
            }
            _ => return None,
        };
        let describe = frames.next(b'D');
        if let Some(body) = describe {
            matches!(Named::read(body)?, Named::Portal(portal) if portal == bind.portal).then_some(())?;
        }
        (cstr(frames.next(b'E')?)?.0 == bind.portal).then_some(())?;
        frames.next(b'S')?;
        if self.pooling == Pooling::Statements {
            no_transactions().write(out);
            reply::ready_for_query(out, b'I');
            return Some(frames.used);
        }
        if let Some(parse) = parse {
            *desk.tokens += 1;
            self.unnamed.token = *desk.tokens;
            self.unnamed.body = parse.rest.to_vec();
            self.unnamed.effects = routing_rules::Effects::EMPTY;
            self.unnamed.deallocates = None;
            reply::parse_complete(out);
        }
        let mut begin = Vec::new();
        reply::query(&mut begin, &text);
        self.begin = Some(begin.into());
        reply::frame(out, b'2', |_| ());
        if describe.is_some() {
            reply::frame(out, b'n', |_| ());
        }
        reply::command_complete(out, tag);
        reply::ready_for_query(out, b'T');
        desk.totals.query_count += 1;
        Some(frames.used)
    }
}
