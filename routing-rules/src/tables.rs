//! What a database's tables are, from its catalog: their schemas, their kinds and their columns in order. Read by whoever
//! holds a connection; which of them are sharded is the rules' to say.

use std::collections::HashMap;

/// All relations of a database outside the system's schemas.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    by_name: HashMap<Box<str>, Vec<Table>>,
}

/// One relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its schema.
    pub schema: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// What it is.
    pub kind: TableKind,
    /// Its columns in order, dropped ones left out.
    pub columns: Vec<Column>,
}

/// `pg_class.relkind`, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// A table, a partitioned one, a foreign one.
    Table,
    /// A view or a materialized view: what it reads is not looked through.
    View,
    /// A sequence read as a table, a composite type, whatever else.
    Other,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Box<str>,
    /// The OID of its type; of a domain, its base type's.
    pub type_oid: u32,
    /// Does it have a collation that is not its type's own, or not the database's?
    pub has_own_collation: bool,
    /// Is it computed from others? COPY leaves it out.
    pub is_generated: bool,
}

impl Tables {
    /// Adds one.
    pub fn add(&mut self, table: Table) {
        self.by_name.entry(table.name.clone()).or_default().push(table);
    }

    /// All of this name, in any schema.
    pub fn named(&self, name: &str) -> &[Table] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// All of them, by schema and name.
    pub fn iter(&self) -> impl Iterator<Item = &Table> {
        let mut all: Vec<&Table> = self.by_name.values().flatten().collect();
        all.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        all.into_iter()
    }

    /// Is nothing known?
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

impl Table {
    /// The place of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }
}
