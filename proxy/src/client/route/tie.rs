//! `guard = "rewrite"`: the texts of a stretch are tied to the session's tenant before it is looked at.

use super::super::relay::Client;
use super::place::{Ground, Tenant};
use crate::fault::Fault;
use crate::pool::Reads;
use crate::protocol::frame::{self, HEADER};
use crate::protocol::message::{Parse, query_text};
use crate::protocol::reply;
use crate::protocol::session::said::Said;

impl Client {
    /// Ties the stretch that begins the inbox to the tenant, in the inbox. What can't be tied is left as it is, for the guard
    /// to refuse.
    pub(super) fn tie(&mut self, reads: &Reads) -> Result<(), Fault> {
        let Some(sharding) = &reads.sharding else {
            return Ok(());
        };
        let rewrites = sharding.guard == routing_rules::Guard::Rewrite;
        if !rewrites || !matches!(self.tenant(), Some(Tenant::Key(_))) {
            return Ok(());
        }
        let (Some(readings), Some(found)) = (&self.routing.wishes.readings, reads.catalogued.tables()) else {
            return Ok(());
        };
        let bytes = match self.session.said(self.inbox.bytes()) {
            Said::Told(stretch) | Said::Unclear(stretch) => stretch.bytes,
            Said::Open | Said::TooLong => return Ok(()),
        };
        let ground = Ground {
            sharding,
            found: &found,
            readings,
            tenant: self.tenant(),
            is_targeted: false,
        };
        let Some(tied) = tied(&ground, &self.inbox.bytes()[..bytes])? else {
            return Ok(());
        };
        self.inbox.consume(bytes, &self.worker.buffers);
        self.inbox.unread(&tied);
        Ok(())
    }
}

/// The same frames with other texts; `None`: they are as they must be.
fn tied(ground: &Ground<'_>, frames: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let lex = ground.readings.lex();
    let mut made: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Ok(Some(header)) = frame::header(&frames[at..]) {
        let Some(whole) = frames.get(at..at + header.total) else {
            break;
        };
        let body = &whole[HEADER..];
        let text = match header.kind {
            b'Q' => query_text(body),
            b'P' => Parse::read(body).map(|parse| parse.text),
            _ => None,
        };
        let other = match text {
            Some(text) => ground.tied(text, lex)?,
            None => None,
        };
        match (other, &mut made) {
            (Some(text), made) => {
                let out = made.get_or_insert_with(|| frames[..at].to_vec());
                write(out, header.kind, body, text.as_bytes());
            }
            (None, Some(out)) => out.extend_from_slice(whole),
            (None, None) => {}
        }
        at += header.total;
    }
    if let Some(out) = &mut made {
        out.extend_from_slice(&frames[at..]);
    }
    Ok(made)
}

fn write(out: &mut Vec<u8>, kind: u8, body: &[u8], text: &[u8]) {
    match Parse::read(body).filter(|_| kind == b'P') {
        Some(parse) => reply::frame(out, b'P', |out| {
            reply::cstr(out, parse.name);
            reply::cstr(out, text);
            out.extend_from_slice(&parse.rest[parse.text.len() + 1..]);
        }),
        None => reply::query(out, text),
    }
}
