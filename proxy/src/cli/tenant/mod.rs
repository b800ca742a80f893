//! `pgshunt tenant`: where tenants are, whether their rows are there, and a shard of their own for some.

mod audit;
mod change;

use std::path::PathBuf;
use std::process::ExitCode;

use routing_rules::{Function, Key, Role, Sharding, Source, TableKind, Tables};

use super::route::database;
use super::{WRONG, counted, refuse};
use crate::config;
use crate::snapshot::{Database, Snapshot};

/// Where tenants are. Reads the configuration; `verify`, `set` and `unset` connect to the shards.
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
    /// Give a tenant a shard of its own, in the file that `catalog` of [sharding] names
    ///
    /// Refused if the tenant has rows elsewhere: they would not be found any more. A running pgshunt follows within seconds.
    Set {
        #[command(flatten)]
        change: Change,
        /// The shard
        #[arg(value_name = "SHARD")]
        shard: String,
    },
    /// Take a tenant's own shard away: it is placed as all others are
    Unset {
        #[command(flatten)]
        change: Change,
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
struct Change {
    #[command(flatten)]
    of: Of,
    /// The tenant's key
    #[arg(value_name = "TENANT")]
    tenant: String,
    /// Don't look whether the tenant has rows on other shards, where they would not be found any more
    #[arg(long)]
    force: bool,
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
    let of = match &args.verb {
        Verb::Set { change, shard } => return change::run(change, Some(shard)),
        Verb::Unset { change } => return change::run(change, None),
        Verb::Where { of, .. } | Verb::List { of } | Verb::Verify { of } => of,
    };
    let snapshot = match config::load(&of.config) {
        Ok(snapshot) => snapshot,
        Err(mistakes) => return refuse(&mistakes),
    };
    let (database, sharding) = match sharded(&snapshot, of) {
        Ok(sharded) => sharded,
        Err(unclear) => {
            eprintln!("{unclear}");
            return ExitCode::from(WRONG);
        }
    };
    match &args.verb {
        Verb::Where { tenant, .. } => tell_where(sharding, tenant),
        Verb::List { .. } => list(sharding),
        Verb::Verify { .. } => audit::verify(&snapshot, database, sharding),
        Verb::Set { .. } | Verb::Unset { .. } => ExitCode::from(WRONG),
    }
}

fn sharded<'s>(snapshot: &'s Snapshot, of: &Of) -> Result<(&'s Database, &'s Sharding), String> {
    let database = database(snapshot, of.database.as_deref())?;
    match &database.sharding {
        Some(sharding) => Ok((database, sharding)),
        None => Err(format!("database \"{}\" is not sharded", database.name)),
    }
}

/// Each table that has tenants' rows: its schema, its name, and the column that says whose they are.
fn keyed(sharding: &Sharding, tables: &Tables) -> Vec<(String, String, String)> {
    let tables = tables.iter().filter(|table| table.kind == TableKind::Table);
    let keyed =
        tables.filter_map(
            |table| match sharding.role(Some(&table.schema), &table.name, Some(table)) {
                Role::Keyed(column) => Some((
                    table.schema.to_string(),
                    table.name.to_string(),
                    column.to_owned(),
                )),
                Role::Reference | Role::Home(_) | Role::Unknown => None,
            },
        );
    keyed.collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn runtime() -> Option<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| eprintln!("cannot start: {error}")).ok()
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
    match (
        sharding.placement.entries.get(key).map(|entry| entry.source),
        &sharding.catalog,
    ) {
        (Some(Source::Catalog), Some(catalog)) => {
            return format!(
                "it has an entry of its own, in epoch {} of {}",
                catalog.epoch,
                catalog.file.display()
            );
        }
        (Some(Source::Rules | Source::Catalog), _) => {
            return "it has an entry of its own in the rules".into();
        }
        (None, _) => {}
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
        .map(|(key, entry)| (key, &*entry.shard))
        .collect();
    if let Function::List(list, _) = &sharding.placement.function {
        let own = |key: &Key| sharding.placement.entries.contains_key(key);
        let listed = list.iter().filter(|(key, _)| !own(key));
        entries.extend(listed.map(|(key, shard)| (key, &**shard)));
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
    if let Some(catalog) = &sharding.catalog {
        println!("epoch {} of {}", catalog.epoch, catalog.file.display());
    }
    ExitCode::SUCCESS
}
