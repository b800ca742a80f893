//! COPY FROM STDIN and the Syncs around it. A server that reads COPY data takes no notice of a Sync; one that has met an
//! error before does. Which of both it was can't be told from the Sync, so none is sent before the server has said whether
//! the COPY begins. Behind Syncs amid the data, the end of the COPY is awaited; was it an error, the server's
//! ReadyForQuerys are counted.

use super::{Backend, Session, Sink};
use crate::protocol::message::{cstr, error_field};
use crate::protocol::reply;

/// Syncs that a server was sent while it copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Early {
    /// None.
    #[default]
    No,
    /// Some; the data goes on.
    Sent,
    /// Some, and the end of the data: what follows waits for what the server says of it.
    Ending,
}

/// A COPY on its way.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// The portal bound last, if it is of a COPY FROM STDIN.
    bound: Option<Box<[u8]>>,
    /// The unit by which one was sent, while the server has not said what becomes of it.
    sent: Option<u64>,
    /// The server was told to say it.
    pressed: bool,
    early: Early,
    instead: Instead,
}

/// What a client sends where a server may read its data. PostgreSQL ends the session over it and names its type.
#[derive(Debug, Default)]
struct Instead {
    /// The unit of the COPY.
    unit: u64,
    /// The end of the data is still to be sent.
    takes_data: bool,
    /// The type of the first message that is none of a COPY's.
    kind: Option<u8>,
}

impl Session {
    /// A Bind is sent: of the statement of this Parse behind its name, to this portal.
    pub(super) fn binds_copy(&mut self, body: &[u8], portal: &[u8]) {
        let text = cstr(body).map_or(&b""[..], |(text, _)| text);
        self.copies.bound = reads_data(text).then(|| portal.into());
    }

    /// An Execute is sent, of what was bound, or of what may not even be there.
    pub(super) fn executes_copy(&mut self, body: &[u8], backend: &Backend) {
        if let Some(bound) = &self.copies.bound {
            let is_it = cstr(body).is_some_and(|(portal, _)| *portal == **bound);
            self.copies.pressed = false;
            self.copies.sends(is_it, backend);
        }
    }

    /// A Sync waits for what the server says of a COPY: it shall say it, whatever it was that was sent.
    pub(super) fn presses_copy(&mut self, input: &[u8], sink: &mut Sink) {
        if !std::mem::replace(&mut self.copies.pressed, true) {
            reply::frame(sink.forward.made(input), b'H', |_| ());
        }
    }

    /// A Query is sent.
    pub(super) fn queries_copy(&mut self, text: &[u8], backend: &Backend) {
        self.copies.pressed = true;
        self.copies.sends(reads_data(text), backend);
    }

    /// A message of this type is the next to be sent.
    pub(super) fn sends_to_copy(&mut self, kind: u8, backend: &Backend) {
        let instead = &mut self.copies.instead;
        match kind {
            b'd' | b'H' | b'S' | b'X' => (),
            b'c' | b'f' => instead.takes_data = false,
            _ if instead.takes_data => instead.kind = instead.kind.or(Some(kind)),
            _ if self.copy_in => {
                *instead = Instead {
                    unit: backend.pipeline.unit_heard(),
                    takes_data: true,
                    kind: Some(kind),
                }
            }
            _ => (),
        }
    }

    /// May what is sent now end the session, so that nothing must be kept from the server?
    pub(super) fn may_end_copy(&self) -> bool {
        self.copies.instead.kind.is_some()
    }

    /// The error over a message amid COPY data, with the type of the client's own: another may have been sent in its place
    /// or in front of it.
    pub(super) fn with_clients_type(&self, body: &[u8]) -> Option<Vec<u8>> {
        let kind = self.copies.instead.kind?;
        let is_of_copy = error_field(body, b'R') == Some(b"CopyGetData");
        let message = error_field(body, b'M').filter(|_| is_of_copy)?;
        let digits = message.windows(2).position(|two| two == b"0x")? + 2;
        let at = body.windows(message.len()).position(|part| part == message)? + digits;
        let mut renamed = body.to_vec();
        let told = renamed.get_mut(at..at + 2)?;
        told.copy_from_slice(format!("{kind:02X}").as_bytes());
        Some(renamed)
    }

