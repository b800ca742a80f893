//! What the user wants: how reads are split, how fresh they must be, and what is known better than by the catalog.

use std::fmt;
use std::time::Duration;

use crate::names::{Kind, Names};

/// The rules of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Where proven reads go.
    pub reads: Reads,
    /// What a read may miss, unless the session says otherwise.
    pub consistency: Consistency,
    /// No read is older than this, whatever its consistency.
    pub max_staleness: Duration,
    /// Functions the user vouches for, or warns of: the name as the catalog has it, and whether it is safe on a replica.
    pub functions: Vec<(String, bool)>,
}

/// Where proven reads go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// To replicas that are fresh enough.
    Replica,
    /// To the primary, as everything else.
    Primary,
}

/// What a read may miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Nothing the session has written or seen.
    Session,
    /// Whatever the replica misses, within `max_staleness`.
    Eventual,
    /// What was committed within this time.
    Bounded(Duration),
    /// Nothing: reads go to the primary.
    Strong,
}

impl Rules {
    /// Puts what the user says of functions over what the catalog says.
    pub fn correct(&self, names: &mut Names) {
        for (name, is_safe) in &self.functions {
            let kind = match is_safe {
                true => Kind::SafeFunction,
                false => Kind::VolatileFunction,
            };
            names.add(kind, name.as_bytes());
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            reads: Reads::Replica,
            consistency: Consistency::Session,
            max_staleness: Duration::from_secs(10),
            functions: Vec::new(),
        }
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Consistency::Session => f.write_str("session"),
            Consistency::Eventual => f.write_str("eventual"),
            Consistency::Bounded(bound) => write!(f, "bounded:{}ms", bound.as_millis()),
            Consistency::Strong => f.write_str("strong"),
        }
    }
}
