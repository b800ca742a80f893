//! `pgshunt tenant verify`: counts the rows of each shard that belong on another one.

use std::process::ExitCode;

use routing_rules::{KeyType, Sharding};

use super::{keyed, quoted, runtime};
use crate::cli::counted;
use crate::cli::shards::{Reached, reach};
use crate::snapshot::{Database, Snapshot};

/// Looks at every shard.
pub(super) fn verify(snapshot: &Snapshot, database: &Database, sharding: &Sharding) -> ExitCode {
    let Some(control) = &database.control else {
        eprintln!("database \"{}\" has no control role to look with", database.name);
        return ExitCode::FAILURE;
    };
    let Some(runtime) = runtime() else {
        return ExitCode::FAILURE;
    };
    let mut wrong = 0;
    for shard in &database.shards {
        let looked = runtime.block_on(async {
            let mut reached = reach(snapshot, database, shard, control).await?;
            audit(sharding, &mut reached).await
        });
        match looked {
            Ok(Counts { rows, misplaced }) => {
                println!(
                    "shard {}: {misplaced} of {} misplaced",
                    shard.name,
                    counted(rows as usize, "row")
                );
                wrong += usize::from(misplaced > 0);
            }
            Err(why) => {
                eprintln!("shard {}: not looked at: {why}", shard.name);
                wrong += 1;
            }
        }
    }
    match wrong {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

#[derive(Default)]
struct Counts {
    rows: u64,
    misplaced: u64,
}

/// Counts the rows of one shard, table by table, and says which tenants' are misplaced.
async fn audit(sharding: &Sharding, reached: &mut Reached) -> Result<Counts, String> {
    let mut all = Counts::default();
    for (schema, name, column) in &keyed(sharding, &reached.tables) {
        let own = audit_table(sharding, reached, (schema, name, column)).await?;
        if own.misplaced > 0 {
            println!(
                "  {schema}.{name}: {} of {} misplaced",
                own.misplaced,
                counted(own.rows as usize, "row")
            );
        }
        all.rows += own.rows;
        all.misplaced += own.misplaced;
    }
    Ok(all)
}

/// Tenants asked for at a time.
const PAGE: usize = 2000;

/// Tenants named for each table.
const NAMED: usize = 5;

async fn audit_table(
    sharding: &Sharding,
    reached: &mut Reached,
    (schema, name, column): (&str, &str, &str),
) -> Result<Counts, String> {
    let (table, column) = (format!("{}.{}", quoted(schema), quoted(name)), quoted(column));
    let question = format!(
        "SELECT k, n FROM (SELECT {column}::pg_catalog.text COLLATE pg_catalog.\"C\" AS k, pg_catalog.count(*) AS n \
         FROM {table} GROUP BY 1) AS keys WHERE k > $1 OR (k IS NULL AND $2 = 'first') ORDER BY k NULLS FIRST LIMIT {PAGE}"
    );
    let mut counts = Counts::default();
    let (mut after, mut turn, mut named) = (String::new(), "first", 0);
    loop {
        let rows = reached.asker.ask(&question, &[Some(&after), Some(turn)]).await;
        let rows = rows.map_err(|fault| format!("{table}: {fault}"))?;
        turn = "next";
        for row in &rows {
            let text = |at: usize| {
                row.get(at)?
                    .as_deref()
                    .and_then(|text| std::str::from_utf8(text).ok())
            };
            let count: u64 = text(1).and_then(|digits| digits.parse().ok()).unwrap_or(0);
            counts.rows += count;
            let belongs = text(0).and_then(|key| place(sharding, key));
            if belongs == Some(reached.shard.as_str()) {
                continue;
            }
            counts.misplaced += count;
            if named < NAMED {
                named += 1;
                let (key, to) = (text(0).unwrap_or("NULL"), belongs.unwrap_or("no shard"));
                println!(
                    "  {table}: {} of tenant {key} belong on {to}",
                    counted(count as usize, "row")
                );
            }
        }
        match rows.last().and_then(|row| row.first().cloned().flatten()) {
            Some(last) if rows.len() == PAGE => after = String::from_utf8_lossy(&last).into_owned(),
            _ => return Ok(counts),
        }
    }
}

fn place<'s>(sharding: &'s Sharding, key: &str) -> Option<&'s str> {
    // `char(n)` shows its blanks, which its keys don't count.
    let key = match sharding.key_type {
        KeyType::Char => key.trim_end_matches(' '),
        KeyType::Uuid | KeyType::Integer | KeyType::Text => key,
    };
    let key = sharding.key_type.read_text(key).ok()?;
    sharding.placement.shard(&key).ok()
}
