//! PgBouncer's transaction and statement modes: nothing is asked, nothing is pinned, what a transaction leaves in a server is
//! the next client's. Only the settings that servers report follow the client, and pgshunt's own (`pgshunt.target`, …): where
//! a text may have changed one of those, the server is asked for them.

use std::sync::Arc;

use routing_rules::Effects;

use super::probe::{OURS, Report};
use super::settings::Shared;
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
        if self.was_reset {
            // What the server went back to is its own; the client goes back to what it asked for at startup.
            let value = self.startup.value(name).unwrap_or(value);
            return set(&mut self.settings, name, value);
        }
        set(&mut self.settings, name, value);
        set(&mut backend.settings, name, value);
    }

    /// The client has reset the server: what it was given is given again before the next statement.
    pub(super) fn keep_reset(&mut self, tag: &[u8], backend: &mut Backend) {
        if self.pooling == Pooling::Faithful {
            return;
        }
        if tag == b"DISCARD ALL\0" {
            self.settings = self.startup.clone();
        } else if tag != b"RESET\0" {
            return;
        }
        // What changed is reported between this and ReadyForQuery, except for ours.
        self.was_reset = true;
        self.ours_due |= self.has_ours();
        backend.settings = Arc::default();
    }

    /// Takes note of a statement on its way to a server: does it change a setting of ours?
    pub(super) fn note_ours(&mut self, effects: Effects, custom: &[String]) {
        if custom.iter().any(|name| name.starts_with(OURS)) {
            self.follow(custom);
        }
        self.ours_due |= effects.contains(Effects::CUSTOM_SETTING) && self.has_ours();
    }

    fn has_ours(&self) -> bool {
        self.custom.iter().any(|name| name.starts_with(OURS))
    }

    /// Takes in what our settings are now. One that was reset goes back to what the client asked for at startup.
    pub(super) fn learn_ours(&mut self, report: &Report, backend: &mut Backend) {
        for name in self.custom.iter().filter(|name| name.starts_with(OURS)) {
            let value = report.settings.value(name.as_bytes());
            keep(&mut backend.settings, name, value);
            let value = value.or(self.startup.value(name.as_bytes()));
            keep(&mut self.settings, name, value);
            if !backend.custom.contains(name) {
                backend.custom.push(name.clone());
            }
        }
    }
}

fn keep(settings: &mut Shared, name: &str, value: Option<&[u8]>) {
    if settings.value(name.as_bytes()) == value {
        return;
    }
    let settings = Arc::make_mut(settings);
    match value {
        Some(value) => settings.set(name.as_bytes(), value),
        None => settings.remove(name.as_bytes()),
    }
}

fn set(settings: &mut Shared, name: &[u8], value: &[u8]) {
    let mut changed = (**settings).clone();
    changed.set(name, value);
    *settings = Arc::new(changed);
}

/// What a client hears that begins a transaction in statement mode.
pub(super) fn no_transactions() -> Fault {
    Fault::error(
        sqlstate::FEATURE_NOT_SUPPORTED,
        "transaction blocks are not allowed in statement mode",
    )
    .hint("Set mode to transaction or auto in [pool].")
}
