//! What an error of a server's means: what it takes back, and in whose words it is passed on.

use super::from_server::{Heading, To, WHOLE_MAX};
use super::pipeline::{Expect, Own, Parsed};
use super::prepared::PREFIX;
use super::{Backend, Session, Sink};
use crate::protocol::frame::HEADER;
use crate::protocol::message::error_field;
use crate::protocol::{reply, sqlstate};

impl Session {
    pub(super) fn error(&mut self, frame: &Heading<'_>, backend: &mut Backend, sink: &mut Sink) -> To {
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
pub(super) fn is_fatal(body: &[u8]) -> bool {
    let severity = error_field(body, b'V').or_else(|| error_field(body, b'S'));
    matches!(severity, Some(b"FATAL" | b"PANIC"))
}
