//! `pgshunt demo`: PostgreSQL with a replica and sample data, pgshunt in front; to play with, or for a tour of its promises.

pub mod cluster;
mod installation;
mod interrupt;
mod programs;
mod proxy;
mod shards;
mod spare;
mod stage;
mod tour;
mod wire;

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use interrupt::Interrupt;
use stage::{APPLICATION, DATABASE, OPERATOR, PASSWORD, Stage};

/// Start a PostgreSQL and pgshunt on this machine and show what it does.
///
/// Makes a primary and a replica with sample data on free ports of 127.0.0.1, puts pgshunt in front, and says how to
/// connect. Ctrl-C ends and removes everything. Needs the packages postgresql and postgresql-contrib, 13 to 18.
#[derive(clap::Args)]
pub(super) struct Args {
    /// End by itself after N seconds
    #[arg(long, value_name = "N", conflicts_with = "check")]
    seconds: Option<u64>,

    /// Take a tour instead: show each promise with real clients, exit 0 only if all hold
    #[arg(long)]
    check: bool,

    /// Leave the folder with data, configuration and logs behind
    #[arg(long)]
    keep_dir: bool,
}

/// Runs the demo or the tour.
pub(super) fn run(args: &Args) -> ExitCode {
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = Stage::build(&interrupt, args.keep_dir).and_then(|mut stage| match args.check {
        true => tour::take(&mut stage, &interrupt),
        false => play(&mut stage, &interrupt, args),
    });
    match ended {
        Ok(code) => code,
        Err(Ended::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(Ended::Failed(failure)) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Says how to connect and waits for the end.
fn play(stage: &mut Stage, interrupt: &Interrupt, args: &Args) -> Result<ExitCode, Ended> {
    println!("{}", directions(stage));
    match args.keep_dir {
        true => println!("Ctrl-C stops it all; the folder stays."),
        false => println!("Ctrl-C stops it all and removes the folder."),
    }
    let until = args.seconds.map(|n| Instant::now() + Duration::from_secs(n));
    loop {
        let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() || interrupt.wait(left.min(LOOK)) {
            println!("\nStopping and cleaning up.");
            return Ok(ExitCode::SUCCESS);
        }
        if !stage.proxy.is_running() {
            let log = stage.proxy.log_tail(20);
            return Err(Ended::Failed(Failure(format!("pgshunt has ended:\n{log}"))));
        }
    }
}

fn directions(stage: &Stage) -> String {
    let proxy = &stage.proxy;
    let dsn = |user: &str, port: u16, database: &str| {
        format!("psql 'postgres://{user}:{PASSWORD}@127.0.0.1:{port}/{database}'")
    };
    let client = dsn(APPLICATION, proxy.clients, DATABASE);
    let console = dsn(OPERATOR, proxy.admin, "pgshunt");
    let direct = dsn(APPLICATION, stage.primary.port(), DATABASE);
    let (http, folder) = (proxy.http, stage.scratch.path().display());
    format!(
        "
Through pgshunt:
  {client}
The same without it:
  {direct}
Its console:
  {console} -c 'SHOW POOLS'
Its status page (metrics are at /metrics):
  http://127.0.0.1:{http}/

Something to ask:
  SELECT month, order_count, amount, margin FROM mv_monthly_summary
  WHERE tenant_id = '00000000-0000-4000-8000-000000000001' ORDER BY month;
And which server that was read from, and why:
  SHOW pgshunt.last_route;

Configuration and log: {folder}/pgshunt.toml, {folder}/pgshunt.log"
    )
}

/// Why the demo ended early.
enum Ended {
    /// Somebody asked for it.
    Interrupted,
    /// Something went wrong.
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Ended::Failed(failure)
    }
}

/// What went wrong, for the eye.
#[derive(Debug)]
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure(error.to_string())
    }
}

/// How often the demo looks whether pgshunt still runs.
const LOOK: Duration = Duration::from_millis(500);

const INTERRUPTED: u8 = interrupt::INTERRUPTED as u8;
