//! `[redis]`: where answers are shared with other pgshunts.

use std::sync::Arc;
use std::time::Duration;

use super::files;
use super::mistake::Wrong;
use super::raw::Section;
use crate::cache::redis::Settings;
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
        Ok(settings) => Some(Arc::new(Settings {
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

/// Reads `redis://[[user]:password@]host[:port][/database]`. Never repeats what was written: a password may be in it.
fn parse(written: &str) -> Result<Settings, Wrong> {
    let wrong = |what: &str| Wrong::new(what).hint("write redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]");
    let Some(rest) = written.strip_prefix("redis://") else {
        return Err(wrong(match written.split("://").next() {
            Some("rediss") => "asks for TLS, which pgshunt does not speak with Redis yet",
            _ => "does not begin with redis://; clusters and sentinels can't be used yet",
        }));
    };
    if rest.contains(['%', '?', '#', ',']) {
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
    let (door, database) = rest.split_once('/').unwrap_or((rest, ""));
    let database = match database {
        "" => 0,
        number => number
            .parse()
            .map_err(|_| wrong("names a database that is no number"))?,
    };
    let (host, port) = match door.strip_prefix('[') {
        Some(inner) => {
            let (host, port) = inner
                .split_once(']')
                .ok_or_else(|| wrong("has no ] after its address"))?;
            (host, port.strip_prefix(':'))
        }
        None => door
            .split_once(':')
            .map_or((door, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(6379), |port| {
        port.parse().map_err(|_| wrong("has no number as its port"))
    })?;
    if host.is_empty() {
        return Err(wrong("names no host"));
    }
    Ok(Settings {
        host: host.to_owned(),
        port,
        user,
        password: password.map(|password| SecretText::new(password).expose().to_owned()),
        database,
        secret: String::new(),
        timeout: TIMEOUT,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_redis_are_read() {
        let read =
            |written| parse(written).map(|settings| (settings.to_string(), settings.user, settings.password));
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
        for written in [
            "rediss://h",
            "redis-sentinel://h",
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
