//! The primary's stream of writes, by logical replication with `test_decoding` and a temporary slot: no publication, no
//! replica identity, nothing left behind.
//!
//! A commit can be in the stream before other sessions see it. So its tables count as changed twice: when it is heard of,
//! and once a snapshot shows it. What was asked for in between is old by the second.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use routing_rules::cache::Name;

use super::follow::Ear;
use super::stream_text::{Change, Snapshot, change, values};
use crate::cluster::lag::{Lsn, Samples};
use crate::net::inbox::Inbox;
use crate::net::stream::Stream;
use crate::protocol::message::row_texts;
use crate::protocol::reply::frame;
use crate::protocol::server_error::ServerError;
use crate::protocol::session::touched::Rows;
use crate::server::address::Target;
use crate::server::ask::Asker;
use crate::server::connect::connect;

/// The longest message of the stream: one row in text.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// How often the primary's position is sampled, and while a commit is not visible yet.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);
const SETTLE_EVERY: Duration = Duration::from_millis(20);

/// The longest a question beside the stream may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest the slot may take to be made: it waits for the transactions that are open.
const SLOT_PATIENCE: Duration = Duration::from_secs(600);

/// Tenants of one transaction that are told one by one: of the next, all of the table has changed.
const ROWS_MAX: usize = 256;

/// The next slot's number.
static SLOT: AtomicU64 = AtomicU64::new(1);

/// A transaction that was heard of and is not visible yet.
struct Unsettled {
    xid: u32,
    /// Where its commit ends.
    end: Lsn,
    rows: HashSet<Rows>,
}

/// A stream that is being heard.
struct Hearing<'a> {
    ear: &'a Ear,
    stream: Stream,
    inbox: Inbox,
    asker: Asker,
    samples: Samples,
    /// Everything before it has been heard.
    position: Lsn,
    xid: u32,
    rows: HashSet<Rows>,
    unsettled: Vec<Unsettled>,
}

/// Hears the stream of a primary until it ends. Gives back why.
pub async fn hear(ear: &Ear, target: &Target, epoch: u64) -> String {
    match begin(ear, target).await {
        Err(why) => why,
        Ok(mut hearing) => match hearing.go_on(epoch).await {
            Ok(()) => "the primary has changed".to_owned(),
            Err(why) => why,
        },
    }
}

async fn begin<'a>(ear: &'a Ear, target: &Target) -> Result<Hearing<'a>, String> {
    let parameters = [
        (b"application_name".to_vec(), b"pgshunt cache".to_vec()),
        (b"replication".to_vec(), b"database".to_vec()),
    ];
    let watcher = &ear.watcher;
    let server = connect(target, &watcher.user, &watcher.secret, &parameters).await;
    let server = server.map_err(|fault| fault.to_string())?;
    let mut hearing = Hearing {
        ear,
        stream: server.stream,
        inbox: server.rest.into(),
        asker: ear.connect(target).await?,
        samples: Samples::default(),
        position: Lsn(0),
        xid: 0,
        rows: HashSet::new(),
        unsettled: Vec::new(),
    };
    let system = hearing.command("IDENTIFY_SYSTEM", b'Z');
    let system = tokio::time::timeout(PATIENCE, system).await;
    let system = system.map_err(|_| "no answer in time")??;
    let slot = slot_name();
    let make = format!("CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL test_decoding NOEXPORT_SNAPSHOT");
    let made = hearing.command(&make, b'Z');
    let made = tokio::time::timeout(SLOT_PATIENCE, made)
        .await
        .map_err(|_| "no slot in time")??;
    let timeline = system.into_iter().nth(1).ok_or(NONSENSE)?;
    let from = made.get(1).and_then(|from| Lsn::parse(from.as_bytes()));
    // Whatever was written before the slot was made is seen by whoever asks from here on.
    let marks = &ear.cache.shared.marks;
    let is_told = marks.stream_begins(timeline, from.ok_or(NONSENSE)?);
    ear.cache.makes_all_old(is_told);
    let start =
        format!("START_REPLICATION SLOT {slot} LOGICAL 0/0 (\"include-xids\" '1', \"skip-empty-xacts\" '1')");
    let started = hearing.command(&start, b'W');
    tokio::time::timeout(PATIENCE, started)
        .await
        .map_err(|_| "no stream in time")??;
    Ok(hearing)
}

const NONSENSE: &str = "an answer that makes no sense";

/// A name no other slot has.
fn slot_name() -> String {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let number = SLOT.fetch_add(1, Ordering::Relaxed);
    format!(
        "pgshunt_cache_{}_{}_{number}",
        std::process::id(),
        nanos % 1_000_000_000_000
    )
}

