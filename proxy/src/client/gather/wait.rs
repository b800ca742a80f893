//! Waiting for shards: the next frame that is the statement's, what else comes with it, and what ends the waiting early.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::part::NoFrame;
use super::{Gather, Halt};
use crate::fault::Fault;
use crate::protocol::frame::{HEADER, Header};
use crate::protocol::message::{cstr, error_field};
use crate::protocol::session::reported;
use crate::protocol::{reply, sqlstate};

/// What ended a wait.
enum Woken {
    Frame(usize, Header),
    None(usize, NoFrame),
    Canceled,
    Overdue,
}

/// How long shards may take to come to an end of what was cancelled before they are left.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

impl Gather {
    /// The next frame of one of these shards that belongs to the statement. Notices, parameters and ReadyForQuery are dealt
    /// with here; a shard that owes nothing more leaves the list. `None`: none of them owes anything.
    ///
    /// # Errors
    /// What failed on one of them. Others have been asked to stop; see [`Gather::drain`].
    pub(super) async fn next(&mut self, among: &mut Vec<usize>) -> Result<Option<(usize, Header)>, Halt> {
        loop {
            among.retain(|&at| self.parts[at].as_ref().is_some_and(|part| part.owes > 0));
            if among.is_empty() {
                return Ok(None);
            }
            match self.woken(among).await {
                Woken::Frame(at, header) => {
                    if !self.takes(at, header)? {
                        return Ok(Some((at, header)));
                    }
                }
                Woken::Canceled => {
                    self.wants_cancel = true;
                    self.cancel_all();
                }
                Woken::Overdue => {
                    let shard = self.terms.shards[among[0]].name.clone();
                    self.deadline = None;
                    self.cancel_all();
                    let text = "canceling statement: a shard took longer than shard_timeout";
                    let fault = Fault::error(sqlstate::QUERY_CANCELED, text);
                    return Err(Halt::of(
                        &fault.detail(format!("Shard \"{shard}\" has not answered.")),
                    ));
                }
                Woken::None(at, why) => return Err(self.failed(at, why)),
            }
        }
    }

    async fn woken(&mut self, among: &[usize]) -> Woken {
        let (parts, buffers) = (&mut self.parts, &self.terms.worker.buffers);
        let max = self.terms.merge_memory.max(FRAME_MIN);
        let start = self.turn;
        let mut frames = |cx: &mut std::task::Context<'_>| {
            for turn in 0..among.len() {
                let at = among[(start + turn) % among.len()];
                let Some(part) = &mut parts[at] else { continue };
                match part.poll_frame(cx, buffers, max) {
                    Poll::Ready(Ok(header)) => return Poll::Ready(Woken::Frame(at, header)),
                    Poll::Ready(Err(why)) => return Poll::Ready(Woken::None(at, why)),
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        };
        let (hail, wants_cancel, deadline) = (self.hail.clone(), self.wants_cancel, self.deadline);
        let mut called = pin!(async move {
            match wants_cancel {
                true => std::future::pending().await,
                false => hail.called().await,
            }
        });
        let mut overdue = pin!(async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        });
        let woken = poll_fn(|cx| {
            if let Poll::Ready(woken) = frames(cx) {
                return Poll::Ready(woken);
            }
            if called.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Canceled);
            }
            match overdue.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Woken::Overdue),
                Poll::Pending => Poll::Pending,
            }
        });
        let woken = woken.await;
        // Each has its turn: one that talks without end must not keep another's error from being heard.
        self.turn = self.turn.wrapping_add(1);
        woken
    }

    /// Deals with a frame that is no statement's; false if it is one's.
    fn takes(&mut self, at: usize, header: Header) -> Result<bool, Halt> {
        let Some(part) = &mut self.parts[at] else {
            return Ok(true);
        };
        if !matches!(header.kind, b'N' | b'S' | b'A' | b'Z' | b'E') {
            return Ok(false);
        }
        let whole = part.whole(header).to_vec();
        let body = &whole[HEADER..];
        part.consume(header, &self.terms.worker.buffers);
        let mut failed = None;
        match header.kind {
            // What every shard says is said once.
            b'N' if self.notice == whole => {}
            b'N' => {
                self.line.out.extend_from_slice(&whole);
                self.notice = whole.clone();
            }
            b'S' => {
                reported::note(&mut part.lease.backend.reported, body);
                if let Some((name, rest)) = cstr(body)
                    && let Some((value, _)) = cstr(rest)
                    && self.reported.value(name) != Some(value)
                {
                    reported::note(&mut self.reported, body);
                    reply::parameter_status(&mut self.line.out, name, value);
                }
            }
            b'Z' => {
                part.owes = part.owes.saturating_sub(1);
                part.lease.backend.status = body.first().copied().unwrap_or(b'E');
            }
            b'E' => {
                let before = self.keeps_position.then_some(self.before);
                failed = Some(named(body, &self.terms.shards[at].name, before));
            }
            _ => self.line.out.extend_from_slice(&whole),
        }
        let is_fatal = failed.is_some() && ends_session(body);
        let Some(failed) = failed else {
            return Ok(true);
        };
        if is_fatal {
            self.lose(at);
        }
        self.cancel_all();
        Err(Halt::Failed(failed))
    }

    fn failed(&mut self, at: usize, why: NoFrame) -> Halt {
        let shard = &self.terms.shards[at].name;
        let fault = match why {
            NoFrame::Lost => Fault::error(
                sqlstate::CONNECTION_FAILURE,
                format!("the connection to shard \"{shard}\" was lost"),
            )
            .detail("What the statement did there is not known."),
            NoFrame::TooLong => Fault::error(
                sqlstate::OUT_OF_MEMORY,
                format!("a row of shard \"{shard}\" is longer than merge_memory"),
            )
            .hint("Raise merge_memory, or tie the statement to one tenant."),
        };
        self.lose(at);
        self.cancel_all();
        Halt::of(&fault)
    }

    /// A shard's server is gone: what was open on it can't be gone on with.
    pub(super) fn lose(&mut self, at: usize) {
        if let Some(part) = self.parts[at].take()
            && part.in_block
        {
            self.is_doomed = true;
        }
    }

    /// Asks every shard that works to stop.
    pub(super) fn cancel_all(&mut self) {
        let worker = &self.terms.worker;
        self.parts
            .iter_mut()
            .flatten()
            .for_each(|part| part.cancel(worker));
    }

    /// Hears every shard out, whatever it says; those that do not come to an end are left.
    pub(super) async fn drain(&mut self) {
        let until = tokio::time::Instant::now() + PATIENCE;
        for at in 0..self.parts.len() {
            let buffers = &self.terms.worker.buffers;
            let Some(part) = &mut self.parts[at] else { continue };
            if std::mem::take(&mut part.is_copying) {
                let mut fail = Vec::new();
                reply::frame(&mut fail, b'f', |out| {
                    reply::cstr(out, b"the statement has failed on another shard")
                });
                // A line that is broken shows below.
                let _ = part.send(&fail, 0).await;
            }
            while part.owes > 0 {
                let frame = poll_fn(|cx| part.poll_frame(cx, buffers, usize::MAX));
                let Ok(Ok(header)) = tokio::time::timeout_at(until, frame).await else {
                    break;
                };
                if header.kind == b'Z' {
                    part.owes -= 1;
                    part.lease.backend.status = part.body(header).first().copied().unwrap_or(b'E');
                }
                if header.kind == b'G' {
                    let mut fail = Vec::new();
                    reply::frame(&mut fail, b'f', |out| {
                        reply::cstr(out, b"the statement has failed")
                    });
                    if part.send(&fail, 0).await.is_err() {
                        break;
                    }
                }
                part.consume(header, buffers);
            }
            if part.owes > 0 {
                self.lose(at);
            }
        }
    }
}

