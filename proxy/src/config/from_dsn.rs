//! `serve --to`: a whole configuration from one connection string and a few flags.

use super::Environment;
use super::address;
use super::check::{ADMIN_PORT, CLIENTS_PORT, HTTP_PORT, default_listen};
use super::database::ONLY_SHARD;
use super::dsn::{self, Dsn};
use super::mistake::{Mistake, Wrong};
use super::tls;
use crate::pool::settings::Settings;
use crate::server::address::ServerTls;
use crate::snapshot::{
    Auth, AuthMode, ClientTls, Console, Control, DEFAULT_AUTH_QUERY, Database, Endpoint, Limits, Listen,
    LogSettings, Shard, Snapshot,
};

/// What the command line says beside `--to`, as written.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`, each; none: `127.0.0.1:6432`.
    pub clients: Vec<String>,
    /// `--admin`.
    pub admin: Option<String>,
    /// `--http`.
    pub http: Option<String>,
    /// `--threads`; `None`: one for every two processors.
    pub threads: Option<usize>,
}

pub(super) fn snapshot(
    written: &str,
    overrides: &Overrides,
    environment: &Environment,
) -> Result<Snapshot, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let listen = listen(overrides, &mut mistakes);
    let parts = dsn::parse(written).and_then(|dsn| database(dsn, environment));
    match parts {
        Ok(database) if mistakes.is_empty() => Ok(around(database, listen, overrides, environment)),
        Ok(_) => Err(mistakes),
        Err(wrongs) => {
            mistakes.extend(wrongs.into_iter().map(|wrong| mistake("--to", wrong)));
            Err(mistakes)
        }
    }
}

/// One database that stands for all, one shard, the string's role as the control role.
fn database(dsn: Dsn, environment: &Environment) -> Result<Database, Vec<Wrong>> {
    let mut wrongs = Vec::new();
    if dsn.servers.is_empty() {
        wrongs.push(Wrong::new("names no server").hint("write postgres://user@host:5432/dbname"));
    }
    let user = dsn.user.or_else(|| environment.user.clone());
    if user.is_none() {
        wrongs.push(Wrong::new("names no role, and PGUSER is not set"));
    }
    let tls = tls::settled(ServerTls {
        mode: dsn.sslmode.unwrap_or_default(),
        ca: dsn.sslrootcert,
        certificate: dsn.sslcert,
        key: dsn.sslkey,
    });
    let tls = tls.unwrap_or_else(|wrong| {
        wrongs.push(wrong);
        ServerTls::default()
    });
    wrongs.extend(tls::unreadable(&tls));
    let Some(user) = user.filter(|_| wrongs.is_empty()) else {
        return Err(wrongs);
    };
    let limits = Limits::default();
    let default = Settings::default();
    let passwords = [&environment.password, &environment.control_password];
    Ok(Database {
        name: "*".into(),
        shards: vec![Shard {
            name: ONLY_SHARD.into(),
            servers: dsn.servers,
            weights: Vec::new(),
            dbname: None,
            tls,
        }],
        control: Some(Control {
            password: dsn
                .password
                .or_else(|| passwords.into_iter().find_map(Clone::clone)),
            // libpq's default: the role's own name.
            dbname: dsn.dbname.unwrap_or_else(|| user.clone()),
            user,
        }),
        pool: Settings {
            server_connect_timeout: dsn.connect_timeout.unwrap_or(default.server_connect_timeout),
            ..default
        },
        users: Vec::new(),
        max_client_conn: limits.max_db_client_connections,
        max_db_connections: limits.max_db_connections,
        rules: None,
        cache: None,
        warm: Vec::new(),
        coordinator: None,
        split: routing_rules::Rules::default(),
        sharding: None,
    })
}

fn around(database: Database, listen: Listen, overrides: &Overrides, environment: &Environment) -> Snapshot {
    Snapshot {
        redis: None,
        listen,
        tls: ClientTls::default(),
        limits: Limits::default(),
        pool: database.pool.clone(),
        auth: Auth {
            mode: AuthMode::Passthrough,
            users: Vec::new(),
            auth_query: DEFAULT_AUTH_QUERY.to_owned(),
        },
        console: Console {
            admins: database
                .control
                .iter()
                .map(|control| control.user.clone())
                .collect(),
            watchers: Vec::new(),
        },
        threads: overrides.threads.unwrap_or(environment.threads),
        log: LogSettings::default(),
        databases: vec![database],
    }
}

fn listen(overrides: &Overrides, mistakes: &mut Vec<Mistake>) -> Listen {
    let mut endpoints = |flag, written: &str, port| {
        address::endpoints(written, port).unwrap_or_else(|wrong| {
            mistakes.push(mistake(flag, wrong));
            Vec::new()
        })
    };
    let clients = overrides.clients.iter();
    let clients: Vec<Endpoint> = clients
        .flat_map(|written| endpoints("--listen", written, CLIENTS_PORT))
        .collect();
    let mut one = |flag, written: &Option<String>, port| {
        let written = written.as_deref()?;
        endpoints(flag, written, port).into_iter().next()
    };
    let admin = one("--admin", &overrides.admin, ADMIN_PORT);
    let http = match one("--http", &overrides.http, HTTP_PORT) {
        Some(Endpoint::Tcp(address)) => Some(address),
        Some(Endpoint::Unix { .. }) => {
            mistakes.push(mistake("--http", Wrong::new("must be a TCP address")));
            None
        }
        None => None,
    };
    let clients = match overrides.clients.is_empty() {
        true => default_listen().clients,
        false => clients,
    };
    Listen { clients, admin, http }
}

fn mistake(flag: &str, wrong: Wrong) -> Mistake {
    Mistake {
        file: flag.into(),
        line: None,
        what: wrong.what,
        hint: wrong.hint,
    }
}
