//! SHOW TENANTS.

use routing_rules::{Function, Key, Sharding, Source};

use crate::admin::lookout::Seen;
use crate::admin::table::{Cell, Column, Row, big, text};

pub(super) const TENANTS: [Column; 5] = [
    text("database"),
    text("tenant"),
    text("shard"),
    text("because"),
    big("epoch"),
];

/// The tenants that have a shard by name, and behind them, without a name, where all others are. `because` is where that is
/// written: `catalog`, with its epoch, `entry` or `list` in the rules, or else the rules' function.
pub(super) fn tenants(seen: &Seen) -> Vec<Row> {
    let sharded = seen.snapshot.databases.iter();
    let sharded = sharded.filter_map(|database| Some((&database.name, database.sharding.as_deref()?)));
    sharded
        .flat_map(|(name, sharding)| of_one(name, sharding))
        .collect()
}

fn of_one(database: &str, sharding: &Sharding) -> Vec<Row> {
    let placement = &sharding.placement;
    let mut known: Vec<(&Key, &str, &'static str)> = Vec::new();
    known.extend(placement.entries.iter().map(|(key, entry)| {
        let because = match entry.source {
            Source::Catalog => "catalog",
            Source::Rules => "entry",
        };
        (key, &*entry.shard, because)
    }));
    if let Function::List(list, _) = &placement.function {
        let listed = list
            .iter()
            .filter(|(key, _)| !placement.entries.contains_key(*key));
        known.extend(listed.map(|(key, shard)| (key, &**shard, "list")));
    }
    known.sort_unstable();
    let epoch = |because| match &sharding.catalog {
        Some(catalog) if because == "catalog" => Cell::Count(catalog.epoch),
        Some(_) | None => Cell::Null,
    };
    let row = |tenant: Cell, shard: Cell, because: &'static str| -> Row {
        vec![
            database.to_owned().into(),
            tenant,
            shard,
            because.into(),
            epoch(because),
        ]
    };
    let named = known
        .into_iter()
        .map(|(key, shard, because)| row(key.to_string().into(), shard.to_owned().into(), because));
    let (others, because) = match &placement.function {
        Function::Hash(remainders) => (Some(remainders.join(",")), "hash"),
        Function::List(_, others) => (others.as_deref().map(str::to_owned), "list"),
        Function::Range(bounds, last) => {
            let shards = bounds.iter().map(|(_, shard)| shard).chain(last);
            (
                Some(shards.map(|shard| &**shard).collect::<Vec<_>>().join(",")),
                "range",
            )
        }
    };
    let others = others.map_or(Cell::Null, Cell::from);
    named.chain([row(Cell::Null, others, because)]).collect()
}
