//! `pgshunt cache`: fills, shows or empties the cache of a pgshunt that runs with this configuration.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use super::{counted, refuse};
use crate::config;
use crate::net::inbox::Inbox;
use crate::net::stream::Stream;
use crate::net::tls::ToServer;
use crate::protocol::auth::Secret;
use crate::protocol::message::row_values;
use crate::protocol::reply;
use crate::protocol::server_error::ServerError;
use crate::server::address::{Address, Target};
use crate::server::connect::connect;
use crate::snapshot::{Database, Endpoint, Snapshot};

/// Fill, show or empty the cache of a running pgshunt. The password comes from PGPASSWORD.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Run the statements that the classes name, so that their answers are kept
    Warm(Warm),
    /// Show hits, misses, room and reasons, as SHOW CACHE does
    Stats(Common),
    /// Forget every answer
    Clear(Common),
}

#[derive(clap::Args)]
struct Common {
    /// The configuration file that pgshunt runs with
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// The role to log in as
    #[arg(short = 'U', long, value_name = "ROLE")]
    user: String,

    /// The database, as clients name it [default: all of them]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
}

#[derive(clap::Args)]
struct Warm {
    #[command(flatten)]
    common: Common,

    /// A tenant to fill it for (pgshunt.tenant); may be given several times
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,

    /// A setting the sessions have that will ask: answers are kept for equal settings only
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

/// Does it.
pub(super) fn run(args: &Args) -> ExitCode {
    let common = match &args.what {
        What::Warm(warm) => &warm.common,
        What::Stats(common) | What::Clear(common) => common,
    };
    let snapshot = match config::load(&common.config) {
        Ok(snapshot) => snapshot,
        Err(mistakes) => return refuse(&mistakes),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            match &args.what {
                What::Warm(warm) => self::warm(&snapshot, warm).await,
                What::Stats(common) => stats(&snapshot, common).await,
                What::Clear(common) => clear(&snapshot, common).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn warm(snapshot: &Snapshot, args: &Warm) -> Result<(), String> {
    let door = snapshot.listen.clients.first().ok_or("pgshunt listens nowhere")?;
    let named = |database: &&Database| {
        args.common
            .database
            .as_ref()
            .is_none_or(|name| *name == database.name)
    };
    let began = Instant::now();
    let (mut run, mut failed) = (0, 0);
    for database in snapshot.databases.iter().filter(named) {
        let classes = database.cache.iter().flat_map(|cache| &cache.classes);
        let statements: Vec<_> = classes
            .flat_map(|class| class.statements.iter().map(|text| (&class.name, text)))
            .collect();
        let nobody = [String::new()];
        let tenants = if args.tenant.is_empty() {
            &nobody[..]
        } else {
            &args.tenant[..]
        };
        for tenant in tenants.iter().filter(|_| !statements.is_empty()) {
            let mut session =
                Session::open(door, &args.common.user, &database.name, &settings(args, tenant)?).await?;
            for (class, text) in &statements {
                let (asked, whose) = (
                    Instant::now(),
                    if tenant.is_empty() { "" } else { " for tenant " },
                );
                match session.query(text).await {
                    Ok(rows) => {
                        let rows = counted(rows.len(), "row");
                        println!(
                            "{} {class}{whose}{tenant}: {rows} in {:.1?}",
                            database.name,
                            asked.elapsed()
                        );
                    }
                    Err(why) => {
                        failed += 1;
                        eprintln!("{} {class}{whose}{tenant}: {why}", database.name);
                    }
                }
                run += 1;
            }
        }
    }
    println!(
        "{}, {failed} failed, in {:.1?}",
        counted(run, "statement"),
        began.elapsed()
    );
    match failed {
        0 => Ok(()),
        _ => Err("not every statement could be run".into()),
    }
}

/// What the session says at startup.
type Startup = Vec<(Vec<u8>, Vec<u8>)>;

fn settings(args: &Warm, tenant: &str) -> Result<Startup, String> {
    let mut settings = vec![(b"pgshunt.cache".to_vec(), b"refresh".to_vec())];
    if !tenant.is_empty() {
        settings.push((b"pgshunt.tenant".to_vec(), tenant.into()));
    }
    for written in &args.settings {
        let (name, value) = written
            .split_once('=')
            .ok_or(format!("--set {written}: write NAME=VALUE"))?;
        settings.push((name.into(), value.into()));
    }
    Ok(settings)
}

async fn stats(snapshot: &Snapshot, args: &Common) -> Result<(), String> {
    for row in console(snapshot, args).await?.query("SHOW CACHE").await? {
        if args
            .database
            .as_ref()
            .is_none_or(|name| row.first() == Some(name))
        {
            println!("{}", row.join("  "));
        }
    }
    Ok(())
}

async fn clear(snapshot: &Snapshot, args: &Common) -> Result<(), String> {
    let name = args
        .database
        .as_ref()
        .map(|name| format!(" \"{}\"", name.replace('"', "\"\"")));
    let command = format!("CLEAR_CACHE{}", name.unwrap_or_default());
    console(snapshot, args).await?.query(&command).await?;
    Ok(())
}

async fn console(snapshot: &Snapshot, args: &Common) -> Result<Session, String> {
    let door = snapshot.listen.admin.as_ref();
    let door = door.ok_or("there is no console: admin in [listen] says where it listens")?;
    Session::open(door, &args.user, "pgshunt", &[]).await
}

/// A session with a running pgshunt.
struct Session {
    stream: Stream,
    inbox: Inbox,
}

impl Session {
    async fn open(
        door: &Endpoint,
        user: &str,
        database: &str,
        settings: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<Session, String> {
        let tls = ToServer::new(&Default::default()).map_err(|fault| fault.to_string())?;
        let target = Target {
            address: address(door),
            dbname: database.to_owned(),
            tls: Arc::new(tls),
            connect_timeout: Duration::from_secs(15),
            tcp: Default::default(),
            name: Default::default(),
        };
        let password = std::env::var("PGPASSWORD").ok();
        let secret = password.map_or(Secret::None, |password| {
            Secret::Password(password.as_str().into())
        });
        let server = connect(&target, user, &secret, settings).await;
        let server = server.map_err(|fault| format!("{door}: {fault}"))?;
        Ok(Session {
            stream: server.stream,
            inbox: server.rest.into(),
        })
    }

    /// One simple query; its rows as text, NULL as an empty one.
    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let mut out = Vec::new();
        reply::query(&mut out, sql.as_bytes());
        let sent = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| error.to_string())?;
        let (mut rows, mut refused) = (Vec::new(), None);
        loop {
            let message = self.inbox.message(&mut self.stream, ANSWER_BYTES_MAX).await;
            let (kind, body) = message.map_err(|error| error.to_string())?;
            match kind {
                b'D' => {
                    let text = |value: Option<&[u8]>| {
                        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
                    };
                    rows.push(row_values(&body).map(text).collect());
                }
                b'E' => refused = Some(ServerError::parse(&body).to_string()),
                b'Z' => return refused.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }
}

/// The longest message of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where a door that listens can be entered from this machine.
fn address(door: &Endpoint) -> Address {
    match door {
        Endpoint::Tcp(address) if address.ip().is_unspecified() => Address::Tcp {
            host: if address.is_ipv6() { "::1" } else { "127.0.0.1" }.into(),
            port: address.port(),
        },
        Endpoint::Tcp(address) => Address::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
        },
        Endpoint::Unix { directory, port } => Address::Unix {
            directory: directory.clone(),
            port: *port,
        },
    }
}
