//! Whose rows a text reads or writes: tables of which only some tenants' rows matter. Everything else is all of a table.
//!
//! What ties a table to a key is [`Reading`]'s to say, as on a sharded database. Here it is only ever used to leave out what
//! cannot matter: what is not certain is the whole table.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Catalog;
use super::relations::{Name, Relation, Relations};
use super::rules::Columns;
use super::text::{is, name, tokens};
use crate::Lex;
use crate::keys::{Context, Kind, Parameter, Reading, Slot, Values};
use crate::lexer::Token;
use crate::place::{Function, Key, KeyType, Placement, hash};
use crate::sharding::{Guard, Named, NoKey, Role, Sharding};
use crate::sql::{Pieces, cut};
use crate::tables::{Table, TableKind, Tables};

/// Which columns of a database say whose a row is.
#[derive(Clone, Debug)]
pub struct Tenants {
    sharding: Sharding,
    tables: Tables,
}

/// Tables of which only some tenants' rows are read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The tables.
    pub tables: Vec<Name>,
    key_type: KeyType,
    /// Where the keys stand: in the text, or among its parameters.
    keys: Vec<Slot>,
    only_keys: Vec<u16>,
}

/// What a text reads or writes.
pub(super) struct Told {
    /// Tables of which any row matters.
    pub(super) all: Vec<Name>,
    /// Tables of which some tenants' rows do.
    pub(super) some: Vec<Owned>,
    /// It is the same for all texts of its shape.
    pub(super) by_shape: bool,
}

/// Tenants share this many numbers in each table. Those who share one make each other's answers old.
pub const BUCKETS: u64 = 1024;

/// A tenant's number.
pub type Bucket = u16;

/// An execution that names more tenants is about all.
const KEYS_MAX: usize = 64;

impl Tenants {
    /// The tables that have such a column. Its type is the one that most of them have.
    pub fn new(columns: &Columns, tables: Tables) -> Option<Tenants> {
        let types = [KeyType::Uuid, KeyType::Integer, KeyType::Text, KeyType::Char];
        let of_type = |key_type: KeyType| Tenants {
            sharding: Sharding {
                column: columns.column.clone(),
                key_type,
                placement: Placement {
                    entries: HashMap::new(),
                    function: Function::Hash(Vec::new()),
                },
                shards: Vec::new(),
                catalog: None,
                columns: columns.others.clone(),
                reference: Vec::new(),
                home: HashMap::new(),
                functions: Vec::new(),
                no_key: NoKey::Scatter,
                guard: Guard::Off,
            },
            tables: Tables::default(),
        };
        let keyed = |key_type: &KeyType| {
            let tenants = of_type(*key_type);
            let is_keyed = |table: &&Table| tenants.column_of(table).is_some();
            tables.iter().filter(is_keyed).count()
        };
        let key_type = types.into_iter().max_by_key(keyed)?;
        let mut made = of_type(key_type);
        // Whatever is not a tenant's is all one to [`Reading`]: it belongs to everybody.
        let others = tables.iter().filter(|table| made.column_of(table).is_none());
        made.sharding.reference = others
            .map(|table| Named {
                schema: Some(table.schema.clone()),
                name: table.name.clone(),
            })
            .collect();
        made.tables = tables;
        Some(made)
    }

    fn column_of(&self, table: &Table) -> Option<&str> {
        match self.sharding.role(Some(&table.schema), &table.name, Some(table)) {
            Role::Keyed(column) if table.kind == TableKind::Table => Some(column),
            Role::Keyed(_) | Role::Reference | Role::Home(_) | Role::Unknown => None,
        }
    }

    /// The column that says whose a row of this table is; `None`: nobody knows, or it is another one in another schema.
    pub fn column(&self, table: &[u8]) -> Option<&str> {
        let mut named = self.tables.named(std::str::from_utf8(table).ok()?).iter();
        let column = self.column_of(named.next()?)?;
        named
            .all(|other| self.column_of(other) == Some(column))
            .then_some(column)
    }

    /// The column that says whose a row of this table is, where a statement or the stream of writes tells it; and whether
    /// the stream tells what it was.
    pub fn told(&self, table: &[u8], relations: &Relations) -> Option<(&str, bool)> {
        let column = self.column(table)?;
        let (_, relation) = relations.relation(table)?;
        Some((column, relation.identity.has(column)))
    }

