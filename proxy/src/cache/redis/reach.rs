//! The way to Redis: a connection in plain or in TLS; the sentinels that say which of several is the master, the nodes of a
//! cluster that say which of them has a database's answers.

use std::sync::Arc;
use std::time::Duration;

use super::line::{Line, error_word};
use super::resp::Reply;
use super::{Kind, Settings};
use crate::net::names;
use crate::net::socket;
use crate::net::stream::Stream;
use crate::net::tls::ToServer;

/// How a certificate is looked at: by libpq's words, as on the way to a PostgreSQL.
#[derive(Clone, Debug)]
pub struct Secured(pub Arc<ToServer>);

impl PartialEq for Secured {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_like(&other.0)
    }
}

impl Eq for Secured {}

/// One connection takes no longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a sentinel says takes no more bytes.
const SENTINEL_BYTES_MAX: usize = 4096;

/// Nodes of a cluster that name one another before it is given up.
const HOPS_MAX: usize = 5;

/// A connection to the Redis where this key belongs, logged in, and which run of Redis it is. `turn` says at which of several
/// doors to begin.
///
/// # Errors
///
/// In words, without a secret.
pub async fn reach(
    settings: &Settings,
    bulk_max: usize,
    key: &str,
    turn: usize,
) -> Result<(Line, String), String> {
    let doors = settings.doors.len();
    let mut why = "no host is named".to_owned();
    for door in settings
        .doors
        .iter()
        .cycle()
        .skip(turn % doors.max(1))
        .take(doors)
    {
        let found = async {
            match &settings.kind {
                Kind::Itself => enter(settings, door, bulk_max).await,
                Kind::Sentinels { name, user, password } => {
                    let login = (user.as_deref(), password.as_deref());
                    let master = master(settings, door, name, login).await?;
                    let mut line = enter(settings, &master, bulk_max).await?;
                    // A sentinel may not have heard yet.
                    is_master(&mut line).await.map(|()| line)
                }
                Kind::Cluster => holder(settings, door, bulk_max, key).await,
            }
        };
        // One that does not answer must not keep us from the next.
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(Ok(mut line)) => {
                let run = run_of(&mut line).await?;
                return Ok((line, run));
            }
            Ok(Err(failed)) => why = failed,
            Err(_) => why = "no answer in time".to_owned(),
        }
    }
    Err(why)
}

/// A connection, logged in.
async fn enter(settings: &Settings, door: &(String, u16), bulk_max: usize) -> Result<Line, String> {
    let mut line = Line::on(dial(settings, door).await?, bulk_max);
    line.log_in(settings.user.as_deref(), settings.password.as_deref())
        .await?;
    if settings.database > 0 {
        line.say(&[b"SELECT", settings.database.to_string().as_bytes()])
            .await?;
    }
    Ok(line)
}

