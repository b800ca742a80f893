//! `[databases]` and `[users]` become `[[database]]` and what is in it.

use super::ini::{self, Entry};
use super::sheet::{Sheet, Value};
use super::{Import, meant, number};
use crate::config::address::SERVER_PORT;
use crate::pool::settings::Settings;

/// A database's connection string.
type Pairs = Vec<(String, String)>;

/// Keys of a connection string that become a key of ours: in which table, and its name there.
const OF_DATABASE: [(&str, &str); 2] = [
    ("max_db_connections", "max_db_connections"),
    ("max_db_client_connections", "max_client_conn"),
];
const OF_POOL: [(&str, &str); 7] = [
    ("pool_size", "size"),
    ("min_pool_size", "min_size"),
    ("reserve_pool_size", "reserve_pool_size"),
    // Its name before PgBouncer 1.24.
    ("reserve_pool", "reserve_pool_size"),
    ("server_lifetime", "server_lifetime"),
    ("server_idle_timeout", "server_idle_timeout"),
    ("query_wait_timeout", "query_wait_timeout"),
];
const OF_USER_POOL: [(&str, &str); 7] = [
    ("pool_size", "size"),
    ("reserve_pool_size", "reserve_pool_size"),
    ("query_timeout", "query_timeout"),
    ("idle_transaction_timeout", "idle_transaction_timeout"),
    ("transaction_timeout", "transaction_timeout"),
    ("client_idle_timeout", "client_idle_timeout"),
    ("query_wait_timeout", "query_wait_timeout"),
];

const OF_USER: [(&str, &str); 2] = [
    ("max_user_client_connections", "max_user_client_connections"),
    ("max_user_connections", "max_user_connections"),
];

/// Keys that become part of something else.
const TOGETHER: [&str; 5] = ["host", "port", "dbname", "auth_user", "auth_dbname"];

