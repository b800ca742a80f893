//! What is known of transactions that span shards: for the console, and for who would begin one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::door::Door;

/// What was seen at the last look, per database.
#[derive(Debug, Default)]
pub struct Known {
    seen: Mutex<BTreeMap<String, Seen>>,
    doors: Mutex<BTreeMap<String, Arc<[Door]>>>,
    /// Something was left undone: look soon.
    pub wanted: Notify,
}

/// One database at one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Prepared transactions, ours and others'.
    pub transactions: Vec<Transaction>,
    /// Shards that can't prepare transactions.
    pub off: Vec<String>,
    /// Shards that could not be asked, and why.
    pub silent: Vec<(String, String)>,
}

/// A transaction some of whose parts are prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// `pgshunt_<id>`, or somebody else's name.
    pub gid: String,
    /// How it stands.
    pub state: State,
    /// For how long its oldest part has been prepared.
    pub age: Duration,
    /// Shards with a prepared part.
    pub shards: Vec<String>,
    /// Whose it is.
    pub role: String,
    /// Why it stays, if it does.
    pub why: Option<String>,
}

/// How a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its coordinator has not decided yet.
    Prepared,
    /// Decided: committed.
    Committing,
    /// Decided: rolled back.
    Aborting,
    /// Its anchor can't be asked now.
    Waiting,
    /// Its anchor is no shard of this database: an operator must decide.
    Orphaned,
    /// Nothing pgshunt made.
    Foreign,
}

impl State {
    /// The word on the console.
    pub fn word(self) -> &'static str {
        match self {
            State::Prepared => "prepared",
            State::Committing => "committing",
            State::Aborting => "aborting",
            State::Waiting => "waiting",
            State::Orphaned => "orphaned",
            State::Foreign => "foreign",
        }
    }
}

impl Known {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A shard of this database that can't prepare transactions, as far as is known.
    pub fn off(&self, database: &str) -> Option<String> {
        self.all().get(database)?.off.first().cloned()
    }

    /// What was seen of all databases.
    pub fn seen(&self) -> BTreeMap<String, Seen> {
        self.all().clone()
    }

    /// What is seen now; what was seen before is given back.
    pub fn note(&self, database: &str, seen: Seen) -> Option<Seen> {
        self.all().insert(database.to_owned(), seen)
    }

    /// The doors of a database's shards; `None`: it has one shard, or no control role.
    pub fn doors(&self, database: &str) -> Option<Arc<[Door]>> {
        let doors = self.doors.lock();
        let doors = doors.unwrap_or_else(|poisoned| poisoned.into_inner());
        doors.get(database).cloned()
    }

    /// These are the databases, and their doors; of others nothing is known any more.
    pub fn follow(&self, databases: BTreeMap<String, Arc<[Door]>>) {
        self.all().retain(|name, _| databases.contains_key(name));
        let doors = self.doors.lock();
        *doors.unwrap_or_else(|poisoned| poisoned.into_inner()) = databases;
    }
}
