//! Real PostgreSQL servers in a temporary folder, for the demo and the tests. Not a place for data that matters: fsync is off.
//!
//! Given an [`Installation`], make a [`Scratch`] folder and a [`Template`] in it; each [`Node::primary`] is a copy of
//! that template, running, on a free loopback port and a Unix socket; [`Node::replica`] streams from one.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::installation::complete;
pub use super::installation::{Installation, Trouble, is_root};

/// A folder of our own under the system's temporary one, removed with everything in it when its last owner goes.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    is_kept: bool,
}

impl Scratch {
    /// Makes the folder; the servers' user can enter it.
    pub fn new(name: &str) -> Result<Scratch, Trouble> {
        let path = std::env::temp_dir().join(format!("pgshunt-{name}-{:08x}", chance() as u32));
        make_folder(&path, 0o755)?;
        Ok(Scratch { path, is_kept: false })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder behind in the end.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// What initdb made, to be copied per node: half a second saved each time.
#[derive(Clone, Debug)]
pub struct Template {
    installation: Installation,
    directory: PathBuf,
    password: String,
}

impl Template {
    /// The template in `directory`, made if it is not there: SCRAM everywhere, UTF-8, superuser `postgres` with this password.
    pub fn at(installation: &Installation, directory: &Path, password: &str) -> Result<Template, Trouble> {
        if !directory.join("PG_VERSION").exists() {
            // initdb works beside the place and the result moves there whole, so that nobody copies half a template.
            let unfinished = directory.with_extension(format!("{:08x}", chance() as u32));
            initdb(installation, &unfinished, password)?;
            if let Err(source) = fs::rename(&unfinished, directory) {
                let _ = fs::remove_dir_all(&unfinished);
                if !directory.join("PG_VERSION").exists() {
                    return Err(Trouble::io("make", directory, source));
                }
            }
        }
        Ok(Template {
            installation: installation.clone(),
            directory: directory.to_owned(),
            password: password.to_owned(),
        })
    }
}

/// One PostgreSQL server. Stopped when dropped; killed by the system when the thread that started it ends.
#[derive(Debug)]
pub struct Node {
    installation: Installation,
    folder: PathBuf,
    password: String,
    port: u16,
    process: Option<Child>,
    scratch: Arc<Scratch>,
}

/// What makes a node differ from its template.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan<'a> {
    /// Its folder in the scratch folder.
    pub name: &'a str,
    /// For postgresql.conf: `("max_connections", "20")`. Quotes are added.
    pub settings: &'a [(&'a str, &'a str)],
    /// Lines put before those of pg_hba.conf, which ask everybody for SCRAM.
    pub hba: &'a [&'a str],
}

/// How a server is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Clients are cut off, then a checkpoint: SIGINT.
    Fast,
    /// Everything is cut off, recovery at the next start: SIGQUIT.
    Immediate,
    /// The postmaster dies at once, as by the system's out-of-memory killer: SIGKILL.
    Kill,
}

impl Node {
    /// A running copy of the template.
    pub fn primary(scratch: &Arc<Scratch>, template: &Template, plan: &Plan<'_>) -> Result<Node, Trouble> {
        let mut node = Node::new(scratch, template, plan.name)?;
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto", "-T"])
            .arg(&template.directory)
            .arg(node.data());
        complete(&mut copy)?;
        node.write_settings(plan)?;
        node.start()?;
        Ok(node)
    }

    /// A running hot standby that streams from this node. Plan settings come on top of the primary's.
    pub fn replica(&self, plan: &Plan<'_>) -> Result<Node, Trouble> {
        let template = Template {
            installation: self.installation.clone(),
            directory: PathBuf::new(),
            password: self.password.clone(),
        };
        let mut node = Node::new(&self.scratch, &template, plan.name)?;
        let mut copy = self.installation.server("pg_basebackup");
        copy.args([
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
        ])
        .args(["--no-sync", "--pgdata"])
        .arg(node.data())
        .args(["--dbname", &self.dsn(SUPERUSER, "postgres", plan.name)])
        .env("PGPASSWORD", &self.password);
        complete(&mut copy)?;
        node.write_settings(plan)?;
        node.start()?;
        Ok(node)
    }