    /// The number of the tenant whose key is written like this.
    pub fn bucket(&self, text: &str) -> Option<Bucket> {
        bucket(&self.sharding.key_type.read_text(text).ok()?)
    }

    /// Reads a text: which of its tables it uses for some tenants only, and whether all texts of its shape do.
    fn owned(&self, text: &[u8], lex: Lex, catalog: &Catalog, kind: Kind) -> (BTreeMap<Name, Owned>, bool) {
        // How a value is read where backslashes escape is left to those who must know.
        let Some(pieces) = cut(text, lex).ok().filter(|_| lex.standard_conforming_strings) else {
            return (BTreeMap::new(), true);
        };
        let context = Context {
            sharding: &self.sharding,
            tables: Some(&self.tables),
            search_path: None,
            temporary: &[],
        };
        let reading = Reading::new(&pieces, &context);
        let is_clear = reading.refused.is_none() && reading.opaque.is_none() && reading.kind == kind;
        let names: BTreeSet<&str> = reading.bounds.iter().map(|bound| &*bound.table).collect();
        let one = |table: &str| {
            let (name, relation) = catalog.relations.relation(table.as_bytes())?;
            let column = self.column_of_all(name, relation)?;
            let mut owned = Owned {
                tables: relation.reads.clone(),
                key_type: self.sharding.key_type,
                keys: Vec::new(),
                only_keys: reading.only_keys.clone(),
            };
            for bound in reading.bounds.iter().filter(|bound| *bound.table == *table) {
                let is_it = *bound.column == *column;
                let mut ties = bound.ties.iter().filter(|_| is_it);
                owned
                    .keys
                    .extend_from_slice(ties.find(|tie| !tie.contains(&Slot::Null))?);
            }
            (owned.keys.len() <= KEYS_MAX).then_some((name.clone(), owned))
        };
        let owned = match is_clear {
            true => names.into_iter().filter_map(one).collect(),
            false => BTreeMap::new(),
        };
        (owned, reading.looked_at.is_empty())
    }

    /// The column of a table and all that is below it, if it is one and nothing but a statement sets it.
    fn column_of_all(&self, name: &Name, relation: &Relation) -> Option<&str> {
        let column = self.column(name)?;
        let is_set_elsewhere = |other: &Name| **other == *column.as_bytes();
        let is_same = |below: &Name| self.column(below) == Some(column);
        let is_certain = relation.is_table
            && !relation.rewrites
            && !relation.generated.iter().any(is_set_elsewhere)
            && relation.reads.iter().all(is_same);
        is_certain.then_some(column)
    }
}

impl Owned {
    /// Whose rows these are in an execution of this text, or of another one of its shape, with these parameters; `None`: nobody
    /// can tell, so they may be anybody's.
    pub fn whose<'o>(
        all: &'o [Owned],
        text: &[u8],
        parameters: &[Parameter<'_>],
    ) -> Vec<(&'o Owned, Option<Vec<Bucket>>)> {
        let is_in_text = all
            .iter()
            .flat_map(|owned| &owned.keys)
            .any(|slot| !is_parameter(slot));
        let lex = Lex {
            standard_conforming_strings: true,
        };
        let pieces = cut(if is_in_text { text } else { b"" }, lex).ok();
        let whose = |owned: &Owned| owned.buckets(pieces.as_ref()?, parameters);
        all.iter().map(|owned| (owned, whose(owned))).collect()
    }

    fn buckets(&self, pieces: &Pieces<'_>, parameters: &[Parameter<'_>]) -> Option<Vec<Bucket>> {
        let values = Values {
            pieces,
            parameters,
            only_keys: &self.only_keys,
        };
        let mut all = Vec::new();
        for slot in &self.keys {
            let keys = values.keys(slot, self.key_type).ok()?;
            all.extend(keys.iter().map(bucket).collect::<Option<Vec<_>>>()?);
        }
        all.sort_unstable();
        all.dedup();
        (all.len() <= KEYS_MAX).then_some(all)
    }

    /// Must the parameters be known?
    pub fn needs_parameters(&self) -> bool {
        self.keys.iter().any(is_parameter)
    }
}

fn is_parameter(slot: &Slot) -> bool {
    matches!(slot, Slot::Parameter(_) | Slot::ParameterArray(_))
}

