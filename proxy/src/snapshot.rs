//! The configuration as everyone may rely on it: checked, resolved, never changed. Made by `config`, swapped whole.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::net::socket;
use crate::pool;
use crate::protocol::auth::Secret;
use crate::server::address::{Address, ServerTls, Servers, SslMode};
use crate::twophase::door::Door;

/// Everything the configuration says. One is loaded per request and never looked up twice.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Where pgshunt listens.
    pub listen: Listen,
    /// TLS towards clients.
    pub tls: ClientTls,
    /// Limits of the whole process.
    pub limits: Limits,
    /// What `[pool]` says: every pool's settings, unless its database or role has others.
    pub pool: pool::settings::Settings,
    /// The databases clients may name; names are unique, at most one is `*`.
    pub databases: Vec<Database>,
    /// The cache's second level, if there is one.
    pub redis: Option<Arc<crate::cache::redis::Settings>>,
    /// Who may log in, and how that is found out.
    pub auth: Auth,
    /// Who may use the console.
    pub console: Console,
    /// Worker threads, at least one.
    pub threads: usize,
    /// How the log is written.
    pub log: LogSettings,
}

/// Where pgshunt listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// For clients; never empty.
    pub clients: Vec<Endpoint>,
    /// For the console; `None`: no console.
    pub admin: Option<Endpoint>,
    /// For `/metrics`, `/healthz`, `/readyz` and the status page; `None`: no HTTP.
    pub http: Option<SocketAddr>,
}

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address. `*` was two of them: `0.0.0.0` and `[::]`; a host without IPv6 may lack the second.
    Tcp(SocketAddr),
    /// `.s.PGSQL.<port>` in a directory.
    Unix {
        /// The directory; it must exist.
        directory: PathBuf,
        /// The number in the socket's name.
        port: u16,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "{address}"),
            Endpoint::Unix { directory, port } => write!(f, "unix:{}:{port}", directory.display()),
        }
    }
}

/// TLS towards clients. INVARIANT: unless the mode is `Disable`, certificate and key are there; the two verifying
/// modes have a `client_ca` as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// What clients must bring, in libpq's words.
    pub mode: SslMode,
    /// PEM file of our certificate chain.
    pub certificate: Option<PathBuf>,
    /// PEM file of our key.
    pub key: Option<PathBuf>,
    /// PEM file of the CAs that sign clients' certificates.
    pub client_ca: Option<PathBuf>,
}

impl Default for ClientTls {
    fn default() -> Self {
        ClientTls {
            mode: SslMode::Disable,
            certificate: None,
            key: None,
            client_ca: None,
        }
    }
}

/// Limits of the whole process. 0 means "none" where the comment says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most clients at one time. PgBouncer's default is 100, which a growing team meets on a bad day.
    pub max_client_conn: usize,
    /// The most clients from one address (0: none).
    pub max_client_conn_per_address: usize,
    /// The most clients of one role, over all databases (0: none).
    pub max_user_client_connections: usize,
    /// The most clients of one database (0: none).
    pub max_db_client_connections: usize,
    /// The most servers of one database, over all its pools (0: none).
    pub max_db_connections: usize,
    /// The most servers of one role, over all databases (0: none).
    pub max_user_connections: usize,
    /// The most clients that log in at one time; more wait for their turn (0: no limit).
    pub max_logins: usize,
    /// The most cancel requests from one address in one second; more are dropped (0: no limit).
    pub max_cancels_per_address: usize,
    /// Time a client has to log in (0: for ever).
    pub client_login_timeout: Duration,
    /// The largest message a client may send, in bytes.
    pub max_packet_size: usize,
    /// How TCP notices that a client or a server has gone, and how long what names stand for holds.
    pub tcp: socket::Settings,
    /// Connections that may wait to be accepted, on each address that is listened at.
    pub listen_backlog: u32,
    /// A database that `*` made and nobody uses is forgotten after this (0: never).
    pub autodb_idle_timeout: Duration,
    /// A pool without clients and servers is forgotten after this (0: never).
    pub pool_idle_timeout: Duration,
    /// How long a shutdown waits for transactions to end.
    pub shutdown_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_client_conn: 10_000,
            max_client_conn_per_address: 0,
            max_user_client_connections: 0,
            max_db_client_connections: 0,
            max_db_connections: 0,
            max_user_connections: 0,
            max_logins: 1000,
            max_cancels_per_address: 100,
            client_login_timeout: Duration::from_secs(60),
            max_packet_size: MAX_PACKET_SIZE,
            tcp: socket::Settings::default(),
            listen_backlog: 1024,
            autodb_idle_timeout: Duration::from_secs(3600),
            pool_idle_timeout: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(60),
        }
    }
}

