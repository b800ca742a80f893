//! `pgshunt check`: every mistake of a configuration, or what it means, whether its servers can be reached, whether those of
//! a shard are of one system, and whether roles have the same verifier on all of them.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UnixStream};

use super::{coordinator, counted, refuse, shards, systems, twophase, verifiers};
use crate::cache::redis::reach::reach;
use crate::config;
use crate::pool::settings::Settings;
use crate::server::address::Address;
use crate::snapshot::{AuthMode, Database, Shard, Snapshot};

/// Check a configuration file: every mistake with its line and a hint, then every server it names, then whether the
/// servers of a shard are copies of one system, and whether roles have the same password verifier on all servers of a
/// database, as passthrough needs it.
///
/// Exit code 2: there are mistakes. Exit code 1: the file is right, but a server cannot be reached, or systems or verifiers
/// differ.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// Don't connect to the servers
    #[arg(long)]
    offline: bool,
}

/// Checks and reports.
pub(super) fn run(args: &Args) -> ExitCode {
    let snapshot = match config::load(&args.config) {
        Ok(snapshot) => snapshot,
        Err(mistakes) => return refuse(&mistakes),
    };
    println!("{}: no mistakes", args.config.display());
    for line in summary(&snapshot) {
        println!("{line}");
    }
    match args.offline {
        true => ExitCode::SUCCESS,
        false => report_servers(&snapshot),
    }
}

/// What the configuration means, for the eye.
fn summary(snapshot: &Snapshot) -> Vec<String> {
    let clients = snapshot.listen.clients.iter();
    let clients: Vec<String> = clients.map(ToString::to_string).collect();
    let mut lines = vec![format!("clients   {}", clients.join(", "))];
    if let Some(admin) = &snapshot.listen.admin {
        let roles = snapshot.console.admins.len() + snapshot.console.watchers.len();
        lines.push(format!("console   {admin}, for {}", counted(roles, "role")));
    }
    if let Some(http) = snapshot.listen.http {
        lines.push(format!("http      {http}"));
    }
    lines.push(format!("login     {}", login(snapshot)));
    lines.push(format!("threads   {}", snapshot.threads));
    for database in &snapshot.databases {
        describe(database, &mut lines);
    }
    lines
}

fn login(snapshot: &Snapshot) -> String {
    let known = counted(snapshot.auth.users.len(), "role");
    match snapshot.auth.mode {
        AuthMode::Passthrough if snapshot.auth.users.is_empty() => "as on the servers (passthrough)".into(),
        AuthMode::Passthrough => format!("{known} from the file, others as on the servers (passthrough)"),
        AuthMode::Users => format!("{known} from the file, nobody else"),
        AuthMode::Trust => "anybody, unchecked (trust)".into(),
    }
}

fn describe(database: &Database, lines: &mut Vec<String>) {
    let name = match database.is_wildcard() {
        true => "* (any database)",
        false => &database.name,
    };
    lines.push(format!("database  {name}: {}", pool_words(&database.pool)));
    for user in &database.users {
        let tenant = user.tenant.as_ref().map(|tenant| format!(", tenant {tenant}"));
        let pool = pool_words(&user.pool);
        lines.push(format!(
            "  user    {}: {pool}{}",
            user.name,
            tenant.unwrap_or_default()
        ));
    }
    for Shard { name, servers, .. } in &database.shards {
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        lines.push(format!("  shard   {name}: {}", servers.join(", ")));
    }
    if let Some(coordinator) = &database.coordinator {
        let servers: Vec<String> = coordinator
            .shard
            .servers
            .iter()
            .map(ToString::to_string)
            .collect();
        let (name, servers) = (&coordinator.shard.name, servers.join(", "));
        lines.push(format!("  coordinator {name}: {servers}"));
    }
    if let Some(rules) = &database.rules {
        lines.push(format!(
            "  rules   {}: consistency {}",
            rules.display(),
            database.split.consistency
        ));
    }
}

fn pool_words(pool: &Settings) -> String {
    format!(
        "{} pool, {} per role",
        pool.mode.word(),
        counted(pool.size, "server")
    )
}

/// Says whether Redis can be reached and lets us in. Gives back how many can't be: one or none.
async fn probe_redis(snapshot: &Snapshot) -> usize {
    let Some(settings) = &snapshot.redis else { return 0 };
    let began = Instant::now();
    let opened = reach(settings, REDIS_ANSWER_BYTES_MAX, "pgshunt", 0);
    let opened = tokio::time::timeout(REDIS_PATIENCE, opened).await;
    match opened.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
        Ok(_) => {
            println!("redis     {settings}: reachable in {:.1?}", began.elapsed());
            0
        }
        Err(why) => {
            println!("redis     {settings}: cannot be reached: {why}");
            1
        }
    }
}

/// What Redis says of itself is shorter.
const REDIS_ANSWER_BYTES_MAX: usize = 1 << 20;

/// The longest it may take.
const REDIS_PATIENCE: Duration = Duration::from_secs(5);

fn report_servers(snapshot: &Snapshot) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut seen = BTreeSet::new();
    let mut unreachable = 0;
    for database in &snapshot.databases {
        let coordinator = database.coordinator.iter().map(|coordinator| &coordinator.shard);
        let all = database.shards.iter().chain(coordinator);
        for address in all.flat_map(|shard| &shard.servers) {
            if !seen.insert(address.to_string()) {
                continue;
            }
            let began = Instant::now();
            match runtime.block_on(probe_server(address, database.pool.server_connect_timeout)) {
                Ok(()) => println!("server    {address}: reachable in {:.1?}", began.elapsed()),
                Err(error) => {
                    unreachable += 1;
                    println!("server    {address}: cannot be reached: {error}");
                }
            }
        }
    }
    unreachable += runtime.block_on(probe_redis(snapshot));
    let mixed = runtime.block_on(systems::compare(snapshot));
    let differing = runtime.block_on(verifiers::compare(snapshot));
    let unlike = runtime.block_on(shards::compare(snapshot));
    let unlike_there = runtime.block_on(coordinator::report(snapshot));
    let unready = runtime.block_on(twophase::report(snapshot));
    if unreachable > 0 {
        eprintln!("{} cannot be reached", counted(unreachable, "server"));
    }
    if differing > 0 {
        eprintln!(
            "{} not the same on all servers: `pgshunt setup` with each as --to makes them equal",
            counted(differing, "role")
        );
    }
    if mixed > 0 {
        eprintln!(
            "{} of servers that are not copies of one system",
            counted(mixed, "shard")
        );
    }
    if unready > 0 {
        eprintln!("transactions can't write on several shards everywhere");
    }
    if unlike > 0 {
        eprintln!(
            "{} of the shards that must be the same or be there",
            counted(unlike, "difference")
        );
    }
    if unlike_there > 0 {
        eprintln!(
            "{} of coordinators that must be the same or be there",
            counted(unlike_there, "difference")
        );
    }
    match unlike_there + unreachable + mixed + differing + unready + unlike {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Does anything accept connections there? Does not log in.
async fn probe_server(address: &Address, patience: Duration) -> io::Result<()> {
    let connect = async {
        match address {
            Address::Tcp { host, port } => TcpStream::connect((host.as_str(), *port)).await.map(drop),
            Address::Unix { directory, port } => {
                let socket = directory.join(format!(".s.PGSQL.{port}"));
                UnixStream::connect(socket).await.map(drop)
            }
        }
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {patience:?}"));
    tokio::time::timeout(patience, connect).await.map_err(late)?
}
