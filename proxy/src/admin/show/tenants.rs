//! SHOW TENANTS.

use routing_rules::{Function, Key};

use crate::admin::lookout::Seen;
use crate::admin::table::{Column, Row, text};

pub(super) const TENANTS: [Column; 4] = [text("database"), text("tenant"), text("shard"), text("because")];

/// The tenants that have a shard by name. All others are placed by the rules' function.
pub(super) fn tenants(seen: &Seen) -> Vec<Row> {
    let mut rows = Vec::new();
    for database in &seen.snapshot.databases {
        let Some(sharding) = &database.sharding else {
            continue;
        };
        let mut known: Vec<(&Key, &str, &'static str)> = Vec::new();
        let entries = sharding.placement.entries.iter();
        known.extend(entries.map(|(key, shard)| (key, &**shard, "entry")));
        if let Function::List(list, _) = &sharding.placement.function {
            let listed = list
                .iter()
                .filter(|(key, _)| !sharding.placement.entries.contains_key(*key));
            known.extend(listed.map(|(key, shard)| (key, &**shard, "list")));
        }
        known.sort();
        rows.extend(known.into_iter().map(|(key, shard, because)| -> Row {
            vec![
                (&database.name).into(),
                key.to_string().into(),
                shard.to_owned().into(),
                because.into(),
            ]
        }));
    }
    rows
}
