//! Settings that begin with `pgshunt.`, and the two statements that ask pgshunt itself: SHOW pgshunt.last_route and
//! EXPLAIN (ROUTE).
//!
//! The settings travel as custom settings do, so SET LOCAL, set_config and ROLLBACK mean what they mean on PostgreSQL.
//! Where a server is in hand, or the extended protocol is spoken, pgshunt's answer is made a statement that selects it:
//! then it comes in the protocol, the format and the place the client expects.

use routing_rules::cache::Wish;
use routing_rules::{Consistency, Control, read};

use super::{Reading, Session};
use crate::fault::Fault;
use crate::protocol::reply::{self, Column};
use crate::protocol::sqlstate::{self, SqlState};

/// What pgshunt is asked for by a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ours {
    /// Where the last statement went.
    LastRoute,
    /// Where this one would go.
    Explain(Vec<u8>),
}

/// Where a statement goes, in the columns of SHOW pgshunt.last_route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteRow {
    /// `primary`, `replica`, …
    pub target: String,
    /// The shard's name, or names with commas.
    pub shard: String,
    /// `host:port`; empty while that is not decided.
    pub server: String,
    /// `read` or `write`.
    pub access: String,
    /// `hit`, `miss`, `off`, or why not.
    pub cache: String,
    /// Why.
    pub because: String,
}

/// What SHOW asks for to hear where the last statement went.
pub(super) const LAST_ROUTE: &str = "pgshunt.last_route";

/// The columns' names, in order.
const COLUMNS: [&str; 6] = ["target", "shard", "server", "access", "cache", "because"];

impl RouteRow {
    /// The values, in the order of the columns.
    pub fn values(&self) -> [&str; 6] {
        [
            &self.target,
            &self.shard,
            &self.server,
            &self.access,
            &self.cache,
            &self.because,
        ]
    }

    /// A statement that selects it.
    fn sql(&self) -> Vec<u8> {
        let columns = COLUMNS.iter().zip(self.values());
        let columns: Vec<String> = columns
            .map(|(name, value)| format!("{}::pg_catalog.text AS {name}", literal(value)))
            .collect();
        format!("SELECT {}", columns.join(", ")).into_bytes()
    }

    /// The answer to a simple query.
    fn answer(&self, tag: &str, status: u8, out: &mut Vec<u8>) {
        const TEXT: u32 = 25;
        let columns = COLUMNS.map(|name| Column { name, oid: TEXT });
        reply::row_description(out, &columns);
        reply::data_row(out, self.values().iter().map(|value| Some(value.as_bytes())));
        reply::command_complete(out, tag);
        reply::ready_for_query(out, status);
    }
}

