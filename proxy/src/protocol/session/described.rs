//! What servers have said of prepared statements, and what that is good for: a statement whose result has changed since
//! fails as on the server it was prepared on ("cached plan must not change result type"), though another server would
//! take it; and what a server may not be asked in a failed transaction is answered.

use std::rc::Rc;

use routing_rules::parameters;

use super::extended::{write_named, write_of_none};
use super::from_client::{Frame, Went};
use super::pipeline::{Expect, Own, Parsed};
use super::prepared::{Statement, server_name};
use super::{Backend, Desk, Next, Session, Sink};
use crate::protocol::frame::HEADER;
use crate::protocol::message::{Bind, cstr};
use crate::protocol::reply;

impl Session {
    /// A Describe has been answered: what the statement returns is kept, once.
    pub(super) fn keep_description(&self, kind: u8, body: &[u8], backend: &Backend) {
        let (statement, is_ours) = match backend.pipeline.head() {
            Some(Expect::DescribeStatement(Some(statement)) | Expect::DescribePortal(Some(statement))) => {
                (statement, false)
            }
            Some(Expect::OwnDescribe(statement, _)) => (statement, true),
            _ => return,
        };
        let result = (kind == b'T').then(|| Box::from(body));
        let mut known = statement.result.borrow_mut();
        match &*known {
            None => *known = Some(result),
            Some(before) if is_ours && !is_like(before.as_deref(), result.as_deref()) => {
                if let Some(Expect::OwnDescribe(_, generation)) = backend.pipeline.head() {
                    statement.changed.set(Some(*generation));
                }
            }
            Some(_) => {}
        }
    }

    /// Before a Bind of a statement that was prepared before the schema changed: the server it was prepared on would
    /// refuse it, should its result have changed. This one, which lacks it, is asked what the result is now.
    pub(super) fn mind_changes(
        &mut self,
        statement: &Rc<Statement>,
        frame: &Frame<'_>,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) -> Option<Went> {
        let now = desk.statements.schema().generation();
        if statement.generation() == now {
            return None;
        }
        if statement.changed.get() == Some(now) {
            // A Describe of a name nobody has fails, and has the transaction fail.
            write_of_none(sink.forward.made(frame.input), b'D');
            backend.pipeline.push(Expect::Fails(CHANGED));
            self.stream_drops = true;
            return Some(Went::On);
        }
        let is_known = statement.result.borrow().is_some();
        let asked = Some((statement.id, now));
        let is_asked = backend.asked == asked || backend.held.has(statement.id);
        if is_asked || !is_known || backend.status == b'E' || backend.pipeline.is_open() {
            return None;
        }
        if !backend.pipeline.is_empty() {
            return Some(Went::Not(Next::Drain));
        }
        backend.asked = asked;
        self.hold(statement, frame, backend, desk, sink);
        let out = sink.forward.made(frame.input);
        write_named(out, b'D', statement.id);
        reply::frame(out, b'S', |_| ());
        backend.pipeline.push(Expect::OwnDescribe(statement.clone(), now));
        backend.pipeline.push(Expect::Own(Own::Clean));
        Some(Went::Not(Next::Drain))
    }

    /// A Describe in a failed transaction of a statement that the server lacks. It may not be given it; what it would say of
    /// one without a result is known.
    pub(super) fn describe_alone(
        &mut self,
        statement: &Statement,
        backend: &Backend,
        sink: &mut Sink,
    ) -> bool {
        if !has_failed(backend) || backend.held.has(statement.id) {
            return false;
        }
        let nothing = match &*statement.result.borrow() {
            Some(result) => result.is_none(),
            None => self.returns_nothing(&statement.body),
        };
        let described = statement.described.borrow();
        let types = match &*described {
            Some(types) => Some(types.to_vec()),
            None => self.declared(&statement.body),
        };
        let Some(types) = types.filter(|_| nothing) else {
            return false;
        };
        say_nothing_returned(&types, sink);
        true
    }

    /// The same of the unnamed statement.
    pub(super) fn describe_unnamed_alone(&mut self, backend: &Backend, sink: &mut Sink) -> bool {
        let lacks = self.unnamed.token != 0 && self.unnamed.token != backend.unnamed;
        if !lacks || !has_failed(backend) {
            return false;
        }
        let body = std::mem::take(&mut self.unnamed.body);
        let types = self.declared(&body).filter(|_| self.returns_nothing(&body));
        self.unnamed.body = body;
        types.map(|types| say_nothing_returned(&types, sink)).is_some()
    }

    fn returns_nothing(&mut self, body: &[u8]) -> bool {
        let lex = self.lex();
        cstr(body).is_some_and(|(text, _)| routing_rules::returns_nothing(text, lex))
    }

