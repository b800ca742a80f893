//! The whole file, from what is written to what is true. The sections that need little live here.

use std::path::Path;

use toml::de::DeTable;

use super::Environment;
use super::address;
use super::auth;
use super::database::{self, Inherited};
use super::keys;
use super::mistake::{Findings, Mistake, Wrong};
use super::pool;
use super::pool::{CLIENTS_MAX, SERVERS_MAX};
use super::raw::{Section, Written};
use super::redis;
use super::tls;
use crate::net::socket;
use crate::pool::settings::Settings;
use crate::snapshot::{
    AuthMode, ClientTls, Console, Endpoint, Limits, Listen, LogFormat, LogLevel, LogSettings,
    MAX_PACKET_SIZE, Snapshot,
};

/// Checks a file's text; `file` says where its relative paths start.
pub(super) fn snapshot(file: &Path, text: &str, environment: &Environment) -> Result<Snapshot, Vec<Mistake>> {
    let findings = Findings::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            findings.at(at, Wrong::new(format!("not TOML: {}", error.message())));
        }
        return Err(first_of_each_line(findings.into_mistakes()));
    }
    let snapshot = whole(&Section::open(&keys::ROOT, &document, &findings), environment);
    match findings.into_mistakes() {
        none if none.is_empty() => Ok(snapshot),
        mistakes => Err(mistakes),
    }
}

/// One slip makes the parser stumble several times; the first stumble is the one that tells.
fn first_of_each_line(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.dedup_by_key(|mistake| mistake.line);
    mistakes
}

fn whole(root: &Section, environment: &Environment) -> Snapshot {
    let section = |key, keys| root.section(key, keys);
    let limits = section("limits", &keys::LIMITS)
        .map_or_else(Limits::default, |found| limits(&Limits::default(), &found));
    let pool = section("pool", &keys::POOL).map_or_else(Settings::default, |found| {
        pool::narrowed(&Settings::default(), &found)
    });
    let tls =
        section("tls", &keys::TLS).map_or_else(ClientTls::default, |found| tls::towards_clients(&found));
    let auth = auth::auth(section("auth", &keys::AUTH).as_ref(), tls.client_ca.is_some());
    let inherited = Inherited {
        pool: &pool,
        limits: &limits,
        environment,
        asks_servers: auth.mode == AuthMode::Passthrough && auth.users.is_empty(),
    };
    let databases = database::databases(root, &inherited);
    Snapshot {
        listen: section("listen", &keys::LISTEN).map_or_else(default_listen, |found| listen(&found)),
        tls,
        console: section("console", &keys::CONSOLE)
            .map_or_else(Console::default, |found| auth::console(&found)),
        log: section("log", &keys::LOG).map_or_else(LogSettings::default, |found| log(&found)),
        threads: root
            .count("threads", 1..=THREADS_MAX)
            .unwrap_or(environment.threads),
        redis: section("redis", &keys::REDIS).and_then(|found| redis::redis(&found)),
        databases,
        limits,
        pool,
        auth,
    }
}

fn listen(section: &Section) -> Listen {
    let written = section.texts("clients");
    let mut clients: Vec<Endpoint> = Vec::new();
    for Written { value, at } in written.iter().flatten() {
        for endpoint in endpoints(section, "clients", value, *at, CLIENTS_PORT) {
            if clients.contains(&endpoint) {
                section.wrong_value("clients", *at, Wrong::new(format!("names {endpoint} twice")));
            }
            clients.push(endpoint);
        }
    }
    if section.is_empty_list("clients") {
        let at = section.place("clients").unwrap_or(section.at);
        section.wrong_value("clients", at, Wrong::new("is empty: nobody could connect"));
    }
    if written.is_none() {
        clients = default_listen().clients;
    }
    let one = |key, port| {
        let text = section.text(key)?;
        endpoints(section, key, text.value, text.at, port)
            .into_iter()
            .next()
    };
    let http = match one("http", HTTP_PORT) {
        Some(Endpoint::Tcp(address)) => Some(address),
        Some(Endpoint::Unix { .. }) => {
            let at = section.place("http").unwrap_or(section.at);
            section.wrong_value("http", at, Wrong::new("must be a TCP address"));
            None
        }
        None => None,
    };
    Listen {
        clients,
        admin: one("admin", ADMIN_PORT),
        http,
    }
}

