//! A client's Parse, Bind, Describe and Close: its names for statements become the server's.

use routing_rules::{Control, Effects, read, vacated};

use super::described::{NOBODYS, make_nobodys};
use super::from_client::{Frame, SMALL_MAX, Went};
use super::ours::{LAST_ROUTE, Ours, Replaced};
use super::pin::Pin;
use super::pipeline::{Expect, Parse as ParseOwed, Parsed};
use super::prepared::{PREFIX, Statement, deallocates, server_name};
use super::{Backend, Desk, Next, Session, Sink};
use crate::protocol::frame::{self, HEADER};
use crate::protocol::message::{Bind, Named, Parse, cstr};
use crate::protocol::reply;

impl Session {
    /// DEALLOCATE of one of the client's own behind a batch without a Sync: the server does it, under its name for it.
    pub(super) fn deallocate_in_batch(
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

    pub(super) fn parse(
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

    pub(super) fn parse_as_it_is(
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
            match backend.pipeline.is_open() {
                true => self.changes_unnamed(),
                false => self.unnamed_era += 1,
            }
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
                self.note_makes(view.text, false, backend);
                self.vacates = vacated(view.text, self.lex());
                let is_one_deallocate = self.unnamed.deallocates.is_some();
                self.tell_own_names((view.text, is_one_deallocate), frame.input, backend, sink);
            }
            self.before_unnamed_sequences(frame.input, backend, desk, sink);
            *desk.tokens += 1;
            self.unnamed.token = *desk.tokens;
            backend.unnamed = *desk.tokens;
            backend.unnamed_unit = backend.pipeline.unit();
            return self.forward(frame, backend, sink, Expect::ParseUnnamed(*desk.tokens, before));
        }
        if let Some(statement) = self.statement(view.name) {
            // The server itself says that the name is taken, in its own words, about its own name for it.
            let is_held = backend.held.touch(statement.id);
            let id = if is_held { statement.id } else { NOBODYS };
            if !is_held {
                make_nobodys(0, frame.input, backend, sink);
            }
            // It reads the text before it looks at the name, so the text is the client's new one.
            write_parse(sink.forward.made(frame.input), id, view.rest);
            backend.pipeline.push(Expect::Parse(Box::new(ParseOwed {
                name: view.name.into(),
                stored: Parsed::Nothing,
            })));
            return;
        }
        let lex = self.lex();
        if self.pins.contains(Pin::SqlPrepare) || backend.pipeline.hands_over(view.name) {
            // SQL may have taken the name, or may go on to speak of it; or the server alone knows whether it is still there.
            let script = read(view.text, lex);
            if script.effects.contains(Effects::PROBE) {
                // Its Bind will not say what it is of.
                let told = (view.text, deallocates(&script.control).is_some());
                self.tell_own_names(told, frame.input, backend, sink);
            }
            return self.forward(frame, backend, sink, nothing());
        }
        let statement = desk.statements.intern(view.text, view.rest, lex);
        if statement.effects.contains(Effects::PROBE) {
            self.vacates = vacated(view.text, lex);
            // A Describe of it may be next, and a server describes an EXECUTE by what it runs.
            let told = (view.text, statement.deallocates.is_some());
            self.tell_own_names(told, frame.input, backend, sink);
        }
        self.changes_name(view.name);
        self.prepared
            .get_or_insert_default()
            .insert(view.name.into(), statement.clone());
        let is_held = backend.held.touch(statement.id);
        if is_held && (may_have_failed(backend) || self.may_end_copy()) {
            // In a failed transaction or amid COPY data this Parse must fail too: the server is made to run it again.
            write_named(sink.forward.made(frame.input), b'C', statement.id);
            backend.held.remove(statement.id);
            backend.pipeline.push(Expect::OwnClose(statement.id));
        } else if is_held {
            desk.totals.server_parse_count -= 1;
            self.parse_unseen(&statement.body, Some(backend));
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

    pub(super) fn bind(
        &mut self,
        frame: &Frame<'_>,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) -> Went {
        let Some(view) = Bind::read(frame.body()) else {
            self.forward(frame, backend, sink, Expect::Bind);
            return Went::On;
        };
        desk.totals.bind_count += 1;
        if view.statement.is_empty() {
            if !self.unnamed_comes_first(frame.input, backend, sink) {
                return Went::Not(Next::Drain);
            }
            if self.unnamed.token != backend.unnamed && self.unnamed_misbound(frame, backend, sink) {
                return Went::On;
            }
            self.touches_by_unnamed(frame.body().get(view.names_len..).unwrap_or_default());
            self.note_unnamed_reset();
            self.before_unnamed_sequences(frame.input, backend, desk, sink);
            self.note_unnamed_makes(!view.portal.is_empty(), backend);
            self.note(self.unnamed.effects, &[]);
            let deallocates = self.unnamed.deallocates.clone();
            self.binds_a_deallocate(view.portal, deallocates.as_deref(), backend);
            self.hold_unnamed(frame, backend, desk, sink);
            self.forward(frame, backend, sink, Expect::Bind);
            let body = std::mem::take(&mut self.unnamed.body);
            self.binds_copy(&body, view.portal);
            self.binds_the_end_of_all((&body, self.unnamed.effects), view.portal);
            self.unnamed.body = body;
            self.bound = None;
            return Went::On;
        }
        let Some(statement) = self.statement(view.statement) else {
            self.unknown_statement(view.statement, frame, backend, sink, Expect::Bind);
            return Went::On;
        };
        let text = cstr(&statement.body).map_or(&b""[..], |(text, _)| text);
        if !self.comes_first(text, frame.input, backend, sink) {
            return Went::Not(Next::Drain);
        }
        self.binds_copy(&statement.body, view.portal);
        if let Some(went) = self.mind_changes(&statement, frame, backend, desk, sink) {
            return went;
        }
        if !backend.held.has(statement.id) && self.misbound(&statement.body, frame, backend, sink) {
            return Went::On;
        }
        self.binds_the_end_of_all((&statement.body, statement.effects), view.portal);
        self.binds_a_deallocate(view.portal, statement.deallocates.as_deref(), backend);
        let is_wanted = statement.result.borrow().is_none();
        self.bound = is_wanted.then(|| (view.portal.into(), statement.clone()));
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
                let rest = frame.body().get(view.names_len..).unwrap_or_default();
                self.touches_bound(&statement.body, rest, statement.described.borrow().as_deref());
                if statement.effects.contains(Effects::PROBE) {
                    self.note_makes(text, !view.portal.is_empty(), backend);
                }
                self.note_reset(text);
                self.before_sequences((text, statement.effects), frame.input, backend, desk, sink);
            }
            self.note(statement.effects, &statement.custom);
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

    pub(super) fn describe(
        &mut self,
        frame: &Frame<'_>,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) {
        match Named::read(frame.body()) {
            Some(Named::Statement(b"")) => {
                if self.describe_unnamed_alone(backend, sink) {
                    return;
                }
                self.hold_unnamed(frame, backend, desk, sink);
                self.forward(frame, backend, sink, Expect::DescribeStatement(None));
            }
            Some(Named::Statement(name)) => {
                let Some(statement) = self.statement(name) else {
                    let expect = Expect::DescribeStatement(None);
                    return self.unknown_statement(name, frame, backend, sink, expect);
                };
                if self.describe_alone(&statement, backend, sink) {
                    return;
                }
                if statement.effects.contains(Effects::PROBE) {
                    let told = (&statement.body[..], statement.deallocates.is_some());
                    self.tell_own_names(told, frame.input, backend, sink);
                }
                self.hold(&statement, frame, backend, desk, sink);
                write_named(sink.forward.made(frame.input), b'D', statement.id);
                backend.pipeline.push(Expect::DescribeStatement(Some(statement)));
            }
            Some(Named::Portal(name)) => {
                let bound = self.bound.as_ref().filter(|(portal, _)| **portal == *name);
                let statement = bound.map(|(_, statement)| statement.clone());
                self.forward(frame, backend, sink, Expect::DescribePortal(statement));
            }
            None => self.forward(frame, backend, sink, Expect::DescribePortal(None)),
        }
    }

    pub(super) fn close(&mut self, frame: &Frame<'_>, backend: &mut Backend, sink: &mut Sink) {
        let Some(Named::Statement(name)) = Named::read(frame.body()) else {
            return self.forward(frame, backend, sink, Expect::Close);
        };
        if name.is_empty() {
            self.forget_unnamed(backend);
            return self.forward(frame, backend, sink, Expect::Close);
        }
        self.changes_name(name);
        let removed = self.prepared.as_mut().and_then(|map| map.remove_entry(name));
        let is_by_own_name = self.by_own_name.iter().any(|own| **own == *name);
        self.by_own_name.retain(|own| **own != *name);
        if is_by_own_name || removed.is_none() && !self.pins.is_empty() {
            self.forward(frame, backend, sink, Expect::Close);
            if let Some(removed) = removed {
                let owed = Expect::HandedOver(Box::new(removed), is_by_own_name);
                backend.pipeline.push(owed);
            }
            return;
        }
        if backend.is_silent() {
            reply::close_complete(&mut sink.back);
        } else {
            if self.may_end_copy() {
                // Amid COPY data it ends the session: the server must see one.
                write_of_none(sink.forward.made(frame.input), b'C');
                backend.pipeline.push(Expect::OwnClose(0));
            }
            backend.pipeline.push(Expect::SayClosed(removed.map(Box::new)));
        }
    }

    /// A statement the client never prepared by protocol: made by SQL PREPARE on a pinned server, or a mistake the
    /// server shall name. A name that looks like one of ours must not reach another client's statement.
    pub(super) fn unknown_statement(
        &mut self,
        name: &[u8],
        frame: &Frame<'_>,
        backend: &mut Backend,
        sink: &mut Sink,
        expect: Expect,
    ) {
        // What it does is not known here.
        self.due = true;
        self.touches_anything();
        if !name.starts_with(PREFIX) {
            return self.forward(frame, backend, sink, expect);
        }
        // A Describe of a name nobody has gives the very error the client is owed.
        write_of_none(sink.forward.made(frame.input), b'D');
        backend.pipeline.push(Expect::DescribeStatement(None));
        self.stream_drops = true;
    }

    /// Makes sure the server holds a statement.
    pub(super) fn hold(
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
    pub(super) fn hold_unnamed(
        &self,
        frame: &Frame<'_>,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) {
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
}

/// The name of the one statement that tells where the last one went, on every server.
const ROUTE_STATEMENT: &[u8] = b"pgshunt:route";

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

/// A Describe or a Close of a statement that there is not.
pub(super) fn write_of_none(out: &mut Vec<u8>, kind: u8) {
    reply::frame(out, kind, |out| out.extend_from_slice(b"Spgshunt:none\0"));
}

pub(super) fn write_named(out: &mut Vec<u8>, kind: u8, id: u64) {
    reply::frame(out, kind, |out| {
        out.push(b'S');
        server_name(out, id);
        out.push(0);
    });
}

/// Is this the beginning of a Bind that has not come to its statement's name? It may be a long one, and goes on in pieces then.
pub(super) fn names_nothing_yet(frame: &Frame<'_>) -> bool {
    frame.header.kind == b'B' && frame.have() < SMALL_MAX && Bind::read(frame.body()).is_none()
}