/// The longest frame that is held whatever `merge_memory` says.
const FRAME_MIN: usize = 64 * 1024;

/// An ErrorResponse, as one that ends a statement, with the shard's name in its context. A position counts from `before` characters
/// of the client's text; `None`: it is one in a text the client has not sent.
pub(super) fn named(body: &[u8], shard: &str, before: Option<usize>) -> Vec<u8> {
    let place = format!("shard \"{shard}\"");
    let mut out = Vec::with_capacity(body.len() + 40);
    reply::frame(&mut out, b'E', |out| {
        let mut rest = body;
        let mut has_context = false;
        while let Some((&tag, after)) = rest.split_first()
            && tag != 0
            && let Some((value, after)) = cstr(after)
        {
            rest = after;
            match tag {
                b'P' => {
                    let number = std::str::from_utf8(value)
                        .ok()
                        .and_then(|text| text.parse::<usize>().ok());
                    if let (Some(before), Some(number)) = (before, number) {
                        out.push(tag);
                        reply::cstr(out, (before + number).to_string().as_bytes());
                    }
                }
                b'S' | b'V' => out.extend_from_slice(&[tag, b'E', b'R', b'R', b'O', b'R', 0]),
                b'W' => {
                    has_context = true;
                    out.push(tag);
                    out.extend_from_slice(value);
                    out.push(b'\n');
                    reply::cstr(out, place.as_bytes());
                }
                tag => {
                    out.push(tag);
                    reply::cstr(out, value);
                }
            }
        }
        if !has_context {
            out.push(b'W');
            reply::cstr(out, place.as_bytes());
        }
        out.push(0);
    });
    out
}

fn ends_session(body: &[u8]) -> bool {
    let severity = error_field(body, b'V').or_else(|| error_field(body, b'S'));
    matches!(severity, Some(b"FATAL" | b"PANIC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_named_in_the_context() {
        let said = named(b"SFATAL\0VFATAL\0C22012\0Mdivision by zero\0P8\0\0", "s1", None);
        let body = &said[HEADER..];
        assert_eq!(error_field(body, b'S'), Some(&b"ERROR"[..]));
        assert_eq!(error_field(body, b'C'), Some(&b"22012"[..]));
        assert_eq!(error_field(body, b'W'), Some(&b"shard \"s1\""[..]));
        assert_eq!(error_field(body, b'P'), None);
        let said = named(b"Mx\0WPL/pgSQL function f()\0P8\0\0", "s1", Some(12));
        let body = &said[HEADER..];
        assert_eq!(
            error_field(body, b'W'),
            Some(&b"PL/pgSQL function f()\nshard \"s1\""[..])
        );
        assert_eq!(error_field(body, b'P'), Some(&b"20"[..]));
        assert_eq!(named(b"never ends", "s1", None)[0], b'E');
    }
}
