//! `pgshunt import`: a PgBouncer configuration becomes ours, on stdout; what is different, on stderr.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::counted;
use crate::config::{self, Imported};

/// Turn a PgBouncer configuration into ours: pgshunt import pgbouncer.ini --users userlist.txt > pgshunt.toml
///
/// Every option is carried over or named on stderr, and in a comment, with the reason why not. Nothing is written but
/// stdout, and with --secrets the files of passwords.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration, often /etc/pgbouncer/pgbouncer.ini
    #[arg(value_name = "INI")]
    ini: PathBuf,

    /// What its auth_file names: userlist.txt
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,

    /// Write each plain password of the users file into a file of its own (mode 600) in this folder
    #[arg(long, value_name = "FOLDER")]
    secrets: Option<PathBuf>,
}

/// Imports and reports.
pub(super) fn run(args: &Args) -> ExitCode {
    match import(args) {
        Ok(imported) => {
            print!("{}", imported.toml);
            report(&imported, args.secrets.is_some());
            ExitCode::SUCCESS
        }
        Err((path, error)) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

fn import(args: &Args) -> Result<Imported, (PathBuf, io::Error)> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| (path.to_owned(), error));
    let ini = read(&args.ini)?;
    let users = args.users.as_deref().map(read).transpose()?;
    let folder = args.secrets.as_deref().unwrap_or(Path::new("secrets"));
    let imported = config::import(&ini, users.as_deref(), &folder.display().to_string());
    if args.secrets.is_some() && !imported.passwords.is_empty() {
        std::fs::create_dir_all(folder).map_err(|error| (folder.to_owned(), error))?;
        for (path, password) in &imported.passwords {
            write_private(Path::new(path), password.expose())
                .map_err(|error| (PathBuf::from(path), error))?;
        }
    }
    Ok(imported)
}

/// An existing file is not overwritten: it may hold a newer password.
fn write_private(path: &Path, password: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{password}")
}

fn report(imported: &Imported, has_written: bool) {
    for note in &imported.notes {
        let line = note
            .line
            .map_or_else(String::new, |line| format!("line {line}: "));
        eprintln!("{line}{}: {}", note.what, note.why);
    }
    for (path, _) in imported.passwords.iter().filter(|_| !has_written) {
        eprintln!(
            "{path}: a password of the users file belongs there (chmod 600); --secrets FOLDER writes it"
        );
    }
    eprintln!(
        "{} carried over, {} to look at; next: pgshunt check -c pgshunt.toml",
        counted(imported.carried, "option"),
        counted(imported.notes.len(), "note")
    );
}
