//! A PgBouncer configuration becomes ours: each option is carried over, or named as not carried over, with the reason.
//!
//! What comes out says what PgBouncer did, defaults included where they differ. Passwords stay out of it: a plain one goes
//! to a file of its own.

mod databases;
mod ini;
mod options;
mod roles;
mod sheet;

use ini::Entry;
use options::Fate;
use sheet::{Sheet, Value};

use super::check::ADMIN_PORT;
use crate::snapshot::{MAX_PACKET_SIZE, SecretText};

/// What an import amounts to.
#[derive(Debug)]
pub struct Imported {
    /// The text of a `pgshunt.toml`.
    pub toml: String,
    /// Options that were carried over.
    pub carried: usize,
    /// Options that were not, and things to look at.
    pub notes: Vec<Note>,
    /// Passwords that were plain in the users file: where the configuration looks for each, and what it is.
    pub passwords: Vec<(String, SecretText)>,
}

/// Something the person who imports should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The line of the ini file, if it is about one.
    pub line: Option<usize>,
    /// The option, or what it is about.
    pub what: String,
    /// What becomes of it.
    pub why: String,
}

/// Reads `pgbouncer.ini` and what its `auth_file` holds. `secrets` is the folder where files of passwords will be.
pub fn import(ini: &str, users: Option<&str>, secrets: &str) -> Imported {
    let (entries, strange) = ini::entries(ini);
    let mut import = Import {
        entries: &entries,
        users: users.map(ini::users),
        secrets,
        carried: 0,
        notes: Vec::new(),
        passwords: Vec::new(),
    };
    for (line, why) in strange {
        import.note(Some(line), "this line", &why);
    }
    let mut sheet = Sheet::default();
    import.listen(&mut sheet);
    import.options(&mut sheet);
    import.console(&mut sheet);
    import.auth(&mut sheet);
    import.databases(&mut sheet);
    Imported {
        toml: sheet.text(&import.notes),
        carried: import.carried,
        notes: import.notes,
        passwords: import.passwords,
    }
}

/// Why an option of PgBouncer's is none of ours, if it is none.
pub(super) fn no_meaning(key: &str) -> Option<&'static str> {
    match options::fate(key)? {
        Fate::Needless(why) | Fate::Missing(why) => Some(why),
        Fate::Value(..) | Fate::Text(..) | Fate::Together => None,
    }
}

struct Import<'a> {
    entries: &'a [Entry],
    users: Option<Vec<(String, String)>>,
    secrets: &'a str,
    carried: usize,
    notes: Vec<Note>,
    passwords: Vec<(String, SecretText)>,
}

