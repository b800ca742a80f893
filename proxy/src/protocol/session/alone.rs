//! What a client's messages mean while it holds no server.

use routing_rules::{Control, read};

use super::firsts::Unseen;
use super::from_client::{Frame, Went, unknown};
use super::loose::no_transactions;
use super::ours::{LAST_ROUTE, Ours};
use super::{Desk, Next, Pooling, Session, Sink};
use crate::protocol::frame::HEADER;
use crate::protocol::message::{Bind, Named, Parse, query_text};
use crate::protocol::reply;

impl Session {
    /// A frame that comes while the client holds no server.
    pub(super) fn alone(&mut self, frame: &Frame<'_>, desk: &mut Desk<'_>, sink: &mut Sink) -> Went {
        let out = &mut sink.back;
        if let Some(refusal) = self.refusal.take() {
            out.extend_from_slice(&refusal);
            match frame.header.kind {
                b'Q' | b'F' | b'S' => self.ready_alone(out),
                _ => self.skip_to_sync = true,
            }
            self.script = None;
            return Went::On;
        }
        match frame.header.kind {
            b'X' => Went::Not(Next::Terminate),
            // Malformed: the server says so in its own words.
            b'S' | b'H' if frame.header.total > HEADER => Went::Not(Next::Server),
            b'S' => {
                self.skip_to_sync = false;
                self.ready_alone(out);
                Went::On
            }
            // As at a PostgreSQL (`ignore_till_sync`), a Query in between is not answered either.
            b'Q' | b'F' | b'P' | b'B' | b'D' | b'E' | b'C' if self.skip_to_sync => Went::On,
            b'H' | b'd' | b'c' | b'f' => Went::On,
            b'C' => match Named::read(frame.body()) {
                Some(Named::Statement(name)) if !name.is_empty() => {
                    self.prepared.as_mut().map(|map| map.remove(name));
                    reply::close_complete(out);
                    Went::On
                }
                _ => Went::Not(Next::Server),
            },
            b'Q' => self.query_alone(frame, desk, out),
            b'P' | b'B' if self.asks_alone(frame) => Went::Not(Next::Ours(Ours::LastRoute)),
            b'P' if self.parse_alone(frame, desk, out) => Went::On,
            b'P' | b'B' | b'D' | b'E' | b'F' => Went::Not(Next::Server),
            kind => Went::Not(Next::Fatal(unknown(kind))),
        }
    }

    /// The end of a unit without a server.
    fn ready_alone(&mut self, out: &mut Vec<u8>) {
        let status = self.status_alone();
        if status == b'I' {
            self.unseen = Unseen::No;
        }
        reply::ready_for_query(out, status);
    }

    /// Will this ask where the last statement went? Then that is looked up before the frame's own way is chosen.
    fn asks_alone(&self, frame: &Frame<'_>) -> bool {
        if self.is_answered() {
            return false;
        }
        match frame.header.kind {
            b'P' => Parse::read(frame.body()).is_some_and(|view| {
                let control = self.ours(view.text);
                matches!(control, Some(Control::ShowOurs { name }) if name == LAST_ROUTE)
            }),
            _ => Bind::read(frame.body())
                .and_then(|view| self.statement(view.statement))
                .is_some_and(|statement| statement.asks_route.get()),
        }
    }

    /// A Parse of a statement that a server has taken before: it needs none now.
    fn parse_alone(&mut self, frame: &Frame<'_>, desk: &mut Desk<'_>, out: &mut Vec<u8>) -> bool {
        let Some(view) = Parse::read(frame.body()) else {
            return false;
        };
        if view.name.is_empty() || self.statement(view.name).is_some() {
            return false;
        }
        let Some(statement) = desk.statements.proven(view.rest, &self.settings) else {
            return false;
        };
        self.prepared
            .get_or_insert_default()
            .insert(view.name.into(), statement.clone());
        self.parse_unseen(&statement.body, None);
        desk.totals.client_parse_count += 1;
        reply::parse_complete(out);
        true
    }

    /// A Query that may need no server: BEGIN, and the end of a transaction nothing ran in.
    fn query_alone(&mut self, frame: &Frame<'_>, desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Went {
        let Some(text) = query_text(frame.body()) else {
            return Went::Not(Next::Server);
        };
        if self.script.is_none() && Control::is_surely_none(text) {
            // It needs to be read only if the cache does not answer it.
            return Went::Not(Next::Server);
        }
        let lex = self.lex();
        let script = self.script.take().unwrap_or_else(|| read(text, lex));
        if let Some(answered) = self.answer_alone(&script.control, text, self.status_alone(), out) {
            return match answered {
                Ok(()) => {
                    desk.totals.query_count += 1;
                    self.unnamed.token = 0;
                    Went::On
                }
                Err(asks) => {
                    self.script = Some(script);
                    Went::Not(Next::Ours(asks))
                }
            };
        }
        let answer = match (&script.control, &self.begin) {
            (Control::Begin { .. }, None) if self.pooling == Pooling::Statements => {
                no_transactions().write(out);
                reply::ready_for_query(out, b'I');
                return Went::On;
            }
            // Behind a Parse, it may be refused.
            (Control::Begin { .. }, None) if self.unseen != Unseen::No => None,
            (Control::Begin { tag, .. }, None) => {
                let whole = &frame.input[frame.at..frame.at + frame.header.total];
                self.begin = Some(whole.into());
                Some(*tag)
            }
            (Control::Commit, Some(_)) => Some("COMMIT"),
            (Control::Rollback, Some(_)) => Some("ROLLBACK"),
            (Control::Deallocate { name }, _)
                if self
                    .prepared
                    .as_ref()
                    .is_some_and(|map| map.contains_key(&**name)) =>
            {
                self.prepared.as_mut().map(|map| map.remove(&**name));
                Some("DEALLOCATE")
            }
            _ => None,
        };
        let Some(tag) = answer else {
            self.script = Some(script);
            return Went::Not(Next::Server);
        };
        if matches!(script.control, Control::Commit | Control::Rollback) {
            self.begin = None;
            desk.totals.xact_count += 1;
        }
        desk.totals.query_count += 1;
        // As any Query, it ends the unnamed statement.
        self.unnamed.token = 0;
        reply::command_complete(out, tag);
        self.ready_alone(out);
        Went::On
    }
}
