//! The way to Redis: a connection in plain or in TLS, and the sentinels that say which of several is the master.

use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use super::link::Link;
use super::resp::Reply;
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

/// A connection to Redis, nothing said on it.
///
/// # Errors
///
/// In words.
pub(super) async fn reach(settings: &Settings) -> Result<Stream, String> {
    let Some(name) = &settings.sentinels_know else {
        let door = settings.doors.first().ok_or("no host is named")?;
        return dial(settings, door).await;
    };
    let mut why = "no sentinel is named".to_owned();
    for door in &settings.doors {
        // One that does not answer must not keep us from the next.
        match tokio::time::timeout(PATIENCE, master(settings, door, name)).await {
            Ok(Ok(master)) => return dial(settings, &master).await,
            Ok(Err(failed)) => why = failed,
            Err(_) => why = "no sentinel answers in time".to_owned(),
        }
    }
    Err(why)
}

async fn master(settings: &Settings, door: &(String, u16), name: &str) -> Result<(String, u16), String> {
    let mut sentinel = Link::on(dial(settings, door).await?, SENTINEL_BYTES_MAX);
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
