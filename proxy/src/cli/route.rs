//! `pgshunt route`: where a statement would go and why. Reads the configuration, touches no server.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{WRONG, counted, refuse};
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

fn database<'a>(snapshot: &'a Snapshot, name: Option<&str>) -> Result<&'a Database, String> {
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
    let [shard] = database.shards.as_slice() else {
        let shards = counted(database.shards.len(), "shard");
        eprintln!(
            "database \"{}\" has {shards}; this version does not route between shards",
            database.name
        );
        return ExitCode::FAILURE;
    };
    println!("target   primary\nshard    {}", shard.name);
    println!("because  the database has one shard, and this version sends every statement to its primary");
    if args.tenant.is_some() {
        println!("         (with one shard the tenant makes no difference)");
    }
    ExitCode::SUCCESS
}