    fn new(scratch: &Arc<Scratch>, template: &Template, name: &str) -> Result<Node, Trouble> {
        let folder = scratch.path.join(name);
        make_folder(&folder, 0o755)?;
        template.installation.own(&folder)?;
        Ok(Node {
            installation: template.installation.clone(),
            folder,
            password: template.password.clone(),
            port: 0,
            process: None,
            scratch: scratch.clone(),
        })
    }

    /// The TCP port on 127.0.0.1 and ::1. Stays the same over stop and start.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket `.s.PGSQL.<port>`.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The programs this node runs on.
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Process id of the postmaster while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// What the server has written to its log so far.
    pub fn log(&self) -> String {
        fs::read(self.log_file()).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// A keyword connection string for 127.0.0.1, without password.
    pub fn dsn(&self, user: &str, database: &str, application: &str) -> String {
        let port = self.port;
        format!("host=127.0.0.1 port={port} user={user} dbname={database} application_name={application}")
    }

    /// Runs SQL as superuser by psql and gives back its rows: unaligned, without heading. Stops at the first error.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, Trouble> {
        let mut psql = self.installation.client("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.dsn(SUPERUSER, database, "psql"))
            .env("PGPASSWORD", &self.password)
            .stdin(Stdio::null());
        let output = complete(&mut psql)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Makes a replica the primary; returns once it takes writes.
    pub fn promote(&self) -> Result<(), Trouble> {
        self.psql("postgres", "SELECT pg_promote(true, 60)").map(drop)
    }

    /// Starts the server again, on the port it had. Nothing happens if it runs.
    pub fn start(&mut self) -> Result<(), Trouble> {
        if self.process.is_some() {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        let is_first = self.port == 0;
        loop {
            if is_first {
                self.port = free_port();
            }
            let child = self.spawn()?;
            match self.wait_until_ready(child, deadline)? {
                Started::Ready(child) => {
                    self.process = Some(child);
                    return Ok(());
                }
                // Somebody took the port between our look and the server's.
                Started::PortTaken => sleep(PAUSE),
            }
        }
    }

    /// Stops the server and waits until it is gone. Nothing happens if it does not run.
    pub fn stop(&mut self, how: Stop) -> Result<(), Trouble> {
        let Some(child) = self.process.take() else {
            return Ok(());
        };
        end(child, how).ok_or_else(|| self.late("stop"))
    }

    fn spawn(&self) -> Result<Child, Trouble> {
        let path = self.log_file();
        let log = fs::OpenOptions::new().create(true).append(true).open(&path);
        let log = log.map_err(|source| Trouble::io("open", &path, source))?;
        let twin = log
            .try_clone()
            .map_err(|source| Trouble::io("open", &path, source))?;
        // A stale file of a killed server would look like a ready one.
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
        let mut postgres = self.installation.server("postgres");
        postgres.arg("-D").arg(self.data());
        postgres.arg("-k").arg(self.socket_folder());
        postgres.args([
            "-p",
            &self.port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1,::1",
        ]);
        // A group of its own: Ctrl-C on the terminal is for the parent, which stops servers in its own order.
        std::os::unix::process::CommandExt::process_group(&mut postgres, 0);
        let child = postgres.stdout(log).stderr(twin).spawn();
        child.map_err(|source| Trouble::io("run", Path::new("postgres"), source))
    }

    /// postmaster.pid, as pg_ctl reads it: line 6 is the first address bound, line 8 says "ready".
    fn wait_until_ready(&self, mut child: Child, deadline: Instant) -> Result<Started, Trouble> {
        let file = self.data().join("postmaster.pid");
        let log_before = self.log().len();
        loop {
            if let Ok(Some(_)) = child.try_wait() {
                let log = self.log();
                let news = log.get(log_before..).unwrap_or(&log);
                return match news.contains("Address already in use") || news.contains("is another postmaster")
                {
                    true if Instant::now() < deadline => Ok(Started::PortTaken),
                    _ => Err(Trouble::Failed {
                        program: "postgres".into(),
                        words: tail(&log),
                    }),
                };
            }
            let text = fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            if lines.first().and_then(|pid| pid.parse().ok()) == Some(child.id())
                && matches!(lines.get(7), Some(&"ready" | &"standby"))
            {
                if lines.get(5) == Some(&"127.0.0.1") {
                    return Ok(Started::Ready(child));
                }
                let _ = end(child, Stop::Immediate);
                return match Instant::now() < deadline {
                    true => Ok(Started::PortTaken),
                    false => Err(self.late("bind")),
                };
            }
            if Instant::now() >= deadline {
                let _ = end(child, Stop::Kill);
                return Err(self.late("start"));
            }
            sleep(PAUSE);
        }
    }

    fn write_settings(&self, plan: &Plan<'_>) -> Result<(), Trouble> {
        let mut conf = String::new();
        for (name, value) in BASICS.iter().chain(plan.settings) {
            conf += &format!("{name} = '{}'\n", value.replace('\'', "''"));
        }
        let path = self.data().join("postgresql.conf");
        rewrite(&path, |old| old + &conf)?;
        if plan.hba.is_empty() {
            return Ok(());
        }
        let hba = plan.hba.join("\n") + "\n";
        rewrite(&self.data().join("pg_hba.conf"), |old| hba + &old)
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn late(&self, verb: &str) -> Trouble {
        Trouble::Late {
            awaited: format!("{verb} of the PostgreSQL in {}", self.folder.display()),
            log: tail(&self.log()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = self.process.take() {
            let _ = end(child, Stop::Immediate);
        }
        if !self.scratch.is_kept {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

enum Started {
    Ready(Child),
    PortTaken,
}

/// A TCP port of 127.0.0.1 that is free now, outside the range the system takes the local ends of connections from.
pub fn free_port() -> u16 {
    loop {
        let port = PORTS.start + (chance() % u64::from(PORTS.end - PORTS.start)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn initdb(installation: &Installation, directory: &Path, password: &str) -> Result<(), Trouble> {
    make_folder(directory, 0o700)?;
    installation.own(directory)?;
    let secret = directory.with_extension("password");
    fs::write(&secret, password).map_err(|source| Trouble::io("write", &secret, source))?;
    let owned = fs::set_permissions(&secret, fs::Permissions::from_mode(0o600));
    owned.map_err(|source| Trouble::io("protect", &secret, source))?;
    installation.own(&secret)?;
    let mut initdb = installation.server("initdb");
    initdb
        .args(["-N", "-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8"])
        .args(["-A", "scram-sha-256", "-D"])
        .arg(directory)
        .arg("--pwfile")
        .arg(&secret);
    let made = complete(&mut initdb);
    let _ = fs::remove_file(&secret);
    made.map(drop)
}

/// Signals a postmaster and waits for its end; None if it is still there after all patience.
fn end(mut child: Child, how: Stop) -> Option<()> {
    let signal = match how {
        Stop::Fast => "INT",
        Stop::Immediate => "QUIT",
        Stop::Kill => "KILL",
    };
    // The shell's own kill: not every system has a program of that name.
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -s \"$0\" \"$1\"", signal, &child.id().to_string()]);
    let _ = kill.stderr(Stdio::null()).status();
    let deadline = Instant::now() + PATIENCE;
    while let Ok(None) = child.try_wait() {
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        sleep(PAUSE);
    }
    Some(())
}

fn make_folder(path: &Path, mode: u32) -> Result<(), Trouble> {
    let made =
        fs::create_dir(path).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
    made.map_err(|source| Trouble::io("make", path, source))
}

fn rewrite(path: &Path, change: impl FnOnce(String) -> String) -> Result<(), Trouble> {
    let old = fs::read_to_string(path).map_err(|source| Trouble::io("read", path, source))?;
    fs::write(path, change(old)).map_err(|source| Trouble::io("write", path, source))
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A number nobody else has: the standard library seeds its hashers from the system's randomness.
fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The superuser initdb makes.
pub const SUPERUSER: &str = "postgres";

/// Below Linux's range for outgoing connections (32768-60999), so that a stopped server finds its port again.
const PORTS: std::ops::Range<u16> = 15000..32000;

/// How long a start or stop may take, and how often we look.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

const BASICS: [(&str, &str); 8] = [
    ("fsync", "off"),
    ("shared_buffers", "32MB"),
    ("max_connections", "100"),
    ("max_wal_senders", "10"),
    ("max_prepared_transactions", "100"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
    ("unix_socket_permissions", "0777"),
    ("hot_standby", "on"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_ours_to_bind() {
        let port = free_port();
        assert!(PORTS.contains(&port));
        assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
    }
}
