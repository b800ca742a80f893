//! Why a statement can't be placed, in words. No value of a statement is ever in them.

use std::fmt;

use crate::place::{NotAKey, Unplaced};
use crate::sql::Unread;

/// Why a statement is refused on a sharded database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its text could not be looked through.
    Unread(Unread),
    /// Nobody has said what this table is.
    UnknownTable(Box<str>),
    /// A view: what it reads is not looked through.
    View(Box<str>),
    /// More than one schema has this name.
    Ambiguous(Box<str>),
    /// A function that may read or write anything.
    Function(Box<str>),
    /// A statement of this kind.
    Statement(Box<str>),
    /// Part of a statement that is not looked through.
    Construct(&'static str),
    /// A value that should be a key is none.
    Key(NotAKey),
    /// The key has no shard.
    Unplaced(Unplaced),
    /// Rows are inserted into this table without its key.
    KeyMissing(Box<str>),
    /// Rows are inserted into this table, or moved within it, with a key that is computed.
    KeyComputed(Box<str>),
    /// Rows of this table would move to another tenant, maybe on another shard.
    KeyUpdated(Box<str>),
    /// It reads or writes what is on different shards.
    Homes(Box<str>, Box<str>),
    /// It needs all shards' rows in one place: the operator that does.
    Operator(Box<str>),
    /// It has no key, and the rules refuse what has none.
    NoKey(Box<str>),
    /// This table in it is not tied to the session's tenant.
    Guard(Box<str>),
    /// A table that is whole on every shard would differ from shard to shard.
    Reference(Box<str>),
}

impl Reason {
    /// The code of the error a client gets.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Reason::Key(NotAKey::Null) | Reason::KeyMissing(_) => "23502",
            Reason::Key(NotAKey::Unreadable(_)) => "22P02",
            Reason::Guard(_) => "42501",
            Reason::Ambiguous(_) => "42P09",
            Reason::Unread(_)
            | Reason::UnknownTable(_)
            | Reason::View(_)
            | Reason::Function(_)
            | Reason::Statement(_)
            | Reason::Construct(_)
            | Reason::Key(NotAKey::WrongType(_) | NotAKey::UnknownType)
            | Reason::Unplaced(_)
            | Reason::KeyComputed(_)
            | Reason::KeyUpdated(_)
            | Reason::Homes(..)
            | Reason::Operator(_)
            | Reason::NoKey(_)
            | Reason::Reference(_) => "0A000",
        }
    }

    /// Would a PostgreSQL that has the rows of all shards answer it?
    pub fn is_for_coordinator(&self) -> bool {
        match self {
            Reason::Operator(_) | Reason::Homes(..) => true,
            Reason::Unread(_)
            | Reason::UnknownTable(_)
            | Reason::View(_)
            | Reason::Ambiguous(_)
            | Reason::Function(_)
            | Reason::Statement(_)
            | Reason::Construct(_)
            | Reason::Key(_)
            | Reason::Unplaced(_)
            | Reason::KeyMissing(_)
            | Reason::KeyComputed(_)
            | Reason::KeyUpdated(_)
            | Reason::NoKey(_)
            | Reason::Guard(_)
            | Reason::Reference(_) => false,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Reason::UnknownTable(_) => {
                "name it in [sharding] of the rules: under columns with its key, under reference, or under home with its shard"
            }
            Reason::View(_) => "if its rows have the key, name it under [sharding.columns]; or use its query",
            Reason::Ambiguous(_) => "write it with its schema",
            Reason::Function(_) => {
                "if it reads no table but of the statement's own tenant, name it under functions in [sharding]; or set pgshunt.tenant"
            }
            Reason::Statement(_) | Reason::Unread(_) => {
                "set pgshunt.tenant, or pgshunt.target = 'shard:NAME'"
            }
            Reason::KeyMissing(_) | Reason::KeyComputed(_) => "write the key as a constant or a parameter",
            Reason::KeyUpdated(_) => "insert the row for its new tenant and delete the old one",
            Reason::NoKey(_) => "compare the key with a constant or a parameter, or set pgshunt.tenant",
            Reason::Operator(_) => "tie every sharded table to one tenant, or configure a coordinator",
            Reason::Key(NotAKey::UnknownType) => "give the parameter a type in Parse, or send it as text",
            Reason::Construct(_)
            | Reason::Key(_)
            | Reason::Unplaced(_)
            | Reason::Homes(..)
            | Reason::Guard(_)
            | Reason::Reference(_) => return None,
        })
    }
}

impl From<NotAKey> for Reason {
    fn from(not: NotAKey) -> Reason {
        Reason::Key(not)
    }
}

impl From<Unplaced> for Reason {
    fn from(unplaced: Unplaced) -> Reason {
        Reason::Unplaced(unplaced)
    }
}

impl From<Unread> for Reason {
    fn from(unread: Unread) -> Reason {
        Reason::Unread(unread)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unread(unread) => write!(f, "{unread}"),
            Reason::UnknownTable(name) => {
                write!(f, "table {name} is neither keyed nor reference and has no home")
            }
            Reason::View(name) => write!(f, "{name} is a view, which is not looked through"),
            Reason::Ambiguous(name) => write!(f, "{name} is the name of several tables"),
            Reason::Function(name) => write!(f, "function {name} may read any table"),
            Reason::Statement(word) => write!(f, "{word} can't be placed on a shard"),
            Reason::Construct(what) => write!(f, "{what} is not looked through"),
            Reason::Key(not) => write!(f, "{not}"),
            Reason::Unplaced(unplaced) => write!(f, "{unplaced}"),
            Reason::KeyMissing(table) => write!(f, "rows for {table} come without its key"),
            Reason::KeyComputed(table) => write!(f, "the key of rows for {table} is computed"),
            Reason::KeyUpdated(table) => write!(f, "the key of {table} can't be updated across shards"),
            Reason::Homes(one, other) => write!(f, "it needs shard {one} and shard {other} at once"),
            Reason::Operator(operator) => write!(f, "{operator} needs the rows of all shards in one place"),
            Reason::NoKey(table) => write!(f, "table {table} is not tied to a key"),
            Reason::Guard(table) => write!(f, "table {table} is not tied to the session's tenant"),
            Reason::Reference(what) => write!(f, "{what} would make a reference table differ between shards"),
        }
    }
}

impl std::error::Error for Reason {}
