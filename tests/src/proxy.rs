//! The real pgshunt binary in front of a database, from a configuration a test writes.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use pgshunt::cli::demo::cluster::{Node, SUPERUSER, Scratch, free_port};

use crate::cluster::{Database, PASSWORD};
use crate::door::Door;
use crate::{PATIENCE, programs, until};

/// A configuration in the making: what the file says, section by section.
#[derive(Clone, Debug)]
pub struct Config {
    threads: usize,
    listen: String,
    limits: String,
    pool: String,
    console: String,
    database: String,
    servers: String,
    shard: String,
    more: String,
    rules: String,
}

impl Config {
    /// One database, passthrough, control as superuser, everything else as it comes.
    pub fn new(database: &Database) -> Config {
        Config {
            threads: 2,
            listen: String::new(),
            limits: String::new(),
            pool: String::new(),
            console: String::new(),
            database: format!(
                "name = \"{}\"\ncontrol = \"postgres://{SUPERUSER}@/postgres\"\n",
                database.name
            ),
            servers: format!("127.0.0.1:{}", database.cluster.port),
            shard: String::new(),
            more: String::new(),
            rules: String::new(),
        }
    }

    /// More servers beside the database's own.
    pub fn replicas<'a>(mut self, nodes: impl IntoIterator<Item = &'a Node>) -> Config {
        for node in nodes {
            self.servers += &format!("\", \"127.0.0.1:{}", node.port());
        }
        self
    }

    /// A file of rules with this text.
    pub fn rules(mut self, text: &str) -> Config {
        self.rules = text.into();
        self.database("rules = \"rules.toml\"")
    }

    /// With this many workers; two unless told otherwise.
    pub fn threads(mut self, count: usize) -> Config {
        self.threads = count;
        self
    }

    /// Where clients may come in beside 127.0.0.1.
    pub fn listen(mut self, address: &str) -> Config {
        self.listen += &format!(", \"{address}\"");
        self
    }

    /// A line of `[limits]`.
    pub fn limit(mut self, line: &str) -> Config {
        self.limits += &format!("{line}\n");
        self
    }

    /// A line of `[pool]`.
    pub fn pool(mut self, line: &str) -> Config {
        self.pool += &format!("{line}\n");
        self
    }

    /// A line of `[console]` beside its admins.
    pub fn console(mut self, line: &str) -> Config {
        self.console += &format!("{line}\n");
        self
    }

    /// A line of `[[database]]`.
    pub fn database(mut self, line: &str) -> Config {
        self.database += &format!("{line}\n");
        self
    }

    /// Another address of the server: `unix:/folder:port`.
    pub fn server(mut self, address: &str) -> Config {
        self.servers = address.into();
        self
    }

    /// Another control role: `postgres://ROLE@/DBNAME`.
    pub fn control(mut self, dsn: &str) -> Config {
        let others = self
            .database
            .lines()
            .filter(|line| !line.starts_with("control ="));
        let mut database: String = others.flat_map(|line| [line, "\n"]).collect();
        database += &format!("control = \"{dsn}\"\n");
        self.database = database;
        self
    }

    /// A line of `[[database.shard]]`.
    pub fn shard(mut self, line: &str) -> Config {
        self.shard += &format!("{line}\n");
        self
    }

    /// Whole sections, put last.
    pub fn section(mut self, text: &str) -> Config {
        self.more += &format!("{text}\n");
        self
    }

    /// Starts pgshunt with it.
    #[track_caller]
    pub fn start(&self) -> Proxy {
        Proxy::start(self)
    }

    fn text(&self, Ports { clients, admin, http }: Ports) -> String {
        let Config {
            threads,
            listen,
            limits,
            pool,
            console,
            database,
            servers,
            shard,
            more,
            rules: _,
        } = self;
        format!(
            "threads = {threads}\n\
             [listen]\nclients = [\"127.0.0.1:{clients}\"{listen}]\nadmin = \"127.0.0.1:{admin}\"\n\
             http = \"127.0.0.1:{http}\"\n\
             [limits]\n{limits}\n[pool]\n{pool}\n[console]\nadmins = [\"{SUPERUSER}\"]\n{console}\n\
             [[database]]\n{database}\n[[database.shard]]\nservers = [\"{servers}\"]\n{shard}\n{more}"
        )
    }
}

/// Where it listens at 127.0.0.1.
#[derive(Clone, Copy, Debug)]
struct Ports {
    clients: u16,
    admin: u16,
    http: u16,
}

/// A running pgshunt. When dropped it is told to stop, and must end well and without a panic.
#[derive(Debug)]
pub struct Proxy {
    ports: Ports,
    process: Option<Child>,
    scratch: Scratch,
}

