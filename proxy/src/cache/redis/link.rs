//! The one connection of a database's cache to Redis: says what has changed, then asks. When it is lost, Redis is left
//! alone for a while, and whatever lies there is old for the next one.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::reach::reach;
use super::resp::{self, Reply};
use super::sealed::{SEALED_BYTES, Seal, said};
use super::{Ask, Found, Settings};
use crate::cache::follow::Ear;
use crate::net::stream::Stream;
use crate::protocol::session::touched::{Changes, Rows};

/// A connection, logged in.
pub struct Link {
    stream: Stream,
    input: Vec<u8>,
    bulk_max: usize,
}

/// A login and its first questions take no longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The first pause after something failed; each is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Changes are told this often, if no question does it before.
const TICK: Duration = Duration::from_millis(20);

/// Questions sent together.
const BATCH_MAX: usize = 64;

/// The least time Redis has for a batch before it is left alone.
const BATCH_WITHIN_MIN: Duration = Duration::from_millis(250);

/// Beyond its contents: names, numbers, the question.
const OVERHEAD_BYTES: usize = 256 * 1024;

/// What is known of changes is forgotten by Redis after so long without one.
const CHANGES_LIFE_S: &[u8] = b"86400";

/// Speaks with Redis for one cache, for ever.
pub async fn serve(ear: Ear, settings: Arc<Settings>) {
    let (database, shared) = (&ear.cache.database, &ear.cache.shared);
    let (mut last, mut pause) = (String::new(), PAUSE_MIN);
    loop {
        let why = match tokio::time::timeout(PATIENCE, begin(&ear, &settings)).await {
            Ok(Ok((link, place, changes))) => {
                (last, pause) = (String::new(), PAUSE_MIN);
                let why = go_on(&ear, &settings, link, &place, &changes).await;
                shared.close();
                ear.cache.generations.untold.add_anything();
                why
            }
            Ok(Err(why)) => why,
            Err(_) => "no answer in time".to_owned(),
        };
        shared.failures.fetch_add(1, Ordering::Relaxed);
        if why != last {
            tracing::warn!(database, redis = %settings, why, "answers are not shared: Redis does not answer as it should");
            last = why;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A connection, where answers lie, and the name of what says what has changed.
async fn begin(ear: &Ear, settings: &Settings) -> Result<(Link, String, Vec<u8>), String> {
    let of = identity(ear).await?;
    let bulk_max = ear.cache.rules.max_entry_bytes + SEALED_BYTES + OVERHEAD_BYTES;
    let (mut link, run) = Link::open(settings, bulk_max).await?;
    // A Redis that was started again may have forgotten some of what it knew: to us it is another one.
    let place = format!("{run}:{of}");
    let changes = format!("pgshunt:changes:{place}").into_bytes();
    let mut out = Vec::new();
    let everything = Changes {
        anything: true,
        ..Changes::default()
    };
    let replies = tell(&mut out, &changes, &everything);
    link.send(&out).await?;
    link.told(replies).await?;
    Ok((link, place, changes))
}

/// Which database of which system it is: names of databases may be the same elsewhere.
async fn identity(ear: &Ear) -> Result<String, String> {
    const QUESTION: &str = "SELECT pg_catalog.concat_ws(':', (SELECT system_identifier FROM pg_catalog.pg_control_system()), \
        (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))";
    let (target, _) = ear.primary().ok_or("no primary is known")?;
    let mut asker = ear.connect(&target).await?;
    let rows = asker
        .ask(QUESTION, &[])
        .await
        .map_err(|fault| fault.to_string())?;
    let value = rows.into_iter().flatten().flatten().next();
    let value = value.and_then(|value| String::from_utf8(value.to_vec()).ok());
    value.ok_or_else(|| "the server does not say which it is".to_owned())
}

async fn go_on(ear: &Ear, settings: &Settings, mut link: Link, place: &str, changes: &[u8]) -> String {
    let shared = &ear.cache.shared;
    let within = (settings.timeout * 4).max(BATCH_WITHIN_MIN);
    let (seal, mut asks) = shared.open(settings, place);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let mut batch = Vec::new();
        // Both may be given up at any time: what was not received stays in the queue.
        tokio::select! {
            ask = asks.recv() => match ask {
                Some(ask) => batch.push(ask),
                None => return "nobody asks any more".to_owned(),
            },
            _ = tick.tick() => {}
        }
        collect(&mut asks, &mut batch);
        // INVARIANT: taken after the questions, said before them.
        let untold = ear.cache.generations.untold.take();
        if untold.is_empty() && batch.is_empty() {
            continue;
        }
        match tokio::time::timeout(within, link.exchange(changes, &untold, batch, &seal)).await {
            Ok(Ok(stored)) => shared.stored.fetch_add(stored, Ordering::Relaxed),
            Ok(Err(why)) => return why,
            Err(_) => return "no answer in time".to_owned(),
        };
    }
}

fn collect(asks: &mut mpsc::Receiver<Ask>, batch: &mut Vec<Ask>) {
    while batch.len() < BATCH_MAX
        && let Ok(ask) = asks.try_recv()
    {
        batch.push(ask);
    }
}

/// The field of a table, and that of everything.
const ANYTHING: &[u8] = b"*";
const EPOCH: &[u8] = b"epoch";

/// The fields by which rows are known to be as they were: as in `Generations`, one raised by each change of the table, one by
/// those of which nobody knows whose rows they are of, one for each number of tenants.
fn fields(rows: &Rows) -> Vec<Vec<u8>> {
    let field = |kind: &str| [kind.as_bytes(), &*rows.table].concat();
    match rows.of {
        None => vec![field("any:")],
        Some(bucket) => vec![field("all:"), field(&format!("{bucket}:"))],
    }
}

/// The fields that a change raises.
fn raised(rows: &Rows) -> Vec<Vec<u8>> {
    let field = |kind: &str| [kind.as_bytes(), &*rows.table].concat();
    match rows.of {
        None => vec![field("any:"), field("all:")],
        Some(bucket) => vec![field("any:"), field(&format!("{bucket}:"))],
    }
}

/// Says what has changed. Gives back how many replies that will have.
fn tell(out: &mut Vec<u8>, changes: &[u8], what: &Changes) -> usize {
    if what.is_empty() {
        return 0;
    }
    let mut fields: Vec<Vec<u8>> = what.rows.iter().flat_map(raised).collect();
    fields.sort_unstable();
    fields.dedup();
    if what.anything {
        fields = vec![ANYTHING.to_vec()];
    }
    for field in &fields {
        resp::command(out, &[b"HINCRBY", changes, field, b"1"]);
    }
    resp::command(out, &[b"EXPIRE", changes, CHANGES_LIFE_S]);
    fields.len() + 1
}

/// Asks for an answer and what it is to be judged by, in one moment of Redis: six replies.
fn find(out: &mut Vec<u8>, changes: &[u8], name: &[u8], rows: &[Rows], bulk_max: usize) {
    resp::command(out, &[b"MULTI"]);
    // Where it is gone, all that lies there is old: nobody makes the same number twice.
    resp::command(out, &[b"HSETNX", changes, EPOCH, random().as_bytes()]);
    resp::command(out, &[b"PTTL", name]);
    resp::command(
        out,
        &[b"GETRANGE", name, b"0", (bulk_max - 1).to_string().as_bytes()],
    );
    let fields: Vec<Vec<u8>> = rows.iter().flat_map(fields).collect();
    let mut words: Vec<&[u8]> = vec![b"HMGET", changes, EPOCH, ANYTHING];
    words.extend(fields.iter().map(Vec::as_slice));
    resp::command(out, &words);
    resp::command(out, &[b"EXEC"]);
}

const FIND_REPLIES: usize = 6;

/// 128 bits nobody has had before.
fn random() -> String {
    let half = || RandomState::new().build_hasher().finish();
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!(
        "{:x}{:x}{:x}",
        half(),
        half(),
        nanos.unwrap_or_default().as_nanos()
    )
}

/// What Redis says, if it makes sense; `None`: it does not.
fn found(reply: Reply, rows: &[Rows]) -> Option<Found> {
    let Reply::Array(Some(replies)) = reply else {
        return None;
    };
    let [_, left, sealed, counts] = <[Reply; 4]>::try_from(replies).ok()?;
    let Reply::Array(Some(counts)) = counts else {
        return None;
    };
    let counts: Option<Vec<Vec<u8>>> = counts
        .into_iter()
        .map(|count| match count {
            Reply::Bulk(count) => Some(count.unwrap_or_default()),
            Reply::Status(_) | Reply::Error(_) | Reply::Integer(_) | Reply::Array(_) => None,
        })
        .collect();
    let counts = counts?;
    let fields: Vec<Vec<u8>> = rows.iter().flat_map(fields).collect();
    if counts.len() != fields.len() + 2 || counts[0].is_empty() {
        return None;
    }
    let parts: Vec<&[u8]> = counts.iter().chain(&fields).map(Vec::as_slice).collect();
    let sealed = match (sealed, left) {
        (Reply::Bulk(Some(sealed)), Reply::Integer(left)) if !sealed.is_empty() && left > 0 => {
            Some((sealed, Duration::from_millis(left.unsigned_abs())))
        }
        _ => None,
    };
    Some(Found {
        under: said(b"under", &parts).into(),
        sealed,
    })
}

impl Link {
    /// On a connection on which nothing has been said.
    pub(super) fn on(stream: Stream, bulk_max: usize) -> Link {
        Link {
            stream,
            input: Vec::new(),
            bulk_max,
        }
    }

    /// Connects and logs in. Gives back which run of Redis it is as well.
    ///
    /// # Errors
    ///
    /// In words, without a secret.
    pub async fn open(settings: &Settings, bulk_max: usize) -> Result<(Link, String), String> {
        let mut link = Link::on(reach(settings).await?, bulk_max);
        if let Some(password) = &settings.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(settings.user.as_ref().map(|user| user.as_bytes()));
            words.push(password.as_bytes());
            link.say(&words)
                .await
                .map_err(|why| format!("login refused: {why}"))?;
        }
        link.say(&[b"SELECT", settings.database.to_string().as_bytes()])
            .await?;
        let Reply::Bulk(Some(info)) = link.say(&[b"INFO", b"server"]).await? else {
            return Err("it does not say which run it is".to_owned());
        };
        let info = String::from_utf8_lossy(&info).into_owned();
        let run = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        let run = run.map(str::trim).filter(|run| !run.is_empty());
        let run = run.ok_or("it does not say which run it is")?.to_owned();
        if settings.sentinels_know.is_some() {
            // A sentinel may not have heard yet.
            let is_master = |role: &Reply| *role == Reply::Bulk(Some(b"master".to_vec()));
            match link.say(&[b"ROLE"]).await? {
                Reply::Array(Some(role)) if role.first().is_some_and(is_master) => {}
                _ => return Err("it is not the master".to_owned()),
            }
        }
        Ok((link, run))
    }

    /// One command and its reply.
    pub(super) async fn say(&mut self, words: &[&[u8]]) -> Result<Reply, String> {
        let mut out = Vec::new();
        resp::command(&mut out, words);
        self.send(&out).await?;
        match self.reply().await? {
            Reply::Error(why) => Err(error_word(&why)),
            reply @ (Reply::Status(_) | Reply::Integer(_) | Reply::Bulk(_) | Reply::Array(_)) => Ok(reply),
        }
    }

    async fn send(&mut self, out: &[u8]) -> Result<(), String> {
        let sent = async {
            self.stream.write_all(out).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| error.to_string())
    }

    async fn reply(&mut self) -> Result<Reply, String> {
        loop {
            let reply =
                resp::reply(&self.input, self.bulk_max).map_err(|_| "it does not speak Redis's protocol")?;
            if let Some((reply, bytes)) = reply {
                self.input.drain(..bytes);
                return Ok(reply);
            }
            let read = self.stream.read_buf(&mut self.input).await;
            if read.map_err(|error| error.to_string())? == 0 {
                return Err("it closed the connection".to_owned());
            }
        }
    }

    /// What has changed must be known there: anything but a number is a failure.
    async fn told(&mut self, replies: usize) -> Result<(), String> {
        for _ in 0..replies {
            match self.reply().await? {
                Reply::Integer(_) => {}
                Reply::Error(why) => return Err(error_word(&why)),
                Reply::Status(_) | Reply::Bulk(_) | Reply::Array(_) => {
                    return Err("it does not count".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Says what has changed, asks and stores, in one go. Gives back how many answers were stored.
    async fn exchange(
        &mut self,
        changes: &[u8],
        untold: &Changes,
        mut batch: Vec<Ask>,
        seal: &Seal,
    ) -> Result<u64, String> {
        let mut out = Vec::new();
        let told = tell(&mut out, changes, untold);
        batch.retain(|ask| match ask {
            Ask::Find { name, rows, .. } => {
                find(&mut out, changes, name, rows, self.bulk_max);
                true
            }
            Ask::Keep(storing) => {
                let sealed = storing.sealed(seal);
                if let Some((sealed, left)) = &sealed {
                    let left = left.to_string();
                    resp::command(&mut out, &[b"SET", &storing.name, sealed, b"PX", left.as_bytes()]);
                }
                sealed.is_some()
            }
        });
        self.send(&out).await?;
        drop(out);
        self.told(told).await?;
        let mut stored = 0;
        for ask in batch {
            match ask {
                Ask::Find { rows, to, .. } => {
                    for _ in 1..FIND_REPLIES {
                        self.reply().await?;
                    }
                    let reply = self.reply().await?;
                    if let Reply::Error(why) = &reply {
                        // It counts no longer: a master that was replaced.
                        return Err(error_word(why));
                    }
                    if let Some(found) = found(reply, &rows) {
                        // Who does not wait any more needs no answer.
                        let _ = to.send(found);
                    }
                }
                // One that was not stored is not found.
                Ask::Keep(_) => stored += u64::from(matches!(self.reply().await?, Reply::Status(_))),
            }
        }
        Ok(stored)
    }
}

/// The first word of Redis's error: the rest may repeat what it was sent.
fn error_word(error: &[u8]) -> String {
    let word = error.split(|byte| *byte == b' ').next().unwrap_or_default();
    format!("Redis says {}", String::from_utf8_lossy(word))
}
