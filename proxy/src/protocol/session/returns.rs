//! RESET returns to what the client asked for at startup. A server knows only its own defaults, so what was asked for is
//! set again behind the RESET, in the same transaction.

use super::pipeline::{Expect, Own};
use super::settings::{Settings, quote_literal};
use super::{Backend, Pooling, Session, Sink};
use crate::protocol::message::cstr;
use crate::protocol::reply;

/// A text that resets settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reset {
    /// Which; `None`: all.
    name: Option<Box<[u8]>>,
    /// For the transaction only.
    is_local: bool,
}

/// The longest text that is looked at.
const TEXT_MAX: usize = 200;

impl Reset {
    /// `RESET name`, `RESET ALL`, `SET name TO DEFAULT` in their plain forms, as the only statement of a text.
    pub(super) fn read(text: &[u8]) -> Option<Reset> {
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace())?;
        if text.len() > TEXT_MAX || !matches!(first, b'r' | b'R' | b's' | b'S') {
            return None;
        }
        let text = text.to_ascii_lowercase();
        let spaced = text.trim_ascii().strip_suffix(b";").unwrap_or(text.trim_ascii());
        let spaced: Vec<u8> = spaced.iter().flat_map(|byte| around_equals(*byte)).collect();
        let words: Vec<&[u8]> = spaced
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .collect();
        let name = |name: &[u8]| match name {
            b"all" => None,
            name => Some(name.into()),
        };
        match words[..] {
            [b"reset", b"time", b"zone"] => Some(Reset::of(Some(b"timezone"[..].into()), false)),
            [b"reset", one] => Some(Reset::of(name(one), false)),
            [b"set", b"session", one, b"to" | b"=", b"default"] | [b"set", one, b"to" | b"=", b"default"] => {
                Some(Reset::of(Some(one.into()), false))
            }
            [b"set", b"local", one, b"to" | b"=", b"default"] => Some(Reset::of(Some(one.into()), true)),
            [b"set", b"time", b"zone", b"default" | b"local"] => {
                Some(Reset::of(Some(b"timezone"[..].into()), false))
            }
            _ => None,
        }
    }

    fn of(name: Option<Box<[u8]>>, is_local: bool) -> Reset {
        Reset { name, is_local }
    }

    /// The statement that sets again what it takes away of these; `None`: nothing.
    fn returns_to(&self, startup: &Settings) -> Option<Vec<u8>> {
        let mut sql = Vec::new();
        for (name, value) in startup.iter() {
            let is_meant = match &self.name {
                Some(one) => name.eq_ignore_ascii_case(one),
                // RESET ALL leaves the role alone.
                None => name != b"role" && name != b"session_authorization",
            };
            if !is_meant {
                continue;
            }
            sql.extend_from_slice(if sql.is_empty() {
                b"SELECT pg_catalog.set_config("
            } else {
                b",pg_catalog.set_config("
            });
            quote_literal(&mut sql, name);
            sql.push(b',');
            quote_literal(&mut sql, value);
            sql.extend_from_slice(if self.is_local { b",true)" } else { b",false)" });
        }
        (!sql.is_empty()).then_some(sql)
    }
}

fn around_equals(byte: u8) -> Vec<u8> {
    match byte {
        b'=' => b" = ".to_vec(),
        byte => vec![byte],
    }
}

impl Session {
    /// Takes note of a text that is about to be run.
    pub(super) fn note_reset(&mut self, text: &[u8]) {
        if self.startup.is_empty() || self.pooling != Pooling::Faithful {
            return;
        }
        if let Some(reset) = Reset::read(text) {
            self.reset = Some(Box::new(reset));
        }
    }

    /// The same of the unnamed statement.
    pub(super) fn note_unnamed_reset(&mut self) {
        let body = std::mem::take(&mut self.unnamed.body);
        if let Some((text, _)) = cstr(&body) {
            self.note_reset(text);
        }
        self.unnamed.body = body;
    }

    /// The unit that resets something is sent: what the client asked for at startup follows it.
    pub(super) fn return_to_startup(&mut self, input: &[u8], backend: &mut Backend, sink: &mut Sink) {
        let Some(reset) = self.reset.take() else { return };
        if backend.pipeline.is_open() {
            return;
        }
        if let Some(sql) = reset.returns_to(&self.startup) {
            reply::query(sink.forward.made(input), &sql);
            backend.pipeline.push(Expect::Own(Own::Startup));
            backend.unnamed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_forms_are_known() {
        let read = |text: &str| Reset::read(text.as_bytes());
        let of = |name: &str, is_local| Some(Reset::of(Some(name.as_bytes().into()), is_local));
        assert_eq!(read("RESET work_mem;"), of("work_mem", false));
        assert_eq!(read(" set Work_Mem=DEFAULT "), of("work_mem", false));
        assert_eq!(read("SET LOCAL work_mem TO DEFAULT"), of("work_mem", true));
        assert_eq!(read("SET TIME ZONE LOCAL"), of("timezone", false));
        assert_eq!(read("reset all"), Some(Reset::of(None, false)));
        assert_eq!(read("SET work_mem = 4"), None);
        assert_eq!(read("RESET a; RESET b"), None);
        assert_eq!(read("SELECT 1"), None);
    }

    #[test]
    fn what_was_not_asked_for_stays_away() {
        let startup = Settings::collect([(b"TimeZone".to_vec(), b"Asia/Tokyo".to_vec())]);
        let sql = Reset::of(Some(b"timezone"[..].into()), true).returns_to(&startup);
        let expected = b"SELECT pg_catalog.set_config(E'TimeZone',E'Asia/Tokyo',true)";
        assert_eq!(sql.as_deref(), Some(&expected[..]));
        assert_eq!(
            Reset::of(Some(b"work_mem"[..].into()), false).returns_to(&startup),
            None
        );
    }
}
