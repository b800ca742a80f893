//! Which shards a statement is for: its tables, what their keys are tied to, and whether the shards' answers together are the
//! answer. [`Reading::new`] looks at a text once, whatever its values; [`Reading::shards`] places one execution of it.
//!
//! Sound first: a table counts as tied to a key only if no row with another key can matter, and what is not understood is
//! refused. Not seen here, because the text does not show them: triggers, rules, row security, column defaults, foreign
//! keys, and functions called as `row.function`.

mod arrays;
mod classes;
mod collation;
mod equal;
mod from;
pub(crate) mod functions;
mod place;
pub(crate) mod query;
pub(crate) mod read;
mod reason;
pub(crate) mod scope;
mod slot;
pub(crate) mod spread;
mod statement;
mod write;

pub use arrays::InsertArrays;
pub use place::Shards;
pub use reason::Reason;
pub use slot::{Parameter, Slot, Values};

use crate::scatter::Plan;
use crate::sharding::{Named, Sharding};
use crate::tables::Tables;

/// What is known when a text is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The rules.
    pub sharding: &'a Sharding,
    /// The catalog, if it was read. Without it, only tables named in the rules are known.
    pub tables: Option<&'a Tables>,
    /// The session's search path, if it is known; it tells tables of the same name apart.
    pub search_path: Option<&'a [&'a str]>,
    /// Names of the session's temporary tables.
    pub temporary: &'a [Box<str>],
}

/// What a text of one or more statements asks of a sharded database. Holds for all texts of its shape, as long as the constants
/// of [`Reading::looked_at`] are the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What it does.
    pub kind: Kind,
    /// How many statements.
    pub statements: usize,
    /// Every use of a sharded table, and what ties it.
    pub bounds: Vec<Bound>,
    /// Shards of tables that are on one shard.
    pub homes: Vec<Box<str>>,
    /// Every table it names, with its schema as far as that is known; catalogs and temporary ones left out.
    pub tables: Vec<Named>,
    /// Does it name a system column (`ctid`, `tableoid`, …)? What those say is one server's own.
    pub names_system_column: bool,
    /// Does it use catalogs or temporary tables, which differ from shard to shard?
    pub has_local: bool,
    /// Does it read tables that are whole on every shard?
    pub reads_reference: bool,
    /// Does it write such a table? Then it runs on all shards, in one two-phase commit.
    pub writes_reference: bool,
    /// A function in it that may read or write any table.
    pub opaque: Option<Box<str>>,
    /// Why the shards' answers together are not its answer: the operator. `None`: they are, in any order.
    pub whole: Option<Box<str>>,
    /// How several shards answer it together, if it is a query: ask this before [`Reading::whole`]. The error is the operator
    /// that is outside the algebra.
    pub plan: Option<Result<Plan, Box<str>>>,
    /// INSERT … VALUES, or from arrays: where the rows stand, to be split among the shards.
    pub rows: Option<InsertRows>,
    /// COPY: the table's key among the columns that come.
    pub copy_key: Option<usize>,
    /// Parameters that are compared with keys, or inserted as keys, and used nowhere else.
    pub only_keys: Vec<u16>,
    /// Constants whose value was looked at, by their place among the constants, and these values.
    pub looked_at: Vec<(u32, String)>,
    /// Why it can't be placed at all.
    pub refused: Option<Reason>,
}

/// What a text does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing to tables: SET, BEGIN, LISTEN, FETCH, nothing at all.
    Session,
    /// Queries that don't write.
    Read,
    /// It writes rows, or may.
    Write,
    /// It changes the schema, or does something to a table on every shard: DDL, TRUNCATE, VACUUM.
    Everywhere,
    /// COPY … FROM STDIN.
    CopyIn,
    /// COPY … TO STDOUT.
    CopyOut,
    /// EXPLAIN of a statement.
    Explain,
}

/// One use of a sharded table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The table.
    pub table: Box<str>,
    /// Its key.
    pub column: Box<str>,
    /// What is done with it.
    pub used: Use,
    /// The piece of the text its name stands at.
    pub piece: Option<usize>,
    /// The key is one of each of these. Empty: rows of all keys matter.
    pub ties: Vec<Vec<Slot>>,
}

/// What is done with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is read.
    Read,
    /// Rows are added.
    Insert,
    /// Rows are changed.
    Update,
    /// Rows are removed.
    Delete,
    /// Not a table: a key that rows are changed to.
    Assign,
}

/// The rows of an INSERT … VALUES, or of one from arrays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsertRows {
    /// The pieces of each row's parentheses; none if they come as arrays.
    pub rows: Vec<(usize, usize)>,
    /// Each row's key; of arrays, all keys together.
    pub slots: Vec<Slot>,
    /// The rows come as arrays.
    pub arrays: Option<Box<InsertArrays>>,
}
