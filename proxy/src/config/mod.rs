//! From `pgshunt.toml`, or from one connection string, to a checked [`Snapshot`]; or to every mistake there is.
//!
//! `raw` knows what is written and where, `check` and its neighbours know what it means. A wrong configuration is
//! refused whole: there is no half-loaded one. Relative paths start from the file's own folder.

mod address;
mod auth;
mod cache;
mod check;
mod coordinator;
mod database;
mod dsn;
mod duration;
mod files;
mod from_dsn;
mod import;
mod keys;
mod mistake;
mod named;
mod pool;
mod raw;
mod redis;
mod role;
mod rules;
mod set;
mod sharding;
mod tls;

#[cfg(test)]
mod tests;

/// What a text means that must be right, for tests elsewhere in this module.
#[cfg(test)]
fn tests_read(file: &Path, text: &str) -> Snapshot {
    let environment = Environment {
        user: None,
        password: None,
        control_password: None,
        threads: 1,
    };
    check::snapshot(file, text, &environment).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{text}"))
}

use std::io::Read;
use std::path::Path;

use crate::snapshot::{SecretText, Snapshot};

pub use from_dsn::Overrides;
pub use import::{Imported, Note, import};
pub use mistake::Mistake;
pub use named::files;
pub use set::set;

/// Reads and checks a file.
///
/// # Errors
///
/// Every mistake in it, by line.
pub fn load(path: &Path) -> Result<Snapshot, Vec<Mistake>> {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    let mistake = |what: String| Mistake {
        file: path.to_path_buf(),
        line: None,
        what,
        hint: None,
    };
    match read {
        Ok(bytes) if bytes as u64 == FILE_BYTES_MAX => Err(vec![mistake("is larger than 4 MiB".into())]),
        Ok(_) => check::snapshot(path, &text, &Environment::of_process()),
        Err(error) => Err(vec![mistake(format!("cannot be read: {error}"))]),
    }
}

/// The configuration that one connection string means: its servers, for any database and any role.
///
/// The string's own role becomes the control role and the console's only admin. Missing parts come from `PGUSER` (or
/// the operating system's user) and `PGPASSWORD` (or `PGSHUNT_CONTROL_PASSWORD`).
///
/// # Errors
///
/// Every mistake in the string and the overrides. None of them quotes the string: it may hold a password.
pub fn from_dsn(dsn: &str, overrides: &Overrides) -> Result<Snapshot, Vec<Mistake>> {
    from_dsn::snapshot(dsn, overrides, &Environment::of_process())
}

/// What the process was given beside its configuration. An argument, so that tests need not change it.
struct Environment {
    /// `PGUSER`, or else the operating system's user.
    user: Option<String>,
    /// `PGPASSWORD`.
    password: Option<SecretText>,
    /// `PGSHUNT_CONTROL_PASSWORD`.
    control_password: Option<SecretText>,
    /// Worker threads unless something else is said: one for every two processors. A thread serves some 20,000 statements
    /// a second, and fewer threads find more to do each time they wake.
    threads: usize,
}

impl Environment {
    fn of_process() -> Self {
        let variable = |name| {
            std::env::var(name)
                .ok()
                .filter(|value: &String| !value.is_empty())
        };
        Environment {
            user: ["PGUSER", "USER", "LOGNAME"].into_iter().find_map(variable),
            password: variable("PGPASSWORD").map(SecretText::new),
            control_password: variable("PGSHUNT_CONTROL_PASSWORD").map(SecretText::new),
            threads: std::thread::available_parallelism().map_or(1, |cpus| cpus.get().div_ceil(2)),
        }
    }
}

/// A configuration beyond this is something else by mistake.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
