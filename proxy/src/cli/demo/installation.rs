//! The PostgreSQL programs of this machine, and running them as somebody who is not root. Starts nothing by itself.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where the programs are, and which PostgreSQL they belong to.
#[derive(Clone, Debug)]
pub struct Installation {
    bin: PathBuf,
    major: u32,
    account: Option<Account>,
}

/// Who runs the servers when we are root: PostgreSQL refuses to run as root.
#[derive(Clone, Copy, Debug)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Installation {
    /// Finds the newest: `PGSHUNT_PG_BIN` if set, else Debian's folders, `pg_config --bindir`, then `PATH`.
    pub fn find() -> Result<Installation, Trouble> {
        let folders = folders();
        let major = |bin: &PathBuf| Some((bin.clone(), major(bin)?));
        let Some((bin, major)) = folders.iter().find_map(major) else {
            return Err(Trouble::NotInstalled { looked: folders });
        };
        let account = match is_root() {
            true => Some(Account::postgres()?),
            false => None,
        };
        Ok(Installation { bin, major, account })
    }

    /// 15 of PostgreSQL 15.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The folder with the programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// A client program such as `psql` or `pgbench`. It inherits no `PG…` variable, so it connects where it is told.
    pub fn client(&self, program: &str) -> Command {
        let path = self.bin.join(program);
        // Debian keeps pgbench and psql of an older major in PATH only.
        without_pg_variables(Command::new(match path.exists() {
            true => path,
            false => program.into(),
        }))
    }

    /// A server program such as `initdb` or `postgres`, as a user that may run it. It ends with the thread that started it.
    pub fn server(&self, program: &str) -> Command {
        let mut command = without_pg_variables(Command::new("setpriv"));
        // SIGQUIT is PostgreSQL's immediate shutdown: what SIGKILL leaves of a parent has no time for another.
        command.args(["--pdeathsig", "QUIT"]);
        if let Some(Account { uid, gid }) = self.account {
            command.args([&format!("--reuid={uid}"), &format!("--regid={gid}")]);
            command.arg("--clear-groups");
        }
        command.arg(self.bin.join(program));
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Gives a file or folder to the user who runs the servers.
    pub fn own(&self, path: &Path) -> Result<(), Trouble> {
        match self.account {
            Some(Account { uid, gid }) => {
                chown(path, Some(uid), Some(gid)).map_err(|source| Trouble::io("give away", path, source))
            }
            None => Ok(()),
        }
    }
}

impl Account {
    /// The account `postgres`, which Debian's packages make.
    fn postgres() -> Result<Account, Trouble> {
        let accounts = Path::new("/etc/passwd");
        let text = fs::read_to_string(accounts).map_err(|source| Trouble::io("read", accounts, source))?;
        let line = text.lines().find(|line| line.starts_with("postgres:"));
        let mut fields = line.into_iter().flat_map(|line| line.split(':')).skip(2);
        let mut id = || fields.next()?.parse().ok();
        match (id(), id()) {
            (Some(uid), Some(gid)) => Ok(Account { uid, gid }),
            _ => Err(Trouble::NoAccount),
        }
    }
}

/// Runs a program to its end. Its last words are in the error when it fails.
pub fn complete(command: &mut Command) -> Result<Output, Trouble> {
    let program = command.get_program().to_string_lossy().into_owned();
    let first = command
        .get_args()
        .find(|argument| !argument.as_encoded_bytes().starts_with(b"--"));
    let name = match (program.as_str(), first) {
        ("setpriv", Some(inner)) => inner.to_string_lossy().into_owned(),
        _ => program,
    };
    let output = command
        .output()
        .map_err(|source| Trouble::io("run", Path::new(&name), source))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(Trouble::Failed {
            program: name,
            words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}

/// Are we root?
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

fn folders() -> Vec<PathBuf> {
    if let Some(given) = std::env::var_os("PGSHUNT_PG_BIN") {
        return vec![given.into()];
    }
    let mut folders: Vec<PathBuf> = (OLDEST..=NEWEST)
        .rev()
        .map(|major| format!("/usr/lib/postgresql/{major}/bin").into())
        .collect();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        folders.push(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    folders
}

/// `postgres (PostgreSQL) 15.13 (Debian 15.13-0)`, `postgres (PostgreSQL) 18beta1`.
fn major(bin: &Path) -> Option<u32> {
    if !bin.join("initdb").exists() {
        return None;
    }
    let output = Command::new(bin.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().nth(2)?;
    let digits = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..digits].parse().ok()
}

fn without_pg_variables(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command
}

/// Why there is no cluster.
#[derive(Debug)]
pub enum Trouble {
    /// No PostgreSQL server programs anywhere.
    NotInstalled {
        /// The folders looked into.
        looked: Vec<PathBuf>,
    },
    /// We are root and there is no other account to run PostgreSQL as.
    NoAccount,
    /// A program ended badly.
    Failed {
        /// Its path or name.
        program: String,
        /// What it said last.
        words: String,
    },
    /// A server did not become ready, or did not stop, in time.
    Late {
        /// The server and what was awaited.
        awaited: String,
        /// The end of its log.
        log: String,
    },
    /// The operating system refused.
    Io {
        /// What was tried: "read", "make", "run".
        tried: &'static str,
        /// On what.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

impl Trouble {
    /// The operating system refused.
    pub fn io(tried: &'static str, path: &Path, source: io::Error) -> Trouble {
        let path = path.to_owned();
        Trouble::Io { tried, path, source }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NotInstalled { looked } => write!(
                f,
                "no PostgreSQL server found: apt-get install postgresql, or set PGSHUNT_PG_BIN to the folder of initdb \
                 (looked into {} folders)",
                looked.len()
            ),
            Trouble::NoAccount => f.write_str(
                "PostgreSQL does not run as root, and there is no account \"postgres\": run this as an ordinary user",
            ),
            Trouble::Failed { program, words } => write!(f, "{program} failed: {words}"),
            Trouble::Late { awaited, log } => write!(f, "{awaited} took too long; its log ends:\n{log}"),
            Trouble::Io { tried, path, source } => write!(f, "cannot {tried} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for Trouble {}

const NEWEST: u32 = 18;
const OLDEST: u32 = 13;
