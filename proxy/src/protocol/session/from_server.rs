//! What a server's messages mean.

use super::failed::is_fatal;
use super::makes::changes_schema;
use super::pin::Pin;
use super::pipeline::{Expect, Own};
use super::replica::{Cannot, of_replicas};
use super::{Backend, Desk, Heard, Pooling, Session, Sink, reported};
use crate::protocol::frame::{self, HEADER, Header};
use crate::protocol::message::error_field;
use crate::protocol::reply;

/// The longest message that is read whole: errors, notices, tags.
pub(super) const WHOLE_MAX: usize = 1 << 20;

/// What is looked at of a longer error: severity and SQLSTATE stand at the front.
const ERROR_FRONT: usize = 4096;

/// The longest frame of which nothing is passed on before all of it is there: so if the server dies in the middle of it, the
/// client's line is between two frames, and what happened can be said. A longer one is passed as it comes; cut, it can only
/// be followed by the end of the line.
pub const ENTIRE_MAX: usize = 32 * 1024;

/// The frames that are looked into, and so must be whole.
fn is_read(kind: u8) -> bool {
    matches!(
        kind,
        b'Z' | b'E' | b'A' | b'S' | b'C' | b'1' | b'2' | b'3' | b'n' | b'I' | b's'
    )
}

/// A frame of a server's, as far as it has come.
pub(super) struct Heading<'a> {
    pub(super) header: Header,
    pub(super) body: &'a [u8],
    pub(super) input: &'a [u8],
}

/// Where a frame goes.
pub(super) enum To {
    Client,
    Nobody,
    Elsewhere(Cannot),
    Broken(&'static str),
}

impl Session {
    /// Reads as many of a server's frames as are at hand. `sink.forward` goes to the client, `sink.back` to the server.
    ///
    /// Returns how many bytes of `input` are used up, and what they amount to.
    pub fn on_server(
        &mut self,
        input: &[u8],
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) -> (usize, Heard) {
        let mut at = 0;
        loop {
            if backend.stream_left > 0 {
                let n = backend.stream_left.min(input.len() - at);
                if backend.stream_passes {
                    sink.forward.pass(input, at..at + n);
                }
                backend.stream_left -= n;
                at += n;
                if backend.stream_left > 0 {
                    return (at, Heard::Going);
                }
                self.speak(input, backend, sink);
            }
            let header = match frame::header(&input[at..]) {
                Ok(Some(header)) => header,
                Ok(None) => return (at, Heard::Going),
                Err(_) => return (at, Heard::Broken("a message of impossible length")),
            };
            let have = header.total.min(input.len() - at);
            let probing = header.kind == b'D' && backend.is_probed();
            let is_long_error = header.kind == b'E' && header.total > WHOLE_MAX && have >= ERROR_FRONT;
            let is_whole = is_read(header.kind) || probing;
            if have < header.total && (is_whole || header.total <= ENTIRE_MAX) && !is_long_error {
                if header.total > WHOLE_MAX && header.kind != b'E' {
                    return (at, Heard::Broken("a status message too long to be one"));
                }
                return (at, Heard::Going);
            }
            let body = &input[at + HEADER.min(have)..at + have];
            let frame = Heading { header, body, input };
            let to = self.hear(&frame, backend, desk, sink);
            match to {
                To::Client => sink.forward.pass(input, at..at + have),
                To::Nobody => {}
                To::Elsewhere(cannot) => return (at, Heard::Elsewhere(cannot)),
                To::Broken(why) => return (at, Heard::Broken(why)),
            }
            backend.stream_passes = matches!(to, To::Client);
            backend.stream_left = header.total - have;
            at += have;
            if let Some(heard) = self.after(&header, body, input, backend, sink) {
                return (at, heard);
            }
        }
    }

