//! Session settings as values: what a session has set, what a server has applied, and the statement that turns one
//! into the other.

use std::sync::Arc;

/// Names and values, sorted by name. Two equal lists are the same state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    entries: Vec<Entry>,
}

type Entry = (Box<[u8]>, Box<[u8]>);

/// Settings shared between a client, the servers that carry them, and other clients of the same kind.
pub type Shared = Arc<Settings>;

/// Settings whose change can fail later although the value was good once, because it names an object.
const NAMES_AN_OBJECT: [&[u8]; 6] = [
    b"role",
    b"session_authorization",
    b"default_tablespace",
    b"temp_tablespaces",
    b"default_text_search_config",
    b"default_table_access_method",
];

impl Settings {
    /// Collects entries; a later one of the same name wins.
    pub fn collect(entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let mut settings = Settings::default();
        for (name, value) in entries {
            settings.set(&name, &value);
        }
        settings
    }

    /// The value of a setting, if the session has set it.
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.find(name).ok().map(|at| &*self.entries[at].1)
    }

    /// Sets one.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.find(name) {
            Ok(at) => self.entries[at].1 = value.into(),
            Err(at) => self.entries.insert(at, (name.into(), value.into())),
        }
    }

    /// Takes one away.
    pub fn remove(&mut self, name: &[u8]) {
        if let Ok(at) = self.find(name) {
            self.entries.remove(at);
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Is nothing set?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes they take.
    pub fn bytes(&self) -> usize {
        self.entries
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }

    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| compare(other, name))
    }
}

/// Setting names compare without case, as PostgreSQL compares them.
fn compare(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.iter()
        .map(u8::to_ascii_lowercase)
        .cmp(b.iter().map(u8::to_ascii_lowercase))
}

/// What to send a server so that it carries other settings.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// One simple query, several statements.
    pub sql: Vec<u8>,
    /// Could it fail although each value was good once? Then nothing may be sent behind it unseen.
    pub may_fail: bool,
}

/// The statement that turns `from` into `to`; `None` when they are equal.
///
/// Roles are reset first and set last, so that what lies between runs with the login's own rights.
pub fn change(from: &Settings, to: &Settings) -> Option<Change> {
    if from == to {
        return None;
    }
    let mut sql = Vec::new();
    let identity = |name: &[u8]| name == b"role" || name == b"session_authorization";
    if from.value(b"role").is_some() {
        sql.extend_from_slice(b"RESET ROLE;");
    }
    if from.value(b"session_authorization").is_some() {
        sql.extend_from_slice(b"RESET SESSION AUTHORIZATION;");
    }
    for (name, _) in from
        .iter()
        .filter(|(name, _)| to.value(name).is_none() && !identity(name))
    {
        sql.extend_from_slice(b"RESET ");
        quote_name(&mut sql, name);
        sql.push(b';');
    }
    let mut may_fail = false;
    let mut sets = 0;
    let mut set = |sql: &mut Vec<u8>, name: &[u8], value: &[u8]| {
        sql.extend_from_slice(if sets == 0 {
            b"SELECT pg_catalog.set_config("
        } else {
            b",pg_catalog.set_config("
        });
        quote_literal(sql, name);
        sql.push(b',');
        quote_literal(sql, value);
        sql.extend_from_slice(b",false)");
        may_fail |= NAMES_AN_OBJECT.contains(&name) || name.contains(&b'.');
        sets += 1;
    };
    for (name, value) in to
        .iter()
        .filter(|(name, value)| from.value(name) != Some(value) && !identity(name))
    {
        set(&mut sql, name, value);
    }
    for name in [&b"session_authorization"[..], b"role"] {
        if let Some(value) = to.value(name) {
            set(&mut sql, name, value);
        }
    }
    Some(Change { sql, may_fail })
}

/// A string constant that means the same whatever `standard_conforming_strings` says.
pub fn quote_literal(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(b"E'");
    for &byte in text {
        if byte == b'\'' || byte == b'\\' {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
}

/// A setting's name, each dotted part quoted.
fn quote_name(out: &mut Vec<u8>, name: &[u8]) {
    for (i, part) in name.split(|&b| b == b'.').enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        out.push(b'"');
        for &byte in part {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(entries: &[(&str, &str)]) -> Settings {
        Settings::collect(
            entries
                .iter()
                .map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())),
        )
    }

    fn sql(from: &[(&str, &str)], to: &[(&str, &str)]) -> Option<(String, bool)> {
        change(&settings(from), &settings(to))
            .map(|c| (String::from_utf8(c.sql).expect("ascii in, ascii out"), c.may_fail))
    }

    #[test]
    fn equal_settings_need_no_statement() {
        assert_eq!(sql(&[("a", "1")], &[("a", "1")]), None);
    }

    #[test]
    fn what_is_gone_is_reset_and_what_differs_is_set() {
        let (text, may_fail) = sql(&[("a", "1"), ("b", "2")], &[("b", "3")]).expect("they differ");
        assert_eq!(text, "RESET \"a\";SELECT pg_catalog.set_config(E'b',E'3',false)");
        assert!(!may_fail);
    }

    #[test]
    fn a_role_is_reset_first_and_set_last() {
        let (text, may_fail) =
            sql(&[("role", "x")], &[("role", "x"), ("work_mem", "9")]).expect("they differ");
        assert_eq!(
            text,
            "RESET ROLE;SELECT pg_catalog.set_config(E'work_mem',E'9',false),pg_catalog.set_config(E'role',E'x',false)"
        );
        assert!(may_fail);
    }

    #[test]
    fn values_cannot_end_their_quotes() {
        let mut out = Vec::new();
        quote_literal(&mut out, b"a'b\\'c");
        assert_eq!(out, b"E'a''b\\\\''c'");
        out.clear();
        quote_name(&mut out, b"app.\"x");
        assert_eq!(out, b"\"app\".\"\"\"x\"");
    }
}
