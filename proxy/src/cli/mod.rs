//! The command line: one file per verb. The only place that prints and that chooses exit codes.

mod cache;
mod check;
mod coordinator;
pub mod demo;
mod import;
mod placed;
mod route;
mod serve;
mod setup;
mod shards;
mod systems;
mod tenant;
mod twophase;
mod verifiers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Mistake;

/// Runs the command line and says how it ended: 0 well, 2 wrong usage or configuration, 1 anything else.
pub fn run() -> ExitCode {
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(asked) => {
            // Help and version come this way as well. A closed pipe is no reason to fail twice.
            let _ = asked.print();
            return match asked.use_stderr() {
                true => ExitCode::from(WRONG),
                false => ExitCode::SUCCESS,
            };
        }
    };
    match line.verb {
        Verb::Serve(args) => serve::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Route(args) => route::run(&args),
        Verb::Cache(args) => cache::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Setup(args) => setup::run(&args),
        Verb::Tenant(args) => tenant::run(&args),
        Verb::Coordinator(args) => coordinator::run(&args),
        Verb::Import(args) => import::run(&args),
    }
}

/// A PostgreSQL proxy that pools, routes and explains.
///
/// Your program keeps its driver and its SQL and changes one thing: the port in its connection string.
/// pgshunt keeps few connections to PostgreSQL, lends them to many clients, and gives each client its own
/// session back.
#[derive(Parser)]
#[command(name = "pgshunt", version, after_help = FIRST_STEPS, verbatim_doc_comment)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the proxy, from a file or straight from a connection string
    Serve(serve::Args),
    /// Check a configuration: every mistake with its line, then every server
    Check(check::Args),
    /// Say where a statement would go and why, without a connection
    Route(route::Args),
    /// Fill, show or empty the cache of a running pgshunt
    Cache(cache::Args),
    /// Make the role pgshunt itself uses on the servers, or show the SQL
    Setup(setup::Args),
    /// Say where tenants are and whether their rows are there; give one a shard of its own
    Tenant(tenant::Args),
    /// Give a coordinator the tables of all shards
    Coordinator(coordinator::Args),
    /// Turn a PgBouncer configuration into ours
    Import(import::Args),
    /// Start a PostgreSQL and pgshunt on this machine and show what it does
    Demo(demo::Args),
}

const FIRST_STEPS: &str = "\
First steps:
  pgshunt serve --to postgres://app@10.0.0.1/app     proxy one server, no file needed
  psql -h 127.0.0.1 -p 6432 -U app app               and use it
  pgshunt check -c pgshunt.toml                      look over a configuration file
  pgshunt serve -c pgshunt.toml                      run it

Exit codes: 0 well, 2 wrong usage or configuration, 1 anything else.";

/// Shows mistakes on stderr, each with its place and what to do.
fn refuse(mistakes: &[Mistake]) -> ExitCode {
    for mistake in mistakes {
        eprintln!("{mistake}");
    }
    eprintln!("{}", counted(mistakes.len(), "mistake"));
    ExitCode::from(WRONG)
}

/// `1 shard`, `2 shards`.
fn counted(count: usize, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        _ => format!("{count} {thing}s"),
    }
}

/// Wrong usage or configuration.
const WRONG: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Line::command().debug_assert();
    }

    #[test]
    fn what_the_command_line_takes() {
        for (line, is_taken) in [
            ("serve -c f.toml", true),
            ("serve -c f.toml --threads 2", true),
            (
                "serve --to postgres://h/d --listen *:1 --listen unix:/run --admin *:2 --http *:3",
                true,
            ),
            ("serve", false),
            ("serve -c f.toml --to postgres://h/d", false),
            ("serve -c f.toml --listen *:1", false),
            ("serve --to postgres://h/d --threads 0", false),
            ("check -c f.toml", true),
            ("check", false),
            ("check -c f.toml --offline", true),
            ("route -c f.toml --database d --tenant t select", true),
            ("route -c f.toml", false),
            (
                "cache warm -c f.toml -U app --tenant a --tenant b --set TimeZone=UTC",
                true,
            ),
            ("cache stats -c f.toml -U ops", true),
            ("cache clear -c f.toml -U ops --database d", true),
            ("cache", false),
            ("cache warm", false),
            ("demo", true),
            ("demo --seconds 3 --keep-dir", true),
            ("demo --check", true),
            ("demo --check --seconds 3", false),
            ("setup --to postgres://h/d --to postgres://i/d", true),
            ("setup --print", true),
            ("setup", false),
            ("import pgbouncer.ini --users userlist.txt --secrets s", true),
            ("tenant where -c f.toml 7", true),
            ("tenant list -c f.toml --database d", true),
            ("tenant verify -c f.toml", true),
            ("tenant set -c f.toml 7 s1 --force", true),
            ("tenant set -c f.toml 7", false),
            ("tenant unset -c f.toml 7", true),
            ("tenant where -c f.toml", false),
            ("tenant", false),
            ("coordinator init -c f.toml --database d", true),
            ("coordinator init", false),
            ("coordinator", false),
            ("import", false),
            ("", false),
        ] {
            let words = ["pgshunt"].into_iter().chain(line.split_whitespace());
            assert_eq!(Line::try_parse_from(words).is_ok(), is_taken, "{line}");
        }
    }
}
