//! `pgshunt tenant`: where tenants are, and whether their rows are there.

use std::path::PathBuf;
use std::process::ExitCode;

use routing_rules::{Function, Key, KeyType, Role, Sharding, Table, TableKind};

use super::route::database;
use super::shards::{Reached, reach};
use super::{WRONG, counted, refuse};
use crate::config;
use crate::snapshot::{Database, Snapshot};

/// Where tenants are. Reads the configuration; only `verify` connects to the shards.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Say on which shard a tenant is, and why
    Where {
        #[command(flatten)]
        of: Of,
        /// The tenant's key
        #[arg(value_name = "TENANT")]
        tenant: String,
    },
    /// List the tenants that have a shard of their own, and how all others are placed
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Count the rows of each shard that belong on another one
    ///
    /// Exit code 1: there are some, or a shard could not be looked at.
    Verify {
        #[command(flatten)]
        of: Of,
    },
}

#[derive(clap::Args)]
struct Of {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// The database, as a client would name it [default: the only one]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
}

/// Looks and says.
pub(super) fn run(args: &Args) -> ExitCode {
    let (Verb::Where { of, .. } | Verb::List { of } | Verb::Verify { of }) = &args.verb;
    let snapshot = match config::load(&of.config) {
        Ok(snapshot) => snapshot,
        Err(mistakes) => return refuse(&mistakes),
    };
    let found = database(&snapshot, of.database.as_deref());
    let sharded = found.and_then(|database| match &database.sharding {
        Some(sharding) => Ok((database, sharding)),
        None => Err(format!("database \"{}\" is not sharded", database.name)),
    });
    let (database, sharding) = match sharded {
        Ok(sharded) => sharded,
        Err(unclear) => {
            eprintln!("{unclear}");
            return ExitCode::from(WRONG);
        }
    };
    match &args.verb {
        Verb::Where { tenant, .. } => tell_where(sharding, tenant),
        Verb::List { .. } => list(sharding),
        Verb::Verify { .. } => verify(&snapshot, database, sharding),
    }
}

fn tell_where(sharding: &Sharding, tenant: &str) -> ExitCode {
    let placed = match sharding.key_type.read_text(tenant) {
        Ok(key) => sharding
            .placement
            .shard(&key)
            .map(|shard| (shard, because(sharding, &key)))
            .map_err(|unplaced| unplaced.to_string()),
        Err(_) => Err(format!("\"{tenant}\" is no {}", sharding.key_type.word())),
    };
    match placed {
        Ok((shard, because)) => {
            println!("tenant   {tenant}\nshard    {shard}\nbecause  {because}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn because(sharding: &Sharding, key: &Key) -> String {
    if sharding.placement.entries.contains_key(key) {
        return "it has an entry of its own".into();
    }
    match &sharding.placement.function {
        Function::Hash(remainders) => {
            format!("its hash among {}", counted(remainders.len(), "remainder"))
        }
        Function::List(list, _) if list.contains_key(key) => "it is listed there".into(),
        Function::List(..) => "it is not listed, and all others are there".into(),
        Function::Range(..) => "its range".into(),
    }
}

fn list(sharding: &Sharding) -> ExitCode {
    let mut entries: Vec<(&Key, &str)> = sharding
        .placement
        .entries
        .iter()
        .map(|(key, shard)| (key, &**shard))
        .collect();
    if let Function::List(list, _) = &sharding.placement.function {
        entries.extend(list.iter().map(|(key, shard)| (key, &**shard)));
    }
    entries.sort();
    for (key, shard) in &entries {
        println!("{key}  {shard}");
    }
    let others = match &sharding.placement.function {
        Function::Hash(remainders) => format!("by hash: {}", remainders.join(", ")),
        Function::List(_, Some(others)) => format!("on {others}"),
        Function::List(_, None) => "nowhere".into(),
        Function::Range(bounds, last) => {
            let below = bounds
                .iter()
                .map(|(bound, shard)| format!("below {bound} on {shard}"));
            let last = last.iter().map(|shard| format!("the rest on {shard}"));
            below.chain(last).collect::<Vec<_>>().join(", ")
        }
    };
    println!("all others {others}");
    ExitCode::SUCCESS
}

fn verify(snapshot: &Snapshot, database: &Database, sharding: &Sharding) -> ExitCode {
    let Some(control) = &database.control else {
        eprintln!("database \"{}\" has no control role to look with", database.name);
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        eprintln!("cannot start");
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
    let keyed = |table: &&Table| table.kind == TableKind::Table;
    let tables: Vec<(String, String, String)> = reached
        .tables
        .iter()
        .filter(keyed)
        .filter_map(
            |table| match sharding.role(Some(&table.schema), &table.name, Some(table)) {
                Role::Keyed(column) => Some((
                    table.schema.to_string(),
                    table.name.to_string(),
                    column.to_owned(),
                )),
                Role::Reference | Role::Home(_) | Role::Unknown => None,
            },
        )
        .collect();
    let mut all = Counts::default();
    for (schema, name, column) in &tables {
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

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
