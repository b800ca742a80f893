//! What is known when a route is asked for, beside the rules.

use crate::access::Access;
use crate::rules::Consistency;

/// The circumstances of one text.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What the text does to data.
    pub access: &'a Access,
    /// The transaction it would be the first statement of.
    pub transaction: Transaction,
    /// `pgshunt.target`.
    pub wanted: Wanted,
    /// `pgshunt.consistency`, if the session has set it.
    pub consistency: Option<Consistency>,
    /// Are there replicas, fit or not?
    pub has_replicas: bool,
    /// Does the session own something that lives in one server?
    pub is_pinned: bool,
    /// Was the batch flushed before its Sync? What follows in it may still write.
    pub batch_is_open: bool,
}

/// A transaction that has been asked for and is on no server yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// None: the text is its own.
    None,
    /// READ ONLY, by its BEGIN or the session's default.
    ReadOnly,
    /// One that may write.
    ReadWrite,
    /// SERIALIZABLE, which standbys refuse, READ ONLY or not.
    Serializable,
}

/// Where the session wants its statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Wherever the rules say.
    Auto,
    /// On the primary.
    Primary,
    /// On a replica, if it can be: whatever is not certain to write.
    Replica,
}
