//! PgBouncer's transaction and statement modes: nothing is asked, nothing is pinned, what a transaction leaves in a server is
//! the next client's. Only the settings that servers report follow the client.

use std::sync::Arc;

use super::{Backend, Pooling, Session};
use crate::fault::Fault;
use crate::protocol::sqlstate;

/// The settings PgBouncer keeps for each client: those that servers report and clients may set.
const KEPT: [&[u8]; 6] = [
    b"client_encoding",
    b"DateStyle",
    b"TimeZone",
    b"IntervalStyle",
    b"standard_conforming_strings",
    b"application_name",
];

impl Session {
    /// The server reported a setting that the client has changed: it is the client's from now on.
    pub(super) fn keep_reported(&mut self, body: &[u8], backend: &mut Backend) {
        if self.pooling == Pooling::Faithful {
            return;
        }
        let mut parts = body.split(|&b| b == 0);
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            return;
        };
        if !KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(name)) {
            return;
        }
        for settings in [&mut self.settings, &mut backend.settings] {
            let mut changed = (**settings).clone();
            changed.set(name, value);
            *settings = Arc::new(changed);
        }
    }

    /// The client has reset the server: what it was given is given again before the next statement.
    pub(super) fn keep_reset(&mut self, tag: &[u8], backend: &mut Backend) {
        if self.pooling == Pooling::Faithful {
            return;
        }
        match tag {
            b"DISCARD ALL\0" => {
                self.settings = self.startup.clone();
                backend.settings = Arc::default();
            }
            b"RESET\0" => backend.settings = Arc::default(),
            _ => {}
        }
    }
}

/// What a client hears that begins a transaction in statement mode.
pub(super) fn no_transactions() -> Fault {
    Fault::error(
        sqlstate::FEATURE_NOT_SUPPORTED,
        "transaction blocks are not allowed in statement mode",
    )
    .hint("Set mode to transaction or auto in [pool].")
}
