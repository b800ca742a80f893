//! `pgshunt coordinator init`: gives a coordinator the tables of all shards, and what belongs to them. Also what `pgshunt check`
//! says of coordinators.

use std::path::PathBuf;
use std::process::ExitCode;

use routing_rules::{Role, Sharding, Tables};

use super::route::database;
use super::shards::reach;
use super::verifiers::{Verifiers, read_verifiers};
use super::{WRONG, counted, refuse};
use crate::app::coordinating::{reads_as, sites};
use crate::catalog::alike::{Looked, Ways, look};
use crate::catalog::coordinator::{Compared, Unfit};
use crate::config;
use crate::server::ask::Asker;
use crate::snapshot::{Control, Coordinator, CoordinatorKind, Database, Snapshot};

/// The PostgreSQL that answers what shards can't answer together.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Give the coordinator the tables of all shards, by postgres_fdw
    ///
    /// Makes foreign servers, types, tables and grants in the coordinator's database, as the control role, in one
    /// transaction; what it has not made itself it leaves alone. Running it again changes what has changed. A running pgshunt
    /// follows later changes of the shards' tables by itself.
    Init {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,

        /// The database, as a client would name it [default: the only one]
        #[arg(long, value_name = "NAME")]
        database: Option<String>,
    },
}

/// A sharded database with a coordinator, and who looks after it.
struct Whole<'a> {
    snapshot: &'a Snapshot,
    database: &'a Database,
    sharding: &'a Sharding,
    coordinator: &'a Coordinator,
    control: &'a Control,
}

