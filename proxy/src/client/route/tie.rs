//! `guard = "rewrite"`: the texts of a stretch are tied to the session's tenant before it is looked at, and what positions in
//! errors about them mean is remembered.

use routing_rules::Inserted;

use super::super::relay::Client;
use super::place::{Ground, Tenant};
use crate::fault::Fault;
use crate::pool::Reads;
use crate::protocol::frame::{self, HEADER};
use crate::protocol::message::{Bind, Named, Parse, query_text};
use crate::protocol::reply;
use crate::protocol::session::positions::Positions;
use crate::protocol::session::said::Said;

/// Stretches longer than this are not known again, and errors about them have no position.
const KNOWN_MAX: usize = 64 * 1024;

impl Client {
    /// Ties the stretch that begins the inbox to the tenant, in the inbox. What can't be tied is left as it is, for the guard
    /// to refuse.
    pub(super) fn tie(&mut self, reads: &Reads) -> Result<(), Fault> {
        let Some(sharding) = &reads.sharding else {
            return Ok(());
        };
        if sharding.guard != routing_rules::Guard::Rewrite {
            return Ok(());
        }
        if !matches!(self.tenant(), Some(Tenant::Key(_))) {
            self.session.positions_are(Positions::Own);
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
            first: None,
            is_targeted: false,
            has_coordinator: reads.coordinator.is_some(),
        };
        let frames = &self.inbox.bytes()[..bytes];
        let tied = tied(&ground, frames)?;
        let Some(made) = tied.made else {
            let is_known = !self.routing.tied.is_empty() && self.routing.tied == frames;
            if !is_known {
                self.routing.tied = Vec::new();
                self.session.positions_are(match tied.binds_others {
                    true => Positions::Unknown,
                    false => Positions::Own,
                });
            }
            return Ok(());
        };
        self.inbox.consume(bytes, &self.worker.buffers);
        self.inbox.unread(&made);
        let is_short = made.len() <= KNOWN_MAX;
        self.session.positions_are(match tied.only {
            Some(inserted) if is_short && !tied.binds_others => Positions::Among(inserted),
            Some(_) | None => Positions::Unknown,
        });
        self.routing.tied = if is_short { made } else { Vec::new() };
        Ok(())
    }
}

/// What became of a stretch.
#[derive(Default)]
struct Tied {
    /// The same frames with other texts; `None`: they are as they must be.
    made: Option<Vec<u8>>,
    /// What was put into its text, if it has but one.
    only: Option<Inserted>,
    /// It speaks of statements whose texts came before it.
    binds_others: bool,
}

fn tied(ground: &Ground<'_>, frames: &[u8]) -> Result<Tied, Fault> {
    let lex = ground.readings.lex();
    let Tied {
        mut made,
        mut only,
        mut binds_others,
    } = Tied::default();
    let mut parsed: Vec<&[u8]> = Vec::new();
    let mut at = 0;
    while let Ok(Some(header)) = frame::header(&frames[at..]) {
        let Some(whole) = frames.get(at..at + header.total) else {
            break;
        };
        let body = &whole[HEADER..];
        let (text, name) = match header.kind {
            b'Q' => (query_text(body), Some(&b""[..])),
            b'P' => Parse::read(body).map(|parse| (parse.text, parse.name)).unzip(),
            _ => (None, None),
        };
        parsed.extend(name);
        let speaks_of = match header.kind {
            b'B' => Bind::read(body).map(|bind| bind.statement),
            b'D' => Named::read(body).and_then(|named| match named {
                Named::Statement(name) => Some(name),
                Named::Portal(_) => None,
            }),
            _ => None,
        };
        binds_others |= speaks_of.is_some_and(|name| !parsed.contains(&name));
        let other = match text {
            Some(text) => ground.tied(text, lex)?,
            None => None,
        };
        match (other, &mut made) {
            (Some(rewritten), made) => {
                let out = made.get_or_insert_with(|| frames[..at].to_vec());
                write(out, header.kind, body, rewritten.text.as_bytes());
                only = Some(rewritten.inserted);
            }
            (None, Some(out)) => out.extend_from_slice(whole),
            (None, None) => {}
        }
        at += header.total;
    }
    if let Some(out) = &mut made {
        out.extend_from_slice(&frames[at..]);
    }
    Ok(Tied {
        made,
        only: only.filter(|_| parsed.len() == 1),
        binds_others,
    })
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
