//! What a coordinator's tables are to be: for each table of the shards, where its rows are and who may read them. Pure: `unite`
//! makes it so.

use std::collections::BTreeSet;

use routing_rules::{Function, Role, Sharding, Tables};

use super::definitions::{Definition, Definitions};
use super::rights::Rights;

/// One table, as the coordinator is to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns, as CREATE TABLE has them.
    pub columns: String,
    /// Where its rows are.
    pub rows: Rows,
    /// Who may read it.
    pub readers: String,
}

/// Where a table's rows are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// On all these shards, each in its remainder of this column's hash.
    Hashed(String, Vec<String>),
    /// On all these shards.
    Spread(Vec<String>),
    /// On this shard, whole.
    Whole(String),
}

/// A table that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its schema and name.
    pub name: String,
    /// Why.
    pub why: &'static str,
}

impl Share {
    /// What tells this making of the table from others; who may read it is not part of it.
    pub fn making(&self) -> String {
        let rows = match &self.rows {
            Rows::Hashed(column, shards) => format!("hash {column} {}", shards.join("\u{1}")),
            Rows::Spread(shards) => format!("spread {}", shards.join("\u{1}")),
            Rows::Whole(shard) => format!("whole {shard}"),
        };
        format!("{rows}\u{2}{}", self.columns)
    }

    /// Schema and name, for people.
    pub fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

impl Rows {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Rows::Hashed(column, _) => format!("from all shards, by hash of {column}"),
            Rows::Spread(_) => "from all shards".into(),
            Rows::Whole(shard) => format!("from {shard}"),
        }
    }
}

/// What the coordinator is to have of these shards' tables, by name.
pub fn shares(
    sharding: &Sharding,
    tables: &Tables,
    shards: &[Definitions],
    rights: &[Rights],
) -> (Vec<Share>, Vec<LeftOut>) {
    let (mut all, mut left_out) = (Vec::new(), Vec::new());
    let Some((first, others)) = shards.split_first() else {
        return (all, left_out);
    };
    let mut definitions: Vec<&Definition> = first.iter().collect();
    definitions.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    for definition in definitions {
        let Definition { schema, name, .. } = definition;
        let table = tables.named(name).iter().find(|table| table.schema == *schema);
        let rows = match sharding.role(Some(schema), name, table) {
            Role::Keyed(column) => keyed(sharding, column),
            Role::Reference => Rows::Whole(sharding.shards[0].to_string()),
            Role::Home(shard) => Rows::Whole(shard.to_owned()),
            Role::Unknown => continue,
        };
        let own: Vec<Option<&Definition>> = others.iter().map(|other| other.of(schema, name)).collect();
        let is_like =
            |other: &Option<&Definition>| other.is_some_and(|other| other.columns == definition.columns);
        let is_secured = |one: &Definition| one.has_row_security;
        let why = if is_secured(definition) || own.iter().flatten().any(|one| is_secured(one)) {
            Some("it has row security")
        } else if !own.iter().all(is_like) {
            Some("it is not the same on all shards")
        } else {
            None
        };
        match why {
            Some(why) => left_out.push(LeftOut {
                name: format!("{schema}.{name}"),
                why,
            }),
            None => all.push(Share {
                schema: schema.to_string(),
                name: name.to_string(),
                columns: definition.columns.to_string(),
                rows,
                readers: readers(rights, schema, name),
            }),
        }
    }
    (all, left_out)
}

/// Who may read it on every shard: a list of grants, `*` or columns for each role.
fn readers(rights: &[Rights], schema: &str, name: &str) -> String {
    let mut of_all: Option<BTreeSet<&str>> = None;
    for rights in rights {
        let own: BTreeSet<&str> = rights.of(schema, name).collect();
        of_all = Some(match of_all {
            None => own,
            Some(before) => before.intersection(&own).copied().collect(),
        });
    }
    let list: Vec<&str> = of_all.unwrap_or_default().into_iter().collect();
    list.join("\n")
}

/// Hash partitions stand for shards where each has one remainder and no tenant is elsewhere.
fn keyed(sharding: &Sharding, column: &str) -> Rows {
    let names = |shards: &[routing_rules::Shard]| shards.iter().map(ToString::to_string).collect();
    match &sharding.placement.function {
        Function::Hash(remainders) if sharding.placement.entries.is_empty() => {
            let distinct: BTreeSet<&str> = remainders.iter().map(|shard| &**shard).collect();
            match distinct.len() == remainders.len() && distinct.len() == sharding.shards.len() {
                true => Rows::Hashed(column.to_owned(), names(remainders)),
                false => Rows::Spread(names(&sharding.shards)),
            }
        }
        Function::Hash(_) | Function::List(..) | Function::Range(..) => Rows::Spread(names(&sharding.shards)),
    }
}