    /// A unit has ended.
    pub(super) fn unit_ended_copy(&mut self, unit: u64) {
        if self.copies.instead.unit <= unit {
            self.copies.instead = Instead::default();
        }
    }

    /// May a COPY that was sent be about to begin?
    pub(super) fn may_copy(&self) -> bool {
        self.copies.sent.is_some()
    }

    /// A Sync is sent to a server that copies, as far as is known.
    pub(super) fn syncs_early(&mut self) {
        self.copies.early = Early::Sent;
    }

    /// The end of the data is sent: if Syncs went before, the server shall say at once what it thinks.
    pub(super) fn ends_copy(&mut self, input: &[u8], sink: &mut Sink) {
        if self.copies.early == Early::Sent {
            self.copies.early = Early::Ending;
            reply::frame(sink.forward.made(input), b'H', |_| ());
        }
    }

    /// Must what the server thinks of early Syncs be known before anything else is sent?
    pub(super) fn awaits_end_of_copy(&self, backend: &Backend) -> bool {
        let is_ending = self.copies.early == Early::Ending && !backend.pipeline.is_empty();
        is_ending || backend.pipeline.counts_syncs()
    }

    /// The COPY went well, or another message ends it: the Syncs were for nothing.
    pub(super) fn early_syncs_are_void(&mut self) -> bool {
        std::mem::take(&mut self.copies.early) != Early::No
    }

    /// The COPY failed, and it can't be told before or behind which of the Syncs: a Sync and an empty query of ours follow,
    /// and what comes before their answers are the answers to the Syncs that count.
    pub(super) fn count_early_syncs(&mut self, backend: &mut Backend, to_server: &mut Vec<u8>) {
        if !self.early_syncs_are_void() {
            return;
        }
        reply::frame(to_server, b'S', |_| ());
        reply::query(to_server, b"");
        backend.unnamed = 0;
        backend.pipeline.count_syncs();
    }

    /// The server has begun a COPY, has met an error or come to the end of a unit.
    pub(super) fn hears_of_copy(&mut self, backend: &Backend) {
        let heard = backend.pipeline.unit_heard();
        self.copies.sent = self.copies.sent.filter(|sent| *sent > heard);
    }
}

impl Copies {
    /// Something is sent that runs, a COPY if `is_copy`: unless the data of another is still to end, what comes is its own.
    fn sends(&mut self, is_copy: bool, backend: &Backend) {
        let unit = backend.pipeline.unit();
        self.sent = is_copy.then_some(unit);
        if is_copy && !self.instead.takes_data {
            self.instead = Instead {
                unit,
                takes_data: true,
                kind: None,
            };
        }
    }
}

/// Is it `COPY … FROM STDIN`? Only plain forms are known; of others a Sync is not held back.
fn reads_data(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let (Some(first), Some(rest)) = (text.get(..4), text.get(4..)) else {
        return false;
    };
    if !first.eq_ignore_ascii_case(b"copy") {
        return false;
    }
    let is_space = |byte: &u8| byte.is_ascii_whitespace();
    // A query in brackets is copied out.
    let is_table = rest.first().is_some_and(is_space) && !rest.trim_ascii_start().starts_with(b"(");
    let mut words = rest
        .split(|byte| is_space(byte) || matches!(byte, b'(' | b')' | b';'))
        .filter(|word| !word.is_empty());
    let from = words.find(|word| word.eq_ignore_ascii_case(b"from") || word.eq_ignore_ascii_case(b"to"));
    is_table
        && from.is_some_and(|word| word.eq_ignore_ascii_case(b"from"))
        && words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case(b"stdin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_forms_are_known() {
        for (text, reads) in [
            (&b"COPY t FROM STDIN"[..], true),
            (b" copy t (a, b) from\n stdin (FORMAT csv)", true),
            (b"COPY t FROM STDIN; SELECT 1", true),
            (b"COPY t(a)FROM STDIN", true),
            (b"COPY t TO STDOUT", false),
            (b"COPY t FROM '/tmp/x'", false),
            (b"COPY (SELECT 1 FROM stdin) TO STDOUT", false),
            (b"SELECT 'COPY t FROM STDIN'", false),
            (b"copying", false),
            (b"COPY", false),
            (b"", false),
        ] {
            assert_eq!(reads_data(text), reads, "{}", String::from_utf8_lossy(text));
        }
    }
}
