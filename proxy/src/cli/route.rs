//! `pgshunt route`: where a statement would go and why. Reads the configuration, touches no server.

use std::path::PathBuf;
use std::process::ExitCode;

use routing_rules::{Facts, Lex, Names, Rules, Transaction, Wanted, access, route};

use super::placed::{Nowhere, Offline, place};
use super::{WRONG, refuse};
use crate::config;
use crate::snapshot::{Database, Snapshot};

/// Say where a statement would go and why. Reads the configuration only; works without any server.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// The database, as a client would name it [default: the only one]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,

    /// The session's tenant (pgshunt.tenant)
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,

    /// The statement
    #[arg(value_name = "SQL")]
    sql: String,
}

/// Routes and explains.
pub(super) fn run(args: &Args) -> ExitCode {
    let snapshot = match config::load(&args.config) {
        Ok(snapshot) => snapshot,
        Err(mistakes) => return refuse(&mistakes),
    };
    match database(&snapshot, args.database.as_deref()) {
        Ok(database) => explain(database, args),
        Err(unclear) => {
            eprintln!("{unclear}");
            ExitCode::from(WRONG)
        }
    }
}

pub(super) fn database<'a>(snapshot: &'a Snapshot, name: Option<&str>) -> Result<&'a Database, String> {
    match (name, snapshot.databases.as_slice()) {
        (Some(name), _) => {
            let unknown = || format!("there is no database \"{name}\" in the configuration");
            snapshot.database(name).ok_or_else(unknown)
        }
        (None, [only]) => Ok(only),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|database| database.name.as_str()).collect();
            let names = names.join(", ");
            Err(format!(
                "which database? add --database NAME\n  hint: there are {names}"
            ))
        }
    }
}

fn explain(database: &Database, args: &Args) -> ExitCode {
    if args.sql.trim().is_empty() {
        println!("target   pgshunt\nbecause  an empty statement needs no server");
        return ExitCode::SUCCESS;
    }
    let beyond = |placed: Offline| match placed.ships {
        Some(why) if database.coordinator.is_some() => Err(Nowhere::Beyond(why)),
        ships => Ok(Offline { ships, ..placed }),
    };
    let placed = match &database.sharding {
        Some(sharding) => match place(sharding, &args.sql, args.tenant.as_deref()).and_then(beyond) {
            Ok(placed) => Some(placed),
            Err(Nowhere::Beyond(why)) if is_for_coordinator(database, &args.sql) => {
                let name = database
                    .coordinator
                    .as_ref()
                    .map(|there| there.shard.name.as_str());
                let name = name.unwrap_or_default();
                println!("target   coordinator\nshard    {name}\naccess   read\nbecause  {why}");
                println!("         (if its tables are there as on the shards, which pgshunt asks)");
                return ExitCode::SUCCESS;
            }
            Err(Nowhere::Beyond(why) | Nowhere::Refused(why)) => {
                println!("target   pgshunt\nbecause  {why}");
                return ExitCode::FAILURE;
            }
        },
        None => None,
    };
    let shard = match (&placed, database.shards.as_slice()) {
        (
            Some(Offline {
                shards: Some(shards),
                because,
                notes,
                ..
            }),
            _,
        ) => {
            println!("target   shards\nshard    {shards}\nbecause  {because}");
            notes.iter().for_each(|note| println!("         ({note})"));
            return ExitCode::SUCCESS;
        }
        (
            Some(Offline {
                shard: Some(name), ..
            }),
            all,
        ) => all.iter().find(|shard| shard.name == *name),
        (_, all) => all.first(),
    };
    let Some(shard) = shard else {
        eprintln!("database \"{}\" has no servers", database.name);
        return ExitCode::FAILURE;
    };
    // Offline nothing is known of the database's own functions and views: they count as what they could be at worst.
    let access = access(args.sql.as_bytes(), Lex::default(), Some(&names(&database.split)));
    let has_replicas = shard.servers.len() > 1 && database.control.is_some();
    let facts = Facts {
        access: &access,
        transaction: Transaction::None,
        wanted: Wanted::Auto,
        consistency: None,
        has_replicas,
        is_pinned: false,
        batch_is_open: false,
    };
    let route = route(&database.split, &facts);
    println!("target   {}\nshard    {}", route.target.word(), shard.name);
    println!("access   {}", if access.is_read() { "read" } else { "write" });
    match &placed {
        Some(placed) => {
            println!("because  {}; {route}", placed.because);
            placed.notes.iter().for_each(|note| println!("         ({note})"));
        }
        None => println!("because  {route}"),
    }
    if has_replicas && access.is_read() {
        println!(
            "         (tables are taken for tables: a view may be another matter, which pgshunt asks the server)"
        );
    }
    if args.tenant.is_some() && placed.is_none() {
        println!("         (with one shard the tenant makes no difference)");
    }
    ExitCode::SUCCESS
}

/// Is there a coordinator, and does the text only read?
fn is_for_coordinator(database: &Database, sql: &str) -> bool {
    let names = names(&database.split);
    database.coordinator.is_some() && access(sql.as_bytes(), Lex::default(), Some(&names)).is_read()
}

/// What the rules say of functions.
fn names(rules: &Rules) -> Names {
    let mut names = Names::default();
    rules.correct(&mut names);
    names
}
