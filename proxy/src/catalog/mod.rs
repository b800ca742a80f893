//! What is known of a database from its own catalog.

pub mod keep;
pub mod names;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use routing_rules::Names;

use crate::protocol::session::prepared::Schema;

/// One database's names, as of one state of its schema.
#[derive(Debug)]
pub struct Catalogued {
    schema: Schema,
    found: ArcSwapOption<Found>,
}

/// Names, and when they were.
#[derive(Debug)]
pub struct Found {
    /// The schema's generation before they were asked for.
    generation: u64,
    /// Tells these names from all others.
    pub stamp: u64,
    /// What the database has.
    pub names: Names,
}

/// The next stamp.
static STAMP: AtomicU64 = AtomicU64::new(1);

impl Catalogued {
    /// Nothing is known yet.
    pub fn new(schema: Schema) -> Self {
        Catalogued {
            schema,
            found: ArcSwapOption::empty(),
        }
    }

    /// The names, unless the schema has changed since they were asked for.
    pub fn current(&self) -> Option<Arc<Found>> {
        let found = self.found.load();
        let found = found.as_ref()?;
        (found.generation == self.schema.generation()).then(|| found.clone())
    }

    /// How many schema changes were seen.
    pub fn generation(&self) -> u64 {
        self.schema.generation()
    }

    /// Are there no names, or older ones than the schema?
    pub fn is_outdated(&self) -> bool {
        self.current().is_none()
    }

    /// These were found by a question asked when the schema was at `generation`.
    pub fn learn(&self, generation: u64, names: Names) {
        self.found.store(Some(Arc::new(Found {
            generation,
            stamp: STAMP.fetch_add(1, Ordering::Relaxed),
            names,
        })));
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
        catalogued.learn(catalogued.generation(), Names::default());
        assert!(catalogued.current().is_some());
        let before = catalogued.generation();
        schema.changed();
        assert!(catalogued.is_outdated());
        catalogued.learn(before, Names::default());
        assert!(catalogued.is_outdated(), "asked for before the change");
    }
}
