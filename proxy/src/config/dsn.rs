//! Connection strings as libpq takes them: `postgres://…` and `host=… user=…`.
//!
//! <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>. A string may hold a password, so
//! what is wrong with it is said without quoting it.

use std::path::PathBuf;
use std::time::Duration;

use super::address::SERVER_PORT;
use super::mistake::{Wrong, closest};
use super::raw::one_of;
use super::tls::SSL_MODES;
use crate::server::address::{Address, SslMode};
use crate::snapshot::SecretText;

/// What a connection string says; what it leaves out is `None` or empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Dsn {
    pub servers: Vec<Address>,
    pub user: Option<String>,
    pub password: Option<SecretText>,
    pub dbname: Option<String>,
    pub sslmode: Option<SslMode>,
    pub sslrootcert: Option<PathBuf>,
    pub sslcert: Option<PathBuf>,
    pub sslkey: Option<PathBuf>,
    pub connect_timeout: Option<Duration>,
}

/// Reads either form.
pub(super) fn parse(written: &str) -> Result<Dsn, Vec<Wrong>> {
    let uri = ["postgres://", "postgresql://"]
        .iter()
        .find_map(|scheme| written.strip_prefix(scheme));
    let parameters = match uri {
        Some(rest) => from_uri(rest),
        None => from_keywords(written),
    };
    let mut dsn = Dsn::default();
    let mut wrongs = Vec::new();
    let (mut hosts, mut ports) = (String::new(), String::new());
    for (key, value) in parameters.map_err(|wrong| vec![wrong])? {
        match key.as_str() {
            "host" => hosts = value,
            "port" => ports = value,
            _ if value.is_empty() => {}
            _ => wrongs.extend(dsn.set(&key, value).err()),
        }
    }
    match servers(&hosts, &ports) {
        Ok(servers) => dsn.servers = servers,
        Err(wrong) => wrongs.push(wrong),
    }
    if wrongs.is_empty() { Ok(dsn) } else { Err(wrongs) }
}

impl Dsn {
    /// Does it say anything of TLS?
    pub fn speaks_of_tls(&self) -> bool {
        self.sslmode.is_some()
            || [&self.sslrootcert, &self.sslcert, &self.sslkey]
                .iter()
                .any(|file| file.is_some())
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), Wrong> {
        match key {
            "user" => self.user = Some(value),
            "password" => self.password = Some(SecretText::new(value)),
            "dbname" => self.dbname = Some(value),
            "sslmode" => {
                let mode = one_of(&value, &SSL_MODES);
                self.sslmode = Some(mode.map_err(|wrong| Wrong {
                    what: format!("sslmode {}", wrong.what),
                    ..wrong
                })?);
            }
            "ssl" if value == "true" => self.sslmode = Some(SslMode::Require),
            "sslrootcert" => self.sslrootcert = Some(PathBuf::from(value)),
            "sslcert" => self.sslcert = Some(PathBuf::from(value)),
            "sslkey" => self.sslkey = Some(PathBuf::from(value)),
            "connect_timeout" => {
                let seconds: u16 = value
                    .parse()
                    .map_err(|_| Wrong::new("connect_timeout is not a number of seconds"))?;
                // libpq: 0 waits for ever. We don't; 0 leaves the default.
                self.connect_timeout = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
            }
            _ if OF_EACH_CLIENT.contains(&key) => {}
            _ => return Err(unknown(key)),
        }
        Ok(())
    }
}

fn unknown(key: &str) -> Wrong {
    if NOT_YET.contains(&key) {
        return Wrong::new(format!("{key} is not supported by this version"));
    }
    // Part of a badly quoted password may end up here, so only what looks like a key is shown.
    if key.len() > 40 || !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
        return Wrong::new("there is a parameter with no such name").hint(QUOTING);
    }
    let wrong = Wrong::new(format!("unknown parameter \"{key}\""));
    match closest(key, KNOWN) {
        Some(word) => wrong.hint(format!("did you mean \"{word}\"?")),
        None => wrong,
    }
}

