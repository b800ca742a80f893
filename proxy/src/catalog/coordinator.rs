//! What is known of a coordinator: which tables it has as the shards have them. Asks nobody; `definitions` does.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use routing_rules::{Named, Sharding};
use tokio::sync::Notify;

use super::definitions::{Definition, Definitions};
use crate::cluster::Cluster;
use crate::server::address::Target;

/// A PostgreSQL that has the tables of all shards as its own.
#[derive(Debug)]
pub struct Coordinator {
    /// Its one server.
    pub cluster: Arc<Cluster>,
    /// Something was learned.
    pub learned: Notify,
    known: ArcSwapOption<Known>,
}

/// What was found at one moment.
#[derive(Debug)]
struct Known {
    /// The state of the shards' tables before it was looked for.
    as_of: u64,
    /// The rules its tables were made by.
    sharding: Arc<Sharding>,
    found: Result<Found, String>,
}

/// Why a table at the coordinator is none to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is not there.
    Missing,
    /// It has other columns there.
    Unlike,
    /// Types of its columns are others there, or on one of the shards.
    Types,
    /// The shards have different ones.
    Mixed,
    /// Row security would be the reader's, not the client's.
    RowSecurity,
}

impl Unfit {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Unfit::Missing => "is not there",
            Unfit::Unlike => "has other columns there than on the shards",
            Unfit::Types => "has columns of types that are not the same everywhere",
            Unfit::Mixed => "is not the same on all shards",
            Unfit::RowSecurity => "has row security, which would not be the client's there",
        }
    }
}

/// Can a statement's tables be read there?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Yes.
    Yes,
    /// It is being found out.
    Unknown,
    /// No, because of this.
    No(String),
}

impl Coordinator {
    /// Nothing is known of it yet.
    pub fn new(cluster: Arc<Cluster>) -> Coordinator {
        Coordinator {
            cluster,
            learned: Notify::new(),
            known: ArcSwapOption::empty(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.cluster.name
    }

    /// Where it is.
    pub fn target(&self) -> Arc<Target> {
        self.cluster.members[0].target.clone()
    }

    /// Is it the same server by the same name?
    pub fn is_like(&self, other: &Coordinator) -> bool {
        self.name() == other.name() && self.cluster.is_like(&[other.target()], &[], false)
    }

    /// Can these tables be read there, the shards' being in this state?
    pub fn fits(&self, as_of: u64, sharding: &Arc<Sharding>, tables: &[Named]) -> Fit {
        let known = self.known.load();
        let known = known
            .as_ref()
            .filter(|known| known.as_of == as_of && Arc::ptr_eq(&known.sharding, sharding));
        let Some(known) = known else {
            return Fit::Unknown;
        };
        let found = match &known.found {
            Ok(found) => found,
            Err(why) => return Fit::No(why.clone()),
        };
        for table in tables {
            let name = (table.schema.clone().unwrap_or_default(), table.name.clone());
            if let Some(unfit) = found.get(&name).copied().unwrap_or(Some(Unfit::Missing)) {
                return Fit::No(format!("table {} {}", table.name, unfit.words()));
            }
        }
        Fit::Yes
    }

    /// Could it not be looked at, the last time?
    pub fn is_lost(&self) -> bool {
        self.known
            .load()
            .as_ref()
            .is_some_and(|known| known.found.is_err())
    }

    /// Is what is known of it of this state and these rules?
    pub fn is_current(&self, as_of: u64, sharding: &Arc<Sharding>) -> bool {
        self.fits(as_of, sharding, &[]) != Fit::Unknown
    }

    /// This was found, or not, by questions asked when the shards' tables were in that state.
    pub fn learn(&self, as_of: u64, sharding: Arc<Sharding>, found: Result<Compared, String>) {
        let found = found.map(|compared| compared.0);
        self.known.store(Some(Arc::new(Known {
            as_of,
            sharding,
            found,
        })));
        self.learned.notify_waiters();
    }
}

/// The shards' tables, and what is wrong with the coordinator's.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compared(Found);

/// By schema and name; `None`: it can be read there.
type Found = HashMap<(Box<str>, Box<str>), Option<Unfit>>;

impl Compared {
    /// Holds the coordinator's tables against those of all shards.
    pub fn new(shards: &[Definitions], coordinator: &Definitions) -> Compared {
        let Some((first, others)) = shards.split_first() else {
            return Compared::default();
        };
        let has_like_types = others
            .iter()
            .chain([coordinator])
            .all(|other| first.has_like_types(other));
        let one = |definition: &Definition| {
            let name = (definition.schema.clone(), definition.name.clone());
            let of = |all: &[Definitions]| -> Vec<Option<Definition>> {
                let own = all.iter().map(|shard| shard.of(&name.0, &name.1).cloned());
                own.collect()
            };
            let unfit = unfit(definition, &of(others), coordinator.of(&name.0, &name.1));
            let is_unlike = definition.has_own_types && !has_like_types;
            let unfit = unfit.or(is_unlike.then_some(Unfit::Types));
            (name, unfit)
        };
        Compared(first.iter().map(one).collect())
    }

    /// Those that can be read there, and those that can't with the reason, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, Option<Unfit>)> {
        let mut all: Vec<_> = self
            .0
            .iter()
            .map(|((schema, name), unfit)| (&**schema, &**name, *unfit))
            .collect();
        all.sort_unstable_by_key(|(schema, name, _)| (*schema, *name));
        all.into_iter()
    }
}

/// What is wrong with a table there: as one shard has it, as the others have it, and as the coordinator does.
fn unfit(one: &Definition, others: &[Option<Definition>], there: Option<&Definition>) -> Option<Unfit> {
    let is_secured = |one: &Definition| one.has_row_security;
    if is_secured(one) || others.iter().flatten().any(is_secured) {
        return Some(Unfit::RowSecurity);
    }
    let is_like =
        |other: &Option<Definition>| other.as_ref().is_some_and(|other| other.columns == one.columns);
    if !others.iter().all(is_like) {
        return Some(Unfit::Mixed);
    }
    match there {
        None => Some(Unfit::Missing),
        Some(there) if there.columns != one.columns => Some(Unfit::Unlike),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(all: &[(&str, &str, bool)]) -> Definitions {
        let one = |&(name, columns, has_row_security): &(&str, &str, bool)| Definition {
            schema: "public".into(),
            name: name.into(),
            columns: columns.into(),
            has_row_security,
            has_own_types: false,
        };
        Definitions::new(all.iter().map(one))
    }

    #[test]
    fn a_table_is_read_where_it_is_as_on_every_shard() {
        let one = tables(&[
            ("a", "x", false),
            ("b", "x", false),
            ("c", "x", false),
            ("d", "x", false),
        ]);
        let two = tables(&[
            ("a", "x", false),
            ("b", "x", true),
            ("c", "y", false),
            ("d", "x", false),
        ]);
        let there = tables(&[("a", "x", false), ("b", "x", false), ("c", "x", false)]);
        let compared = Compared::new(&[one, two], &there);
        let shown: Vec<_> = compared.iter().map(|(_, name, unfit)| (name, unfit)).collect();
        assert_eq!(
            shown,
            [
                ("a", None),
                ("b", Some(Unfit::RowSecurity)),
                ("c", Some(Unfit::Mixed)),
                ("d", Some(Unfit::Missing)),
            ]
        );
    }
}