/// The largest message PostgreSQL itself takes (`PQ_LARGE_MESSAGE_LIMIT`, `MaxAllocSize`): 1 GiB - 1.
pub const MAX_PACKET_SIZE: usize = 0x3fff_ffff;

/// A database as clients name it.
#[derive(Clone, Debug)]
pub struct Database {
    /// The name in the client's DSN; `*` serves every name that no other database has.
    pub name: String,
    /// Its shards, never empty, names unique. One shard means: not sharded.
    pub shards: Vec<Shard>,
    /// The role pgshunt itself uses on the servers: probes, lag, `auth_query`.
    pub control: Option<Control>,
    /// The pool of any role that `users` does not name.
    pub pool: pool::settings::Settings,
    /// Roles with settings of their own; names are unique.
    pub users: Vec<User>,
    /// The most clients of this database (0: none).
    pub max_client_conn: usize,
    /// The most servers of this database, over all its pools and shards (0: none).
    pub max_db_connections: usize,
    /// The file of routing rules.
    pub rules: Option<PathBuf>,
    /// Where reads go, and how fresh they must be.
    pub split: routing_rules::Rules,
    /// Which shard what belongs to; `None`: there is one shard, and everything is on it.
    pub sharding: Option<Arc<routing_rules::Sharding>>,
    /// What answers are kept; `None`: none.
    pub cache: Option<routing_rules::cache::Rules>,
    /// For whom answers are fetched in advance.
    pub warm: Vec<Warm>,
    /// What answers where the shards together can't.
    pub coordinator: Option<Arc<Coordinator>>,
}

impl Database {
    /// Does this entry stand for every database the servers have?
    pub fn is_wildcard(&self) -> bool {
        self.name == "*"
    }

    /// The tenant a role is bound to.
    pub fn tenant_of(&self, role: &str) -> Option<&str> {
        let user = self.users.iter().find(|user| user.name == role);
        user.and_then(|user| user.tenant.as_deref())
    }

    /// The settings of one role's pool.
    pub fn pool_of(&self, role: &str) -> &pool::settings::Settings {
        let user = self.users.iter().find(|user| user.name == role);
        user.map_or(&self.pool, |user| &user.pool)
    }
}

impl Snapshot {
    /// The database a client means: the one of that name, or else `*`.
    pub fn database(&self, name: &str) -> Option<&Database> {
        let named = self.databases.iter().find(|database| database.name == name);
        named.or_else(|| self.databases.iter().find(|database| database.is_wildcard()))
    }

    /// The most servers of a role, over all databases (0: none). Where several of its entries say so, the least counts.
    pub fn max_user_connections(&self, role: &str) -> usize {
        self.least(role, |user| user.max_user_connections)
            .unwrap_or(self.limits.max_user_connections)
    }

    /// The most clients of a role, over all databases (0: none), if its own entries say so; the least counts.
    pub fn max_user_client_connections(&self, role: &str) -> Option<usize> {
        self.least(role, |user| user.max_user_client_connections)
    }

    fn least(&self, role: &str, most: impl Fn(&User) -> Option<usize>) -> Option<usize> {
        let users = self.databases.iter().flat_map(|database| &database.users);
        let own = users.filter(|user| user.name == role).filter_map(most);
        // 0 is no limit, so anything is less.
        own.min_by_key(|most| if *most == 0 { usize::MAX } else { *most })
    }
}

/// The role pgshunt itself uses on a database's servers.
#[derive(Clone, Debug)]
pub struct Control {
    /// The role.
    pub user: String,
    /// Its password, if it needs one.
    pub password: Option<SecretText>,
    /// The database it connects to.
    pub dbname: String,
}

impl Control {
    /// What it proves when it logs in.
    pub fn secret(&self) -> Secret {
        let password = self.password.as_ref();
        password.map_or(Secret::None, |password| {
            Secret::Password(password.expose().into())
        })
    }

    /// Its way to each of these shards.
    pub fn doors(&self, shards: &[Servers]) -> Vec<Door> {
        let secret = self.secret();
        let door = |servers: &Servers| Door {
            shard: servers.shard.to_string(),
            servers: servers.targets.clone(),
            user: self.user.clone(),
            secret: secret.clone(),
        };
        shards.iter().map(door).collect()
    }
}

/// For whom a database's answers are fetched in advance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warm {
    /// The role.
    pub role: String,
    /// Its password at pgshunt's door.
    pub password: Option<SecretText>,
    /// Each `pgshunt.tenant` it is done for; empty: once, without.
    pub tenants: Vec<String>,
    /// What the sessions say at startup: names and values.
    pub settings: Vec<(String, String)>,
}

