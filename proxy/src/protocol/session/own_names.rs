//! What SQL says of statements the client prepared by protocol: servers know those under names of pgshunt's.

use routing_rules::{ends_all_prepared, ends_and_goes_on};

use super::from_client::Frame;
use super::pin::Pin;
use super::pipeline::{Expect, Own, Parsed};
use super::{Backend, Session, Sink};
use crate::protocol::message::{Bind, Named, Parse, cstr};
use crate::protocol::reply;

/// A portal of a DEALLOCATE.
#[derive(Debug)]
pub(super) struct Deallocating {
    portal: Box<[u8]>,
    /// What it will end.
    name: Box<[u8]>,
    /// The unit it was bound by.
    unit: u64,
}

/// The most that are remembered.
const DEALLOCATING_MAX: usize = 64;

impl Session {
    /// EXECUTE, PREPARE and DEALLOCATE may speak of statements the client prepared by protocol: the server is told of
    /// those the text could mean, by the client's own names. While it knows any, the client keeps it.
    ///
    /// One DEALLOCATE alone (`is_one_deallocate`) is dealt with without the server; where all end there is nothing to tell.
    ///
    /// False: what the server was sent before must be answered first.
    pub(super) fn tell_own_names(
        &mut self,
        (text, is_one_deallocate): (&[u8], bool),
        input: &[u8],
        backend: &mut Backend,
        sink: &mut Sink,
    ) -> bool {
        let (own_text, lex) = (
            text.split(|byte| *byte == 0).next().unwrap_or_default(),
            self.lex(),
        );
        if ends_all_prepared(own_text, lex) {
            return true;
        }
        let goes_on = backend.status == b'E' && ends_and_goes_on(own_text, lex);
        let text = text.to_ascii_lowercase();
        let has = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
        if has(b"prepare") && !has(b"prepare transaction") && !is_one_deallocate {
            // From here on SQL may have taken a name; the probe will tell.
            self.pins.insert(Pin::SqlPrepare);
        }
        let ends_some = has(b"deallocate");
        if is_one_deallocate || !has(b"execute") && !has(b"prepare") && !ends_some {
            return true;
        }
        if !backend.pipeline.is_open() && backend.pipeline.renames_in_flight() {
            // Which names there are is not known.
            return false;
        }
        if self.prepared.is_none() {
            return true;
        }
        if ends_some {
            // The server knows these, and from now on it alone.
            let ended = self.by_own_name.extract_if(.., |name| mentions(&text, name));
            for name in ended {
                self.prepared.as_mut().map(|map| map.remove(&name));
            }
        }
        let untold: Vec<_> = self
            .prepared
            .iter()
            .flat_map(|prepared| prepared.iter())
            .filter(|(name, _)| !name.is_empty() && !self.by_own_name.contains(name))
            .filter(|(name, _)| mentions(&text, name))
            .map(|(name, statement)| (name.clone(), statement.clone()))
            .collect();
        let is_open = backend.pipeline.is_open();
        if untold.is_empty() || is_open && (ends_some || backend.pipeline.skips()) {
            return true;
        }
        if !is_open && !backend.pipeline.owes_nothing_to_client() {
            return false;
        }
        let is_failed = backend.status == b'E';
        if is_failed && (is_open || !goes_on || self.is_on_shard()) {
            return true;
        }
        if is_failed {
            // A server is told nothing in it. The text ends it first of all: it is ended now, and another one that has failed
            // stands in its place when the text comes.
            own_query(sink.forward.made(input), b"ROLLBACK", backend);
        }
        for (name, statement) in untold {
            let out = sink.forward.made(input);
            own_name_anew(out, &name, &statement.body);
            if is_open {
                // Behind an open batch no Sync of ours may come, but a Parse may.
                backend.pipeline.push(Expect::OwnClose(0));
                backend.pipeline.push(Expect::Told(name.clone()));
            } else {
                reply::frame(out, b'S', |_| ());
                backend.pipeline.push(Expect::Own(Own::Clean));
            }
            if ends_some {
                // From now on the server alone knows which of them there are.
                self.pins.insert(Pin::SqlPrepare);
                self.prepared.as_mut().map(|map| map.remove(&name));
            } else {
                self.by_own_name.push(name);
            }
        }
        if is_failed {
            own_query(sink.forward.made(input), FAILS, backend);
        }
        true
    }

    /// A message begins a unit, while one before it is not answered: must that be waited for, because the server is to be
    /// told of names first?
    pub(super) fn tells_behind(&self, kind: u8, body: &[u8]) -> bool {
        if self.prepared.is_none() {
            return false;
        }
        let speaks = |text: &[u8]| {
            let is_one = |word: &[u8]| {
                text.windows(word.len())
                    .any(|window| window.eq_ignore_ascii_case(word))
            };
            is_one(b"execute") || is_one(b"prepare")
        };
        self.text_meant(kind, body).is_some_and(speaks)
    }