fn endpoints(section: &Section, key: &str, written: &str, at: usize, port: u16) -> Vec<Endpoint> {
    address::endpoints(written, port).unwrap_or_else(|wrong| {
        let what = format!("has a mistake: {}", wrong.what);
        section.wrong_value(key, at, Wrong { what, ..wrong });
        Vec::new()
    })
}

/// Only this machine, until someone says otherwise.
pub(super) fn default_listen() -> Listen {
    let here = (std::net::Ipv4Addr::LOCALHOST, CLIENTS_PORT).into();
    Listen {
        clients: vec![Endpoint::Tcp(here)],
        admin: None,
        http: None,
    }
}

/// What the section says, over what holds without it.
pub(super) fn limits(d: &Limits, section: &Section) -> Limits {
    let clients = |key| section.count(key, 0..=CLIENTS_MAX);
    Limits {
        max_client_conn: section
            .count("max_client_conn", 1..=CLIENTS_MAX)
            .unwrap_or(d.max_client_conn),
        max_client_conn_per_address: clients("max_client_conn_per_address")
            .unwrap_or(d.max_client_conn_per_address),
        max_user_client_connections: clients("max_user_client_connections")
            .unwrap_or(d.max_user_client_connections),
        max_db_client_connections: clients("max_db_client_connections")
            .unwrap_or(d.max_db_client_connections),
        max_db_connections: section
            .count("max_db_connections", 0..=SERVERS_MAX)
            .unwrap_or(d.max_db_connections),
        max_user_connections: section
            .count("max_user_connections", 0..=SERVERS_MAX)
            .unwrap_or(d.max_user_connections),
        max_logins: clients("max_logins").unwrap_or(d.max_logins),
        max_cancels_per_address: clients("max_cancels_per_address").unwrap_or(d.max_cancels_per_address),
        client_login_timeout: section
            .time("client_login_timeout")
            .unwrap_or(d.client_login_timeout),
        max_packet_size: section
            .count("max_packet_size", PACKET_MIN..=MAX_PACKET_SIZE)
            .unwrap_or(d.max_packet_size),
        tcp: tcp(&d.tcp, section),
        listen_backlog: section
            .count("listen_backlog", 1..=BACKLOG_MAX)
            .map_or(d.listen_backlog, |count| count as u32),
        autodb_idle_timeout: section
            .time("autodb_idle_timeout")
            .unwrap_or(d.autodb_idle_timeout),
        pool_idle_timeout: section.time("pool_idle_timeout").unwrap_or(d.pool_idle_timeout),
        shutdown_timeout: section.time("shutdown_timeout").unwrap_or(d.shutdown_timeout),
    }
}

fn tcp(d: &socket::Settings, section: &Section) -> socket::Settings {
    let time = |key| section.time(key);
    let keepalive = section.count("tcp_keepalive", 0..=1);
    let count = section.count("tcp_keepcnt", 0..=PROBES_MAX);
    socket::Settings {
        keepalive: keepalive.map_or(d.keepalive, |number| number == 1),
        keepalive_idle: time("tcp_keepidle").unwrap_or(d.keepalive_idle),
        keepalive_interval: time("tcp_keepintvl").unwrap_or(d.keepalive_interval),
        keepalive_count: count.map_or(d.keepalive_count, |count| count as u32),
        user_timeout: time("tcp_user_timeout").unwrap_or(d.user_timeout),
        dns_max_ttl: time("dns_max_ttl").unwrap_or(d.dns_max_ttl),
        dns_nxdomain_ttl: time("dns_nxdomain_ttl").unwrap_or(d.dns_nxdomain_ttl),
    }
}

fn log(section: &Section) -> LogSettings {
    LogSettings {
        format: section.word("format", &LOG_FORMATS).unwrap_or_default(),
        level: section.word("level", &LOG_LEVELS).unwrap_or_default(),
    }
}

const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// More than any system lets wait.
const BACKLOG_MAX: usize = 65_535;

/// Linux's own bound (`MAX_TCP_KEEPCNT`).
const PROBES_MAX: usize = 127;

/// Below this, a driver's ordinary Bind messages would be refused.
const PACKET_MIN: usize = 8192;

/// Workers beyond this only share out the same clients more thinly.
pub(super) const THREADS_MAX: usize = 1024;

pub(super) const CLIENTS_PORT: u16 = 6432;
pub(super) const ADMIN_PORT: u16 = 6433;
pub(super) const HTTP_PORT: u16 = 9432;
