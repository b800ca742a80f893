//! Looks at the shards of a database themselves: are their tables the same, does each row of theirs belong there? Says what
//! differs, never what a row holds but its tenant.

use std::collections::BTreeMap;

use routing_rules::{Role, Sharding, Table, TableKind, Tables};

use super::counted;
use super::setup::writable;
use crate::app::build;
use crate::catalog::tables;
use crate::server::ask::Asker;
use crate::snapshot::{Control, Database, Shard, Snapshot};

/// One shard that was reached, and its tables.
pub(super) struct Reached {
    pub shard: String,
    pub asker: Asker,
    pub tables: Tables,
}

/// Compares the tables of each sharded database's shards, and holds the rules against them; how much is wrong.
pub(super) async fn compare(snapshot: &Snapshot) -> usize {
    let mut wrong = 0;
    for database in &snapshot.databases {
        let (Some(sharding), Some(control)) = (&database.sharding, &database.control) else {
            continue;
        };
        let mut reached = Vec::new();
        for shard in &database.shards {
            match reach(snapshot, database, shard, control).await {
                Ok(one) => reached.push(one),
                Err(why) => {
                    wrong += 1;
                    println!("shard     {}: not looked at: {why}", shard.name);
                }
            }
        }
        wrong += compare_reached(sharding, &reached);
    }
    wrong
}

fn compare_reached(sharding: &Sharding, reached: &[Reached]) -> usize {
    let Some((first, others)) = reached.split_first() else {
        return 0;
    };
    let known = described(&first.tables);
    let mut wrong = 0;
    for other in others {
        let own = described(&other.tables);
        let names = known
            .keys()
            .chain(own.keys().filter(|name| !known.contains_key(*name)));
        for name in names {
            let how = match (known.get(name), own.get(name)) {
                (Some(_), None) => format!("is on {} only", first.shard),
                (None, _) => format!("is not on {}", first.shard),
                (Some(one), Some(two)) if one != two => format!("has other columns than on {}", first.shard),
                (Some(_), Some(_)) => continue,
            };
            wrong += 1;
            println!("shard     {}: {name} {how}", other.shard);
        }
    }
    for mistake in sharding.check(&first.tables) {
        wrong += 1;
        println!("rules     {mistake}");
    }
    for table in first.tables.iter() {
        let role = sharding.role(Some(&table.schema), &table.name, Some(table));
        if table.kind == TableKind::Table && role == Role::Unknown && &*table.schema != "pgshunt" {
            println!(
                "rules     {}.{} is neither keyed nor reference and has no home: statements on it are refused",
                table.schema, table.name
            );
        }
    }
    if wrong == 0 {
        let shards = counted(reached.len(), "shard");
        println!("shards    the same {} on {shards}", counted(known.len(), "table"));
    }
    wrong
}

/// Each relation and its columns, in words that are equal where they are.
fn described(tables: &Tables) -> BTreeMap<String, String> {
    let column = |column: &routing_rules::Column| {
        format!(
            "{}:{}:{}:{}",
            column.name,
            known_type(column.type_oid),
            column.has_own_collation,
            column.is_generated
        )
    };
    let one = |table: &Table| {
        let columns: Vec<String> = table.columns.iter().map(column).collect();
        let name = format!("{}.{}", table.schema, table.name);
        (name, format!("{:?} {}", table.kind, columns.join(",")))
    };
    let own = tables.iter().filter(|table| &*table.schema != "pgshunt");
    own.map(one).collect()
}

/// OIDs of types that users make differ from server to server.
fn known_type(oid: u32) -> u32 {
    const FIRST_NORMAL: u32 = 16_384;
    if oid >= FIRST_NORMAL { FIRST_NORMAL } else { oid }
}

/// The first of a shard's servers that takes writes, asked for its tables.
pub(super) async fn reach(
    snapshot: &Snapshot,
    database: &Database,
    shard: &Shard,
    control: &Control,
) -> Result<Reached, String> {
    let servers = build::servers(snapshot, database, shard, &mut build::Names::new());
    let mut why = "no server of it takes writes".to_owned();
    for target in servers.map_err(|fault| fault.to_string())?.targets {
        let control = Control {
            dbname: target.dbname.clone(),
            ..control.clone()
        };
        match writable(&target, &control).await {
            Ok(Some(mut asker)) => {
                let tables = tables::ask(&mut asker).await?;
                let shard = shard.name.clone();
                return Ok(Reached { shard, asker, tables });
            }
            Ok(None) => {}
            Err(fault) => why = fault,
        }
    }
    Err(why)
}