/// A key's number, the same in every pgshunt: it is told to others. `None` for a text beyond ASCII: which one that is depends on
/// the client's encoding.
fn bucket(key: &Key) -> Option<Bucket> {
    let hash = match key {
        Key::Uuid(bytes) => hash::of_bytes(bytes),
        Key::Integer(value) => hash::of_integer(*value),
        Key::Text(text) if text.is_ascii() => hash::of_bytes(text.as_bytes()),
        Key::Text(_) => return None,
    };
    // INVARIANT: less than BUCKETS, which fits.
    Some((hash % BUCKETS) as Bucket)
}

/// What a query reads of these relations it names.
pub(super) fn read(text: &[u8], lex: Lex, catalog: &Catalog, named: &BTreeMap<&Name, &Relation>) -> Told {
    let owned = catalog
        .tenants
        .as_ref()
        .map(|tenants| tenants.owned(text, lex, catalog, Kind::Read));
    let (mut owned, by_shape) = owned.unwrap_or((BTreeMap::new(), true));
    let others = named.iter().filter(|(name, _)| !owned.contains_key(**name));
    let all: BTreeSet<Name> = others
        .flat_map(|(_, relation)| relation.reads.iter().cloned())
        .collect();
    Told {
        some: left(&mut owned, &all),
        all: all.into_iter().collect(),
        by_shape,
    }
}

/// What a statement that changes these tables at most changes of them.
pub(super) fn written(text: &[u8], lex: Lex, catalog: Option<&Catalog>, changed: BTreeSet<Name>) -> Told {
    let any = |changed: BTreeSet<Name>, by_shape| Told {
        all: changed.into_iter().collect(),
        some: Vec::new(),
        by_shape,
    };
    let tenants = catalog.and_then(|catalog| Some((catalog, catalog.tenants.as_ref()?)));
    let (Some((catalog, tenants)), Some(tokens)) = (tenants, tokens(text, lex)) else {
        return any(changed, true);
    };
    let (mut owned, by_shape) = tenants.owned(text, lex, catalog, Kind::Write);
    owned.retain(|name, _| {
        tenants
            .column(name)
            .is_some_and(|column| keeps_to(&tokens, column))
    });
    let mut all = BTreeSet::new();
    for name in tokens.iter().filter_map(name) {
        let Some((name, relation)) = catalog.relations.relation(&name) else {
            continue;
        };
        // What cascades from a row may be anybody's.
        let own = owned.get(name).map_or(&[][..], |owned| &owned.tables);
        all.extend(
            relation
                .writes
                .iter()
                .filter(|table| !own.contains(table))
                .cloned(),
        );
    }
    let some = left(&mut owned, &all);
    // INVARIANT: everything that is changed is in one or the other.
    let is_told = |name: &Name| all.contains(name) || some.iter().any(|owned| owned.tables.contains(name));
    match changed.iter().all(is_told) {
        true => Told {
            all: all.into_iter().collect(),
            some,
            by_shape,
        },
        false => any(changed, by_shape),
    }
}

/// Without the tables of which any row matters.
fn left(owned: &mut BTreeMap<Name, Owned>, all: &BTreeSet<Name>) -> Vec<Owned> {
    let mut some: Vec<Owned> = std::mem::take(owned).into_values().collect();
    for one in &mut some {
        one.tables.retain(|table| !all.contains(table));
    }
    some.retain(|one| !one.tables.is_empty());
    some
}

/// Does every ON CONFLICT … DO UPDATE meet rows with the key it would have inserted? Only where the key is among the columns
/// that conflict.
fn keeps_to(tokens: &[Token<'_>], column: &str) -> bool {
    let conflicts = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| is(Some(token), "conflict"));
    conflicts.map(|(at, _)| &tokens[at + 1..]).all(|rest| {
        let end = rest
            .iter()
            .position(|token| *token == Token::Mark(b')'))
            .unwrap_or(0);
        let target = rest.get(1..end).unwrap_or_default();
        let is_plain = |token: &Token<'_>| name(token).is_some() || *token == Token::Mark(b',');
        is(rest.first(), "do") && is(rest.get(1), "nothing")
            || rest.first() == Some(&Token::Mark(b'('))
                && target.iter().all(is_plain)
                && target
                    .iter()
                    .filter_map(name)
                    .any(|name| *name == *column.as_bytes())
    })
}
