//! The PostgreSQL servers of the tests: one shared by all, and private ones for tests that stop or kill theirs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock, mpsc};

use pgshunt::cli::demo::cluster::{Installation, Node, Plan, SUPERUSER, Scratch, Template};

use crate::door::Door;
use crate::until;

/// A server that every test may use and none may stop.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// TCP port at 127.0.0.1 and ::1.
    pub port: u16,
    /// The folder of its Unix socket.
    pub socket_folder: PathBuf,
}

/// A database of one test alone, owned by a role of its own that is not a superuser.
#[derive(Debug)]
pub struct Database {
    /// The server it is on.
    pub cluster: Cluster,
    /// Its name, which is the role's too.
    pub name: String,
}

impl Cluster {
    /// The shared server: the one `tests/run.sh` keeps (`PGSHUNT_TEST_PG`), else one for this process.
    pub fn shared() -> Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match std::env::var(ADDRESS) {
            Ok(address) => Cluster::parse(&address),
            Err(_) => Cluster::for_this_process(),
        });
        shared.clone()
    }

    /// A private server is a server too.
    pub fn of(node: &Node) -> Cluster {
        Cluster {
            port: node.port(),
            socket_folder: node.socket_folder().to_owned(),
        }
    }

    /// How the shared server is named in [`ADDRESS`].
    pub fn address(&self) -> String {
        format!("{}:{}", self.port, self.socket_folder.display())
    }

    /// The way in as superuser.
    pub fn superuser(&self) -> Door {
        Door {
            host: "127.0.0.1".into(),
            port: self.port,
            user: SUPERUSER.into(),
            password: PASSWORD.into(),
            database: "postgres".into(),
        }
    }

    /// A new database, and a role with the same name that owns it.
    pub fn database(&self) -> Database {
        let name = unique("t");
        let superuser = self.superuser();
        superuser.psql(&format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"));
        superuser.psql(&format!("CREATE DATABASE {name} OWNER {name}"));
        let cluster = self.clone();
        Database { cluster, name }
    }

    fn parse(address: &str) -> Cluster {
        let parts = address.split_once(':');
        let parts = parts.and_then(|(port, folder)| Some((port.parse().ok()?, folder.into())));
        let (port, socket_folder) = parts.expect("PGSHUNT_TEST_PG is port:socket-folder");
        Cluster { port, socket_folder }
    }

    /// The server ends with its thread, so its thread must not end before the process.
    fn for_this_process() -> Cluster {
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let node = private(&Plan::default());
            let _ = send.send(Cluster::of(&node));
            remove_after_us(node.socket_folder().parent().expect("the scratch folder"));
            loop {
                std::thread::park();
            }
        });
        receive.recv().expect("a PostgreSQL server")
    }
}

impl Database {
    /// The way in without pgshunt, as the database's owner.
    pub fn door(&self) -> Door {
        Door {
            user: self.name.clone(),
            database: self.name.clone(),
            ..self.cluster.superuser()
        }
    }

    /// The way in without pgshunt, as superuser.
    pub fn superuser(&self) -> Door {
        Door {
            database: self.name.clone(),
            ..self.cluster.superuser()
        }
    }

    /// Another role that may log in. Its name is as unique as the database's.
    pub fn role(&self, suffix: &str) -> String {
        let name = format!("{}_{suffix}", self.name);
        self.superuser()
            .psql(&format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"));
        name
    }

    /// Waits until one server works at a statement that contains these words.
    #[track_caller]
    pub fn runs(&self, words: &str) {
        let count = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND state = 'active' \
             AND pid <> pg_backend_pid() AND strpos(query, '{words}') > 0",
            self.name
        );
        let mut watcher = self.cluster.superuser().wire();
        until(words, || watcher.value(&count) == "1");
    }

    /// Connections to this database by others than superusers: the servers pgshunt holds.
    pub fn servers(&self) -> usize {
        let count = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND usename <> '{SUPERUSER}'",
            self.name
        );
        self.cluster.superuser().psql(&count).parse().expect("a number")
    }
}

impl Drop for Database {
    /// The server may be gone already.
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        self.cluster.superuser().psql_output(&drop);
    }
}

/// A database on the shared server.
pub fn database() -> Database {
    Cluster::shared().database()
}

/// A server of this test alone, to be stopped, killed and promoted. Its superuser's password is [`PASSWORD`].
pub fn private(plan: &Plan<'_>) -> Node {
    let scratch = Arc::new(Scratch::new("tests").expect("a folder"));
    let template = template(scratch.path());
    let settings = with_ours(plan.settings);
    let name = match plan.name {
        "" => "pg",
        name => name,
    };
    let plan = Plan {
        name,
        settings: &settings,
        ..*plan
    };
    Node::primary(&scratch, &template, &plan).expect("a PostgreSQL server")
}

/// A server of another system than all others: those begin as copies of one.
pub fn stranger() -> Node {
    let scratch = Arc::new(Scratch::new("stranger").expect("a folder"));
    let installation = Installation::find().expect("PostgreSQL");
    let template = Template::at(&installation, &scratch.path().join("template"), PASSWORD).expect("initdb");
    let plan = Plan {
        name: "stranger",
        settings: &SETTINGS,
        ..Plan::default()
    };
    Node::primary(&scratch, &template, &plan).expect("a PostgreSQL server")
}

/// A running hot standby of a private server.
pub fn replica(primary: &Node, plan: &Plan<'_>) -> Node {
    let settings = with_ours(plan.settings);
    let plan = Plan {
        settings: &settings,
        ..*plan
    };
    primary.replica(&plan).expect("a replica")
}

fn with_ours<'a>(settings: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    SETTINGS.iter().chain(settings).copied().collect()
}

/// Nothing is dropped when a process ends: a shell waits for the end of its input, which is ours, and clears up.
fn remove_after_us(folder: &Path) {
    let shell = Command::new("sh")
        .args(["-c", "cat; sleep 1; rm -rf -- \"$0\""])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    // Its input stays open as long as this process lives.
    std::mem::forget(shell);
}

/// A name nobody else has: for databases, roles, channels.
pub fn unique(prefix: &str) -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let chance = RandomState::new().build_hasher().finish();
    format!("{prefix}_{:08x}", chance as u32)
}

/// `tests/run.sh` names a folder for the template, so that initdb runs once; without it, everybody makes their own.
fn template(scratch: &Path) -> Template {
    let installation = Installation::find().expect("PostgreSQL");
    let folder = std::env::var_os("PGSHUNT_TEST_TEMPLATE").map(PathBuf::from);
    let lock = folder.as_ref().map(|folder| {
        let lock = File::create(folder.with_extension("lock")).expect("a lock file");
        lock.lock().expect("a lock");
        lock
    });
    let folder = folder.unwrap_or_else(|| scratch.join("template"));
    let template = Template::at(&installation, &folder, PASSWORD).expect("initdb");
    drop(lock);
    template
}

/// The password of everybody in the tests' servers.
pub const PASSWORD: &str = "s3cret pass/word";

/// Environment variable with the shared server's [`Cluster::address`].
pub const ADDRESS: &str = "PGSHUNT_TEST_PG";

const SETTINGS: [(&str, &str); 2] = [("max_connections", "400"), ("log_statement", "none")];