async fn run_of(line: &mut Line) -> Result<String, String> {
    let Reply::Bulk(Some(info)) = line.say(&[b"INFO", b"server"]).await? else {
        return Err("it does not say which run it is".to_owned());
    };
    let info = String::from_utf8_lossy(&info).into_owned();
    let run = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    let run = run
        .map(str::trim)
        .filter(|run| !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    run.map(str::to_owned)
        .ok_or_else(|| "it does not say which run it is".to_owned())
}

async fn is_master(line: &mut Line) -> Result<(), String> {
    let is_master = |role: &Reply| *role == Reply::Bulk(Some(b"master".to_vec()));
    match line.say(&[b"ROLE"]).await? {
        Reply::Array(Some(role)) if role.first().is_some_and(is_master) => Ok(()),
        _ => Err("it is not the master".to_owned()),
    }
}

/// The node of a cluster where a key belongs. A node that has it answers; another says which one it believes to have it.
async fn holder(
    settings: &Settings,
    door: &(String, u16),
    bulk_max: usize,
    key: &str,
) -> Result<Line, String> {
    let mut at = door.clone();
    for _ in 0..HOPS_MAX {
        let mut line = enter(settings, &at, bulk_max).await?;
        match line.ask(&[b"EXISTS", key.as_bytes()]).await? {
            Reply::Integer(_) => return is_master(&mut line).await.map(|()| line),
            Reply::Error(why) => at = moved(&why, &at.0).ok_or_else(|| error_word(&why))?,
            Reply::Status(_) | Reply::Bulk(_) | Reply::Array(_) => {
                return Err("an answer that makes no sense".to_owned());
            }
        }
    }
    Err("the nodes of the cluster name one another".to_owned())
}

/// Where `MOVED 3999 host:port` points to; without a host it is the one that says so.
fn moved(error: &[u8], from: &str) -> Option<(String, u16)> {
    let words: Vec<&str> = std::str::from_utf8(error).ok()?.split(' ').collect();
    let ["MOVED", slot, to] = words[..] else {
        return None;
    };
    let (host, port) = to.rsplit_once(':')?;
    slot.parse::<u16>().ok()?;
    let host = match host.trim_start_matches('[').trim_end_matches(']') {
        "" => from,
        "?" => return None,
        host => host,
    };
    Some((host.to_owned(), port.parse().ok().filter(|port| *port > 0)?))
}

async fn master(
    settings: &Settings,
    door: &(String, u16),
    name: &str,
    (user, password): (Option<&str>, Option<&str>),
) -> Result<(String, u16), String> {
    let mut sentinel = Line::on(dial(settings, door).await?, SENTINEL_BYTES_MAX);
    sentinel.log_in(user, password).await?;
    let words: [&[u8]; 3] = [b"SENTINEL", b"get-master-addr-by-name", name.as_bytes()];
    let Reply::Array(Some(master)) = sentinel.say(&words).await? else {
        return Err("the sentinels know no master of this name".to_owned());
    };
    let text = |reply: &Reply| match reply {
        Reply::Bulk(Some(text)) => String::from_utf8(text.clone()).ok(),
        Reply::Bulk(None) | Reply::Status(_) | Reply::Error(_) | Reply::Integer(_) | Reply::Array(_) => None,
    };
    let found = match &master[..] {
        [host, port] => text(host).zip(text(port).and_then(|port| port.parse().ok())),
        _ => None,
    };
    found.ok_or_else(|| "a sentinel's answer makes no sense".to_owned())
}

async fn dial(settings: &Settings, (host, port): &(String, u16)) -> Result<Stream, String> {
    let (tcp, name) = (socket::Settings::default(), names::Name::default());
    let dialled = socket::tcp((host, &name), *port, PATIENCE, &tcp).await;
    let dialled = dialled.map_err(|error| error.to_string())?;
    let Some(Secured(tls)) = &settings.tls else {
        return Ok(dialled.into());
    };
    let shaken = tls.handshake(dialled, host).await;
    let stream = shaken.map_err(|error| format!("no TLS: {error}"))?;
    Ok(Stream::TlsToServer(Box::new(stream)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_moved_is_found_and_nonsense_is_not_followed() {
        let to = |host: &str, port| Some((host.to_owned(), port));
        for (error, expected) in [
            ("MOVED 3999 10.0.0.1:6381", to("10.0.0.1", 6381)),
            ("MOVED 3999 node.example:6381", to("node.example", 6381)),
            ("MOVED 3999 :6381", to("from", 6381)),
            ("MOVED 3999 ::1:6381", to("::1", 6381)),
            ("MOVED 3999 ?:6381", None),
            ("MOVED 3999 10.0.0.1", None),
            ("MOVED 3999 10.0.0.1:0", None),
            ("MOVED 3999 10.0.0.1:99999", None),
            ("MOVED x 10.0.0.1:1", None),
            ("MOVED 3999", None),
            ("MOVED 3999 a:1 b:2", None),
            ("ASK 3999 10.0.0.1:6381", None),
            ("CLUSTERDOWN Hash slot not served", None),
            ("", None),
        ] {
            assert_eq!(moved(error.as_bytes(), "from"), expected, "{error}");
        }
        assert_eq!(moved(b"MOVED 1 \xff:1", "from"), None);
    }
}
