//! What may differ by right is made alike: process ids, OIDs that a database gives out, where in the source an error of
//! the end of a session comes from.

use crate::frame::Frame;

/// The first OID a database gives out itself.
const FIRST_OWN_OID: u32 = 16384;

/// The frame as both sides must have it.
pub fn masked(mut frame: Frame) -> Frame {
    match frame.kind {
        b'A' => blot(&mut frame.body, 0..4),
        b'T' => columns(&mut frame.body),
        b't' => types(&mut frame.body),
        // In a failed transaction a Bind may be refused at the Parse that goes ahead of it on another server.
        b'E' if frame.field(b'S') == "FATAL" || frame.sqlstate() == "25P02" => {
            frame.body = without_source(&frame.body)
        }
        _ => {}
    }
    frame
}

fn blot(body: &mut [u8], range: std::ops::Range<usize>) {
    if let Some(bytes) = body.get_mut(range) {
        bytes.fill(0xff);
    }
}

/// An OID of the database's own.
fn blot_oid(body: &mut [u8], at: usize) {
    if let Some(&[a, b, c, d]) = body.get(at..at + 4)
        && u32::from_be_bytes([a, b, c, d]) >= FIRST_OWN_OID
    {
        blot(body, at..at + 4);
    }
}

/// RowDescription: name, table OID, column, type OID, length, modifier, format.
fn columns(body: &mut [u8]) {
    let mut at = 2;
    while let Some(end) = body.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0)) {
        at += end + 1;
        blot_oid(body, at);
        blot_oid(body, at + 6);
        at += 18;
    }
}

/// ParameterDescription.
fn types(body: &mut [u8]) {
    for at in (2..body.len()).step_by(4) {
        blot_oid(body, at);
    }
}

/// Fields without file, line and routine: pgshunt says some of these errors itself.
fn without_source(body: &[u8]) -> Vec<u8> {
    body.split(|&b| b == 0)
        .filter(|field| !field.is_empty() && !matches!(field[0], b'F' | b'L' | b'R'))
        .flat_map(|field| [field, b"\0"].concat())
        .collect()
}