    /// The text that a Query or a Parse brings, or that a Bind or a Describe is of; perhaps with more behind it.
    pub(super) fn text_meant<'a>(&'a self, kind: u8, body: &'a [u8]) -> Option<&'a [u8]> {
        let of_name = |name: &[u8]| match name {
            b"" => Some(&self.unnamed.body[..]),
            name => Some(&self.prepared.as_ref()?.get(name)?.body[..]),
        };
        match kind {
            b'Q' => Some(body),
            b'P' => Parse::read(body).map(|parse| parse.text),
            b'B' => of_name(Bind::read(body)?.statement),
            b'D' => match Named::read(body) {
                Some(Named::Statement(name)) => of_name(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// A Bind is sent to this portal, of a DEALLOCATE of this name or of something else.
    pub(super) fn binds_a_deallocate(&mut self, portal: &[u8], name: Option<&[u8]>, backend: &Backend) {
        self.deallocating.retain(|bound| *bound.portal != *portal);
        // What nobody executes shall not take memory without end.
        if let Some(name) = name.filter(|_| self.deallocating.len() < DEALLOCATING_MAX) {
            self.deallocating.push(Deallocating {
                portal: portal.into(),
                name: name.into(),
                unit: backend.pipeline.unit(),
            });
        }
    }

    /// An Execute begins a unit, of a portal that may not be there: is that still to be told, as the unit it was bound by is not
    /// answered?
    pub(super) fn deallocates_in_doubt(&self, frame: &Frame<'_>, backend: &Backend) -> bool {
        let is_it = |portal: &[u8]| {
            let mut bound = self.deallocating.iter();
            bound.any(|bound| *bound.portal == *portal && backend.pipeline.is_in_flight(bound.unit))
        };
        frame.header.kind == b'E'
            && !self.deallocating.is_empty()
            && cstr(frame.body()).is_some_and(|(portal, _)| is_it(portal))
    }

    /// An Execute is to be sent: what does that hand over? It goes behind the Execute.
    pub(super) fn executes_a_deallocate(
        &mut self,
        frame: &Frame<'_>,
        backend: &mut Backend,
        sink: &mut Sink,
    ) -> Option<Expect> {
        let (portal, _) = cstr(frame.body())?;
        let at = self
            .deallocating
            .iter()
            .position(|bound| *bound.portal == *portal)?;
        let bound = self.deallocating.swap_remove(at);
        self.hand_over(&bound.name, frame.input, backend, sink)
    }

    /// A transaction is over with this unit, and with it all portals.
    pub(super) fn deallocates_no_more(&mut self, unit: u64) {
        self.deallocating.retain(|bound| bound.unit > unit);
    }

    /// Before a DEALLOCATE is executed: should it be of one of the client's own, the server must know something by that
    /// name, and from then on it alone knows whether there is one. What is returned goes behind the Execute: should that
    /// fail, the client has its statement still.
    fn hand_over(
        &mut self,
        name: &[u8],
        input: &[u8],
        backend: &mut Backend,
        sink: &mut Sink,
    ) -> Option<Expect> {
        if backend.status == b'E' && backend.pipeline.is_empty() {
            return None;
        }
        let entry = self.prepared.as_mut()?.remove_entry(name)?;
        if self.by_own_name.contains(&entry.0) {
            self.by_own_name.retain(|own| *own != entry.0);
            return Some(Expect::HandedOver(Box::new(entry), true));
        }
        // Anything will do, and what it was might not be understood any more.
        own_name_anew(sink.forward.made(input), &entry.0, &[0; 3]);
        backend.pipeline.push(Expect::OwnClose(0));
        backend.pipeline.push(Expect::OwnParse(Parsed::Nothing));
        Some(Expect::HandedOver(Box::new(entry), false))
    }
}

/// A transaction that has failed.
const FAILS: &[u8] = b"BEGIN; ROLLBACK TO SAVEPOINT pgshunt";

fn own_query(out: &mut Vec<u8>, text: &[u8], backend: &mut Backend) {
    reply::query(out, text);
    backend.pipeline.push(Expect::Own(Own::Clean));
    // A simple query ends the unnamed statement, ours no less than a client's.
    backend.unnamed = 0;
}

/// Prepares something by a name of the client's own. One may be left of a batch that failed.
fn own_name_anew(out: &mut Vec<u8>, name: &[u8], body: &[u8]) {
    reply::frame(out, b'C', |out| {
        out.push(b'S');
        reply::cstr(out, name);
    });
    reply::frame(out, b'P', |out| {
        reply::cstr(out, name);
        out.extend_from_slice(body);
    });
}

/// Does a text, in lower case, have this name in it, as a word?
fn mentions(text: &[u8], name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let is_in_word =
        |byte: Option<&u8>| byte.is_some_and(|&byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let places = text.windows(name.len()).enumerate();
    places
        .filter(|(_, window)| *window == name)
        .any(|(at, _)| !is_in_word(text[..at].last()) && !is_in_word(text.get(at + name.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word() {
        assert!(mentions(b"execute a(1)", b"A"));
        assert!(mentions(b"deallocate \"a b\"", b"a b"));
        assert!(!mentions(b"prepare q as select a1", b"a"));
    }
}
