//! SQL text and facts in, a route and its reasons out.
//!
//! [`read`] looks at a text without parsing it: it cuts it into tokens as PostgreSQL does (`lexer`), counts its
//! statements and collects what they may do to the session that runs them (`script`, with `calls` for functions and
//! `settings` for SET), and recognises the few statements a session answers itself (`control`).
//!
//! [`access`] proves that a text only reads, with the [`Names`] of its database (remembered by [`Texts`]); [`route`] decides with that, the user's
//! [`Rules`] and the session's [`Facts`] which kind of server it is for, and says why.
//!
//! [`cache`] tells whose answer may be kept, and what makes it old.
//!
//! Where a database is sharded, [`Sharding`] says how. [`cut`] makes pieces of a text, a [`Reading`] (remembered by
//! [`Shapes`]) finds every table in it and what its key is tied to, [`Reading::spread`] places one execution of it with its
//! [`Values`], and a [`Plan`] says how several shards answer together. [`rewrite`] ties a statement to a tenant.

mod access;
pub mod cache;
mod calls;
mod control;
mod effects;
mod facts;
mod first_words;
mod guard;
mod keys;
mod lexer;
mod names;
mod place;
mod refused;
mod route;
mod rules;
mod scatter;
mod script;
mod settings;
mod shapes;
mod sharding;
mod split;
mod sql;
mod tables;
mod temporary;
mod texts;
mod vacated;
mod words;

pub use access::{Access, Why, access};
pub use control::Control;
pub use effects::Effects;
pub use facts::{Facts, Transaction, Wanted};
pub use first_words::{
    ends_all_prepared, ends_and_goes_on, parameters, returns_nothing, runs_nothing, sets_transaction,
    takes_snapshot,
};
pub use guard::{Inserted, Rewritten, rewrite};
pub use keys::{
    Bound, Context, InsertRows, Kind as TextKind, Parameter, Reading, Reason as ShardReason, Shards, Slot,
    Use, Values,
};
pub use names::{Kind, Known, Names};
pub use place::{Entry, Format, Function, Key, KeyType, NotAKey, Placement, Shard, Source, Unplaced};
pub use route::{Freshness, Reason, Reasons, Route, Target, route};
pub use rules::{Consistency, Reads, Rules};
pub use scatter::{Count, Finish, Merge, Plan, SortColumn, SortKey, Template, TextOrder, WrongType};
pub use script::{Lex, Script, read};
pub use shapes::{Counts, Shapes};
pub use sharding::{Catalog, Guard, Named, NoKey, RawSharding, Role, Sharding, WrongSharding};
pub use split::{CopyError, CopyFault, CopyFormat, CopyOptions, CopySplitter, Goes, InsertPart, in_order};
pub use sql::{Kind as PieceKind, Literal, Pieces, Room, Unread, cut, cut_in};
pub use tables::{Column, Table, TableKind, Tables};
pub use temporary::makes_temporary_only;
pub use texts::Texts;
pub use vacated::vacated;
