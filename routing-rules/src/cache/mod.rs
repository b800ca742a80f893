//! The result cache, as far as it is a matter of text: may an answer be kept ([`admit`]), and which answers does a
//! statement make old ([`effect`]).
//!
//! Both go by names, not by a tree: every name in a text that a relation of the database has counts as that relation, in
//! whatever schema, whether it is one there or not. So a name can be taken for too much, never for too little, and no
//! search path matters. What a name leads to (views, partitions, cascades, triggers) is told by the catalog
//! ([`Relations`]). Of a table whose rows say whose they are, some tenants' rows may be all that matters: that a tree must say
//! ([`Tenants`]).

mod admit;
mod effect;
mod relations;
mod rules;
mod stable;
mod tenants;
mod text;

pub use admit::{Admitted, NotCached, admit, says_a_time};
pub use effect::{Effect, Touches, effect};
pub use relations::{Found, Name, Relations};
pub use rules::{Class, Columns, Elsewhere, Rules, Wish};
pub use tenants::{Bucket, Owned, Tenants};

use crate::names::Names;

/// What is known of a database's catalog, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// What it has that matters on a replica.
    pub names: Names,
    /// What it has that matters to the cache.
    pub relations: Relations,
    /// Whose its rows are, if the rules say where that stands.
    pub tenants: Option<Tenants>,
}
