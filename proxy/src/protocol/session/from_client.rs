//! What a client's messages mean.

use routing_rules::{Control, Effects, read, vacated};

use super::pin::Pin;

use super::loose::no_transactions;
use super::ours::{LAST_ROUTE, Ours, Replaced};
use super::pipeline::{Expect, Own, Parse as ParseOwed, Parsed};
use super::prepared::{PREFIX, Statement, deallocates, server_name};
use super::settings::change;
use super::{Backend, Desk, Next, Pooling, Session, Sink, needs_settings};
use crate::fault::Fault;
use crate::protocol::frame::{self, HEADER, Header};
use crate::protocol::message::{Bind, Named, Parse, cstr, query_text};
use crate::protocol::{reply, sqlstate};
use std::rc::Rc;

/// What one frame led to.
enum Went {
    /// It is dealt with.
    On,
    /// It must wait for this.
    Not(Next),
}

/// One frame, as far as it has come.
pub(super) struct Frame<'a> {
    /// All bytes at hand.
    pub(super) input: &'a [u8],
    /// Where the frame begins.
    at: usize,
    header: Header,
}

impl<'a> Frame<'a> {
    fn have(&self) -> usize {
        (self.input.len() - self.at).min(self.header.total)
    }

    fn is_whole(&self) -> bool {
        self.have() == self.header.total
    }

    pub(super) fn body(&self) -> &'a [u8] {
        &self.input[self.at + HEADER..self.at + self.have()]
    }
}

/// The frames that may be longer than a buffer and are passed as they come; all others are read whole.
fn streams(kind: u8) -> bool {
    matches!(kind, b'B' | b'd' | b'F')
}

/// The longest frame that is neither a statement nor data.
const SMALL_MAX: usize = 64 * 1024;

impl Session {
    /// Reads as many of a client's frames as can be dealt with now.
    ///
    /// Returns how many bytes of `input` are used up, and what is needed to go on. Without a `backend` it answers what
    /// needs none. `sink.forward` goes to the server, `sink.back` to the client.
    pub fn on_client(
        &mut self,
        input: &[u8],
        mut backend: Option<&mut Backend>,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) -> (usize, Next) {
        let mut at = 0;
        loop {
            if self.stream_left > 0 {
                let n = self.stream_left.min(input.len() - at);
                if backend.is_some() && !self.stream_drops {
                    sink.forward.pass(input, at..at + n);
                }
                self.stream_left -= n;
                at += n;
                if self.stream_left > 0 {
                    return (at, Next::More);
                }
            }
            let header = match frame::header(&input[at..]) {
                Ok(Some(header)) => header,
                Ok(None) => return (at, Next::More),
                Err(_) => return (at, Next::Fatal(violation("invalid message length"))),
            };
            if let Some(fault) = oversized(&header, desk.message_max) {
                return (at, Next::Fatal(fault));
            }
            let frame = Frame { input, at, header };
            if !frame.is_whole() && !streams(header.kind) {
                return (at, Next::More);
            }
            if backend.is_none()
                && matches!(header.kind, b'P' | b'B')
                && self.refusal.is_none()
                && !self.skip_to_sync
                && let Some(used) = self.begin_unit(&input[at..], desk, &mut sink.back)
            {
                at += used;
                continue;
            }
            self.stream_drops = false;
            let went = match backend.as_deref_mut() {
                Some(backend) => {
                    if self.is_unit_sent() && header.kind != b'X' {
                        return (at, Next::Drain);
                    }
                    let went = self.with_server(&frame, backend, desk, sink);
                    self.awaits = matches!(went, Went::Not(Next::Drain)) && !backend.is_probed();
                    if matches!(went, Went::On) {
                        self.sent(header.kind);
                    }
                    went
                }
                None => self.alone(&frame, desk, sink),
            };
            match went {
                Went::On => {
                    at += frame.have();
                    self.stream_left = header.total - frame.have();
                }
                Went::Not(next) => return (at, next),
            }
        }
    }

