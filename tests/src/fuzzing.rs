//! What any bytes at all must not do to the parsers and the session: panic, loop, overrun, or answer without measure.
//!
//! One function a subject, each from bytes to nothing. `tests/fuzz` has libFuzzer search for bytes that break one;
//! `tests/tests/fuzz_smoke.rs` feeds them random bytes for a few seconds.

mod conversation;
mod shape;

use pgshunt::protocol::frame::{self, HEADER};
use pgshunt::protocol::message::{Bind, Named, Parse, error_field, query_text, row_values};
use pgshunt::protocol::{options, server_error::ServerError, startup};
use routing_rules::{Lex, Names, access, read};

pub use conversation::{both_sides, client_side, server_side};

/// A subject: it takes any bytes, and panics where they break a promise.
pub type Subject = fn(&[u8]);

/// Each subject by its name, as `tests/fuzz/run.sh` takes it.
pub const SUBJECTS: [(&str, Subject); 7] = [
    ("frames", frames),
    ("views", views),
    ("opening", opening),
    ("texts", texts),
    ("client_side", client_side),
    ("server_side", server_side),
    ("both_sides", both_sides),
];

/// The frame layer: a walk over any bytes ends, and takes at least a header each step.
pub fn frames(data: &[u8]) {
    let mut at = 0;
    while let Ok(Some(header)) = frame::header(&data[at..]) {
        assert!(header.total >= HEADER, "a frame shorter than its header");
        assert_eq!(header.kind, data[at]);
        at += header.total;
        if at >= data.len() {
            break;
        }
    }
}

/// The views of single messages: what they show lies within the body.
pub fn views(data: &[u8]) {
    if let Some(parse) = Parse::read(data) {
        assert!(parse.name.len() + 1 + parse.rest.len() == data.len());
        assert!(parse.text.len() < parse.rest.len());
    }
    if let Some(bind) = Bind::read(data) {
        assert!(bind.names_len == bind.portal.len() + bind.statement.len() + 2);
        assert!(bind.names_len <= data.len());
    }
    match Named::read(data) {
        Some(Named::Statement(name) | Named::Portal(name)) => assert!(name.len() + 2 == data.len()),
        None => {}
    }
    if let Some(text) = query_text(data) {
        assert!(text.len() + 1 == data.len());
    }
    let values: usize = row_values(data)
        .map(|value| 4 + value.map_or(0, <[u8]>::len))
        .sum();
    assert!(values <= data.len(), "a row longer than its body");
    for tag in [b'V', b'S', b'C', b'M', data.first().copied().unwrap_or_default()] {
        let _ = error_field(data, tag);
    }
    let _ = ServerError::parse(data).to_string();
}

/// The startup packet: a login that is accepted names its role and holds no more than was sent.
pub fn opening(data: &[u8]) {
    if let Some(first) = data.first_chunk::<4>() {
        let _ = startup::packet_len(*first);
    }
    let login = [&196_608u32.to_be_bytes()[..], b"user\0ann\0options\0", data].concat();
    for packet in [data, &login] {
        match startup::opening(packet) {
            Ok(startup::Opening::Startup(found)) => {
                let held: usize = found
                    .params
                    .iter()
                    .map(|(name, value)| name.len() + value.len())
                    .sum();
                assert!(!found.user.is_empty() && !found.database.is_empty());
                assert!(held + found.user.len() + found.options.len() <= packet.len());
                let _ = found.needs_negotiation();
            }
            Ok(startup::Opening::Cancel { secret, .. }) => {
                assert!(secret.len() <= startup::CANCEL_SECRET_BYTES_MAX);
            }
            Ok(startup::Opening::Ssl | startup::Opening::Gss) => {}
            Err(refusal) => drop((refusal.code(), refusal.to_string())),
        }
    }
}

/// SQL texts and `options`: read to their end under either quoting rule.
pub fn texts(data: &[u8]) {
    for standard_conforming_strings in [true, false] {
        let lex = Lex {
            standard_conforming_strings,
        };
        let script = read(data, lex);
        let named: usize = script.custom_settings.iter().map(String::len).sum();
        assert!(named <= data.len() * 4 + 64, "more names than the text has");
        let found = access(data, lex, Some(&Names::default()));
        let is_written = |c: &u8| c.is_ascii_alphabetic();
        assert!(
            !found.is_read() || data.iter().any(is_written),
            "nothing is no read"
        );
    }
    let (settings, _) = options::settings(data);
    let held: usize = settings
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    assert!(held <= data.len(), "more settings than the text has");
}
