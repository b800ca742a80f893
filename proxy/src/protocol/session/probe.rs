//! The probe: one query that asks a server what the session has left in it. "Ask, don't guess."
//!
//! It runs at the end of a transaction, as the session's current role, so every name in it is qualified and nothing it
//! reads needs a right.

use super::pin::{Pin, Pins};
use super::settings::{Settings, quote_literal};
use crate::protocol::message::row_values;
use crate::protocol::reply;

/// What the server holds for the session.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Settings the session has set.
    pub settings: Settings,
    /// Things that can't travel.
    pub pins: Pins,
}

/// Most bytes a report may take; a session that has set more keeps its server.
const REPORT_BYTES: usize = 1 << 20;

/// The text every probe begins with.
pub const QUESTION: &[u8] = b"SELECT 's', name, setting FROM pg_catalog.pg_settings \
WHERE source OPERATOR(pg_catalog.=) 'session' AND name NOT IN \
('transaction_isolation','transaction_read_only','transaction_deferrable','seed') \
UNION ALL SELECT 's', 'role', pg_catalog.current_setting('role') \
WHERE pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) 'none' \
UNION ALL SELECT 'u', 'session_authorization', session_user::pg_catalog.text \
UNION ALL SELECT 't', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_class \
WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) \
UNION ALL SELECT 'a', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_locks \
WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) \
UNION ALL SELECT 'h', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) \
UNION ALL SELECT 'l', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_listening_channels()) \
UNION ALL SELECT 'p', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_prepared_statements \
WHERE from_sql OR name OPERATOR(pg_catalog.!~~) 'pgshunt:%')";

/// Appends the probe's text; `custom` names settings `pg_settings` does not list.
pub fn question<'a>(out: &mut Vec<u8>, custom: impl Iterator<Item = &'a str>) {
    out.extend_from_slice(QUESTION);
    for name in custom {
        out.extend_from_slice(b" UNION ALL ");
        ask_custom(out, name);
    }
}

/// Appends a probe for nothing but settings of pgshunt's among these.
pub fn question_of_ours<'a>(out: &mut Vec<u8>, custom: impl Iterator<Item = &'a str>) {
    for (at, name) in custom.filter(|name| name.starts_with(OURS)).enumerate() {
        if at > 0 {
            out.extend_from_slice(b" UNION ALL ");
        }
        ask_custom(out, name);
    }
}

/// Appends the row that tells of a cursor WITH HOLD.
pub fn has_cursors(out: &mut Vec<u8>) {
    reply::data_row(out, [Some(&b"h"[..]), Some(b""), Some(b"")].into_iter());
}

fn ask_custom(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b"SELECT 'c',");
    quote_literal(out, name.as_bytes());
    out.extend_from_slice(b",pg_catalog.current_setting(");
    quote_literal(out, name.as_bytes());
    out.extend_from_slice(b",true)");
}

/// How settings of pgshunt's own begin.
pub const OURS: &str = "pgshunt.";

impl Report {
    /// Takes in one row of the answer. `login` is the role the server logged in as.
    ///
    /// # Errors
    /// The report has grown beyond its limit.
    pub fn row(&mut self, body: &[u8], login: &[u8]) -> Result<(), TooLarge> {
        let mut values = row_values(body).map(Option::unwrap_or_default);
        let (Some(kind), Some(name), Some(value)) = (values.next(), values.next(), values.next()) else {
            return Ok(());
        };
        match kind {
            b"s" => self.settings.set(name, value),
            b"u" if value != login => self.settings.set(name, value),
            b"c" if !value.is_empty() => self.settings.set(name, value),
            b"t" => self.pins.insert(Pin::TemporaryTables),
            b"a" => self.pins.insert(Pin::AdvisoryLocks),
            b"h" => self.pins.insert(Pin::HeldCursors),
            b"l" => self.pins.insert(Pin::Listen),
            b"p" => self.pins.insert(Pin::SqlPrepare),
            _ => {}
        }
        if self.settings.bytes() > REPORT_BYTES {
            Err(TooLarge)
        } else {
            Ok(())
        }
    }
}

/// A session has set more than a report may hold.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: [&str; 3]) -> Vec<u8> {
        let mut out = Vec::new();
        reply::data_row(&mut out, values.iter().map(|v| Some(v.as_bytes())));
        out[5..].to_vec()
    }

    #[test]
    fn rows_become_settings_and_pins() {
        let mut report = Report::default();
        for values in [
            ["s", "TimeZone", "UTC"],
            ["u", "session_authorization", "app"],
            ["l", "", ""],
        ] {
            report.row(&row(values), b"app").expect("small");
        }
        assert_eq!(report.settings.value(b"timezone"), Some(&b"UTC"[..]));
        assert_eq!(report.settings.value(b"session_authorization"), None);
        assert!(report.pins.contains(Pin::Listen));
        report
            .row(&row(["u", "session_authorization", "bob"]), b"app")
            .expect("small");
        assert_eq!(report.settings.value(b"session_authorization"), Some(&b"bob"[..]));
    }
}
