//! What a client's messages mean.

use routing_rules::{Control, Effects, read, vacated};

use super::extended::names_nothing_yet;
use super::firsts::Unseen;
use super::ours::Replaced;
use super::pipeline::{Expect, Own};
use super::prepared::Statement;
use super::settings::change;
use super::{Backend, Desk, Next, Session, Sink, needs_settings};
use crate::fault::Fault;
use crate::protocol::frame::{self, HEADER, Header};
use crate::protocol::message::query_text;
use crate::protocol::{reply, sqlstate};
use std::rc::Rc;

/// What one frame led to.
pub(super) enum Went {
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
    pub(super) at: usize,
    pub(super) header: Header,
}

impl<'a> Frame<'a> {
    pub(super) fn have(&self) -> usize {
        (self.input.len() - self.at).min(self.header.total)
    }

    pub(super) fn is_whole(&self) -> bool {
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
pub(super) const SMALL_MAX: usize = 64 * 1024;

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
            if !frame.is_whole() && (!streams(header.kind) || names_nothing_yet(&frame)) {
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
                    if self.is_unit_sent() && !matches!(header.kind, b'X' | b'd' | b'c' | b'f') {
                        return (at, Next::Drain);
                    }
                    let went = self.with_server(&frame, backend, desk, sink);
                    self.awaits = matches!(went, Went::Not(Next::Drain)) && !backend.is_probed();
                    if matches!(went, Went::On) {
                        self.sent(header.kind);
                        if matches!(header.kind, b'c' | b'f') && !backend.pipeline.answers_query() {
                            self.copy_ended();
                        }
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
        if kind != b'X' && self.awaits_end_of_copy(backend) {
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
            && (in_doubt(frame, backend)
                || self.deallocates_in_doubt(frame, backend)
                || !backend.pipeline.owes_nothing_to_client() && self.tells_behind(kind, frame.body()))
        {
            return Went::Not(Next::Drain);
        }
        if self.must_know_before_sequences(frame, backend, desk) {
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
        if self.unseen == Unseen::Alone {
            self.unseen = Unseen::In(backend.pipeline.unit());
        }
        self.sends_to_copy(kind, backend);
        let was_copying = self.copy_in;
        if self.copy_in && !matches!(kind, b'd' | b'c' | b'f' | b'H' | b'S' | b'X') {
            // The server leaves copy mode over it, with an error; a Sync behind it counts.
            self.copy_in = false;
            self.early_syncs_are_void();
        }
        match kind {
            b'Q' => return self.query(frame, backend, desk, sink),
            b'P' => return self.parse(frame, backend, desk, sink),
            b'B' => return self.bind(frame, backend, desk, sink),
            b'D' => self.describe(frame, backend, desk, sink),
            b'C' => self.close(frame, backend, sink),
            b'E' => {
                self.executes_copy(frame.body(), backend);
                let handed_over = self.executes_a_deallocate(frame, backend, sink);
                self.forward(frame, backend, sink, Expect::Execute);
                if let Some(entry) = handed_over {
                    backend.pipeline.push(entry);
                }
                self.executes_the_end_of_all(frame.body(), backend);
            }
            b'F' => {
                self.due = true;
                self.touches_anything();
                self.forward(frame, backend, sink, Expect::FunctionCall);
            }
            b'S' if self.copy_in => {
                pass(frame, sink);
                self.syncs_early();
            }
            b'S' if self.may_copy() && !backend.pipeline.is_empty() => {
                self.presses_copy(frame.input, sink);
                return Went::Not(Next::Drain);
            }
            b'S' => {
                self.forward(frame, backend, sink, Expect::Sync);
                self.return_to_startup(frame.input, backend, sink);
            }
            // Malformed: an error, and everything up to the Sync is skipped.
            b'H' if frame.header.total > HEADER => self.forward(frame, backend, sink, Expect::Close),
            b'H' => pass(frame, sink),
            b'd' => pass(frame, sink),
            b'c' | b'f' => {
                pass(frame, sink);
                if self.copy_in {
                    self.copy_in = false;
                    self.ends_copy(frame.input, sink);
                } else if !backend.pipeline.is_empty() {
                    backend.pipeline.push(Expect::CopyEnd);
                }
            }
            b'X' => return Went::Not(self.goodbye(backend)),
            // A server in copy mode says more about it than that, or first answers what came before, and ends the session.
            _ if was_copying || !backend.pipeline.is_empty() => {
                self.forward(frame, backend, sink, Expect::Close);
            }
            kind => return Went::Not(Next::Fatal(unknown(kind))),
        }
        Went::On
    }

    /// What a client sent before its Terminate is answered before it leaves, as far as it ends with a Sync.
    fn goodbye(&self, backend: &Backend) -> Next {
        let pipeline = &backend.pipeline;
        let is_owed = pipeline.has_units_in_flight() && !pipeline.owes_nothing_to_client();
        if is_owed && !self.copy_in {
            Next::Drain
        } else {
            Next::Terminate
        }
    }

    /// Before the first frame of a unit: the client's settings and its BEGIN. True if their outcome must be awaited.
    fn prepare_unit(&mut self, frame: &Frame<'_>, backend: &mut Backend, sink: &mut Sink) -> bool {
        if !needs_settings(&self.settings, backend) && self.begin.is_none() {
            return false;
        }
        self.prepare(backend, sink.forward.made(frame.input))
    }

    /// The client's settings and its BEGIN go first. True if their outcome must be awaited.
    pub(super) fn prepare(&mut self, backend: &mut Backend, out: &mut Vec<u8>) -> bool {
        let mut wait = false;
        if needs_settings(&self.settings, backend)
            && let Some(change) = change(&backend.settings, &self.settings)
        {
            reply::query(out, &change.sql);
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
            out.extend_from_slice(&begin);
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
        if !self.comes_first(text, input, backend, sink) {
            self.script = Some(script);
            return Went::Not(Next::Drain);
        }
        self.before_sequences((text, script.effects), input, backend, desk, sink);
        self.touches(text);
        self.note_reset(text);
        self.note(script.effects, &script.custom_settings);
        if script.effects.contains(Effects::PROBE) {
            self.note_makes(text, false, backend);
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
        self.queries_copy(text, backend);
        self.forward(frame, backend, sink, Expect::Query);
        self.return_to_startup(input, backend, sink);
        Went::On
    }

    /// What is sent next ends the unnamed statement, unless an error comes first and it is skipped.
    pub(super) fn forget_unnamed(&mut self, backend: &mut Backend) {
        if self.unnamed.token != 0 && backend.pipeline.is_open() && !backend.pipeline.is_empty() {
            self.changes_unnamed();
            let before = (std::mem::take(&mut self.unnamed), backend.unnamed);
            backend
                .pipeline
                .push(Expect::Forgets(Box::new(before), self.unnamed_era));
            // Whether it is skipped is known with the end of the unit.
            backend.unnamed_unit = backend.pipeline.unit();
        } else if !backend.pipeline.is_open() {
            self.unnamed_era += 1;
        }
        self.unnamed.token = 0;
        backend.unnamed = 0;
    }

    pub(super) fn statement(&self, name: &[u8]) -> Option<Rc<Statement>> {
        self.prepared.as_ref()?.get(name).cloned()
    }

    pub(super) fn forward(
        &mut self,
        frame: &Frame<'_>,
        backend: &mut Backend,
        sink: &mut Sink,
        expect: Expect,
    ) {
        pass(frame, sink);
        backend.pipeline.push(expect);
    }
}

fn pass(frame: &Frame<'_>, sink: &mut Sink) {
    sink.forward.pass(frame.input, frame.at..frame.at + frame.have());
}

/// A unit begins while one before it is not answered: must its outcome be known first, because it says which statements
/// there are? A unit that begins with its own unnamed statement, as most do, does not mind the one before.
fn in_doubt(frame: &Frame<'_>, backend: &Backend) -> bool {
    let brings_its_own = frame.header.kind == b'P' && frame.body().first() == Some(&0);
    let unnamed = !brings_its_own && backend.pipeline.is_in_flight(backend.unnamed_unit);
    unnamed || backend.pipeline.renames_in_flight()
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

pub(super) fn unknown(kind: u8) -> Fault {
    violation(format!("invalid frontend message type {kind}"))
}