/// Makes it and says what was done.
pub(super) fn run(args: &Args) -> ExitCode {
    let Verb::Init {
        config,
        database: name,
    } = &args.verb;
    let snapshot = match config::load(config) {
        Ok(snapshot) => snapshot,
        Err(mistakes) => return refuse(&mistakes),
    };
    let whole = database(&snapshot, name.as_deref()).and_then(|database| whole(&snapshot, database));
    let whole = match whole {
        Ok(whole) => whole,
        Err(unclear) => {
            eprintln!("{unclear}");
            return ExitCode::from(WRONG);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let made = match runtime {
        Ok(runtime) => runtime.block_on(init(&whole)),
        Err(error) => Err(error.to_string()),
    };
    let name = &whole.coordinator.shard.name;
    match made {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("coordinator {name}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn whole<'a>(snapshot: &'a Snapshot, database: &'a Database) -> Result<Whole<'a>, String> {
    let lacks = |what: &str| format!("database \"{}\" has no {what}", database.name);
    let coordinator = database.coordinator.as_ref().ok_or_else(|| {
        lacks("coordinator") + "\n  hint: add [[database.coordinator]] with servers = [\"host:5432\"]"
    })?;
    if coordinator.kind == CoordinatorKind::Citus {
        return Err(format!(
            "coordinator {} is a Citus coordinator, which makes its tables itself",
            coordinator.shard.name
        ));
    }
    Ok(Whole {
        snapshot,
        database,
        sharding: database.sharding.as_deref().ok_or_else(|| lacks("[sharding]"))?,
        coordinator,
        control: database.control.as_ref().ok_or_else(|| lacks("control role"))?,
    })
}

/// How many of its tables can't be read there in the end.
async fn init(whole: &Whole<'_>) -> Result<usize, String> {
    let Whole {
        database,
        sharding,
        coordinator,
        control,
        ..
    } = whole;
    let mut shards = reach_shards(whole).await?;
    let mut there = reach(whole.snapshot, database, &coordinator.shard, control)
        .await?
        .asker;
    let name = &coordinator.shard.name;
    let told = |line: &String| println!("coordinator {name}: {line}");
    may_read(&mut shards, reads_as(coordinator, control).user).await?;
    let roles = match shards.first_mut() {
        Some((_, first)) => roles(first, &mut there).await?,
        None => Vec::new(),
    };
    roles.iter().for_each(told);
    let looked = look(&mut shards).await?;
    let ways = Ways {
        sites: sites(database, &database.name),
        reads_as: reads_as(coordinator, control),
        sharding,
    };
    let made = looked.unite(&mut there, ways, true).await?.unwrap_or_default();
    made.iter().for_each(told);
    if made.iter().all(|line| line.starts_with("left out ")) {
        println!("coordinator {name}: nothing has changed");
    }
    for sql in AT_ONCE {
        // It helps, and the control role need not own the database.
        let _ = there.ask(sql, &[]).await;
    }
    let compared = looked.compare(&mut there).await?;
    Ok(tell(database, name, &compared, looked.tables()))
}

/// Joins and groups on the key are done on the shards.
const AT_ONCE: [&str; 2] = [
    "DO $$ BEGIN EXECUTE pg_catalog.format('ALTER DATABASE %I SET enable_partitionwise_join = on', \
     pg_catalog.current_database()); END $$",
    "DO $$ BEGIN EXECUTE pg_catalog.format('ALTER DATABASE %I SET enable_partitionwise_aggregate = on', \
     pg_catalog.current_database()); END $$",
];

async fn reach_shards(whole: &Whole<'_>) -> Result<Vec<(String, Asker)>, String> {
    let mut shards = Vec::new();
    for shard in &whole.database.shards {
        let reached = reach(whole.snapshot, whole.database, shard, whole.control).await;
        let reached = reached.map_err(|why| format!("shard {}: {why}", shard.name))?;
        shards.push((reached.shard, reached.asker));
    }
    Ok(shards)
}

/// Refuses a reader that is no role of a shard, or may not read there.
async fn may_read(shards: &mut [(String, Asker)], user: &str) -> Result<(), String> {
    const SQL: &str = "SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
        ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
        AND n.nspname !~ '^(pg_|pgshunt$)' AND NOT pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT')) \
        FROM pg_catalog.pg_roles r WHERE r.rolname = $1 AND r.rolcanlogin";
    for (name, asker) in shards {
        let rows = asker.ask(SQL, &[Some(user)]).await;
        let rows = rows.map_err(|fault| format!("shard {name}: {fault}"))?;
        let count = rows.first().and_then(|row| row.first()?.as_deref());
        match count {
            Some(b"0") => {}
            Some(_) => {
                return Err(format!(
                    "role {user} may not read all tables of shard {name}\n  hint: GRANT pg_read_all_data TO {user}; or name \
                     another one as reader in [[database.coordinator]]"
                ));
            }
            None => return Err(format!("role {user} may not log in to shard {name}")),
        }
    }
    Ok(())
}

/// Makes the roles that may log in to the first shard and are not there, with their verifiers.
async fn roles(first: &mut Asker, there: &mut Asker) -> Result<Vec<String>, String> {
    let known: Verifiers = read_verifiers(first).await?;
    let rows = there.ask("SELECT rolname FROM pg_catalog.pg_roles", &[]).await;
    let rows = rows.map_err(|fault| fault.to_string())?;
    let is_there = |role: &[u8]| {
        rows.iter()
            .any(|row| row.first().is_some_and(|name| name.as_deref() == Some(role)))
    };
    let mut lines = Vec::new();
    for (role, verifier) in known.iter().filter(|(role, _)| !is_there(role)) {
        let role = String::from_utf8_lossy(role);
        let verifier = verifier
            .as_ref()
            .map(|verifier| String::from_utf8_lossy(verifier));
        // PostgreSQL itself quotes what it shall run.
        let quoted = "SELECT pg_catalog.format('CREATE ROLE %I LOGIN PASSWORD %L', $1::pg_catalog.text, $2::pg_catalog.text)";
        let rows = there.ask(quoted, &[Some(&role), verifier.as_deref()]).await;
        let rows = rows.map_err(|fault| fault.to_string())?;
        let sql = rows
            .first()
            .and_then(|row| row.first()?.as_deref())
            .unwrap_or_default();
        match there.ask(&String::from_utf8_lossy(sql), &[]).await {
            Ok(_) => lines.push(format!("role {role}")),
            Err(fault) => lines.push(format!("role {role} is not there and could not be made: {fault}")),
        }
    }
    Ok(lines)
}

/// Looks at each database's coordinator and says what differs; how much does.
pub(super) async fn report(snapshot: &Snapshot) -> usize {
    let mut wrong = 0;
    for database in &snapshot.databases {
        let (Some(coordinator), Some(control), Some(sharding)) =
            (&database.coordinator, &database.control, &database.sharding)
        else {
            continue;
        };
        let whole = Whole {
            snapshot,
            database,
            sharding,
            coordinator,
            control,
        };
        let name = &coordinator.shard.name;
        match compare(&whole).await {
            Ok((looked, compared)) => wrong += tell(database, name, &compared, looked.tables()),
            Err(why) => {
                wrong += 1;
                println!("coordinator {name}: not looked at: {why}");
            }
        }
    }
    wrong
}

async fn compare(whole: &Whole<'_>) -> Result<(Looked, Compared), String> {
    let mut shards = reach_shards(whole).await?;
    let looked = look(&mut shards).await?;
    let there = reach(
        whole.snapshot,
        whole.database,
        &whole.coordinator.shard,
        whole.control,
    );
    let compared = looked.compare(&mut there.await?.asker).await?;
    Ok((looked, compared))
}

fn tell(database: &Database, name: &str, compared: &Compared, tables: &Tables) -> usize {
    let (mut fit, mut wrong) = (0, 0);
    for (schema, table, unfit) in compared.iter() {
        let Some(unfit) = unfit else {
            fit += 1;
            continue;
        };
        let known = tables.named(table).iter().find(|known| &*known.schema == schema);
        let is_placed = database
            .sharding
            .as_ref()
            .is_some_and(|sharding| sharding.role(Some(schema), table, known) != Role::Unknown);
        match unfit {
            // What it is missing may be no table of the rules; what differs among shards was said of them.
            Unfit::Missing if !is_placed => continue,
            Unfit::Missing | Unfit::Unlike | Unfit::Types => wrong += 1,
            Unfit::Mixed | Unfit::RowSecurity => {}
        }
        println!("coordinator {name}: {schema}.{table} {}", unfit.words());
    }
    println!("coordinator {name}: {} as on the shards", counted(fit, "table"));
    wrong
}
