//! `pgshunt serve`: read the configuration, start the log, hand over to `app`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgGroup;

use super::{WRONG, refuse};
use crate::app::log::Log;
use crate::app::{self, Source};
use crate::config::{self, Mistake, Overrides};
use crate::snapshot::Snapshot;

/// Run the proxy until it is told to stop.
///
/// SIGHUP reads the file again; SIGTERM and SIGINT let running transactions end first.
#[derive(clap::Args)]
#[command(after_help = ENVIRONMENT, override_usage = USAGE)]
#[command(group(ArgGroup::new("origin").args(["config", "to"]).required(true)))]
pub(super) struct Args {
    /// The configuration file; deploy/pgshunt.toml shows every option
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "to",
        conflicts_with = "to"
    )]
    config: Option<PathBuf>,

    /// Serve every database of these servers, without a file: postgres://user@host1,host2/db
    ///
    /// Clients log in with their own roles. The role in the connection string is the one pgshunt itself uses to
    /// read their password verifiers (pg_authid), so it is a superuser or has been granted that. Give its
    /// password in PGPASSWORD: a password on the command line is seen by everybody on the machine.
    #[arg(long, value_name = "DSN", verbatim_doc_comment)]
    to: Option<String>,

    /// Where clients connect; may be given several times [default: 127.0.0.1:6432]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    listen: Vec<String>,

    /// Where the console listens: psql -p 6433 pgshunt [default: no console]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    admin: Option<String>,

    /// Where /metrics, /healthz, /readyz and the status page are [default: nowhere]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    http: Option<String>,

    /// Worker threads [default: one for every two processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

const USAGE: &str = "\
pgshunt serve -c FILE [--threads N]
       pgshunt serve --to DSN [--listen ADDRESS]... [--admin ADDRESS] [--http ADDRESS] [--threads N]";

const ENVIRONMENT: &str = "\
Addresses: 127.0.0.1:6432, [::1]:6432, localhost:6432, *:6432, unix:/run/pgshunt

Environment:
  PGSHUNT_LOG                what to log: error, warn, info, debug, trace [default: info]
  PGSHUNT_CONTROL_PASSWORD   the password of pgshunt's own role on the servers
  PGUSER, PGPASSWORD         role and password that a connection string leaves out";

/// Serves until told to stop.
pub(super) fn run(args: &Args) -> ExitCode {
    let (snapshot, source) = match snapshot(args) {
        Ok(loaded) => loaded,
        Err(mistakes) => return refuse(&mistakes),
    };
    let log = match Log::start(&snapshot.log) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("PGSHUNT_LOG: {error}\n  hint: write for example PGSHUNT_LOG=debug");
            return ExitCode::from(WRONG);
        }
    };
    match app::serve(snapshot, source, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("pgshunt cannot start: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn snapshot(args: &Args) -> Result<(Snapshot, Source), Vec<Mistake>> {
    let threads = args.threads.map(usize::from);
    match (&args.config, &args.to) {
        (Some(file), _) => {
            let written = config::load(file)?;
            let source = Source::File {
                path: file.clone(),
                has_threads: threads.is_some(),
            };
            let threads = threads.unwrap_or(written.threads);
            Ok((Snapshot { threads, ..written }, source))
        }
        (None, to) => {
            let overrides = Overrides {
                clients: args.listen.clone(),
                admin: args.admin.clone(),
                http: args.http.clone(),
                threads,
            };
            // clap has seen to it that one of the two is there.
            let snapshot = config::from_dsn(to.as_deref().unwrap_or_default(), &overrides)?;
            Ok((snapshot, Source::Dsn))
        }
    }
}
