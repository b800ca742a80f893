//! `[redis]`: where answers are shared with other pgshunts.

use std::sync::Arc;
use std::time::Duration;

use super::files;
use super::mistake::Wrong;
use super::raw::Section;
use super::tls;
use crate::cache::redis::reach::Secured;
use crate::cache::redis::{Kind, Settings};
use crate::net::tls::ToServer;
use crate::server::address::{ServerTls, SslMode};
use crate::snapshot::SecretText;

/// The section; `None` if something is wrong with it.
pub(super) fn redis(section: &Section) -> Option<Arc<Settings>> {
    let secret_in = |key| {
        let path = section.path(key)?;
        let secret = files::secret(&path.value);
        secret
            .map_err(|wrong| section.wrong_value(key, path.at, wrong))
            .ok()
    };
    for key in ["url", "secret_file"] {
        if section.place(key).is_none() {
            let wrong = Wrong::new(format!("[redis] has no {key}"));
            section.wrong(wrong.hint(
                "write url = \"redis://127.0.0.1:6379\" and secret_file = \"redis.secret\": a file with a secret that all \
                 pgshunts of this Redis have",
            ));
        }
    }
    let (secret, password) = (secret_in("secret_file"), secret_in("password_file"));
    let sentinels = secret_in("sentinel_password_file");
    if let Some(secret) = &secret
        && secret.expose().len() < SECRET_BYTES_MIN
    {
        let at = section.place("secret_file").unwrap_or(section.at);
        let wrong = Wrong::new(format!(
            "names a file with a secret shorter than {SECRET_BYTES_MIN} bytes"
        ));
        section.wrong_value("secret_file", at, wrong.hint("openssl rand -hex 32 makes one"));
    }
    let timeout = section.time("timeout").unwrap_or(TIMEOUT);
    if timeout < TIMEOUT_MIN || timeout > TIMEOUT_MAX {
        let at = section.place("timeout").unwrap_or(section.at);
        section.wrong_value("timeout", at, Wrong::new("must be between 1 ms and 1 s"));
    }
    let url = section.text("url")?;
    match parse(url.value) {
        Err(wrong) => {
            section.wrong_value("url", url.at, wrong);
            None
        }
        Ok((settings, is_secured)) => Some(Arc::new(Settings {
            kind: kind(section, settings.kind, sentinels),
            tls: match is_secured {
                true => Some(secured(section)?),
                false => None,
            },
            secret: secret?.expose().to_owned(),
            password: password
                .map(|password| password.expose().to_owned())
                .or(settings.password),
            timeout,
            ..settings
        })),
    }
}

/// Shorter ones can be guessed.
const SECRET_BYTES_MIN: usize = 16;
/// A Redis that takes longer is no faster than a server.
const TIMEOUT: Duration = Duration::from_millis(20);
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(1);

/// With what its sentinels want to know.
fn kind(section: &Section, kind: Kind, sentinels: Option<SecretText>) -> Kind {
    let user = section.text("sentinel_user").map(|text| text.value.to_owned());
    if let (Some(at), None) = (
        section.place("sentinel_user"),
        section.place("sentinel_password_file"),
    ) {
        let wrong = Wrong::new("needs sentinel_password_file beside it");
        section.wrong_value("sentinel_user", at, wrong);
    }
    match kind {
        Kind::Itself | Kind::Cluster => kind,
        Kind::Sentinels { name, .. } => Kind::Sentinels {
            name,
            user,
            password: sentinels.map(|password| password.expose().to_owned()),
        },
    }
}

/// What is in front of `://`, who that means, and whether by TLS.
const SCHEMES: [(&str, Doors, bool); 6] = [
    ("redis", Doors::Itself, false),
    ("rediss", Doors::Itself, true),
    ("redis-sentinel", Doors::Sentinels, false),
    ("rediss-sentinel", Doors::Sentinels, true),
    ("redis-cluster", Doors::Cluster, false),
    ("rediss-cluster", Doors::Cluster, true),
];

/// Who stands at the doors of an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doors {
    Itself,
    Sentinels,
    Cluster,
}