/// One role of a database, with settings of its own.
#[derive(Clone, Debug)]
pub struct User {
    /// The role.
    pub name: String,
    /// Its pool, resolved: user over database over global.
    pub pool: pool::settings::Settings,
    /// The tenant whose statements these are.
    pub tenant: Option<String>,
    /// The most clients of this role in this database (0: none; `None`: no limit of its own here).
    pub max_client_conn: Option<usize>,
    /// The most clients of this role, over all databases (0: none; `None`: what the limits say).
    pub max_user_client_connections: Option<usize>,
    /// The most servers of this role, over all databases (0: none; `None`: what the limits say).
    pub max_user_connections: Option<usize>,
}

/// One shard: a primary and its replicas. Which is which is discovered, not written.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Its name, unique in the database.
    pub name: String,
    /// Its servers, never empty.
    pub servers: Vec<Address>,
    /// How much of the reads each of them takes, compared with the others; empty: all alike.
    pub weights: Vec<usize>,
    /// The database's name on these servers; `None`: the name the client gave.
    pub dbname: Option<String>,
    /// TLS towards these servers.
    pub tls: ServerTls,
}

/// A PostgreSQL that has the tables of all shards as its own.
#[derive(Clone, Debug)]
pub struct Coordinator {
    /// Its name, unlike any shard's, and its one server.
    pub shard: Shard,
    /// What it is.
    pub kind: CoordinatorKind,
    /// The role as which it reads the shards; `None`: the control role.
    pub reader: Option<Reader>,
}

/// What a coordinator is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CoordinatorKind {
    /// A PostgreSQL with postgres_fdw.
    #[default]
    Postgres,
    /// A Citus coordinator, which knows its tables itself.
    Citus,
}

/// A role that reads.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The role.
    pub user: String,
    /// Its password, if it needs one.
    pub password: Option<SecretText>,
}

/// Who may log in.
#[derive(Clone, Debug)]
pub struct Auth {
    /// How a role is checked.
    pub mode: AuthMode,
    /// Roles known from the configuration; names are unique.
    pub users: Vec<AuthUser>,
    /// Asks a server for one role's verifier. `$1` is the role; the answer is one row (name, verifier or NULL).
    pub auth_query: String,
}

/// How clients are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMode {
    /// `Auth::users` first, then the servers' own verifiers, read with `auth_query`.
    #[default]
    Passthrough,
    /// Only roles in `Auth::users`.
    Users,
    /// Nobody is checked. For closed networks and tests.
    Trust,
}

/// A role known from the configuration.
#[derive(Clone, Debug)]
pub struct AuthUser {
    /// The role.
    pub name: String,
    /// What its password is checked against; `None`: its certificate alone lets it in.
    pub credential: Option<Credential>,
    /// The common name of the client certificate that lets it in without a password.
    pub cert: Option<String>,
}

/// What a role is checked against. All three are as good as a password to whoever reads them.
#[derive(Clone, Debug)]
pub enum Credential {
    /// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`, as in `pg_authid`; the form has been checked.
    Scram(SecretText),
    /// `md5` and 32 hexadecimal digits, as in `pg_authid`; the form has been checked.
    Md5(SecretText),
    /// The password itself, from a file.
    Password(SecretText),
}

/// Asks for the verifier of `$1`, NULL once the password has expired, nothing for a role that may not log in.
///
/// Every name is qualified, operators too, so that no `search_path` can turn it into other SQL (CVE-2025-12819), and
/// `VALID UNTIL` is kept (CVE-2025-2291).
pub const DEFAULT_AUTH_QUERY: &str = "\
SELECT rolname, CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL ELSE rolpassword END \
FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin";

/// Where [`DEFAULT_AUTH_QUERY`] may not read `pg_authid`: the function that `pgshunt setup` makes.
pub const SETUP_AUTH_QUERY: &str = "SELECT name, verifier FROM pgshunt.verifier_of($1)";

/// Which roles may log in to the console; nobody else may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Console {
    /// Every command.
    pub admins: Vec<String>,
    /// `SHOW` only.
    pub watchers: Vec<String>,
}

/// How the log is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// Lines for people or lines for machines.
    pub format: LogFormat,
    /// The least severe level that is written; `PGSHUNT_LOG` wins over it.
    pub level: LogLevel,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The severity of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What will fail unless someone looks.
    Warn,
    /// What happened.
    #[default]
    Info,
    /// Why.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word in the configuration and in `PGSHUNT_LOG`.
    pub fn word(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// A password or what is as good as one. Never printed: `Debug` shows that there is one, not which.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a text that must not be printed.
    pub fn new(text: impl Into<String>) -> Self {
        SecretText(text.into())
    }

    /// The text itself, for the code that proves or checks it. Never log what this returns.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        let control = Control {
            user: "pgshunt".into(),
            password: Some(SecretText::new("hunter2")),
            dbname: "app".into(),
        };
        assert!(!format!("{control:?}").contains("hunter2"));
    }
}