/// A string constant that no setting makes mean anything else.
fn literal(text: &str) -> String {
    let text = text.replace('\0', "");
    match text.contains('\\') {
        true => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

/// Our settings and their defaults.
const SETTINGS: [(&str, &str); 5] = [
    ("pgshunt.tenant", ""),
    ("pgshunt.target", "auto"),
    ("pgshunt.consistency", ""),
    ("pgshunt.cache", "auto"),
    ("pgshunt.trace", "off"),
];

/// What is wrong with a setting of ours: SQLSTATE, message, hint.
pub fn mistake(name: &str, value: &str) -> Option<(SqlState, String, &'static str)> {
    let word = value.trim().to_ascii_lowercase();
    let (is_right, hint) = match name {
        "pgshunt.tenant" => (true, ""),
        "pgshunt.target" => (
            matches!(word.as_str(), "auto" | "primary" | "replica") || word.starts_with("shard:"),
            "Write auto, primary, replica or shard:NAME.",
        ),
        "pgshunt.consistency" => (
            Consistency::parse(&word).is_some(),
            "Write session, eventual, bounded:500ms or strong.",
        ),
        "pgshunt.cache" => (
            Wish::parse(&word).is_some(),
            "Write auto, off, refresh or ttl:60s.",
        ),
        "pgshunt.trace" => (matches!(word.as_str(), "off" | "notice"), "Write off or notice."),
        _ => {
            let text = format!("unrecognized configuration parameter \"{name}\"");
            let hint = "There are pgshunt.tenant, target, consistency, cache and trace.";
            return Some((sqlstate::UNDEFINED_OBJECT, text, hint));
        }
    };
    let text = || format!("invalid value for parameter \"{name}\": \"{value}\"");
    // An empty value is what a setting has after RESET.
    (!is_right && !word.is_empty()).then(|| (sqlstate::INVALID_PARAMETER, text(), hint))
}

/// What a text is replaced with before a server sees it.
pub(super) enum Replaced {
    /// By nothing: it goes as it is.
    Not,
    /// By this.
    By(Vec<u8>),
    /// By something only pgshunt's own knowledge can tell.
    Asks(Ours),
}

impl Session {
    /// pgshunt's answer to [`Ours`]: the frame that asked is read again.
    pub fn answer(&mut self, row: RouteRow) {
        self.answer = Some(Box::new(row));
    }

    /// Is the frame that comes next one that has been answered?
    pub fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// The answer as a statement that selects it.
    pub(super) fn answer_sql(&mut self) -> Option<Vec<u8>> {
        self.answer.take().map(|row| row.sql())
    }

    /// Is it a statement that pgshunt answers, whatever it is about?
    pub fn asks_us(&self, text: &[u8]) -> bool {
        let control = self.ours(text);
        matches!(
            control,
            Some(Control::ShowOurs { .. } | Control::ExplainRoute { .. })
        )
    }

    /// What a text is, if it may concern pgshunt. Others are told apart by their first letters.
    pub(super) fn ours(&self, text: &[u8]) -> Option<Control> {
        let begin = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let first = text.get(begin..begin + 3)?;
        let begins = |word: &[u8]| first.eq_ignore_ascii_case(word);
        if !(begins(b"sho") || begins(b"set") || begins(b"exp")) {
            return None;
        }
        let control = read(text, Reading::new(&self.reported).lex).control;
        let is_ours = matches!(
            control,
            Control::ShowOurs { .. } | Control::SetOurs { .. } | Control::ExplainRoute { .. }
        );
        is_ours.then_some(control)
    }

    /// Answers a simple query that asks pgshunt, or says what it asks for. `None`: it asks something else.
    pub(super) fn answer_alone(
        &mut self,
        control: &Control,
        text: &[u8],
        status: u8,
        out: &mut Vec<u8>,
    ) -> Option<Result<(), Ours>> {
        let asks = asked(control, text)?;
        let Some(row) = self.answer.take() else {
            return Some(Err(asks));
        };
        let tag = match asks {
            Ours::LastRoute => "SHOW",
            Ours::Explain(_) => "EXPLAIN",
        };
        row.answer(tag, status, out);
        Some(Ok(()))
    }

    /// What a text that concerns pgshunt is replaced with.
    pub(super) fn replaced(&mut self, control: &Control, text: &[u8]) -> Replaced {
        if let Some(asks) = asked(control, text) {
            return match self.answer.take() {
                Some(row) => Replaced::By(row.sql()),
                None => Replaced::Asks(asks),
            };
        }
        match control {
            Control::ShowOurs { name } => {
                let Some((_, default)) = SETTINGS.iter().find(|(known, _)| known == name) else {
                    return Replaced::Not;
                };
                let sql = format!(
                    "SELECT COALESCE(NULLIF(pg_catalog.current_setting('{name}', true), ''), '{default}') AS \"{name}\""
                );
                Replaced::By(sql.into_bytes())
            }
            Control::SetOurs {
                name,
                value: Some(value),
                ..
            } => match mistake(name, value) {
                Some(wrong) => Replaced::By(raise(&wrong)),
                None => Replaced::Not,
            },
            _ => Replaced::Not,
        }
    }
}

fn asked(control: &Control, text: &[u8]) -> Option<Ours> {
    match control {
        Control::ShowOurs { name } if name == LAST_ROUTE => Some(Ours::LastRoute),
        // As it would be sent: to the cache, a blank in front makes another text.
        Control::ExplainRoute { at } => {
            let text = text.get(*at..).unwrap_or_default();
            Some(Ours::Explain(text.trim_ascii_start().to_vec()))
        }
        _ => None,
    }
}

/// A statement that fails with a fault.
pub(super) fn raise_fault(fault: &Fault) -> Vec<u8> {
    let mut more = String::new();
    for (name, text) in [("DETAIL", &fault.detail), ("HINT", &fault.hint)] {
        if let Some(text) = text {
            more += &format!(", {name} = {}", literal(text));
        }
    }
    let body = format!(
        "BEGIN RAISE EXCEPTION USING ERRCODE = '{}', MESSAGE = {}{more}; END",
        fault.code,
        literal(&fault.message)
    );
    format!("DO {}", literal(&body)).into_bytes()
}

/// A statement that fails with this.
fn raise((code, message, hint): &(SqlState, String, &'static str)) -> Vec<u8> {
    let body = format!(
        "BEGIN RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = {}, HINT = {}; END",
        literal(message),
        literal(hint)
    );
    format!("DO {}", literal(&body)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_mean_what_they_say() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b'c"), "E'a\\\\b''c'");
        assert_eq!(literal("nul\0"), "'nul'");
    }

    #[test]
    fn only_known_values_are_taken() {
        for (name, value, is_right) in [
            ("pgshunt.target", "Replica", true),
            ("pgshunt.target", "nowhere", false),
            ("pgshunt.target", "", true),
            ("pgshunt.consistency", "bounded:2s", true),
            ("pgshunt.consistency", "often", false),
            ("pgshunt.trace", "notice", true),
            ("pgshunt.cache", "ttl:60s", true),
            ("pgshunt.tenant", "anybody", true),
            ("pgshunt.fish", "1", false),
        ] {
            assert_eq!(mistake(name, value).is_none(), is_right, "{name} {value}");
        }
    }
}
