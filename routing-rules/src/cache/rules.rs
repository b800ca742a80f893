//! What the user wants kept: classes of statements by the tables they read.

use std::collections::HashMap;
use std::time::Duration;

use crate::sharding::Named;

/// `[cache]` of one database's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// In the order they are tried.
    pub classes: Vec<Class>,
    /// Bytes all kept answers of the database may take.
    pub max_bytes: usize,
    /// Bytes one answer may take.
    pub max_entry_bytes: usize,
    /// Percent of `max_bytes` that one tenant may take.
    pub tenant_share: usize,
    /// How writes that do not come through this pgshunt are heard of.
    pub elsewhere: Elsewhere,
    /// The longest time such a write may go unheard: beyond it nothing is answered from the cache.
    pub max_delay: Duration,
    /// Where it stands whose a row is, if a tenant's write is to make that tenant's answers old alone.
    pub tenants: Option<Columns>,
}

/// The columns that say whose a row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// In every table that has it.
    pub column: Box<str>,
    /// In tables where it has another name.
    pub others: HashMap<Named, Box<str>>,
}

/// How writes that do not come through this pgshunt are heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Elsewhere {
    /// By the primary's logical replication stream.
    #[default]
    Follow,
    /// Not at all: an answer is as old as its class allows.
    Ttl,
}

/// Statements whose answers are kept for the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// A statement belongs to it if it reads no other relations than these; `*` is any.
    pub tables: Vec<String>,
    /// How long an answer is kept.
    pub ttl: Duration,
    /// How much longer it may be given while somebody fetches it anew.
    pub stale: Duration,
    /// It is fetched anew by one client when it has only this long to live.
    pub refresh_ahead: Duration,
    /// Statements whose answers are fetched in advance.
    pub statements: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            classes: Vec::new(),
            max_bytes: 64 << 20,
            max_entry_bytes: 1 << 20,
            tenant_share: 25,
            elsewhere: Elsewhere::Follow,
            max_delay: Duration::from_secs(2),
            tenants: None,
        }
    }
}

/// What a session asks of the cache by `pgshunt.cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// What the rules say.
    Auto,
    /// Nothing.
    Off,
    /// A new answer, kept for the others.
    Refresh,
    /// No answer older than this.
    Ttl(Duration),
}

impl Wish {
    /// Reads `auto`, `off`, `refresh` or `ttl:60s` (also `ms`, `min`, `h`; a bare number is milliseconds).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        match text.as_str() {
            "auto" => Some(Wish::Auto),
            "off" => Some(Wish::Off),
            "refresh" => Some(Wish::Refresh),
            _ => crate::rules::span(text.strip_prefix("ttl:")?.trim()).map(Wish::Ttl),
        }
    }
}

impl Class {
    /// Does it take statements that read this relation?
    pub fn takes(&self, relation: &[u8]) -> bool {
        self.tables
            .iter()
            .any(|table| table == "*" || table.as_bytes() == relation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read() {
        for (text, wish) in [
            ("auto", Some(Wish::Auto)),
            (" OFF ", Some(Wish::Off)),
            ("refresh", Some(Wish::Refresh)),
            ("ttl:60s", Some(Wish::Ttl(Duration::from_secs(60)))),
            ("ttl: 5", Some(Wish::Ttl(Duration::from_millis(5)))),
            ("ttl:", None),
            ("on", None),
        ] {
            assert_eq!(Wish::parse(text), wish, "{text}");
        }
    }
}