/// Reads `redis://[[user]:password@]host[:port][/database]`, `redis-sentinel://[…@]host[:port],…/name[/database]`, or
/// `redis-cluster://[…@]host[:port],…`; each with one more `s` for TLS. Never repeats what was written: a password may be in it.
fn parse(written: &str) -> Result<(Settings, bool), Wrong> {
    let wrong = |what: &str| {
        Wrong::new(what).hint(
            "write redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, \
             redis-sentinel://[…@]HOST[:PORT],HOST[:PORT]/NAME[/DATABASE] or redis-cluster://[…@]HOST[:PORT],HOST[:PORT]",
        )
    };
    let scheme = written.split_once("://").and_then(|(scheme, rest)| {
        let known = SCHEMES.iter().find(|(known, ..)| *known == scheme)?;
        Some((known.1, known.2, rest))
    });
    let Some((kind, is_secured, rest)) = scheme else {
        return Err(wrong("does not begin with redis:// or one of its like"));
    };
    if rest.contains(['%', '?', '#']) || kind == Doors::Itself && rest.contains(',') {
        return Err(wrong("has an escape, an option or a list in it")
            .hint("a password with such signs goes into password_file"));
    }
    let (login, rest) = rest
        .rsplit_once('@')
        .map_or((None, rest), |(login, rest)| (Some(login), rest));
    let (user, password) = match login.map(|login| login.split_once(':')) {
        None => (None, None),
        Some(None) => return Err(wrong("has a role without a password")),
        Some(Some((user, password))) => (
            (!user.is_empty()).then(|| user.to_owned()),
            Some(password.to_owned()),
        ),
    };
    let (doors, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let (kind, database) = match kind {
        Doors::Sentinels => {
            let (name, database) = rest.split_once('/').unwrap_or((rest, ""));
            if name.is_empty() {
                return Err(wrong("does not say by what name the sentinels know it"));
            }
            let kind = Kind::Sentinels {
                name: name.to_owned(),
                user: None,
                password: None,
            };
            (kind, database)
        }
        Doors::Itself => (Kind::Itself, rest),
        Doors::Cluster if rest.is_empty() || rest == "0" => (Kind::Cluster, ""),
        Doors::Cluster => return Err(wrong("names a database: a cluster has none but 0")),
    };
    let database = match database {
        "" => 0,
        number => number
            .parse()
            .map_err(|_| wrong("names a database that is no number"))?,
    };
    let port = match kind {
        Kind::Sentinels { .. } => 26379,
        Kind::Itself | Kind::Cluster => 6379,
    };
    let doors = doors.split(',').map(|door| self::door(door, port));
    Ok((
        Settings {
            doors: doors.collect::<Result<_, _>>().map_err(wrong)?,
            kind,
            tls: None,
            user,
            password: password.map(|password| SecretText::new(password).expose().to_owned()),
            database,
            secret: String::new(),
            timeout: TIMEOUT,
        },
        is_secured,
    ))
}

/// `host`, `host:port`, `[address]:port`; or what is wrong with it.
fn door(written: &str, default: u16) -> Result<(String, u16), &'static str> {
    let (host, port) = match written.strip_prefix('[') {
        Some(inner) => {
            let (host, port) = inner.split_once(']').ok_or("has no ] after its address")?;
            (host, port.strip_prefix(':'))
        }
        None => written
            .split_once(':')
            .map_or((written, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("names no host");
    }
    let port = port.map_or(Ok(default), |port| {
        port.parse().map_err(|_| "has no number as its port")
    })?;
    Ok((host.to_owned(), port))
}

/// By libpq's words, as on the way to a PostgreSQL; `verify-full`, if nothing else is said.
fn secured(section: &Section) -> Option<Secured> {
    let wider = ServerTls {
        mode: SslMode::VerifyFull,
        ..ServerTls::default()
    };
    let settled = tls::settled(tls::towards_servers(&wider, section));
    let made = settled.and_then(|tls| {
        let made = ToServer::new(&tls);
        made.map_err(|fault| Wrong::new(format!("can't be reached by TLS: {fault}")))
    });
    match made {
        Ok(made) => Some(Secured(Arc::new(made))),
        Err(wrong) => {
            let at = section.place("url").unwrap_or(section.at);
            section.wrong_value("url", at, wrong);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_redis_are_read() {
        let read = |written| {
            parse(written).map(|(settings, _)| (settings.to_string(), settings.user, settings.password))
        };
        let plain = |door: &str| Ok::<_, ()>((door.to_owned(), None, None));
        assert_eq!(read("redis://h").ok(), plain("h:6379/0").ok());
        assert_eq!(read("redis://h:1/2").ok(), plain("h:1/2").ok());
        assert_eq!(read("redis://[::1]:1").ok(), plain("::1:1/0").ok());
        let login = (
            "h:6379/0".to_owned(),
            Some("u".to_owned()),
            Some("p@:".to_owned()),
        );
        assert_eq!(read("redis://u:p@:@h").ok(), Some(login));
        assert_eq!(
            read("redis-sentinel://a,b:1/main/2").ok(),
            plain("a:26379,b:1/main/2").ok()
        );
        assert_eq!(
            read("redis-cluster://a,b:1").ok(),
            plain("cluster of a:6379,b:1").ok()
        );
        let is_secured = |written| parse(written).map(|(_, is_secured)| is_secured).ok();
        assert_eq!(is_secured("rediss://h"), Some(true));
        assert_eq!(is_secured("rediss-sentinel://h/main"), Some(true));
        assert_eq!(is_secured("rediss-cluster://h"), Some(true));
        assert_eq!(is_secured("redis://h"), Some(false));
        for written in [
            "redis-cluster://h/1",
            "redis-cluster://",
            "redis-clusters://h",
            "redis-sentinel://h",
            "redis-sentinel://a,,b/main",
            "redis://a,b",
            "redis://",
            "redis://h:x",
            "redis://u@h",
            "redis://h/x",
            "redis://h?x",
        ] {
            assert!(read(written).is_err(), "{written}");
        }
    }
}