    /// Takes note of a frame and says whose it is.
    fn hear(
        &mut self,
        frame: &Heading<'_>,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        sink: &mut Sink,
    ) -> To {
        let Heading { header, body, .. } = *frame;
        let own = matches!(backend.pipeline.head(), Some(Expect::Own(_)));
        if !own {
            self.is_heard_by(header.kind);
        }
        if header.kind == b't' {
            note_types(frame, backend);
        }
        if header.kind == b'E'
            && self.is_unheard()
            && let Some(cannot) = of_replicas(body)
        {
            return To::Elsewhere(cannot);
        }
        match header.kind {
            b'D' if own => self.own_row(body, backend),
            b'D' | b'd' | b'c' | b'V' | b'H' | b'W' => To::Client,
            b'A' => self.notification(frame, backend, sink),
            b'N' if own => To::Nobody,
            b'N' => To::Client,
            b'S' => {
                reported::note(&mut backend.reported, body);
                if own {
                    return To::Nobody;
                }
                reported::note(&mut self.reported, body);
                self.keep_reported(body, backend);
                To::Client
            }
            b'E' => {
                if error_field(body, b'R') == Some(b"RevalidateCachedQuery") {
                    // "cached plan must not change result type": the schema changed behind our back.
                    desk.statements.schema().changed(true);
                }
                self.error(frame, backend, sink)
            }
            b'Z' => self.ready(body, backend, desk),
            _ if own => To::Nobody,
            b'G' => {
                self.hears_of_copy(backend);
                self.copy_in = backend.pipeline.copy_in();
                To::Client
            }
            b'C' if self.due || self.pooling != Pooling::Faithful => {
                self.keep_reset(body, backend);
                let ends_all = body == b"DISCARD ALL\0" || body == b"DEALLOCATE ALL\0";
                if ends_all && !backend.pipeline.ends_all() {
                    self.forget_prepared(backend);
                }
                if changes_schema(body) {
                    let names = self.changes_names(body);
                    self.defines = self.defines.max(self.makes_now(names));
                    self.makes_now(names).tell(desk.statements.schema());
                }
                self.completed(header.kind, backend)
            }
            kind => {
                if matches!(kind, b'T' | b'n') && body.len() + HEADER == header.total {
                    self.keep_description(kind, body, backend);
                }
                self.completed(kind, backend)
            }
        }
    }

    /// A notification names the process that sent it. The session's own process is the one it was told of at login.
    fn notification(&mut self, frame: &Heading<'_>, backend: &Backend, sink: &mut Sink) -> To {
        let Some((sender, rest)) = frame.body.split_first_chunk::<4>() else {
            // A client can make of it what it likes.
            return To::Client;
        };
        if self.pid == 0 || i32::from_be_bytes(*sender) != backend.pid {
            return To::Client;
        }
        reply::frame(sink.forward.made(frame.input), b'A', |out| {
            out.extend_from_slice(&self.pid.to_be_bytes());
            out.extend_from_slice(rest);
        });
        To::Nobody
    }

    fn own_row(&mut self, body: &[u8], backend: &mut Backend) -> To {
        let login = backend.login.clone();
        if let Some(report) = &mut backend.report
            && report.row(body, &login).is_err()
        {
            backend.own_failed = true;
        }
        To::Nobody
    }

    /// An answer that ends what the head of the queue waits for.
    fn completed(&mut self, kind: u8, backend: &mut Backend) -> To {
        let Some(head) = backend.pipeline.head() else {
            return To::Broken("an answer nobody asked for");
        };
        let (to, ends) = match (kind, head) {
            (b'1', Expect::Parse(_) | Expect::ParseUnnamed(..)) => (To::Client, true),
            (b'1', Expect::OwnParse(_) | Expect::Told(_)) => (To::Nobody, true),
            (b'2', Expect::Bind | Expect::Misbound(_)) | (b'3', Expect::Close) => (To::Client, true),
            (b'3', Expect::OwnClose(_)) | (b'2', Expect::OwnBind) | (b'C', Expect::OwnExecute) => {
                (To::Nobody, true)
            }
            (b't', Expect::DescribeStatement(_)) => (To::Client, false),
            (b'T' | b'n', Expect::DescribeStatement(_) | Expect::DescribePortal(_)) => (To::Client, true),
            (b't', Expect::OwnDescribe(..)) => (To::Nobody, false),
            (b'T' | b'n', Expect::OwnDescribe(..)) => (To::Nobody, true),
            (b'C' | b'I' | b's', Expect::Execute) => (To::Client, true),
            (b'I', Expect::EarlySyncs { .. }) => (To::Nobody, true),
            (b'T' | b'C' | b'I', Expect::Query) => (To::Client, false),
            _ => return To::Broken("an answer out of order"),
        };
        if ends && let Some(Expect::Parse(parse)) = backend.pipeline.pop() {
            self.proven(&parse.name);
        }
        to
    }

    /// A server took the statement the client knows by this name.
    fn proven(&self, name: &[u8]) {
        if let Some(statement) = self.prepared.as_ref().and_then(|map| map.get(name)) {
            *statement.proven.borrow_mut() = Some(self.settings.clone());
        }
    }