impl Import<'_> {
    /// Databases whose connection string has this key, with its value.
    pub(super) fn databases_with<'k>(&'k self, key: &'k str) -> impl Iterator<Item = String> + 'k {
        self.entries
            .iter()
            .filter(|entry| entry.section == "databases")
            .filter_map(move |entry| value(&ini::connection(&entry.value)?, key))
    }

    /// Every `[[database]]`.
    pub(super) fn databases(&mut self, sheet: &mut Sheet) {
        let entries: Vec<Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.section == "databases")
            .cloned()
            .collect();
        if entries.is_empty() {
            self.note(None, "[databases]", "is empty: add a [[database]]");
        }
        for entry in entries {
            match ini::connection(&entry.value) {
                Some(pairs) => self.database(&entry, &pairs, sheet),
                None => self.note(
                    Some(entry.line),
                    &entry.key,
                    "its connection string can't be read",
                ),
            }
        }
        for entry in self.entries.iter().filter(|entry| entry.section == "peers") {
            self.notes.push(super::Note {
                line: Some(entry.line),
                what: "[peers]".into(),
                why: "not carried over: one process uses all processors".into(),
            });
        }
    }

    fn database(&mut self, entry: &Entry, pairs: &Pairs, sheet: &mut Sheet) {
        self.carried += 1;
        sheet.open("[[database]]".into());
        sheet.add("name", Value::Text(entry.key.clone()));
        self.control(pairs, sheet);
        self.numbers(entry, pairs, &OF_DATABASE, sheet);
        let has = |keys: &[(&str, &str)]| keys.iter().any(|(key, _)| value(pairs, key).is_some());
        if has(&OF_POOL) || value(pairs, "pool_mode").is_some() {
            sheet.open("[database.pool]".into());
            self.numbers(entry, pairs, &OF_POOL, sheet);
            self.cap_min_size(pairs, sheet, |sheet, size| {
                sheet.set("min_size", Value::Number(size))
            });
            self.mode(value(pairs, "pool_mode"), sheet);
        }
        self.server_tls(sheet);
        self.shard(entry, pairs, sheet);
        self.users_of(sheet);
        self.leftovers(entry, pairs);
    }

    /// The role that looks up passwords is our control role.
    fn control(&mut self, pairs: &Pairs, sheet: &mut Sheet) {
        let everywhere = self.option("auth_user").map(|entry| entry.value.clone());
        let Some(user) = value(pairs, "auth_user").or(everywhere) else {
            return;
        };
        self.carried += 1;
        let auth_dbname = self.option("auth_dbname").map(|entry| entry.value.clone());
        let dbname = value(pairs, "auth_dbname").or(auth_dbname).unwrap_or_default();
        let dsn = format!("postgres://{}@/{}", encoded(&user), encoded(&dbname));
        sheet.add("control", Value::Text(dsn));
        match self.plain_password(&user) {
            Some(password) => {
                let file = self.password_file(&user, &password);
                sheet.add("control_password_file", Value::Text(file));
            }
            None => self.note(
                None,
                &user,
                "looks up passwords: give its own in PGSHUNT_CONTROL_PASSWORD or control_password_file",
            ),
        }
    }

    fn numbers(&mut self, entry: &Entry, pairs: &Pairs, keys: &[(&str, &str)], sheet: &mut Sheet) {
        let mut done: Vec<&str> = Vec::new();
        for (theirs, ours) in keys {
            let Some(written) = value(pairs, theirs).filter(|_| !done.contains(ours)) else {
                continue;
            };
            done.push(ours);
            match number(&written) {
                Some(number) => {
                    self.carried += 1;
                    sheet.add(ours, meant(ours, number));
                }
                // PgBouncer's way to say nothing.
                None if written.trim() == "-1" => {}
                None => self.note(Some(entry.line), theirs, "it is not a number"),
            }
        }
    }

    /// PgBouncer takes a `min_pool_size` above the pool's size for that size.
    pub(super) fn cap_min_size(
        &self,
        pairs: &[(String, String)],
        sheet: &mut Sheet,
        cap: impl Fn(&mut Sheet, String),
    ) {
        let of = |own: &str, everywhere: &str| {
            let written = self.option(everywhere).map(|entry| entry.value.clone());
            number(&value(pairs, own).or(written)?)?.parse::<usize>().ok()
        };
        let (min, size) = (
            of("min_pool_size", "min_pool_size"),
            of("pool_size", "default_pool_size"),
        );
        let size = size.unwrap_or_else(|| Settings::default().size);
        if min.is_some_and(|min| min > size) {
            cap(sheet, size.to_string());
        }
    }

    fn mode(&mut self, mode: Option<String>, sheet: &mut Sheet) {
        if let Some(mode) = mode {
            self.carried += 1;
            sheet.add("mode", Value::Text(mode.to_lowercase()));
        }
    }

    /// TLS towards servers is the same for all of PgBouncer's.
    fn server_tls(&mut self, sheet: &mut Sheet) {
        let options = [
            ("server_tls_sslmode", "sslmode"),
            ("server_tls_ca_file", "sslrootcert"),
            ("server_tls_cert_file", "sslcert"),
            ("server_tls_key_file", "sslkey"),
        ];
        let written =
            options.map(|(theirs, ours)| (self.option(theirs).map(|entry| entry.value.clone()), ours));
        if written.iter().all(|(value, _)| value.is_none()) {
            return;
        }
        sheet.open("[database.server_tls]".into());
        for (value, ours) in written {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                self.carried += 1;
                sheet.add(ours, Value::Text(value));
            }
        }
    }

    fn shard(&mut self, entry: &Entry, pairs: &Pairs, sheet: &mut Sheet) {
        let port = value(pairs, "port").unwrap_or_else(|| SERVER_PORT.to_string());
        let ports: Vec<&str> = port.split(',').map(str::trim).collect();
        let hosts = value(pairs, "host").unwrap_or_else(|| {
            let why = format!("has no host: its socket is taken to be in {SOCKETS}");
            self.note(Some(entry.line), &entry.key, &why);
            SOCKETS.into()
        });
        let hosts: Vec<&str> = hosts
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .collect();
        let servers = hosts.iter().enumerate().map(|(place, host)| {
            let port = ports.get(place).or(ports.first()).copied().unwrap_or_default();
            match host {
                folder if folder.starts_with('/') => format!("unix:{folder}:{port}"),
                address if address.contains(':') => format!("[{address}]:{port}"),
                name => format!("{name}:{port}"),
            }
        });
        let servers: Vec<String> = servers.collect();
        if servers.len() > 1 {
            let why =
                "has several hosts: PgBouncer takes them in turn, pgshunt looks for the primary among them";
            self.note(Some(entry.line), &entry.key, why);
        }
        sheet.open("[[database.shard]]".into());
        sheet.add("servers", Value::Texts(servers));
        if let Some(dbname) = value(pairs, "dbname").filter(|dbname| *dbname != entry.key) {
            sheet.add("dbname", Value::Text(dbname));
        }
    }

    /// PgBouncer's users have the same settings in every database.
    fn users_of(&mut self, sheet: &mut Sheet) {
        let users: Vec<Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.section == "users")
            .cloned()
            .collect();
        for user in users {
            let Some(pairs) = ini::connection(&user.value) else {
                self.note_once(&user, &user.key, "its settings can't be read");
                continue;
            };
            sheet.open("[[database.user]]".into());
            sheet.add("name", Value::Text(user.key.clone()));
            self.numbers(&user, &pairs, &OF_USER, sheet);
            sheet.open("[database.user.pool]".into());
            self.numbers(&user, &pairs, &OF_USER_POOL, sheet);
            self.cap_min_size(&pairs, sheet, |sheet, size| {
                sheet.set("min_size", Value::Number(size))
            });
            self.mode(value(&pairs, "pool_mode"), sheet);
            for (key, _) in &pairs {
                let is_known =
                    key == "pool_mode" || OF_USER_POOL.iter().chain(&OF_USER).any(|(known, _)| known == key);
                if !is_known {
                    let why = format!("of user {}: not carried over", user.key);
                    self.note_once(&user, key, &why);
                }
            }
        }
    }

    fn note_once(&mut self, entry: &Entry, what: &str, why: &str) {
        let is_known = |note: &super::Note| note.line == Some(entry.line) && note.what == what;
        if !self.notes.iter().any(is_known) {
            self.note(Some(entry.line), what, why);
        }
    }

    fn leftovers(&mut self, entry: &Entry, pairs: &Pairs) {
        for (key, _) in pairs {
            let is_taken = TOGETHER.contains(&key.as_str())
                || key == "pool_mode"
                || OF_DATABASE.iter().chain(&OF_POOL).any(|(known, _)| known == key);
            if is_taken {
                continue;
            }
            let why = match key.as_str() {
                "user" | "password" => {
                    "not carried over: every client logs in to the server as the role it came as, not as one role for all"
                }
                "connect_query" => {
                    "not carried over: nothing runs on a new server; ALTER ROLE … SET does that in PostgreSQL"
                }
                "client_encoding" | "datestyle" | "timezone" | "application_name" => {
                    "not carried over: clients say that themselves, or ALTER DATABASE … SET does"
                }
                "auth_query" => "not carried over: one auth_query serves all databases ([auth])",
                "load_balance_hosts" => "not carried over: the primary is found among the servers",
                _ => "not carried over: it is not known",
            };
            let what = format!("{key} of database {}", entry.key);
            self.note(Some(entry.line), &what, why);
        }
    }
}

fn value(pairs: &[(String, String)], key: &str) -> Option<String> {
    let found = pairs.iter().rev().find(|(known, _)| known == key);
    found
        .map(|(_, value)| value.clone())
        .filter(|value| !value.is_empty())
}

/// A name as a part of a connection string takes it.
fn encoded(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => encoded.push(char::from(b)),
            b => encoded += &format!("%{b:02X}"),
        }
    }
    encoded
}

/// Where Debian's PostgreSQL has its socket.
const SOCKETS: &str = "/var/run/postgresql";