impl Import<'_> {
    fn note(&mut self, line: Option<usize>, what: &str, why: &str) {
        self.notes.push(Note {
            line,
            what: what.into(),
            why: why.into(),
        });
    }

    /// The last value of an option of `[pgbouncer]`.
    fn option(&self, key: &str) -> Option<&Entry> {
        let mut all = self.entries.iter().rev();
        all.find(|entry| entry.section == "pgbouncer" && entry.key == key)
    }

    /// Takes the option over: it counts as carried.
    fn take(&mut self, key: &str) -> Option<String> {
        let value = self.option(key)?.value.clone();
        self.carried += 1;
        Some(value)
    }

    /// `[listen]`: addresses and port make one list.
    fn listen(&mut self, sheet: &mut Sheet) {
        let addresses = self.take("listen_addr").unwrap_or_default();
        let port = self.take("listen_port").unwrap_or_else(|| "6432".into());
        let directory = self.take("unix_socket_dir");
        let mut clients = Vec::new();
        for address in addresses
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            clients.push(match address.contains(':') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            });
        }
        match directory.as_deref().unwrap_or("/tmp").trim() {
            "" => {}
            abstract_name if abstract_name.starts_with('@') => {
                self.note(
                    None,
                    "unix_socket_dir",
                    "sockets without a file are not listened at",
                );
            }
            folder => clients.push(format!("unix:{folder}:{port}")),
        }
        sheet.put("listen", "clients", Value::Texts(clients));
        if self.option("admin_users").is_some() || self.option("stats_users").is_some() {
            sheet.put("listen", "admin", Value::Text(format!("127.0.0.1:{ADMIN_PORT}")));
            let why = "the console has a port of its own: psql -p 6433 pgshunt (or pgbouncer)";
            self.note(None, "console", why);
        }
    }

    /// Every option that stands for itself.
    fn options(&mut self, sheet: &mut Sheet) {
        let entries = self.entries.iter().filter(|entry| entry.section == "pgbouncer");
        for entry in entries {
            let is_last = self
                .option(&entry.key)
                .is_some_and(|last| last.line == entry.line);
            match options::fate(&entry.key) {
                None => self.note(Some(entry.line), &entry.key, "PgBouncer 1.25 has no such option"),
                Some(_) if !is_last => {
                    self.note(Some(entry.line), &entry.key, "it stands again further down");
                }
                Some(Fate::Value(section, key)) => match number(&entry.value) {
                    Some(value) => {
                        self.carried += 1;
                        sheet.put(section, key, meant(key, value));
                    }
                    None => self.note(Some(entry.line), &entry.key, "it is not a number"),
                },
                Some(Fate::Text(section, key)) if !entry.value.is_empty() => {
                    self.carried += 1;
                    sheet.put(section, key, Value::Text(entry.value.clone()));
                }
                Some(Fate::Text(..) | Fate::Together) => {}
                Some(Fate::Needless(why)) => {
                    self.note(Some(entry.line), &entry.key, &format!("not needed: {why}"));
                }
                Some(Fate::Missing(why)) => {
                    self.note(Some(entry.line), &entry.key, &format!("not carried over: {why}"));
                }
            }
        }
        self.special_options(sheet);
    }

    /// Options whose values or defaults mean something else here.
    fn special_options(&mut self, sheet: &mut Sheet) {
        self.cap_min_size(&[], sheet, |sheet, size| {
            sheet.put("pool", "min_size", Value::Number(size));
        });
        let mode = self.take("pool_mode");
        if mode.is_none() {
            let why = "session, PgBouncer's default; \"auto\" shares servers and keeps each session whole";
            self.note(None, "pool_mode", why);
        }
        let mode = mode.unwrap_or_else(|| "session".into());
        sheet.put("pool", "mode", Value::Text(mode.to_lowercase()));
        if let Some(size) = self
            .option("max_packet_size")
            .and_then(|entry| number(&entry.value))
        {
            self.carried += 1;
            let size = size.parse().map_or(MAX_PACKET_SIZE, |size: f64| size as usize);
            let size = size.clamp(8192, MAX_PACKET_SIZE);
            sheet.put("limits", "max_packet_size", Value::Number(size.to_string()));
        }
        // PgBouncer has this one in milliseconds.
        if let Some(time) = self
            .option("tcp_user_timeout")
            .and_then(|entry| entry.value.trim().parse::<u32>().ok())
        {
            self.carried += 1;
            sheet.put("limits", "tcp_user_timeout", Value::Text(format!("{time}ms")));
        }
        let prepared = self.option("max_prepared_statements");
        match prepared.map(|entry| (entry.line, entry.value.clone())) {
            Some((line, value)) if value.trim() == "0" => {
                let why = "not carried over: prepared statements always work; 200 are kept on a server";
                self.note(Some(line), "max_prepared_statements", why);
            }
            Some((_, value)) => {
                self.carried += 1;
                if let Some(value) = number(&value) {
                    sheet.put("pool", "max_prepared_statements", Value::Number(value));
                }
            }
            None => {}
        }
        // PgBouncer's other words for these are libpq's.
        if self.option("client_tls_sslmode").is_none() && self.option("client_tls_cert_file").is_some() {
            sheet.put("tls", "mode", Value::Text("disable".into()));
        }
    }

    /// `[console]`.
    fn console(&mut self, sheet: &mut Sheet) {
        let mut admins: Vec<String> = Vec::new();
        for (key, ours) in [("admin_users", "admins"), ("stats_users", "watchers")] {
            let Some(value) = self.take(key) else {
                continue;
            };
            let names = value.split(',').map(str::trim);
            let mut names: Vec<String> = names
                .filter(|name| !name.is_empty() && *name != "*")
                .map(str::to_owned)
                .collect();
            names.retain(|name| !admins.contains(name));
            if value.contains('*') {
                self.note(
                    None,
                    key,
                    "not carried over: \"*\" lets everybody in; name each role",
                );
            }
            if ours == "admins" {
                admins.clone_from(&names);
            }
            if !names.is_empty() {
                sheet.put("console", ours, Value::Texts(names));
            }
        }
    }
}

/// A number by PgBouncer's meaning. Where its 0 is no limit and ours is, or the other way round, the meaning counts.
fn meant(key: &str, number: String) -> Value {
    let is_zero = number.parse::<f64>().is_ok_and(|number| number == 0.0);
    match key {
        // PgBouncer uses the server once, or checks it always.
        "server_lifetime" | "server_check_delay" if is_zero => Value::Text("1ms".into()),
        // PgBouncer waits for ever.
        "server_connect_timeout" | "cancel_wait_timeout" if is_zero => Value::Text("1h".into()),
        _ => Value::Number(number),
    }
}

/// A number as TOML has it.
fn number(written: &str) -> Option<String> {
    let written = written.trim();
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_number = match written.split_once('.') {
        Some((whole, rest)) => is_digits(whole) && is_digits(rest),
        None => is_digits(written),
    };
    is_number.then(|| {
        // TOML knows no leading zeros.
        let stripped = written.trim_start_matches('0');
        match stripped.starts_with(|c: char| c.is_ascii_digit()) {
            true => stripped.to_owned(),
            false => format!("0{stripped}"),
        }
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
