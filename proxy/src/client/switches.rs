//! What operators have switched off: databases whose servers are not lent, and databases that take no new clients.
//! Stays as it is when the configuration is read again.

use std::collections::BTreeSet;

use crate::fault::Fault;
use crate::protocol::sqlstate;
use crate::snapshot::Snapshot;

/// Switches of all databases, by the names clients give them; `*` is every name that is served by that entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// All databases are paused.
    pub all_paused: bool,
    /// These are paused.
    pub paused: BTreeSet<String>,
    /// These take no new clients.
    pub disabled: BTreeSet<String>,
}

impl Switches {
    /// Are a database's servers not to be lent?
    pub fn is_paused(&self, database: &str, snapshot: &Snapshot) -> bool {
        self.all_paused || names(&self.paused, database, snapshot)
    }

    /// Does a database take no new clients?
    pub fn is_disabled(&self, database: &str, snapshot: &Snapshot) -> bool {
        names(&self.disabled, database, snapshot)
    }

    /// What a new client of a database is told, if it takes none.
    pub fn refusal(&self, database: &str, snapshot: &Snapshot) -> Option<Fault> {
        self.is_disabled(database, snapshot).then(|| {
            Fault::fatal(
                sqlstate::REJECTED_CONNECTION,
                format!("database \"{database}\" is disabled"),
            )
        })
    }

    /// Is anything paused?
    pub fn pauses(&self) -> bool {
        self.all_paused || !self.paused.is_empty()
    }
}

fn names(names: &BTreeSet<String>, database: &str, snapshot: &Snapshot) -> bool {
    names.iter().any(|name| means(name, database, snapshot))
}

/// Does an operator who says this name mean the clients' database of that name?
pub fn means(said: &str, database: &str, snapshot: &Snapshot) -> bool {
    said == database
        || snapshot
            .database(database)
            .is_some_and(|found| found.name == said)
}
