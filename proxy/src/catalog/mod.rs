//! What is known of a database from its own catalog; and `file`, which tenants have a shard of their own.

pub mod alike;
pub mod coordinator;
pub mod defaults;
pub mod definitions;
pub mod file;
pub mod keep;
pub mod names;
mod paged;
pub mod relations;
pub mod rights;
pub mod shares;
pub mod tables;
pub mod unite;
mod united;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use routing_rules::cache::Catalog;
use routing_rules::{Names, Tables};
use tokio::sync::Notify;

use crate::protocol::session::prepared::Schema;

/// One database's names and tables, as of one state of its schema.
#[derive(Debug)]
pub struct Catalogued {
    schema: Schema,
    found: ArcSwapOption<Found>,
    /// Something was learned.
    pub learned: Notify,
    /// Something is waited for.
    pub wanted: Notify,
}

/// What was found, and when that was.
#[derive(Debug)]
pub struct Found {
    /// The schema before it was asked for.
    as_of: AsOf,
    /// Tells this from all others.
    pub stamp: u64,
    /// Names that matter on replicas.
    pub names: Names,
    /// Its tables; `None`: they do not matter, since it is not sharded.
    pub tables: Option<Tables>,
    /// The names and more, for the result cache; `None`: there is none.
    pub catalog: Option<Arc<Catalog>>,
}

impl Found {
    /// The tables of one transaction, whatever its names mean on replicas.
    pub fn of_transaction(tables: Tables) -> Self {
        Found {
            stamp: STAMP.fetch_add(1, Ordering::Relaxed),
            tables: Some(tables),
            ..Found::nothing()
        }
    }

    /// Nothing is known.
    pub fn nothing() -> Self {
        Found {
            as_of: AsOf {
                generation: 0,
                tables: 0,
                state: 0,
            },
            stamp: 0,
            names: Names::default(),
            tables: None,
            catalog: None,
        }
    }
}

/// A state of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    generation: u64,
    tables: u64,
    /// A number no other state of the same schema has.
    state: u64,
}

/// The next stamp.
static STAMP: AtomicU64 = AtomicU64::new(1);

impl Catalogued {
    /// Nothing is known yet.
    pub fn new(schema: Schema) -> Self {
        Catalogued {
            schema,
            found: ArcSwapOption::empty(),
            learned: Notify::new(),
            wanted: Notify::new(),
        }
    }

    /// The names, unless the schema has changed since they were asked for.
    pub fn current(&self) -> Option<Arc<Found>> {
        let found = self.found.load();
        let found = found.as_ref()?;
        (found.as_of.generation == self.schema.names_generation()).then(|| found.clone())
    }

    /// The tables, unless one was changed since they were asked for.
    pub fn tables(&self) -> Option<Arc<Found>> {
        let found = self.found.load();
        let found = found.as_ref()?;
        let is_current = found.as_of.tables == self.schema.tables() && found.tables.is_some();
        is_current.then(|| found.clone())
    }

    /// What matters to the result cache, unless anything has changed since it was asked for; and the schema it is of.
    pub fn catalog(&self) -> Option<(u64, Arc<Catalog>)> {
        let found = self.found.load();
        let found = found.as_ref()?;
        let is_current = found.as_of == self.as_of();
        let catalog = found.catalog.clone().filter(|_| is_current)?;
        Some((found.as_of.state, catalog))
    }

    /// Was something found for the result cache that is no longer so?
    pub fn has_old_catalog(&self) -> bool {
        let found = self.found.load();
        let is_old = |found: &Arc<Found>| found.catalog.is_some() && found.as_of != self.as_of();
        found.as_ref().is_some_and(is_old)
    }

    /// The schema they are of.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Something has changed that this pgshunt did not see happen.
    pub fn outdate(&self) {
        self.schema.changed(true);
    }

    /// The same where no statement is to wait until it was looked at again.
    pub fn doubt(&self) {
        self.schema.doubted();
    }

    /// The schema as it is now.
    pub fn as_of(&self) -> AsOf {
        AsOf {
            // First: what changes meanwhile makes what is found old.
            state: self.schema.state(),
            generation: self.schema.names_generation(),
            tables: self.schema.tables(),
        }
    }

    /// Is nothing known, or only of an older schema?
    pub fn is_outdated(&self) -> bool {
        self.current().is_none()
    }

    /// This was found by questions asked when the schema was like that.
    pub fn learn(&self, as_of: AsOf, names: Names, tables: Option<Tables>, catalog: Option<Catalog>) {
        self.found.store(Some(Arc::new(Found {
            as_of,
            stamp: STAMP.fetch_add(1, Ordering::Relaxed),
            names,
            tables,
            catalog: catalog.map(Arc::new),
        })));
        self.learned.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_older_than_the_schema_are_not_believed() {
        let schema = Schema::default();
        let catalogued = Catalogued::new(schema.clone());
        assert!(catalogued.is_outdated());
        catalogued.learn(catalogued.as_of(), Names::default(), None, None);
        assert!(catalogued.current().is_some());
        schema.changed_but_for_names(true);
        assert!(catalogued.current().is_some());
        let before = catalogued.as_of();
        schema.changed(true);
        assert!(catalogued.is_outdated());
        catalogued.learn(before, Names::default(), None, None);
        assert!(catalogued.is_outdated(), "asked for before the change");
    }

    #[test]
    fn a_temporary_table_makes_no_table_doubtful() {
        let schema = Schema::default();
        let catalogued = Catalogued::new(schema.clone());
        catalogued.learn(
            catalogued.as_of(),
            Names::default(),
            Some(Tables::default()),
            None,
        );
        schema.changed(false);
        assert!(catalogued.is_outdated() && catalogued.tables().is_some());
        schema.changed(true);
        assert!(catalogued.tables().is_none());
    }
}
