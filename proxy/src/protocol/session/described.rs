//! What servers have said of prepared statements, and what that is good for: a statement whose result has changed since
//! fails as on the server it was prepared on ("cached plan must not change result type"), though another server would
//! take it; and what a server may not be asked in a failed transaction is answered.

use std::rc::Rc;

use super::from_client::{Frame, Went};
use super::pipeline::{Expect, Own};
use super::prepared::Statement;
use super::{Backend, Desk, Next, Session, Sink};
use crate::protocol::message::cstr;
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
            reply::frame(sink.forward.made(frame.input), b'D', |out| {
                out.extend_from_slice(b"Spgshunt:none\0")
            });
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
        super::extended::write_named(out, b'D', statement.id);
        reply::frame(out, b'S', |_| ());
        backend.pipeline.push(Expect::OwnDescribe(statement.clone(), now));
        backend.pipeline.push(Expect::Own(Own::Clean));
        Some(Went::Not(Next::Drain))
    }

    /// A Describe in a failed transaction of a statement that the server lacks. It may not be given it; what it would say of
    /// one without a result is known.
    pub(super) fn describe_alone(&self, statement: &Statement, backend: &Backend, sink: &mut Sink) -> bool {
        let (types, result) = (statement.described.borrow(), statement.result.borrow());
        let (Some(types), Some(None)) = (&*types, &*result) else {
            return false;
        };
        if backend.status != b'E' || !backend.is_silent() || backend.held.has(statement.id) {
            return false;
        }
        reply::frame(&mut sink.back, b't', |out| {
            out.extend_from_slice(&(types.len() as u16).to_be_bytes());
            types
                .iter()
                .for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
        });
        reply::frame(&mut sink.back, b'n', |_| ());
        true
    }
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
