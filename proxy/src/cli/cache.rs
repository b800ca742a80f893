//! `pgshunt cache`: fills, shows or empties the cache of a pgshunt that runs with this configuration.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use super::{counted, refuse};
use crate::admin::visit::Visit;
use crate::config;
use crate::protocol::auth::Secret;
use crate::snapshot::{Database, Snapshot};

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
            let mut session = Visit::open(
                door,
                (args.common.user.as_str(), &secret()),
                &database.name,
                &settings(args, tenant)?,
            )
            .await?;
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

async fn console(snapshot: &Snapshot, args: &Common) -> Result<Visit, String> {
    let door = snapshot.listen.admin.as_ref();
    let door = door.ok_or("there is no console: admin in [listen] says where it listens")?;
    Visit::open(door, (args.user.as_str(), &secret()), "pgshunt", &[]).await
}

fn secret() -> Secret {
    let password = std::env::var("PGPASSWORD").ok();
    password.map_or(Secret::None, |password| {
        Secret::Password(password.as_str().into())
    })
}
