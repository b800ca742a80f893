//! Positions in errors: they count characters of the text a server was sent, which may be one with words put into the client's.

use routing_rules::Inserted;

use super::Session;
use crate::protocol::message::cstr;

/// What positions in errors about the stretch at hand are.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Positions {
    /// Those of the client's text.
    #[default]
    Own,
    /// Those of a text with these words in it.
    Among(Inserted),
    /// Those of one of several such texts.
    Unknown,
}

impl Session {
    /// What positions are from now on.
    pub fn positions_are(&mut self, positions: Positions) {
        self.positions = positions;
    }

    /// An ErrorResponse as one about the client's text: where its position is known there it is that, else it has none.
    /// `None`: it is one.
    pub(super) fn at_clients_position(&self, body: &[u8]) -> Option<Vec<u8>> {
        if self.positions == Positions::Own {
            return None;
        }
        let mut out = Vec::with_capacity(body.len());
        let mut rest = body;
        while let Some((&tag, after)) = rest.split_first()
            && tag != 0
        {
            let (value, after) = cstr(after)?;
            rest = after;
            let position = match tag {
                b'P' => match self.clients_position(value) {
                    Some(position) => Some(position),
                    None => continue,
                },
                _ => None,
            };
            out.push(tag);
            out.extend_from_slice(position.as_ref().map_or(value, |position| position.as_bytes()));
            out.push(0);
        }
        out.push(0);
        Some(out)
    }

    fn clients_position(&self, value: &[u8]) -> Option<String> {
        let position = std::str::from_utf8(value).ok()?.parse().ok()?;
        match &self.positions {
            Positions::Own => Some(position),
            Positions::Among(inserted) => inserted.position(position),
            Positions::Unknown => None,
        }
        .map(|position| position.to_string())
    }
}
