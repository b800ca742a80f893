//! The `[sharding]` section of the rules, checked: which column says whose a row is, where tenants are, and what the other
//! tables are. As it was written, it is a [`RawSharding`].

mod raw;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

pub use raw::RawSharding;

use crate::place::{KeyType, Placement, Shard};
use crate::tables::{Table, TableKind, Tables};

/// How a database is sharded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharding {
    /// The column that holds the tenant's key, in every table that has it.
    pub column: Box<str>,
    /// Its type.
    pub key_type: KeyType,
    /// Where keys are.
    pub placement: Placement,
    /// The file that some of the entries are from, if the rules name one.
    pub catalog: Option<Catalog>,
    /// The database's shards, in the order of the configuration.
    pub shards: Vec<Shard>,
    /// Tables whose key has another name.
    pub columns: HashMap<Named, Box<str>>,
    /// Tables that are whole on every shard.
    pub reference: Vec<Named>,
    /// Tables that are on one shard only.
    pub home: HashMap<Named, Shard>,
    /// Functions that read no table, or the statement's own tenant's rows only.
    pub functions: Vec<Named>,
    /// What becomes of a statement without a key.
    pub no_key: NoKey,
    /// Whether tenants are kept apart.
    pub guard: Guard,
}

/// The file of tenants with a shard of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// As the rules name it, or where that is.
    pub file: PathBuf,
    /// Grows with every change of it.
    pub epoch: u64,
}

/// The name of a table or a function in the rules: with its schema, or in any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Named {
    /// `None`: whatever schema it is in.
    pub schema: Option<Box<str>>,
    /// As the catalog has it.
    pub name: Box<str>,
}

/// What becomes of a statement without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// All shards answer together, if they can.
    Scatter,
    /// It is refused.
    Refuse,
}

/// Whether tenants are kept apart where `pgshunt.tenant` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// No: the tenant only routes.
    Off,
    /// A statement that is not tied to the tenant is refused.
    Enforce,
    /// It is tied to the tenant where that can be done exactly, and refused where not.
    Rewrite,
}

/// What a table of the user's is on a sharded database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// Its rows belong to tenants: the column that says to whom.
    Keyed(&'a str),
    /// Whole on every shard.
    Reference,
    /// On one shard.
    Home(&'a str),
    /// Nobody has said.
    Unknown,
}

/// What is wrong with the section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongSharding {
    /// The key, as `sharding.guard`.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl Sharding {
    /// What a table is, `schema` being known if the catalog or the statement says it. An explicit word in the rules wins over
    /// the catalog, so that a view can be declared to be keyed.
    pub fn role(&self, schema: Option<&str>, name: &str, table: Option<&Table>) -> Role<'_> {
        let schema = table.map(|table| &*table.schema).or(schema);
        if let Some(column) = look_up(&self.columns, schema, name) {
            return self.keyed(column, table);
        }
        if self.reference.iter().any(|named| named.is(schema, name)) {
            return Role::Reference;
        }
        if let Some(shard) = look_up(&self.home, schema, name) {
            return Role::Home(shard);
        }
        match table {
            Some(table) if table.kind == TableKind::Table => self.keyed(&self.column, Some(table)),
            Some(_) | None => Role::Unknown,
        }
    }

    /// A table is keyed if the column has the key's type, or if nobody knows its columns and the rules say so.
    fn keyed<'a>(&self, column: &'a str, table: Option<&Table>) -> Role<'a> {
        let Some(table) = table else {
            return Role::Keyed(column);
        };
        let type_oid = table.column(column).map(|place| table.columns[place].type_oid);
        match type_oid.map(KeyType::of) {
            Some(Some(key_type)) if key_type == self.key_type => Role::Keyed(column),
            Some(_) | None => Role::Unknown,
        }
    }

    /// Finds what only the catalog can tell: keys that are missing or of another type.
    pub fn check(&self, tables: &Tables) -> Vec<WrongSharding> {
        let mut wrong = Vec::new();
        for (named, column) in &self.columns {
            for table in tables.named(&named.name) {
                if !named.is(Some(&table.schema), &table.name) {
                    continue;
                }
                let kind = table
                    .column(column)
                    .map(|place| KeyType::of(table.columns[place].type_oid));
                if kind != Some(Some(self.key_type)) {
                    wrong.push(WrongSharding {
                        key: format!("sharding.columns.{}", named.name),
                        what: format!(
                            "{}.{} has no column {column} of type {}",
                            table.schema,
                            table.name,
                            self.key_type.word()
                        ),
                        hint: "name the column of the table that holds the tenant's key".to_owned(),
                    });
                }
            }
        }
        wrong.sort_by(|a, b| a.key.cmp(&b.key));
        wrong
    }
}

impl Named {
    /// Reads `name` or `schema.name`.
    pub fn parse(text: &str) -> Named {
        match text.split_once('.') {
            Some((schema, name)) => Named {
                schema: Some(schema.into()),
                name: name.into(),
            },
            None => Named {
                schema: None,
                name: text.into(),
            },
        }
    }

    /// Does it stand for this one? Where the schema is not known, a name with a schema stands for it too: there can be no
    /// other, or the statement is refused as ambiguous.
    pub fn is(&self, schema: Option<&str>, name: &str) -> bool {
        *self.name == *name
            && match (&self.schema, schema) {
                (Some(own), Some(schema)) => **own == *schema,
                (None, _) | (Some(_), None) => true,
            }
    }
}

fn look_up<'a>(map: &'a HashMap<Named, Box<str>>, schema: Option<&str>, name: &str) -> Option<&'a str> {
    let named = |schema: Option<&str>| Named {
        schema: schema.map(Into::into),
        name: name.into(),
    };
    let exact = schema.and_then(|schema| map.get(&named(Some(schema))));
    let any = || map.get(&named(None));
    let only = || match schema {
        Some(_) => None,
        None => map
            .iter()
            .find(|(key, _)| key.is(None, name))
            .map(|(_, value)| value),
    };
    exact.or_else(any).or_else(only).map(|value| &**value)
}

impl fmt::Display for WrongSharding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  hint: {}", self.key, self.what, self.hint)
    }
}

impl std::error::Error for WrongSharding {}