    /// The types of a statement's parameters, if the client has named all of them.
    fn declared(&mut self, body: &[u8]) -> Option<Vec<u32>> {
        let count = self.parameters(body)?;
        let (_, types) = cstr(body)?;
        let types = types.get(2..)?.chunks_exact(4);
        let types: Vec<u32> = types
            .map(|oid| u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]))
            .collect();
        (types.len() == count && !types.contains(&0)).then_some(types)
    }

    /// How many parameters a statement has: those of which the client named the types, and those in its text.
    fn parameters(&mut self, body: &[u8]) -> Option<usize> {
        let (text, types) = cstr(body)?;
        let named = types
            .split_first_chunk::<2>()
            .map(|(count, _)| u16::from_be_bytes(*count))?;
        Some(parameters(text, self.lex())?.max(named.into()))
    }

    /// A Bind in a failed transaction of a statement that the server lacks. PostgreSQL looks at the number of parameters
    /// before it refuses it: if that is wrong, the server says so of another statement with as many, of a kind that it
    /// still takes.
    pub(super) fn misbound(
        &mut self,
        body: &[u8],
        frame: &Frame<'_>,
        backend: &mut Backend,
        sink: &mut Sink,
    ) -> bool {
        // Whatever else is owed: it may have failed by then, and if it has not, the error is the same.
        if backend.status != b'E' && !backend.pipeline.has_units_in_flight() {
            return false;
        }
        let Some(view) = Bind::read(frame.body()) else {
            return false;
        };
        let wanted = self.parameters(body).and_then(|count| u16::try_from(count).ok());
        let Some(wanted) = wanted.filter(|wanted| is_misbound(&frame.body()[view.names_len..], *wanted))
        else {
            return false;
        };
        let mut names = Vec::with_capacity(view.portal.len() + 16);
        reply::cstr(&mut names, view.portal);
        server_name(&mut names, NOBODYS);
        names.push(0);
        let length = frame.header.total - 1 - view.names_len + names.len();
        make_nobodys(wanted, frame.input, backend, sink);
        let out = sink.forward.made(frame.input);
        out.push(b'B');
        out.extend_from_slice(&(length as u32).to_be_bytes());
        out.extend_from_slice(&names);
        let rest = frame.at + HEADER + view.names_len;
        sink.forward.pass(frame.input, rest..frame.at + frame.have());
        backend.pipeline.push(Expect::Misbound(view.statement.into()));
        true
    }

    /// The same of the unnamed statement.
    pub(super) fn unnamed_misbound(
        &mut self,
        frame: &Frame<'_>,
        backend: &mut Backend,
        sink: &mut Sink,
    ) -> bool {
        if self.unnamed.token == 0 {
            return false;
        }
        let body = std::mem::take(&mut self.unnamed.body);
        let is_misbound = self.misbound(&body, frame, backend, sink);
        self.unnamed.body = body;
        is_misbound
    }
}

/// The number of a statement that is nobody's.
pub(super) const NOBODYS: u64 = 0;

/// A statement that a server takes in a failed transaction, with this many parameters, is made anew.
pub(super) fn make_nobodys(count: u16, input: &[u8], backend: &mut Backend, sink: &mut Sink) {
    const TEXT: u32 = 25;
    let out = sink.forward.made(input);
    write_named(out, b'C', NOBODYS);
    reply::frame(out, b'P', |out| {
        server_name(out, NOBODYS);
        out.push(0);
        reply::cstr(out, b"ROLLBACK");
        out.extend_from_slice(&count.to_be_bytes());
        (0..count).for_each(|_| out.extend_from_slice(&TEXT.to_be_bytes()));
    });
    backend.pipeline.push(Expect::OwnClose(0));
    backend.pipeline.push(Expect::OwnParse(Parsed::Nothing));
}

/// Has a Bind, from its names on, another number of parameters than this, or of formats than of parameters?
fn is_misbound(bind: &[u8], wanted: u16) -> bool {
    let number = |at: usize| Some(u16::from_be_bytes([*bind.get(at)?, *bind.get(at + 1)?]));
    let Some(formats) = number(0) else { return false };
    let Some(count) = number(2 + usize::from(formats) * 2) else {
        return false;
    };
    count != wanted || formats > 1 && formats != count
}

/// Is the server's transaction failed, and nothing underway?
fn has_failed(backend: &Backend) -> bool {
    backend.status == b'E' && backend.is_silent() && !backend.pipeline.is_open()
}

fn say_nothing_returned(types: &[u32], sink: &mut Sink) {
    reply::frame(&mut sink.back, b't', |out| {
        out.extend_from_slice(&(types.len() as u16).to_be_bytes());
        types
            .iter()
            .for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
    });
    reply::frame(&mut sink.back, b'n', |_| ());
}

/// PostgreSQL's words for it (`RevalidateCachedQuery`); drivers know it by SQLSTATE and routine.
const CHANGED: &[u8] = b"SERROR\0VERROR\0C0A000\0Mcached plan must not change result type\0Fplancache.c\0RRevalidateCachedQuery\0\0";

/// Are these the same columns, by name, type and modifier (`equalTupleDescs`)?
fn is_like(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => columns(a).eq(columns(b)),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// RowDescription: name, table, column, type, length, modifier, format.
fn columns(body: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    let mut rest = body.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (name, fields) = cstr(rest)?;
        rest = fields.get(18..)?;
        Some((name, &fields[6..10], &fields[12..16]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[(&str, u32)]) -> Vec<u8> {
        let mut body = (columns.len() as u16).to_be_bytes().to_vec();
        for (name, oid) in columns {
            body.extend_from_slice(name.as_bytes());
            // Of another table, in another format: that is no other result.
            body.extend_from_slice(&[0, 1, 2, 3, 4, 5, 6]);
            body.extend_from_slice(&oid.to_be_bytes());
            body.extend_from_slice(&[0, 4, 255, 255, 255, 255, 0, 0]);
        }
        body
    }

    #[test]
    fn columns_tell_results_apart() {
        let one = row(&[("a", 23)]);
        assert!(is_like(Some(&one), Some(&row(&[("a", 23)]))));
        assert!(!is_like(Some(&one), Some(&row(&[("a", 25)]))));
        assert!(!is_like(Some(&one), Some(&row(&[("b", 23)]))));
        assert!(!is_like(Some(&one), Some(&row(&[("a", 23), ("b", 23)]))));
        assert!(!is_like(Some(&one), None) && is_like(None, None));
        assert_eq!(columns(&one[..10]).count(), 0, "cut short");
    }
}
