//! What must be the first of its transaction (SET TRANSACTION ISOLATION LEVEL and its like). PostgreSQL refuses it behind
//! the Parse of a query, which takes the transaction's snapshot; a Parse that pgshunt answered itself is made up for.

use routing_rules::{sets_transaction, takes_snapshot};

use super::pipeline::{Expect, Parsed};
use super::{Backend, Session, Sink};
use crate::protocol::message::cstr;
use crate::protocol::reply;

/// A Parse that would have taken a snapshot, and that no server was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unseen {
    /// There was none in this transaction.
    #[default]
    No,
    /// There was one while the client had no server.
    Alone,
    /// There was one in this unit of the server's.
    In(u64),
}

const NAME: &[u8] = b"pgshunt:snapshot";

impl Session {
    /// A Parse of this text was answered without the server.
    pub(super) fn parse_unseen(&mut self, body: &[u8], backend: Option<&Backend>) {
        if self.unseen != Unseen::No {
            return;
        }
        let lex = self.lex();
        if cstr(body).is_some_and(|(text, _)| takes_snapshot(text, lex)) {
            self.unseen = backend.map_or(Unseen::Alone, |backend| Unseen::In(backend.pipeline.unit()));
        }
    }

    /// A unit has ended outside of a transaction block.
    pub(super) fn transaction_ended(&mut self, unit: u64) {
        if let Unseen::In(unseen) = self.unseen
            && unseen <= unit
        {
            self.unseen = Unseen::No;
        }
    }

    /// Before a text is run. False: what was sent before must be answered first.
    pub(super) fn comes_first(
        &mut self,
        text: &[u8],
        input: &[u8],
        backend: &mut Backend,
        sink: &mut Sink,
    ) -> bool {
        let (now, is_open) = (backend.pipeline.unit(), backend.pipeline.is_open());
        let unit = match self.unseen {
            Unseen::No => return true,
            Unseen::Alone => now,
            Unseen::In(unit) => unit,
        };
        if !sets_transaction(text, self.lex()) {
            return true;
        }
        if !is_open && !backend.is_silent() {
            return false;
        }
        // Of a unit that is not answered it can't be known whether its transaction goes on.
        let is_of_another = unit != now && backend.status == b'I';
        if is_of_another || backend.status == b'E' {
            return true;
        }
        self.unseen = Unseen::No;
        let out = sink.forward.made(input);
        reply::frame(out, b'C', |out| {
            out.push(b'S');
            reply::cstr(out, NAME);
        });
        reply::frame(out, b'P', |out| {
            reply::cstr(out, NAME);
            reply::cstr(out, b"SELECT");
            out.extend_from_slice(&[0, 0]);
        });
        backend.pipeline.push(Expect::OwnClose(0));
        backend.pipeline.push(Expect::OwnParse(Parsed::Nothing));
        true
    }

    /// The same before the unnamed statement is run.
    pub(super) fn unnamed_comes_first(
        &mut self,
        input: &[u8],
        backend: &mut Backend,
        sink: &mut Sink,
    ) -> bool {
        if self.unseen == Unseen::No {
            return true;
        }
        let body = std::mem::take(&mut self.unnamed.body);
        let text = cstr(&body).map_or(&body[..], |(text, _)| text);
        let goes_on = self.comes_first(text, input, backend, sink);
        self.unnamed.body = body;
        goes_on
    }
}