    fn ready(&mut self, body: &[u8], backend: &mut Backend, desk: &mut Desk<'_>) -> To {
        self.hears_of_copy(backend);
        let &[status @ (b'I' | b'T' | b'E')] = body else {
            return To::Broken("a ReadyForQuery without a status");
        };
        backend.status = status;
        self.was_reset = false;
        if status == b'I' {
            self.portals_ended();
        }
        if status != b'I' && self.pooling == Pooling::Statements {
            return To::Broken("transaction blocks are not allowed in statement mode");
        }
        if let Some(counts) = backend.pipeline.counts_ready() {
            return if counts { To::Client } else { To::Nobody };
        }
        let unit = backend.pipeline.unit_heard();
        self.unit_ended_copy(unit);
        if status == b'I' {
            self.deallocates_no_more(unit);
        }
        match backend.pipeline.pop() {
            Some(Expect::Query | Expect::Sync | Expect::FunctionCall) => {
                desk.totals.query_count += 1;
                self.copy_in = false;
                if status == b'I' {
                    self.transaction_ended(unit);
                    // What was found in the catalog before it was committed is old.
                    std::mem::take(&mut self.defines).tell(desk.statements.schema());
                }
                To::Client
            }
            Some(Expect::Own(own)) => {
                self.own_done = Some(own);
                To::Nobody
            }
            _ => To::Broken("a ReadyForQuery nobody asked for"),
        }
    }

    /// What follows once a frame is where it belongs.
    fn after(
        &mut self,
        header: &Header,
        body: &[u8],
        input: &[u8],
        backend: &mut Backend,
        sink: &mut Sink,
    ) -> Option<Heard> {
        if header.kind == b'E' && is_fatal(body) {
            return Some(Heard::Ending);
        }
        if let Some(own) = self.own_done.take()
            && let Some(heard) = self.own_ended(own, input, backend, sink)
        {
            return Some(heard);
        }
        self.speak(input, backend, sink);
        let is_copied = header.kind == b'C' && self.early_syncs_are_void();
        let settled = header.kind == b'Z' && backend.pipeline.is_empty();
        // A client in whose turn it is to copy may wait for an answer instead: the server shall tell it what it thinks. If
        // it has copied already, the server says no more before the Sync that was held back.
        // After an error the server skips what the client waits for.
        let goes_on = match header.kind {
            b'Z' | b'G' => true,
            b'E' => backend.pipeline.skips(),
            // What waits for an end waits no longer where nothing more is owed.
            kind => kind == b'C' && is_copied || backend.pipeline.is_empty(),
        };
        match settled {
            true => Some(Heard::Settled),
            false => (goes_on && self.awaits).then_some(Heard::UnitEnded),
        }
    }

    /// Says what it is pgshunt's turn to say, unless the server is in the middle of a frame.
    fn speak(&mut self, input: &[u8], backend: &mut Backend, sink: &mut Sink) {
        while backend.stream_left == 0 {
            match backend.pipeline.head() {
                Some(Expect::SayParsed(_)) => reply::parse_complete(sink.forward.made(input)),
                Some(Expect::SayClosed(_)) => reply::close_complete(sink.forward.made(input)),
                Some(Expect::CopyEnd | Expect::Forgets(..) | Expect::Gone(_)) => {}
                Some(Expect::HandedOver(..) | Expect::EndedAll(_)) => {}
                _ => return,
            }
            backend.pipeline.pop();
        }
    }

    /// A query of ours has ended.
    fn own_ended(&mut self, own: Own, input: &[u8], backend: &mut Backend, sink: &mut Sink) -> Option<Heard> {
        let failed = std::mem::take(&mut backend.own_failed);
        match own {
            Own::Settings if failed => return Some(Heard::SettingsRefused),
            Own::Settings | Own::Startup => {
                let mut out = Vec::new();
                reported::catch_up(&mut out, &mut self.reported, &mut backend.reported);
                if !out.is_empty() {
                    sink.forward.made(input).extend_from_slice(&out);
                }
            }
            Own::Begin if failed => return Some(Heard::Broken("BEGIN failed")),
            Own::Probe => {
                let report = backend.report.take();
                match report {
                    Some(report) if !failed => {
                        self.asked_again = 0;
                        self.learn(*report, backend);
                    }
                    // It is asked again before the server is lent to anybody.
                    _ if self.is_due() => {}
                    _ if self.pooling != Pooling::Faithful => {}
                    _ => self.pins.insert(Pin::Unknown),
                }
                reported::catch_up(
                    sink.forward.made(input),
                    &mut self.reported,
                    &mut backend.reported,
                );
            }
            Own::Begin | Own::Clean => {}
        }
        None
    }
}

/// A ParameterDescription that has come whole is remembered with its statement.
fn note_types(frame: &Heading<'_>, backend: &Backend) {
    let Some(Expect::DescribeStatement(Some(statement))) = backend.pipeline.head() else {
        return;
    };
    let is_whole = frame.body.len() + HEADER == frame.header.total;
    if is_whole && statement.described.borrow().is_none() {
        let types = frame.body.get(2..).unwrap_or_default().chunks_exact(4);
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |number, &byte| number << 8 | u32::from(byte))
        };
        *statement.described.borrow_mut() = Some(types.map(number).collect());
    }
}
