//! The one connection of a database's cache to Redis: says what has changed, then asks. When it is lost, Redis is left
//! alone for a while, and whatever lies there is old for the next one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use routing_rules::cache::Elsewhere;
use tokio::sync::mpsc;

use super::line::Line;
use super::reach::reach;
use super::resp::{self, Reply};
use super::sealed::{SEALED_BYTES, Seal};
use super::words::{self, Said, Tally};
use super::{Ask, Settings, mark};
use crate::cache::follow::Ear;
use crate::protocol::session::untold::Changes;

/// A connection, and what is known of Redis on it.
struct Link {
    line: Line,
    /// Where answers lie.
    place: String,
    /// The name of what says what has changed.
    changes: Vec<u8>,
    seal: Arc<Seal>,
    tally: Tally,
    /// Up to where it was told that all changes are known.
    marked: Option<mark::Mark>,
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

/// Others have this long to tell what happened before this pgshunt began; then all of it is old.
const JOIN_WITHIN: Duration = Duration::from_secs(2);

/// They are looked at this often.
const JOIN_EVERY: Duration = Duration::from_millis(50);

/// Speaks with Redis for one cache, for ever.
pub async fn serve(ear: Ear, settings: Arc<Settings>) {
    let (database, shared) = (&ear.cache.database, &ear.cache.shared);
    let (mut last, mut pause) = (String::new(), PAUSE_MIN);
    let (mut turn, field) = (0, Tally::field());
    loop {
        let why = match begin(&ear, &settings, (turn, &field)).await {
            Ok(link) => {
                (last, pause) = (String::new(), PAUSE_MIN);
                let why = link.go_on(&ear, &settings).await;
                shared.close();
                ear.cache.generations.untold.add_anything();
                why
            }
            Err(why) => why,
        };
        turn += 1;
        shared.failures.fetch_add(1, Ordering::Relaxed);
        if why != last {
            tracing::warn!(database, redis = %settings, why, "answers are not shared: Redis does not answer as it should");
            last = why;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A connection on which what lies there may be believed.
async fn begin(ear: &Ear, settings: &Settings, by: (usize, &str)) -> Result<Link, String> {
    let connected = tokio::time::timeout(PATIENCE, connect(ear, settings, by)).await;
    let mut link = connected.map_err(|_| LATE)??;
    let marks = &ear.cache.shared.marks;
    let follows = ear.cache.rules.elsewhere == Elsewhere::Follow;
    if marks.may_join() && follows && link.joins(ear).await? {
        marks.settle();
        tracing::info!(
            database = ear.cache.database,
            "what others share is believed: they have told of every change"
        );
    } else {
        // INVARIANT: settled before. A stream that begins later makes all old itself.
        marks.settle();
        link.within(Link::make_old).await?;
    }
    Ok(link)
}

const LATE: &str = "no answer in time";

async fn connect(ear: &Ear, settings: &Settings, (turn, field): (usize, &str)) -> Result<Link, String> {
    let of = identity(ear).await?;
    // All keys of a database have this in their names, so a cluster has them all in one place.
    let tag = format!("{{{of}}}");
    let bulk_max = ear.cache.rules.max_entry_bytes + SEALED_BYTES + OVERHEAD_BYTES;
    let (line, run) = reach(settings, bulk_max, &tag, turn).await?;
    // A Redis that was started again may have forgotten some of what it knew: to us it is another one.
    let place = format!("{tag}:{run}");
    Ok(Link {
        line,
        changes: format!("pgshunt:changes:{place}").into_bytes(),
        place,
        seal: Arc::new(Seal::new(settings.secret.as_bytes())),
        tally: Tally::new(field),
        marked: None,
    })
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
    let is_one =
        |value: &String| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    let value = value.filter(is_one);
    value.ok_or_else(|| "the server does not say which it is".to_owned())
}

impl Link {
    /// What must come soon.
    async fn within<T>(
        &mut self,
        act: impl AsyncFnOnce(&mut Link) -> Result<T, String>,
    ) -> Result<T, String> {
        let acted = tokio::time::timeout(PATIENCE, act(self)).await;
        acted.map_err(|_| LATE)?
    }

    /// Makes all old that lies there.
    async fn make_old(&mut self) -> Result<(), String> {
        let mut out = Vec::new();
        let replies = words::make_old(&mut out, &self.changes, &mut self.tally);
        self.line.send(&out).await?;
        self.line.told(replies).await.map(drop)
    }

    /// Goes on from what others have told, if there are some who tell all that happened before this pgshunt hears.
    async fn joins(&mut self, ear: &Ear) -> Result<bool, String> {
        let marks = &ear.cache.shared.marks;
        // Until then nothing is answered anyway. What was run before is looked into by a catalog that was asked for after
        // the sum: what changed it later has made all old.
        let catalog = loop {
            match ear.catalogued.catalog().filter(|_| marks.is_known()) {
                Some((_, catalog)) => break catalog,
                None => tokio::time::sleep(TICK).await,
            }
        };
        let until = Instant::now() + JOIN_WITHIN;
        loop {
            if self
                .within(async |link: &mut Link| link.is_joined(marks).await)
                .await?
            {
                ear.cache.generations.untold.know(&catalog);
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            tokio::time::sleep(JOIN_EVERY).await;
        }
    }

    async fn is_joined(&mut self, marks: &mark::Marks) -> Result<bool, String> {
        let mut out = Vec::new();
        words::ask_mark(&mut out, &self.changes);
        self.line.send(&out).await?;
        let believed = |written: &[u8], seal: &Seal| {
            mark::read(seal, &self.place, written).filter(|told| marks.is_reached_by(told, seal))
        };
        let Reply::Bulk(Some(written)) = self.line.reply().await? else {
            return Ok(false);
        };
        let Some(told) = believed(&written, &self.seal) else {
            return Ok(false);
        };
        let mut out = Vec::new();
        words::join(&mut out, &self.changes, &told.field, &mut self.tally);
        self.line.send(&out).await?;
        let reply = self.line.last_of(words::JOIN_REPLIES).await?;
        // The same mark again, or the next one does.
        let joined = words::joined(reply);
        Ok(joined
            .is_some_and(|(mark, count)| mark == written && count == told.count.to_string().into_bytes()))
    }

    /// Tells and asks until something fails. Gives back what.
    async fn go_on(mut self, ear: &Ear, settings: &Settings) -> String {
        let shared = &ear.cache.shared;
        let within = (settings.timeout * 4).max(BATCH_WITHIN_MIN);
        let mut asks = shared.open(settings, &self.seal, &self.place);
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
            // INVARIANT: a mark is taken before what it says was told; that after the questions, and said before them.
            let mark = shared
                .marks
                .now()
                .filter(|mark| self.marked.as_ref() != Some(mark));
            let untold = ear.cache.generations.untold.take();
            if untold.is_empty() && batch.is_empty() && mark.is_none() {
                continue;
            }
            let exchanged = tokio::time::timeout(within, self.exchange(&untold, mark, batch)).await;
            let exchange = match exchanged {
                Ok(Ok(exchange)) => exchange,
                Ok(Err(why)) => return why,
                Err(_) => return LATE.to_owned(),
            };
            shared.stored.fetch_add(exchange.stored, Ordering::Relaxed);
            if exchange.is_forgotten {
                let database = &ear.cache.database;
                tracing::info!(database, redis = %settings, "Redis has forgotten what it was told: all that was shared is old");
                if let Err(why) = self.within(Link::make_old).await {
                    return why;
                }
            }
        }
    }

    /// Says what has changed, asks and stores, in one go.
    async fn exchange(
        &mut self,
        untold: &Changes,
        mark: Option<mark::Mark>,
        mut batch: Vec<Ask>,
    ) -> Result<Exchange, String> {
        let (mut out, bulk_max) = (Vec::new(), self.line.bulk_max);
        let told = words::tell(&mut out, &self.changes, untold, &mut self.tally);
        if let Some(mark) = &mark {
            let tally = (self.tally.field.as_str(), self.tally.count);
            let written = mark::write(&self.seal, &self.place, mark, tally);
            words::mark(&mut out, &self.changes, &written);
        }
        batch.retain(|ask| match ask {
            Ask::Find { name, rows, .. } => {
                words::find(&mut out, (&self.changes, name), rows, &self.tally, bulk_max);
                true
            }
            Ask::Keep(storing) => {
                let sealed = storing.sealed(&self.seal);
                if let Some((sealed, left)) = &sealed {
                    let left = left.to_string();
                    resp::command(&mut out, &[b"SET", &storing.name, sealed, b"PX", left.as_bytes()]);
                }
                sealed.is_some()
            }
        });
        self.line.send(&out).await?;
        drop(out);
        let mut exchange = Exchange::default();
        if told > 0 {
            exchange.is_forgotten = self.line.told(told).await? != self.tally.count;
        }
        if mark.is_some() {
            self.line.told(1).await?;
            self.marked = mark;
        }
        for ask in batch {
            match ask {
                Ask::Find { rows, to, .. } => {
                    let reply = self.line.last_of(words::FIND_REPLIES).await?;
                    match words::found(reply, &rows, &self.tally) {
                        // Who does not wait any more needs no answer.
                        Said::This(found) if !exchange.is_forgotten => drop(to.send(found)),
                        Said::This(_) | Said::Nothing => {}
                        Said::Forgotten => exchange.is_forgotten = true,
                    }
                }
                // One that was not stored is not found.
                Ask::Keep(_) => {
                    exchange.stored += u64::from(matches!(self.line.reply().await?, Reply::Status(_)));
                }
            }
        }
        Ok(exchange)
    }
}

fn collect(asks: &mut mpsc::Receiver<Ask>, batch: &mut Vec<Ask>) {
    while batch.len() < BATCH_MAX
        && let Ok(ask) = asks.try_recv()
    {
        batch.push(ask);
    }
}

/// What came of a batch.
#[derive(Debug, Default)]
struct Exchange {
    /// Answers that were stored.
    stored: u64,
    /// Redis does not know all it was told on this connection.
    is_forgotten: bool,
}