impl Hearing<'_> {
    /// Sends a command of the replication protocol and reads up to a message of this type. Gives back the last row.
    async fn command(&mut self, text: &str, until: u8) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        frame(&mut out, b'Q', |out| {
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        });
        self.send(&out).await?;
        let (mut refused, mut row) = (None, Vec::new());
        loop {
            let (kind, body) = self.message().await?;
            match kind {
                b'E' => refused = Some(ServerError::parse(&body).to_string()),
                b'D' => row = row_texts(&body),
                kind if kind == until && refused.is_none() => return Ok(row),
                b'Z' => return Err(refused.unwrap_or_else(|| NONSENSE.into())),
                _ => {}
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = self.stream.send(bytes).await;
        sent.map_err(|error| error.to_string())
    }

    async fn message(&mut self) -> Result<(u8, Vec<u8>), String> {
        let message = self.inbox.message(&mut self.stream, MESSAGE_BYTES_MAX).await;
        message.map_err(|error| error.to_string())
    }

    /// Hears and samples until something fails or the primary is another one.
    async fn go_on(&mut self, epoch: u64) -> Result<(), String> {
        let mut next = Instant::now();
        loop {
            // Cancel safe: an inbox keeps what it has read, and a sleep what is left of it.
            tokio::select! {
                biased;
                message = self.inbox.message(&mut self.stream, MESSAGE_BYTES_MAX) => {
                    let (kind, body) = message.map_err(|error| error.to_string())?;
                    self.heard(kind, &body)?;
                    if next <= Instant::now() {
                        self.sample().await?;
                        next = self.next_sample();
                    }
                }
                () = tokio::time::sleep_until(next.into()) => {
                    self.sample().await?;
                    next = self.next_sample();
                }
            }
            if self.ear.cluster.epoch() != epoch {
                return Ok(());
            }
        }
    }

    fn next_sample(&self) -> Instant {
        let pause = match self.unsettled.is_empty() {
            true => SAMPLE_EVERY,
            false => SETTLE_EVERY,
        };
        Instant::now() + pause
    }

    fn heard(&mut self, kind: u8, body: &[u8]) -> Result<(), String> {
        match (kind, body.first()) {
            (b'd', Some(b'w')) => {
                let at = body.get(1..9).and_then(|at| at.try_into().ok());
                let at = Lsn(u64::from_be_bytes(at.ok_or(NONSENSE)?));
                self.changed(at, body.get(25..).unwrap_or_default())
            }
            (b'd', Some(b'k')) => {
                if let Some(end) = body.get(1..9).and_then(|end| end.try_into().ok()) {
                    self.position = self.position.max(Lsn(u64::from_be_bytes(end)));
                    self.note_freshness();
                }
                Ok(())
            }
            (b'd', _) | (b'N' | b'S', _) => Ok(()),
            (b'E', _) => Err(ServerError::parse(body).to_string()),
            _ => Err("the stream has ended".into()),
        }
    }

    /// One line of `test_decoding`; that of a commit is where the commit ends.
    fn changed(&mut self, at: Lsn, line: &[u8]) -> Result<(), String> {
        match change(line) {
            Some(Change::Begin(xid)) => {
                self.xid = xid;
                self.rows.clear();
            }
            Some(Change::Tables(tables)) => {
                for table in tables {
                    self.add(Rows::all(&table.into()));
                }
            }
            Some(Change::Row(table, row)) => self.row(table.into(), row),
            Some(Change::Commit) => {
                let rows = std::mem::take(&mut self.rows);
                if !rows.is_empty() {
                    self.unsettled.push(Unsettled {
                        xid: self.xid,
                        end: at,
                        rows,
                    });
                }
            }
            Some(Change::Nothing) => {}
            None => return Err("a line of test_decoding that makes no sense".into()),
        }
        Ok(())
    }

    /// A row was changed: whose it was and is, or anybody's.
    fn row(&mut self, table: Name, row: &[u8]) {
        if self.rows.contains(&Rows::all(&table)) {
            return;
        }
        let catalog = self.ear.catalogued.catalog();
        let buckets = catalog.as_ref().and_then(|(_, catalog)| {
            let tenants = catalog.tenants.as_ref()?;
            let (column, is_told) = tenants.told(&table, &catalog.relations)?;
            let keys = values(row, column, is_told)?;
            keys.iter()
                .map(|key| tenants.bucket(key))
                .collect::<Option<Vec<_>>>()
        });
        match buckets.filter(|_| self.rows.len() < ROWS_MAX) {
            None => self.add(Rows::all(&table)),
            Some(buckets) => {
                for bucket in buckets {
                    self.add(Rows {
                        table: table.clone(),
                        of: Some(bucket),
                    });
                }
            }
        }
    }

    fn add(&mut self, rows: Rows) {
        if !self.rows.contains(&rows) {
            self.ear.cache.generations.changed([&rows]);
            self.rows.insert(rows);
        }
    }

    /// Asks where the primary is and what is visible there, and asks the stream how far it is.
    async fn sample(&mut self) -> Result<(), String> {
        let sent = Instant::now();
        let asked = tokio::time::timeout(PATIENCE, self.asker.ask(QUESTION, &[])).await;
        let rows = asked
            .map_err(|_| "no answer in time")?
            .map_err(|fault| fault.to_string())?;
        let value = |at: usize| rows.first()?.get(at)?.as_deref();
        let lsn = value(0).and_then(Lsn::parse);
        let snapshot = value(1).and_then(Snapshot::parse);
        let (Some(lsn), Some(snapshot)) = (lsn, snapshot) else {
            return Err(NONSENSE.into());
        };
        let generations = &self.ear.cache.generations;
        self.unsettled.retain(|one| {
            let is_visible = snapshot.shows(one.xid);
            if is_visible {
                generations.changed(&one.rows);
            }
            !is_visible
        });
        self.samples.primary_at(sent, lsn);
        self.note_freshness();
        let mut out = Vec::new();
        frame(&mut out, b'd', |out| {
            out.push(b'r');
            for _ in 0..3 {
                out.extend_from_slice(&self.position.0.to_be_bytes());
            }
            out.extend_from_slice(&[0; 8]);
            // An answer is wanted at once.
            out.push(1);
        });
        self.send(&out).await
    }

    fn note_freshness(&self) {
        if let Some(at) = self.samples.caught_up(self.position) {
            self.ear.note(|heard| heard.writes_until(at));
        }
        // What is not visible yet will be told once more.
        let ends = self.unsettled.iter().map(|one| Lsn(one.end.0.saturating_sub(1)));
        let settled = ends
            .min()
            .map_or(self.position, |before| before.min(self.position));
        self.ear.cache.shared.marks.heard(settled);
    }
}

/// One row: how far is written, and which transactions are visible.
const QUESTION: &str = "\
SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.txid_current_snapshot()::pg_catalog.text";