    /// A frame that comes while the client holds no server.
    fn alone(&mut self, frame: &Frame<'_>, desk: &mut Desk<'_>, sink: &mut Sink) -> Went {
        let out = &mut sink.back;
        if let Some(refusal) = self.refusal.take() {
            out.extend_from_slice(&refusal);
            match frame.header.kind {
                b'Q' | b'F' | b'S' => reply::ready_for_query(out, self.status_alone()),
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
                reply::ready_for_query(out, self.status_alone());
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
            .insert(view.name.into(), statement);
        desk.totals.client_parse_count += 1;
        reply::parse_complete(out);
        true
    }

    /// A Query that may need no server: BEGIN, and the end of a transaction nothing ran in.
    fn query_alone(&mut self, frame: &Frame<'_>, desk: &mut Desk<'_>, out: &mut Vec<u8>) -> Went {
        let Some(text) = query_text(frame.body()) else {
            return Went::Not(Next::Server);
        };
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
        reply::ready_for_query(out, self.status_alone());
        Went::On
    }

    /// A frame that comes while the client holds a server.
    fn with_server(
        &mut self,
        frame: &Frame<'_>,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) -> Went {
        let kind = frame.header.kind;
        if backend.is_probed() && kind != b'X' {
            return Went::Not(Next::Drain);
        }
        if backend.pipeline.skips()
            && matches!(
                kind,
                b'Q' | b'P' | b'B' | b'D' | b'E' | b'F' | b'C' | b'H' | b'd' | b'c' | b'f'
            )
        {
            // An error came before these bytes did: the server would skip them up to the Sync, so nothing of them is true.
            self.stream_drops = true;
            return Went::On;
        }
        if matches!(kind, b'P' | b'B' | b'D' | b'E' | b'C')
            && !backend.pipeline.is_open()
            && in_doubt(frame, backend)
        {
            return Went::Not(Next::Drain);
        }
        // A Flush asks for nothing, unless it is malformed and asks for an error.
        if (matches!(kind, b'Q' | b'P' | b'B' | b'D' | b'E' | b'F' | b'C' | b'S')
            || kind == b'H' && frame.header.total > HEADER)
            && backend.is_idle()
            && self.prepare_unit(frame, backend, sink)
        {
            return Went::Not(Next::Drain);
        }
        let was_copying = self.copy_in;
        if self.copy_in && !matches!(kind, b'd' | b'c' | b'f' | b'H' | b'S' | b'X') {
            // The server leaves copy mode over it, with an error; a Sync behind it counts.
            (self.copy_in, self.held_syncs) = (false, 0);
        }
        match kind {
            b'Q' => return self.query(frame, backend, desk, sink),
            b'P' => return self.parse(frame, backend, desk, sink),
            b'B' => return self.bind(frame, backend, desk, sink),
            b'D' => self.describe(frame, backend, desk, sink),
            b'C' => self.close(frame, backend, sink),
            b'E' => self.forward(frame, backend, sink, Expect::Execute),
            b'F' => {
                self.due = true;
                self.forward(frame, backend, sink, Expect::FunctionCall);
            }
            b'S' if self.copy_in => self.held_syncs += 1,
            b'S' => {
                self.forward(frame, backend, sink, Expect::Sync);
                self.return_to_startup(frame.input, backend, sink);
            }
            // Malformed: an error, and everything up to the Sync is skipped.
            b'H' if frame.header.total > HEADER => self.forward(frame, backend, sink, Expect::Close),
            b'H' => pass(frame, sink),
            b'd' | b'c' | b'f' if self.copy_in && self.held_syncs > 0 => {
                // The client goes on copying: its Sync was for nothing, as at a PostgreSQL in copy mode.
                self.held_syncs = 0;
                return self.with_server(frame, backend, desk, sink);
            }
            b'd' => pass(frame, sink),
            b'c' | b'f' => {
                pass(frame, sink);
                if self.copy_in {
                    self.copy_in = false;
                    self.held_syncs = 0;
                } else if !backend.pipeline.is_empty() {
                    backend.pipeline.push(Expect::CopyEnd);
                }
            }
            b'X' => return Went::Not(Next::Terminate),
            // A server in copy mode says more about it than that, before it ends the session.
            _ if was_copying => pass(frame, sink),
            kind => return Went::Not(Next::Fatal(unknown(kind))),
        }
        Went::On
    }

    /// Before the first frame of a unit: the client's settings and its BEGIN. True if their outcome must be awaited.
    fn prepare_unit(&mut self, frame: &Frame<'_>, backend: &mut Backend, sink: &mut Sink) -> bool {
        let mut wait = false;
        if needs_settings(&self.settings, backend)
            && let Some(change) = change(&backend.settings, &self.settings)
        {
            reply::query(sink.forward.made(frame.input), &change.sql);
            backend.pipeline.push(Expect::Own(Own::Settings));
            // A simple query ends the unnamed statement, ours no less than a client's.
            backend.unnamed = 0;
            for (name, _) in self.settings.iter().filter(|(name, _)| name.contains(&b'.')) {
                let name = String::from_utf8_lossy(name).into_owned();
                if !backend.custom.contains(&name) {
                    backend.custom.push(name);
                }
            }
            backend.settings = self.settings.clone();
            wait = change.may_fail;
        }
        if !wait && let Some(begin) = self.begin.take() {
            sink.forward.made(frame.input).extend_from_slice(&begin);
            backend.pipeline.push(Expect::Own(Own::Begin));
            backend.unnamed = 0;
        }
        wait
    }

    fn query(
        &mut self,
        frame: &Frame<'_>,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) -> Went {
        let input = frame.input;
        let script = match (self.script.take(), query_text(frame.body())) {
            (Some(script), _) => script,
            (None, Some(text)) => read(text, self.lex()),
            (None, None) => read(b"", self.lex()),
        };
        if let Control::Deallocate { name } = &script.control {
            // Behind an open batch there is nothing to wait for: what it holds comes with the Sync.
            if !backend.pipeline.is_empty() && !backend.pipeline.is_open() {
                self.script = Some(script);
                return Went::Not(Next::Drain);
            }
            let is_by_own_name = self.by_own_name.iter().any(|own| **own == **name);
            let is_ours = self
                .prepared
                .as_ref()
                .is_some_and(|map| map.contains_key(&**name));
            let is_still = backend.is_silent() && !backend.pipeline.is_open() && backend.status != b'E';
            if is_by_own_name && is_still {
                self.prepared.as_mut().map(|map| map.remove(&**name));
                self.by_own_name.retain(|own| **own != **name);
            } else if is_ours && is_still {
                self.prepared.as_mut().map(|map| map.remove(&**name));
                self.unnamed.token = 0;
                reply::command_complete(&mut sink.back, "DEALLOCATE");
                reply::ready_for_query(&mut sink.back, backend.status);
                return Went::On;
            } else if is_ours && !is_by_own_name && backend.pipeline.is_open() && backend.status != b'E' {
                self.deallocate_in_batch(name, frame, backend, desk, sink);
                return Went::On;
            }
        }
        if script.effects.contains(Effects::PROBE) {
            self.vacates = query_text(frame.body()).and_then(|text| vacated(text, self.lex()));
            let is_one_deallocate = matches!(script.control, Control::Deallocate { .. });
            if !self.tell_own_names((frame.body(), is_one_deallocate), input, backend, sink) {
                self.script = Some(script);
                return Went::Not(Next::Drain);
            }
        }
        let text = query_text(frame.body()).unwrap_or_default();
        let replaced = match self.replaced(&script.control, text) {
            Replaced::Not => None,
            Replaced::By(sql) => Some(sql),
            Replaced::Asks(asks) => {
                self.script = Some(script);
                return Went::Not(Next::Ours(asks));
            }
        };
        self.before_sequences((text, script.effects), input, backend, sink);
        self.note_reset(text);
        self.note(script.effects, &script.custom_settings);
        if script.effects.contains(Effects::PROBE) {
            // It may be a DISCARD ALL.
            backend.pipeline.may_rename();
        }
        if let Some(sql) = replaced {
            self.forget_unnamed(backend);
            reply::query(sink.forward.made(frame.input), &sql);
            backend.pipeline.push(Expect::Query);
            return Went::On;
        }
        if query_text(frame.body()).is_some() {
            // A malformed one never gets as far as to end it.
            self.forget_unnamed(backend);
        }
        self.forward(frame, backend, sink, Expect::Query);
        self.return_to_startup(input, backend, sink);
        Went::On
    }

    /// DEALLOCATE of one of the client's own behind a batch without a Sync: the server does it, under its name for it.
    fn deallocate_in_batch(
        &mut self,
        name: &[u8],
        frame: &Frame<'_>,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) {
        let removed = self.prepared.as_mut().and_then(|map| map.remove_entry(name));
        let Some((name, statement)) = removed else { return };
        self.hold(&statement, frame, backend, desk, sink);
        self.forget_unnamed(backend);
        backend.held.remove(statement.id);
        let mut text = b"DEALLOCATE \"".to_vec();
        server_name(&mut text, statement.id);
        text.push(b'"');
        reply::query(sink.forward.made(frame.input), &text);
        if !backend.pipeline.is_empty() {
            backend.pipeline.push(Expect::Gone(Box::new((name, statement))));
        }
        backend.pipeline.push(Expect::Query);
    }

    fn parse(
        &mut self,
        frame: &Frame<'_>,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) -> Went {
        let ours = Parse::read(frame.body()).and_then(|view| {
            let control = self.ours(view.text)?;
            Some((view, control))
        });
        let Some((view, control)) = ours else {
            self.parse_as_it_is(frame, backend, desk, sink);
            return Went::On;
        };
        let sql = match self.replaced(&control, view.text) {
            Replaced::Not => {
                self.parse_as_it_is(frame, backend, desk, sink);
                return Went::On;
            }
            Replaced::Asks(asks) => return Went::Not(Next::Ours(asks)),
            Replaced::By(sql) => sql,
        };
        // What was passed so far is settled, so that another input can take its turn.
        sink.forward.made(frame.input);
        let mut made = Vec::new();
        write_parse_as(&mut made, view.name, &sql);
        if let Ok(Some(header)) = frame::header(&made) {
            let inner = Frame {
                input: &made,
                at: 0,
                header,
            };
            self.parse_as_it_is(&inner, backend, desk, sink);
            sink.forward.made(&made);
        }
        if matches!(&control, Control::ShowOurs { name } if name == LAST_ROUTE)
            && let Some(statement) = self.statement(view.name)
        {
            statement.asks_route.set(true);
        }
        Went::On
    }

    fn parse_as_it_is(
        &mut self,
        frame: &Frame<'_>,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) {
        desk.totals.client_parse_count += 1;
        desk.totals.server_parse_count += 1;
        let nothing = || {
            Expect::Parse(Box::new(ParseOwed {
                name: Box::default(),
                stored: Parsed::Nothing,
            }))
        };
        let Some(view) = Parse::read(frame.body()) else {
            return self.forward(frame, backend, sink, nothing());
        };
        if view.name.is_empty() {
            // Should an error come first, the one before is still there.
            let before = (backend.pipeline.is_open() && self.unnamed.token != 0)
                .then(|| Box::new((std::mem::take(&mut self.unnamed), backend.unnamed)));
            if self.unnamed.body != view.rest {
                let script = read(view.text, self.lex());
                self.unnamed.body.clear();
                self.unnamed.body.extend_from_slice(view.rest);
                self.unnamed.effects = script.effects;
                self.unnamed.deallocates = deallocates(&script.control);
                self.follow(&script.custom_settings);
            }
            if self.unnamed.effects.contains(Effects::PROBE) {
                self.vacates = vacated(view.text, self.lex());
                let is_one_deallocate = self.unnamed.deallocates.is_some();
                self.tell_own_names((view.text, is_one_deallocate), frame.input, backend, sink);
            }
            self.before_unnamed_sequences(frame.input, backend, sink);
            *desk.tokens += 1;
            self.unnamed.token = *desk.tokens;
            backend.unnamed = *desk.tokens;
            backend.unnamed_unit = backend.pipeline.unit();
            return self.forward(frame, backend, sink, Expect::ParseUnnamed(*desk.tokens, before));
        }
        if let Some(statement) = self.statement(view.name) {
            // The server itself says that the name is taken, in its own words, about its own name for it.
            self.hold(&statement, frame, backend, desk, sink);
            // It reads the text before it looks at the name, so the text is the client's new one.
            write_parse(sink.forward.made(frame.input), statement.id, view.rest);
            backend.pipeline.push(Expect::Parse(Box::new(ParseOwed {
                name: view.name.into(),
                stored: Parsed::Nothing,
            })));
            return;
        }
        if self.pins.contains(Pin::SqlPrepare) {
            // SQL may have taken the name, or may go on to speak of it.
            return self.forward(frame, backend, sink, nothing());
        }
        let lex = self.lex();
        let statement = desk.statements.intern(view.text, view.rest, lex);
        if statement.effects.contains(Effects::PROBE) {
            self.vacates = vacated(view.text, lex);
            // A Describe of it may be next, and a server describes an EXECUTE by what it runs.
            let told = (view.text, statement.deallocates.is_some());
            self.tell_own_names(told, frame.input, backend, sink);
        }
        self.prepared
            .get_or_insert_default()
            .insert(view.name.into(), statement.clone());
        let is_held = backend.held.touch(statement.id);
        if is_held && may_have_failed(backend) {
            // In a failed transaction this Parse must fail too: the server is made to run it again.
            write_named(sink.forward.made(frame.input), b'C', statement.id);
            backend.held.remove(statement.id);
            backend.pipeline.push(Expect::OwnClose(statement.id));
        } else if is_held {
            desk.totals.server_parse_count -= 1;
            if backend.is_silent() {
                reply::parse_complete(&mut sink.back);
            } else {
                backend.pipeline.push(Expect::SayParsed(view.name.into()));
            }
            return;
        }
        make_room(frame, backend, desk, sink);
        backend.held.insert(statement.id);
        write_parse(sink.forward.made(frame.input), statement.id, &statement.body);
        let owed = ParseOwed {
            name: view.name.into(),
            stored: Parsed::Named(statement.id),
        };
        backend.pipeline.push(Expect::Parse(Box::new(owed)));
    }

    fn bind(
        &mut self,
        frame: &Frame<'_>,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) -> Went {
        let Some(view) = Bind::read(frame.body()) else {
            if !frame.is_whole() && frame.have() < SMALL_MAX {
                return Went::Not(Next::More);
            }
            self.forward(frame, backend, sink, Expect::Bind);
            return Went::On;
        };
        desk.totals.bind_count += 1;
        if view.statement.is_empty() {
            self.note_unnamed_reset();
            self.before_unnamed_sequences(frame.input, backend, sink);
            self.note(self.unnamed.effects, &[]);
            if let Some(name) = self.unnamed.deallocates.clone() {
                self.hand_over(&name, frame.input, backend, sink);
            }
            self.hold_unnamed(frame, backend, desk, sink);
            self.forward(frame, backend, sink, Expect::Bind);
            return Went::On;
        }
        let Some(statement) = self.statement(view.statement) else {
            self.unknown_statement(view.statement, frame, backend, sink, Expect::Bind);
            return Went::On;
        };
        let mut names = Vec::with_capacity(view.portal.len() + 32);
        reply::cstr(&mut names, view.portal);
        if statement.asks_route.get() {
            let Some(sql) = self.answer_sql() else {
                return Went::Not(Next::Ours(Ours::LastRoute));
            };
            let out = sink.forward.made(frame.input);
            reply::frame(out, b'C', |out| {
                out.push(b'S');
                reply::cstr(out, ROUTE_STATEMENT);
            });
            write_parse_as(out, ROUTE_STATEMENT, &sql);
            backend.pipeline.push(Expect::OwnClose(0));
            backend.pipeline.push(Expect::OwnParse(Parsed::Nothing));
            reply::cstr(&mut names, ROUTE_STATEMENT);
        } else {
            if statement.effects.contains(Effects::PROBE) {
                let told = (&statement.body[..], statement.deallocates.is_some());
                self.tell_own_names(told, frame.input, backend, sink);
            }
            if let Some((text, _)) = cstr(&statement.body) {
                self.note_reset(text);
                self.before_sequences((text, statement.effects), frame.input, backend, sink);
            }
            self.note(statement.effects, &statement.custom);
            if let Some(name) = &statement.deallocates {
                self.hand_over(name, frame.input, backend, sink);
            }
            self.hold(&statement, frame, backend, desk, sink);
            server_name(&mut names, statement.id);
            names.push(0);
        }
        let length = frame.header.total - 1 - view.names_len + names.len();
        let out = sink.forward.made(frame.input);
        out.push(b'B');
        out.extend_from_slice(&(length as u32).to_be_bytes());
        out.extend_from_slice(&names);
        let rest = frame.at + HEADER + view.names_len;
        sink.forward.pass(frame.input, rest..frame.at + frame.have());
        backend.pipeline.push(Expect::Bind);
        Went::On
    }

    fn describe(&mut self, frame: &Frame<'_>, backend: &mut Backend, desk: &mut Desk<'_>, sink: &mut Sink) {
        match Named::read(frame.body()) {
            Some(Named::Statement(b"")) => {
                self.hold_unnamed(frame, backend, desk, sink);
                self.forward(frame, backend, sink, Expect::DescribeStatement);
            }
            Some(Named::Statement(name)) => {
                let Some(statement) = self.statement(name) else {
                    return self.unknown_statement(name, frame, backend, sink, Expect::DescribeStatement);
                };
                if statement.effects.contains(Effects::PROBE) {
                    let told = (&statement.body[..], statement.deallocates.is_some());
                    self.tell_own_names(told, frame.input, backend, sink);
                }
                self.hold(&statement, frame, backend, desk, sink);
                write_named(sink.forward.made(frame.input), b'D', statement.id);
                backend.pipeline.push(Expect::DescribeStatement);
            }
            Some(Named::Portal(_)) | None => self.forward(frame, backend, sink, Expect::DescribePortal),
        }
    }

    fn close(&mut self, frame: &Frame<'_>, backend: &mut Backend, sink: &mut Sink) {
        let Some(Named::Statement(name)) = Named::read(frame.body()) else {
            return self.forward(frame, backend, sink, Expect::Close);
        };
        if name.is_empty() {
            self.forget_unnamed(backend);
            return self.forward(frame, backend, sink, Expect::Close);
        }
        let removed = self.prepared.as_mut().and_then(|map| map.remove_entry(name));
        let is_by_own_name = self.by_own_name.iter().any(|own| **own == *name);
        self.by_own_name.retain(|own| **own != *name);
        if is_by_own_name || removed.is_none() && !self.pins.is_empty() {
            return self.forward(frame, backend, sink, Expect::Close);
        }
        if backend.is_silent() {
            reply::close_complete(&mut sink.back);
        } else {
            backend.pipeline.push(Expect::SayClosed(removed.map(Box::new)));
        }
    }

    /// What is sent next ends the unnamed statement, unless an error comes first and it is skipped.
    fn forget_unnamed(&mut self, backend: &mut Backend) {
        if self.unnamed.token != 0 && backend.pipeline.is_open() && !backend.pipeline.is_empty() {
            let before = (std::mem::take(&mut self.unnamed), backend.unnamed);
            backend.pipeline.push(Expect::Forgets(Box::new(before)));
            // Whether it is skipped is known with the end of the unit.
            backend.unnamed_unit = backend.pipeline.unit();
        }
        self.unnamed.token = 0;
        backend.unnamed = 0;
    }

    fn statement(&self, name: &[u8]) -> Option<Rc<Statement>> {
        self.prepared.as_ref()?.get(name).cloned()
    }

    /// A statement the client never prepared by protocol: made by SQL PREPARE on a pinned server, or a mistake the
    /// server shall name. A name that looks like one of ours must not reach another client's statement.
    fn unknown_statement(
        &mut self,
        name: &[u8],
        frame: &Frame<'_>,
        backend: &mut Backend,
        sink: &mut Sink,
        expect: Expect,
    ) {
        // What it does is not known here.
        self.due = true;
        if !name.starts_with(PREFIX) {
            return self.forward(frame, backend, sink, expect);
        }
        // A Describe of a name nobody has gives the very error the client is owed.
        reply::frame(sink.forward.made(frame.input), b'D', |out| {
            out.extend_from_slice(b"Spgshunt:none\0")
        });
        backend.pipeline.push(Expect::DescribeStatement);
        self.stream_drops = true;
    }

    /// Makes sure the server holds a statement.
    fn hold(
        &self,
        statement: &Statement,
        frame: &Frame<'_>,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) {
        if backend.held.touch(statement.id) {
            return;
        }
        make_room(frame, backend, desk, sink);
        write_parse(sink.forward.made(frame.input), statement.id, &statement.body);
        backend.held.insert(statement.id);
        backend
            .pipeline
            .push(Expect::OwnParse(Parsed::Named(statement.id)));
        desk.totals.server_parse_count += 1;
    }

    /// Makes sure the server's unnamed statement is this client's.
    fn hold_unnamed(&self, frame: &Frame<'_>, backend: &mut Backend, desk: &mut Desk<'_>, sink: &mut Sink) {
        let token = self.unnamed.token;
        if token == 0 {
            // The client has none, so it must meet none: not what another client left there.
            reply::frame(sink.forward.made(frame.input), b'C', |out| {
                out.extend_from_slice(b"S\0")
            });
            backend.unnamed = 0;
            backend.pipeline.push(Expect::OwnClose(0));
            return;
        }
        if token == backend.unnamed {
            return;
        }
        reply::frame(sink.forward.made(frame.input), b'P', |out| {
            out.push(0);
            out.extend_from_slice(&self.unnamed.body);
        });
        backend.unnamed = token;
        backend.unnamed_unit = backend.pipeline.unit();
        backend.pipeline.push(Expect::OwnParse(Parsed::Unnamed(token)));
        desk.totals.server_parse_count += 1;
    }

    fn forward(&mut self, frame: &Frame<'_>, backend: &mut Backend, sink: &mut Sink, expect: Expect) {
        pass(frame, sink);
        backend.pipeline.push(expect);
    }
}

fn pass(frame: &Frame<'_>, sink: &mut Sink) {
    sink.forward.pass(frame.input, frame.at..frame.at + frame.have());
}

/// Closes the least recently used statement of a server that holds all it may.
fn make_room(frame: &Frame<'_>, backend: &mut Backend, desk: &Desk<'_>, sink: &mut Sink) {
    let before = if backend.pipeline.is_empty() {
        backend.held.now()
    } else {
        backend.batch_began
    };
    if let Some(id) = backend.held.victim(desk.held_max, before) {
        write_named(sink.forward.made(frame.input), b'C', id);
        backend.held.remove(id);
        backend.pipeline.push(Expect::OwnClose(id));
    }
    if backend.pipeline.is_empty() {
        backend.batch_began = before;
    }
}

/// A unit begins while one before it is not answered: must its outcome be known first, because it says which statements
/// there are? A unit that begins with its own unnamed statement, as most do, does not mind the one before.
fn in_doubt(frame: &Frame<'_>, backend: &Backend) -> bool {
    let brings_its_own = frame.header.kind == b'P' && frame.body().first() == Some(&0);
    let unnamed = !brings_its_own && backend.pipeline.is_in_flight(backend.unnamed_unit);
    unnamed || backend.pipeline.renames_in_flight()
}

/// Is the transaction failed, or could it be by the time the server reads what is sent now?
fn may_have_failed(backend: &Backend) -> bool {
    backend.status == b'E' || backend.pipeline.has_units_in_flight()
}

fn write_parse(out: &mut Vec<u8>, id: u64, body: &[u8]) {
    reply::frame(out, b'P', |out| {
        server_name(out, id);
        out.push(0);
        out.extend_from_slice(body);
    });
}

/// A Parse of a text of our own, without parameters.
fn write_parse_as(out: &mut Vec<u8>, name: &[u8], sql: &[u8]) {
    reply::frame(out, b'P', |out| {
        reply::cstr(out, name);
        reply::cstr(out, sql);
        out.extend_from_slice(&[0, 0]);
    });
}

/// The name of the one statement that tells where the last one went, on every server.
const ROUTE_STATEMENT: &[u8] = b"pgshunt:route";

fn write_named(out: &mut Vec<u8>, kind: u8, id: u64) {
    reply::frame(out, kind, |out| {
        out.push(b'S');
        server_name(out, id);
        out.push(0);
    });
}

fn oversized(header: &Header, message_max: usize) -> Option<Fault> {
    let max = match header.kind {
        b'Q' | b'P' | b'B' | b'F' | b'd' => message_max,
        _ => SMALL_MAX,
    };
    (header.total > max).then(|| {
        let text = format!(
            "a message of {} bytes is longer than pgshunt takes ({max})",
            header.total
        );
        Fault::fatal(sqlstate::PROGRAM_LIMIT, text).hint("Raise max_packet_size in [limits].")
    })
}

fn violation(text: impl Into<String>) -> Fault {
    Fault::fatal(sqlstate::PROTOCOL_VIOLATION, text)
}

fn unknown(kind: u8) -> Fault {
    violation(format!("invalid frontend message type {kind}"))
}
