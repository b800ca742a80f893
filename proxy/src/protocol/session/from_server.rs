//! What a server's messages mean.

use super::makes::changes_schema;
use super::pin::Pin;
use super::pipeline::{Expect, Own, Parsed};
use super::prepared::PREFIX;
use super::replica::{Cannot, of_replicas};
use super::{Backend, Desk, Heard, Pooling, Session, Sink, reported};
use crate::protocol::frame::{self, HEADER, Header};
use crate::protocol::message::error_field;
use crate::protocol::{reply, sqlstate};

/// The longest message that is read whole: errors, notices, tags.
const WHOLE_MAX: usize = 1 << 20;

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
struct Heading<'a> {
    header: Header,
    body: &'a [u8],
    input: &'a [u8],
}

/// Where a frame goes.
enum To {
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

    fn error(&mut self, frame: &Heading<'_>, backend: &mut Backend, sink: &mut Sink) -> To {
        let body = frame.body;
        self.hears_of_copy(backend);
        let renamed = match backend.pipeline.head() {
            Some(Expect::Fails(instead)) => Some(instead.to_vec()),
            _ => self
                .in_clients_words(body, backend)
                .or_else(|| self.with_clients_type(body)),
        };
        let is_whole = body.len() + HEADER == frame.header.total;
        let moved = is_whole.then(|| self.at_clients_position(renamed.as_deref().unwrap_or(body)));
        let renamed = moved.flatten().or(renamed);
        // Nobody asked but us: what it means is seen when the client's own message comes.
        let is_ours = backend.pipeline.is_own_batch() && !is_fatal(body);
        match backend.pipeline.head() {
            Some(Expect::Own(own)) => {
                backend.own_failed = true;
                let is_canceled =
                    error_field(body, b'C') == Some(sqlstate::QUERY_CANCELED.as_str().as_bytes());
                if *own == Own::Probe && is_canceled && self.asked_again < ASKED_AGAIN_MAX {
                    self.asked_again += 1;
                    (self.due, self.ours_due) = (true, true);
                }
                if *own == Own::Settings && !is_fatal(body) && body.len() < WHOLE_MAX {
                    let mut refusal = Vec::new();
                    reply::frame(&mut refusal, b'E', |out| out.extend_from_slice(body));
                    self.refusal = Some(refusal.into());
                    return To::Nobody;
                }
                if is_fatal(body) { To::Client } else { To::Nobody }
            }
            None => To::Client,
            Some(_) => {
                let mut lost = Vec::new();
                backend.pipeline.fail(|expect| lost.push(expect));
                if let Some(Expect::ParseUnnamed(_, before)) = lost.first_mut() {
                    // The first of them was run and has failed; the others were not run.
                    *before = None;
                }
                // The last change is taken back first.
                lost.into_iter()
                    .rev()
                    .for_each(|expect| self.undo(expect, backend));
                self.copy_in = false;
                if !is_fatal(body) {
                    self.count_early_syncs(backend, &mut sink.back);
                }
                match renamed {
                    _ if is_ours => To::Nobody,
                    Some(renamed) => {
                        reply::frame(sink.forward.made(frame.input), b'E', |out| {
                            out.extend_from_slice(&renamed)
                        });
                        To::Nobody
                    }
                    None => To::Client,
                }
            }
        }
    }

    /// An error that speaks of a statement by the server's name for it, with the client's name instead. A text that only
    /// looks like one of our names is left as it is.
    fn in_clients_words(&self, body: &[u8], backend: &Backend) -> Option<Vec<u8>> {
        let at = body.windows(PREFIX.len()).position(|window| window == PREFIX)?;
        let speaks_of_one = error_field(body, b'R').is_some_and(|routine| SPEAKERS.contains(&routine));
        let digits = &body[at + PREFIX.len()..];
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        let id: u64 = std::str::from_utf8(&digits[..end]).ok()?.parse().ok()?;
        speaks_of_one.then_some(())?;
        let parsed = match backend.pipeline.head() {
            Some(Expect::Parse(parse)) => Some(&*parse.name),
            Some(Expect::Misbound(name)) => Some(&**name),
            _ => None,
        };
        let known = || {
            let known = self.prepared.as_ref()?.iter();
            let mut found = known.filter(|(_, statement)| statement.id == id);
            found.next().map(|(name, _)| &**name)
        };
        let name = parsed.or_else(|| backend.pipeline.closed(id)).or_else(known)?;
        Some([&body[..at], name, &digits[end..]].concat())
    }

    /// The server will never run this: what was taken for done is taken back.
    fn undo(&mut self, expect: Expect, backend: &mut Backend) {
        match expect {
            Expect::Parse(parse) => {
                if let Parsed::Named(id) = parse.stored {
                    backend.held.remove(id);
                    self.prepared.as_mut().map(|map| map.remove(&parse.name));
                }
            }
            Expect::ParseUnnamed(token, before) => {
                if self.unnamed.token == token {
                    let (unnamed, held) = before.map_or_else(Default::default, |before| *before);
                    self.unnamed = unnamed;
                    backend.unnamed = held;
                }
            }
            Expect::Forgets(before, of) if of == self.unnamed_era => {
                (self.unnamed, backend.unnamed) = *before;
            }
            Expect::OwnParse(Parsed::Named(id)) => backend.held.remove(id),
            Expect::OwnParse(_) => backend.unnamed = 0,
            Expect::Told(name) => self.by_own_name.retain(|own| **own != *name),
            Expect::SayParsed(name) => {
                self.prepared.as_mut().map(|map| map.remove(&name));
            }
            Expect::SayClosed(Some(entry)) => {
                let (name, statement) = *entry;
                self.prepared.get_or_insert_default().insert(name, statement);
            }
            Expect::HandedOver(entry, was_told) => {
                let (name, statement) = *entry;
                if was_told {
                    self.by_own_name.push(name.clone());
                }
                self.prepared.get_or_insert_default().insert(name, statement);
            }
            Expect::Gone(entry) => {
                let (name, statement) = *entry;
                backend.held.insert(statement.id);
                self.prepared.get_or_insert_default().insert(name, statement);
            }
            Expect::EndedAll(all) => self.all_goes_on(*all, backend),
            // The unnamed statement has no number.
            Expect::OwnClose(0) => {}
            Expect::OwnClose(id) => backend.held.insert(id),
            Expect::SayClosed(None)
            | Expect::Bind
            | Expect::Misbound(_)
            | Expect::DescribeStatement(_)
            | Expect::DescribePortal(_)
            | Expect::OwnDescribe(..)
            | Expect::Fails(_)
            | Expect::Execute
            | Expect::Close
            | Expect::OwnBind
            | Expect::OwnExecute
            | Expect::EarlySyncs { .. }
            | Expect::CopyEnd
            | Expect::Forgets(..)
            | Expect::Query
            | Expect::FunctionCall
            | Expect::Sync
            | Expect::Own(_) => {}
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

/// The routines of PostgreSQL whose errors name a prepared statement.
const SPEAKERS: [&[u8]; 3] = [
    b"FetchPreparedStatement",
    b"StorePreparedStatement",
    b"exec_bind_message",
];

/// A probe that a cancel request has hit is asked again so often: a timeout of the session's own may hit each of them.
const ASKED_AGAIN_MAX: u8 = 8;

/// Does an ErrorResponse end the session?
fn is_fatal(body: &[u8]) -> bool {
    let severity = error_field(body, b'V').or_else(|| error_field(body, b'S'));
    matches!(severity, Some(b"FATAL" | b"PANIC"))
}
