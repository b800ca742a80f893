//! pgshunt itself as a child of the demo: its configuration, its start, its log, its end.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Failure;
use super::cluster::free_port;
use super::tour::cached::TABLE as CACHED;
use super::wire::{Client, Door};

/// A running pgshunt. Dropped, it is told to stop, and killed if it does not.
pub struct Proxy {
    child: Child,
    folder: PathBuf,
    /// Where clients connect, all on 127.0.0.1.
    pub clients: u16,
    /// Where the console is.
    pub admin: u16,
    /// Where /metrics is.
    pub http: u16,
    /// Memory it had in use before its first clients, in bytes.
    pub empty: u64,
}

/// What the demo's configuration says.
pub struct Plan<'a> {
    /// For each shard the ports of the primary and its replicas.
    pub shards: &'a [&'a [u16]],
    /// The password of pgshunt's own role.
    pub control_password: &'a str,
    /// Servers in most pools.
    pub size: usize,
    /// The role that has a small pool, and how small.
    pub small: (&'a str, usize),
}

impl Proxy {
    /// Writes a configuration into the folder and serves it until `door` can be entered.
    pub fn start(folder: &Path, plan: &Plan<'_>, door: impl Fn(u16) -> Door) -> Result<Proxy, Failure> {
        let [clients, admin, http] = [6432, 6433, 9432].map(port);
        let file = folder.join("pgshunt.toml");
        fs::write(&file, configuration(plan, folder, [clients, admin, http]))?;
        fs::write(folder.join("rules.toml"), rules(plan))?;
        let log = fs::File::create(folder.join(LOG))?;
        // setpriv and what it becomes are one process; the system ends it with us, however we end.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM"])
            .arg(std::env::current_exe()?)
            .args(["serve", "-c"])
            .arg(&file)
            .env("PGSHUNT_CONTROL_PASSWORD", plan.control_password)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C on the terminal is for us, who stop things in order.
            .process_group(0);
        let proxy = Proxy {
            child: command.spawn()?,
            folder: folder.to_owned(),
            clients,
            admin,
            http,
            empty: 0,
        };
        proxy.wait_until_ready(&door(clients))
    }

    fn wait_until_ready(mut self, door: &Door) -> Result<Proxy, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let refused = match Client::connect(door) {
                Ok(_) => {
                    self.empty = self.memory()?;
                    return Ok(self);
                }
                Err(refused) => refused,
            };
            if !self.is_running() || Instant::now() >= deadline {
                let log = self.log_tail(20);
                return Err(Failure(format!("pgshunt does not serve: {refused}\n{log}")));
            }
            sleep(PAUSE);
        }
    }

    /// Has it not ended by itself?
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory it has in use now, in bytes.
    pub fn memory(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line
            .and_then(|line| line.split_whitespace().next())
            .and_then(|n| n.parse().ok());
        kilobytes
            .map(|n: u64| n * 1024)
            .ok_or_else(|| io::Error::other("no VmRSS"))
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = fs::read(self.folder.join(LOG)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if !self.is_running() {
            return;
        }
        // Twice: the first asks it to let transactions end, the second not to wait for them.
        for _ in 0..2 {
            // The shell's own kill: not every system has a program of that name.
            let mut kill = Command::new("sh");
            kill.args(["-c", "kill -s TERM \"$0\"", &self.child.id().to_string()]);
            let _ = kill.stderr(Stdio::null()).status();
            let deadline = Instant::now() + Duration::from_secs(2);
            while Instant::now() < deadline {
                if !self.is_running() {
                    return;
                }
                sleep(PAUSE);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port everybody knows if it is free, else another one.
fn port(usual: u16) -> u16 {
    match TcpListener::bind(("127.0.0.1", usual)) {
        Ok(_) => usual,
        Err(_) => free_port(),
    }
}

/// The demo's rules: one table's answers are kept; and where tenants are, if there are several shards.
fn rules(plan: &Plan<'_>) -> String {
    if plan.shards.len() > 1 {
        return "[sharding]\ncolumn = \"tenant_id\"\ntype = \"uuid\"\n".into();
    }
    format!("[[cache.class]]\nname = \"report\"\ntables = [\"{CACHED}\"]\nttl = \"10min\"\n")
}

fn configuration(plan: &Plan<'_>, folder: &Path, [clients, admin, http]: [u16; 3]) -> String {
    let folder = folder.display();
    let Plan {
        shards,
        size,
        small: (role, few),
        ..
    } = plan;
    let shard = |(number, ports): (usize, &&[u16])| {
        let servers: Vec<String> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        let servers = servers.join(", ");
        format!("[[database.shard]]\nname = \"s{number}\"\nservers = [{servers}]\n")
    };
    let shards: String = shards.iter().enumerate().map(shard).collect();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        r#"# Written by "pgshunt demo". deploy/pgshunt.toml shows every option.
[listen]
clients = ["127.0.0.1:{clients}", "unix:{folder}:{clients}"]
admin = "127.0.0.1:{admin}"
http = "127.0.0.1:{http}"

[pool]
size = {size}
server_login_retry = "100ms"

[auth]
auth_query = "SELECT name, verifier FROM pgshunt.verifier_of($1)"

[console]
admins = ["ops"]

[[database]]
name = "bmos"
control = "postgres://pgshunt@/bmos"
rules = "rules.toml"

{shards}
[[database.user]]
name = "{role}"
pool = {{ size = {few} }}
"#
    );
    text
}

/// Its log in the demo's folder.
const LOG: &str = "pgshunt.log";

/// How long its start may take, and how often we look.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_no_mistakes() {
        let plan = Plan {
            shards: &[&[5501, 5502]],
            control_password: "",
            size: 10,
            small: ("bmos_tour", 2),
        };
        let folder = std::env::temp_dir().join(format!("pgshunt-demo-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("pgshunt.toml");
        fs::write(folder.join("rules.toml"), rules(&plan)).expect("a file");
        fs::write(&file, configuration(&plan, Path::new("/tmp"), [6432, 6433, 9432])).expect("a file");
        let loaded = crate::config::load(&file);
        let _ = fs::remove_dir_all(&folder);
        let snapshot = loaded.map_err(|mistakes| format!("{mistakes:?}")).expect("right");
        let database = snapshot.database("bmos").expect("there");
        assert_eq!(database.pool_of("bmos_tour").size, 2);
        assert_eq!(database.pool_of("bmos_app").size, 10);
    }
}