/// `user:password@h1:p1,h2:p2/dbname?key=value&…`, after the scheme.
fn from_uri(rest: &str) -> Result<Vec<(String, String)>, Wrong> {
    let (front, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, dbname) = front.split_once('/').unwrap_or((front, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[') {
            Some(bracketed) => {
                let unclosed = || Wrong::new("an IPv6 address lacks its closing bracket");
                bracketed.split_once(']').ok_or_else(unclosed)?
            }
            None => host.split_at(host.find(':').unwrap_or(host.len())),
        };
        names.push(decode(name)?);
        ports.push(port.strip_prefix(':').unwrap_or(port));
    }
    let mut parameters = vec![
        ("user".to_owned(), decode(user)?),
        ("password".to_owned(), decode(password)?),
        ("host".to_owned(), names.join(",")),
        ("port".to_owned(), ports.join(",")),
        ("dbname".to_owned(), decode(dbname)?),
    ];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let no_value = || Wrong::new("a parameter after \"?\" has no value").hint("write key=value");
        let (key, value) = pair.split_once('=').ok_or_else(no_value)?;
        parameters.push((decode(key)?, decode(value)?));
    }
    Ok(parameters)
}

fn decode(written: &str) -> Result<String, Wrong> {
    let wrong = || Wrong::new("there is a bad percent sign").hint(QUOTING);
    let mut bytes = Vec::with_capacity(written.len());
    let mut rest = written.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(wrong)?;
        rest = after;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        if !is_hex || byte == 0 {
            return Err(wrong());
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// `key = value key = 'quoted \' value'`.
fn from_keywords(written: &str) -> Result<Vec<(String, String)>, Wrong> {
    let mut parameters = Vec::new();
    let mut rest = written.trim_start();
    while !rest.is_empty() {
        let no_value = || {
            Wrong::new("this is not a connection string")
                .hint("write postgres://user@host:5432/dbname, or host=… port=… user=… dbname=…")
        };
        let (key, after) = rest.split_once('=').ok_or_else(no_value)?;
        let (value, after) = keyword_value(after.trim_start())?;
        parameters.push((key.trim_end().to_owned(), value));
        rest = after.trim_start();
    }
    Ok(parameters)
}

/// One value and what follows it.
fn keyword_value(written: &str) -> Result<(String, &str), Wrong> {
    let quoted = written.strip_prefix('\'');
    let text = quoted.unwrap_or(written);
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted.is_some() => return Ok((value, &text[at + 1..])),
            _ if quoted.is_none() && letter.is_whitespace() => return Ok((value, &text[at..])),
            _ => value.push(letter),
        }
    }
    if quoted.is_some() {
        return Err(Wrong::new("a quoted value lacks its closing quote"));
    }
    Ok((value, ""))
}

/// Hosts and ports, both lists; one port serves all hosts.
fn servers(hosts: &str, ports: &str) -> Result<Vec<Address>, Wrong> {
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let hosts: Vec<&str> = hosts.split(',').collect();
    let ports: Vec<&str> = ports.split(',').collect();
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(Wrong::new(format!(
            "there are {} hosts and {} ports",
            hosts.len(),
            ports.len()
        )));
    }
    let address = |(at, host): (usize, &&str)| {
        let port = match *ports.get(at).unwrap_or(&ports[0]) {
            "" => SERVER_PORT,
            port => port.parse().ok().filter(|&port| port > 0).ok_or_else(|| {
                Wrong::new(format!(
                    "the port of host {} is not a number between 1 and 65535",
                    at + 1
                ))
                .hint(QUOTING)
            })?,
        };
        if host.is_empty() || host.contains(char::is_whitespace) || host.contains('@') {
            return Err(Wrong::new(format!("host {} has no valid name", at + 1)).hint(QUOTING));
        }
        Ok(match host.starts_with('/') {
            true => Address::Unix {
                directory: PathBuf::from(host),
                port,
            },
            false => Address::Tcp {
                host: (*host).to_owned(),
                port,
            },
        })
    };
    hosts.iter().enumerate().map(address).collect()
}

const QUOTING: &str = "in a URI write @ as %40, : as %3A, / as %2F, ? as %3F and % as %25";

const KNOWN: [&str; 10] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "connect_timeout",
];

/// Say something of one client's own session; each client says it for itself.
const OF_EACH_CLIENT: [&str; 12] = [
    "application_name",
    "fallback_application_name",
    "client_encoding",
    "options",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "target_session_attrs",
    "load_balance_hosts",
    "gssencmode",
];

/// Would change who is trusted, so leaving them out quietly would be a lie.
const NOT_YET: [&str; 14] = [
    "channel_binding",
    "require_auth",
    "requirepeer",
    "hostaddr",
    "sslnegotiation",
    "sslcrl",
    "sslcrldir",
    "sslpassword",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "service",
    "passfile",
    "krbsrvname",
    "replication",
];
