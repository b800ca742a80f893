//! `currval` and `lastval` tell of this session, or of nobody: a server remembers whoever used its sequences last.

use routing_rules::{Effects, runs_nothing, sets_transaction};

use super::from_client::Frame;
use super::pipeline::{Expect, Own, Parsed};
use super::{Backend, Desk, Session, Sink};
use crate::protocol::message::cstr;
use crate::protocol::reply;

/// Whose values a server remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Remembers {
    /// This session's, or none.
    #[default]
    Own,
    /// Another session's.
    Strangers,
    /// Another session's, and this one has most likely added to them, before anybody of the pool was known to ask.
    Both,
}

/// Plain reads do not, unless they say so; whatever else there is may, by a default or a trigger.
fn may_call_nextval(text: &[u8]) -> bool {
    let first = text.iter().position(|byte| !byte.is_ascii_whitespace());
    let rest = &text[first.unwrap_or(text.len())..];
    let begins = |word: &&[u8]| rest.len() >= word.len() && rest[..word.len()].eq_ignore_ascii_case(word);
    let is_read = READS.iter().any(begins) || rest.is_empty();
    let is_nextval = |window: &[u8]| window[0] | 0x20 == NEXTVAL[0] && window.eq_ignore_ascii_case(NEXTVAL);
    !is_read || rest.windows(NEXTVAL.len()).any(is_nextval)
}

/// Is it an UPDATE or a DELETE? Those use sequences by a trigger at most.
fn only_changes(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let begins = |word: &[u8]| text.len() >= word.len() && text[..word.len()].eq_ignore_ascii_case(word);
    begins(b"update ") || begins(b"delete ")
}

const NEXTVAL: &[u8] = b"nextval";
const READS: [&[u8]; 9] = [
    b"select ",
    b"show ",
    b"begin",
    b"start ",
    b"set ",
    b"values ",
    b"fetch ",
    b"savepoint ",
    b"declare ",
];

impl Session {
    /// Before a statement that asks what the session did to sequences, or that adds to it: what a stranger left is
    /// discarded, so that the server answers 55000 in its own words. Only a pool in which somebody asks pays for that.
    pub(super) fn before_sequences(
        &mut self,
        (text, effects): (&[u8], Effects),
        input: &[u8],
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) {
        let asks = effects.contains(Effects::SEQUENCE_STATE);
        desk.statements.asks_sequences |= asks;
        if backend.remembers != Remembers::Strangers {
            return;
        }
        if !asks && !effects.contains(Effects::PROBE) && !may_call_nextval(text) {
            return;
        }
        let lex = self.lex();
        if !asks && (sets_transaction(text, lex) || runs_nothing(text, lex)) {
            // To discard takes the transaction's snapshot, and what must come before that would be refused; and a
            // transaction may have failed. The next text sees to it; what this one adds is then rather not known.
            return;
        }
        if !desk.statements.asks_sequences {
            // What a trigger of an UPDATE has done is rather not known (55000) than taken for a stranger's.
            if !only_changes(text) {
                backend.remembers = Remembers::Both;
            }
            return;
        }
        if backend.status == b'E' && !backend.pipeline.has_units_in_flight() {
            // Neither this nor that will be run.
            return;
        }
        backend.remembers = Remembers::Own;
        if backend.pipeline.may_skip() {
            return discard_in_batch(input, backend, sink);
        }
        reply::query(sink.forward.made(input), DISCARD);
        backend.pipeline.push(Expect::Own(Own::Clean));
        // A simple query ends the unnamed statement.
        backend.unnamed = 0;
    }
}

impl Session {
    /// May a transaction have failed by what is on its way? To discard in it what a stranger left would fail, in place of what
    /// the client asks and in other words: it must be known first.
    pub(super) fn must_know_before_sequences(
        &self,
        frame: &Frame<'_>,
        backend: &Backend,
        desk: &Desk<'_>,
    ) -> bool {
        let would_discard = backend.remembers == Remembers::Strangers && desk.statements.asks_sequences;
        // A server that may wait for COPY data answers nothing before it has them.
        let may_wait = self.copy_in || self.may_copy();
        if !would_discard || may_wait || !backend.pipeline.has_units_in_flight() {
            return false;
        }
        let kind = frame.header.kind;
        let runs = matches!(kind, b'Q' | b'P' | b'B');
        let text = self.text_meant(kind, frame.body()).filter(|_| runs);
        text.is_some_and(may_call_nextval)
    }

    /// The same before the unnamed statement.
    pub(super) fn before_unnamed_sequences(
        &mut self,
        input: &[u8],
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) {
        let body = std::mem::take(&mut self.unnamed.body);
        let text = cstr(&body).map_or(&body[..], |(text, _)| text);
        self.before_sequences((text, self.unnamed.effects), input, backend, desk, sink);
        self.unnamed.body = body;
    }
}

const DISCARD: &[u8] = b"DISCARD SEQUENCES";
const NAME: &[u8] = b"pgshunt:sequences";

/// By the extended protocol: a simple query would end the client's implicit transaction, and of one that the server skips with
/// the client's own nobody would know.
fn discard_in_batch(input: &[u8], backend: &mut Backend, sink: &mut Sink) {
    let out = sink.forward.made(input);
    reply::frame(out, b'P', |out| {
        reply::cstr(out, NAME);
        reply::cstr(out, DISCARD);
        out.extend_from_slice(&[0; 2]);
    });
    reply::frame(out, b'B', |out| {
        reply::cstr(out, NAME);
        reply::cstr(out, NAME);
        out.extend_from_slice(&[0; 6]);
    });
    reply::frame(out, b'E', |out| {
        reply::cstr(out, NAME);
        out.extend_from_slice(&[0; 4]);
    });
    for kind in [b'P', b'S'] {
        reply::frame(out, b'C', |out| {
            out.push(kind);
            reply::cstr(out, NAME);
        });
    }
    for expect in [
        Expect::OwnParse(Parsed::Nothing),
        Expect::OwnBind,
        Expect::OwnExecute,
        Expect::OwnClose(0),
        Expect::OwnClose(0),
    ] {
        backend.pipeline.push(expect);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_reads_add_nothing() {
        for (text, adds) in [
            (&b"select 1"[..], false),
            (b"  SELECT nextval('s')", true),
            (b"insert into t values (1)", true),
            (b"with a as (insert into t) select 1", true),
            (b"BEGIN", false),
            (b"", false),
        ] {
            assert_eq!(may_call_nextval(text), adds, "{}", String::from_utf8_lossy(text));
        }
    }
}
