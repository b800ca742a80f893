//! `pgshunt demo`: placeholder for the real one.

pub mod cluster;
mod installation;

use std::process::ExitCode;

/// Start a PostgreSQL and pgshunt on this machine and show what it does.
#[derive(clap::Args)]
pub(super) struct Args {
    /// How long to run
    #[arg(long, value_name = "N", conflicts_with = "check")]
    seconds: Option<u64>,

    /// Only check that it works, then stop
    #[arg(long)]
    check: bool,

    /// Keep the folder with the servers' data
    #[arg(long)]
    keep_dir: bool,
}

/// Runs the demo.
pub(super) fn run(args: &Args) -> ExitCode {
    let Args {
        seconds: _,
        check: _,
        keep_dir: _,
    } = args;
    eprintln!("demo is not in this build yet");
    ExitCode::FAILURE
}
