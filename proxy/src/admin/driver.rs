//! What drivers and tools say of themselves, before and between the commands of a person. Answered so that they go on.

use super::table::{Cell, Column, big, int, text};
use super::words::Word;

/// A PostgreSQL setting as the console reports it.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: &'static str,
    /// Does PostgreSQL report it at login?
    pub is_reported: bool,
}

/// The version whose manners the console has. Not newer than any psql in use, which would warn of it.
pub const SERVER_VERSION: &str = concat!("14.0 (pgshunt ", env!("CARGO_PKG_VERSION"), ")");

const fn reported(name: &'static str, value: &'static str) -> Setting {
    Setting {
        name,
        value,
        is_reported: true,
    }
}

const fn silent(name: &'static str, value: &'static str) -> Setting {
    Setting {
        name,
        value,
        is_reported: false,
    }
}

/// The settings drivers ask for and set. What they set is accepted and forgotten.
pub static SETTINGS: [Setting; 28] = [
    reported("server_version", SERVER_VERSION),
    reported("server_encoding", "UTF8"),
    reported("client_encoding", "UTF8"),
    reported("DateStyle", "ISO, MDY"),
    reported("IntervalStyle", "postgres"),
    reported("TimeZone", "UTC"),
    reported("integer_datetimes", "on"),
    reported("standard_conforming_strings", "on"),
    reported("default_transaction_read_only", "off"),
    reported("in_hot_standby", "off"),
    reported("is_superuser", "off"),
    silent("application_name", ""),
    silent("server_version_num", "140000"),
    silent("extra_float_digits", "1"),
    silent("search_path", ""),
    silent("transaction_isolation", "read committed"),
    silent("default_transaction_isolation", "read committed"),
    silent("transaction_read_only", "off"),
    silent("transaction_deferrable", "off"),
    silent("statement_timeout", "0"),
    silent("lock_timeout", "0"),
    silent("idle_in_transaction_session_timeout", "0"),
    silent("client_min_messages", "notice"),
    silent("bytea_output", "hex"),
    silent("max_identifier_length", "63"),
    silent("synchronous_commit", "on"),
    silent("row_security", "on"),
    silent("geqo", "off"),
];

/// The setting of that name, in whatever case.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .find(|setting| setting.name.eq_ignore_ascii_case(name))
}

/// The tag of a statement that is accepted without effect, if it is one. `word` is its first word, in upper case.
pub fn without_effect(word: &str, rest: &[Word]) -> Option<&'static str> {
    match word {
        "BEGIN" => Some("BEGIN"),
        "START" if rest.first().is_some_and(|word| word.is("TRANSACTION")) => Some("START TRANSACTION"),
        "COMMIT" | "END" => Some("COMMIT"),
        "ROLLBACK" | "ABORT" => Some("ROLLBACK"),
        "SAVEPOINT" if rest.len() == 1 => Some("SAVEPOINT"),
        "RELEASE" if !rest.is_empty() => Some("RELEASE"),
        "RESET" if rest.len() == 1 => Some("RESET"),
        "DISCARD" if rest.len() == 1 => Some("DISCARD ALL"),
        "CLOSE" if rest.len() == 1 => Some("CLOSE CURSOR"),
        "UNLISTEN" if rest.len() == 1 => Some("UNLISTEN"),
        _ => None,
    }
}

/// Something that can be selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constant {
    /// A whole number.
    Number(u64),
    /// `'a text'`
    Text(String),
    /// `version()`
    Version,
    /// `current_database()`
    Database,
    /// `current_schema()`
    Schema,
    /// `current_user` and its kin.
    User,
    /// `pg_advisory_unlock_all()`, which pools of drivers call.
    Void,
}

/// Who asks.
pub struct Asker<'a> {
    /// Its role.
    pub user: &'a str,
    /// The name it gave the console.
    pub database: &'a str,
}

impl Constant {
    /// The column it makes.
    pub fn column(&self) -> Column {
        match self {
            Constant::Number(n) if i32::try_from(*n).is_ok() => int("?column?"),
            Constant::Number(_) => big("?column?"),
            Constant::Text(_) => text("?column?"),
            Constant::Version => text("version"),
            Constant::Database => text("current_database"),
            Constant::Schema => text("current_schema"),
            Constant::User => text("current_user"),
            Constant::Void => text("pg_advisory_unlock_all"),
        }
    }

    /// Its value.
    pub fn cell(&self, asker: &Asker<'_>) -> Cell {
        match self {
            Constant::Number(n) => Cell::Count(*n),
            Constant::Text(text) => text.into(),
            Constant::Version => format!("PostgreSQL {SERVER_VERSION}").into(),
            Constant::Database => asker.database.to_owned().into(),
            Constant::User => asker.user.to_owned().into(),
            Constant::Schema => Cell::Null,
            Constant::Void => "".into(),
        }
    }
}

/// What stands behind `SELECT`: constants with commas between them.
pub fn select(rest: &[Word]) -> Option<Vec<Constant>> {
    rest.split(|word| *word == Word::Mark(','))
        .map(constant)
        .collect()
}

fn constant(words: &[Word]) -> Option<Constant> {
    let (name, call) = match words {
        [Word::Quoted(text)] => return Some(Constant::Text(text.clone())),
        [Word::Plain(name)] => (name, false),
        [Word::Plain(name), Word::Mark('('), Word::Mark(')')] => (name, true),
        _ => return None,
    };
    let name = name.to_ascii_lowercase();
    match (name.strip_prefix("pg_catalog.").unwrap_or(&name), call) {
        ("version", true) => Some(Constant::Version),
        ("current_database", true) => Some(Constant::Database),
        ("current_schema", _) => Some(Constant::Schema),
        ("current_user" | "session_user" | "user" | "current_role", false) => Some(Constant::User),
        ("pg_advisory_unlock_all", true) => Some(Constant::Void),
        (number, false) => number.parse().ok().map(Constant::Number),
        (_, true) => None,
    }
}