impl Proxy {
    /// In front of this database with default settings but for a pool of this size.
    #[track_caller]
    pub fn sized(database: &Database, size: usize) -> Proxy {
        Config::new(database).pool(&format!("size = {size}")).start()
    }

    /// From a command line: `--to` and what goes with it; clients and console come in on ports of our choice.
    #[track_caller]
    pub fn to(dsn: &str) -> Proxy {
        Proxy::on_free_ports(|scratch, ports| {
            let mut serve = serve(scratch);
            serve.args(["--to", dsn, "--listen", &format!("127.0.0.1:{}", ports.clients)]);
            serve.args(["--admin", &format!("127.0.0.1:{}", ports.admin)]);
            serve.args(["--http", &format!("127.0.0.1:{}", ports.http)]);
            serve
        })
    }

    #[track_caller]
    fn start(config: &Config) -> Proxy {
        Proxy::on_free_ports(|scratch, ports| {
            let file = scratch.join("pgshunt.toml");
            fs::write(&file, config.text(ports)).expect("a file");
            fs::write(scratch.join("rules.toml"), &config.rules).expect("a file");
            let mut serve = serve(scratch);
            serve.arg("-c").arg(file);
            serve
        })
    }

    #[track_caller]
    fn on_free_ports(command: impl Fn(&Path, Ports) -> Command) -> Proxy {
        let scratch = Scratch::new("proxy").expect("a folder");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ports = Ports {
                clients: free_port(),
                admin: free_port(),
                http: free_port(),
            };
            let log = File::create(scratch.path().join("log")).expect("a log");
            let mut command = command(scratch.path(), ports);
            let mut child = command.stderr(log).spawn().expect("pgshunt");
            let mut ended = None;
            until("pgshunt to listen", || {
                ended = child.try_wait().expect("a child");
                ended.is_some() || TcpStream::connect(("127.0.0.1", ports.clients)).is_ok()
            });
            let log = fs::read_to_string(scratch.path().join("log")).unwrap_or_default();
            match ended {
                None => {
                    return Proxy {
                        ports,
                        process: Some(child),
                        scratch,
                    };
                }
                // Somebody took the port between our look and pgshunt's.
                Some(_) if log.contains("Address already in use") && Instant::now() < deadline => {}
                Some(status) => panic!("pgshunt ended with {status}:\n{log}"),
            }
        }
    }

    /// The way in as the owner of a database, by TCP.
    pub fn door(&self, database: &Database) -> Door {
        Door {
            port: self.ports.clients,
            ..database.door()
        }
    }

    /// The way into the console.
    pub fn console(&self) -> Door {
        Door {
            host: "127.0.0.1".into(),
            port: self.ports.admin,
            user: SUPERUSER.into(),
            password: PASSWORD.into(),
            database: "pgshunt".into(),
        }
    }

    /// Clients come in at this port.
    pub fn port(&self) -> u16 {
        self.ports.clients
    }

    /// Where HTTP is.
    pub fn http(&self) -> u16 {
        self.ports.http
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// A folder of this proxy's own, for sockets and certificates.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Waits for its end, which something else brings about.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let mut child = self.process.take().expect("it runs");
        let mut status = None;
        until("pgshunt to end", || {
            status = child.try_wait().expect("a child");
            status.is_some()
        });
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
        status.expect("ended")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("pgshunt's log:\n{}", self.log());
            if let Some(child) = &mut self.process {
                let _ = child.kill();
                let _ = child.wait();
            }
            return;
        }
        if self.process.is_some() {
            programs::signal(self.pid(), "TERM");
            let status = self.ended();
            assert!(status.success(), "pgshunt ended with {status}:\n{}", self.log());
        }
    }
}

/// `pgshunt …`, which ends when the test does.
pub fn pgshunt() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(binary());
    command.env_remove("PGUSER").env_remove("PGPASSWORD");
    command.env_remove("PGSHUNT_CONTROL_PASSWORD");
    command.stdin(Stdio::null());
    command
}

fn serve(scratch: &Path) -> Command {
    let mut serve = pgshunt();
    serve.arg("serve").current_dir(scratch).stdout(Stdio::null());
    serve
        .env("PGSHUNT_CONTROL_PASSWORD", PASSWORD)
        .env("PGPASSWORD", PASSWORD);
    serve
}

/// `PGSHUNT_BIN`, as `tests/run.sh` sets it; else the binary beside this test's own, built anew if it is old.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("PGSHUNT_BIN") {
            return given.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "pgshunt", "--bin", "pgshunt"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.expect("cargo").success(), "pgshunt does not build");
        let test = std::env::current_exe().expect("this test's own path");
        let target = test.ancestors().nth(2).expect("target/debug/deps/test");
        target.join("pgshunt")
    })
}
