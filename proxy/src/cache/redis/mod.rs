//! The second level of the cache, in Redis: answers that several pgshunts share. What goes wrong with it is a miss.
//!
//! `link` is the life of the one connection of a database's cache, `reach` the way to it, `line` the connection, `words` what
//! is said on it, `resp` how; `sealed` is how an answer lies there, `mark` up to where others have told all.
//!
//! Redis keeps a generation for every table, as `protocol::session::touched` does in this process, and an answer carries
//! those it was asked for under. INVARIANT: what this pgshunt has heard of, from its own sessions or from the servers, is
//! told to Redis before anything is read from it: one connection carries both, in this order, and a connection that was
//! lost is followed by one that makes everything old first.

pub mod line;
pub mod link;
pub mod mark;
pub mod reach;
pub mod resp;
pub mod sealed;
mod words;

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::local::Entry;
use crate::protocol::session::touched::Rows;
use sealed::{Answer, Seal};

/// Where Redis is, and how it is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it is, or who knows it: host names or addresses, and ports.
    pub doors: Vec<(String, u16)>,
    /// Who stands at those doors.
    pub kind: Kind,
    /// How its certificate is looked at; `None`: no TLS.
    pub tls: Option<reach::Secured>,
    /// The role to log in as, if not `default`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// The number of the database.
    pub database: u32,
    /// What answers are sealed with.
    pub secret: String,
    /// The longest a client waits for it.
    pub timeout: Duration,
}

/// Who stands at the doors.
#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    /// Redis itself.
    Itself,
    /// Sentinels, who say where it is.
    Sentinels {
        /// The name they know it by.
        name: String,
        /// The role to log in to them as, if not `default`.
        user: Option<String>,
        /// The password they want, if they want one.
        password: Option<String>,
    },
    /// Nodes of a cluster: each says which one has a database's answers.
    Cluster,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis at {self}")
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doors = self.doors.iter().map(|(host, port)| format!("{host}:{port}"));
        let doors = doors.collect::<Vec<_>>().join(",");
        match &self.kind {
            Kind::Sentinels { name, .. } => write!(f, "{doors}/{name}/{}", self.database),
            Kind::Itself => write!(f, "{doors}/{}", self.database),
            Kind::Cluster => write!(f, "cluster of {doors}"),
        }
    }
}

/// What one database's cache has to do with Redis.
#[derive(Debug, Default)]
pub struct Shared {
    door: Mutex<Option<Door>>,
    /// Up to where all changes are known.
    pub marks: mark::Marks,
    /// Answers found there.
    pub hits: AtomicU64,
    /// Answers stored there.
    pub stored: AtomicU64,
    /// What lay there and was not ours, or not whole.
    pub foreign: AtomicU64,
    /// Connections lost or not made.
    pub failures: AtomicU64,
    /// Bytes on their way there.
    under_way: Arc<AtomicUsize>,
}

/// The way to Redis, while there is one.
#[derive(Clone, Debug)]
pub struct Door {
    asks: mpsc::Sender<Ask>,
    /// Opens and seals.
    pub seal: Arc<Seal>,
    /// Where this database's answers lie.
    pub place: Arc<str>,
    /// The longest a client waits.
    pub timeout: Duration,
    under_way: Arc<AtomicUsize>,
}

/// What is asked of Redis.
#[derive(Debug)]
pub enum Ask {
    /// An answer, and what has changed of these tables.
    Find {
        /// Where it lies.
        name: Vec<u8>,
        /// What it reads, in order.
        rows: Arc<[Rows]>,
        /// Who wants to know.
        to: oneshot::Sender<Found>,
    },
    /// Keeps an answer.
    Keep(Storing),
}

/// An answer on its way to Redis. It is sealed there, not where a client waits.
#[derive(Debug)]
pub struct Storing {
    name: Vec<u8>,
    entry: Arc<Entry>,
    under: Box<[u8]>,
    life: Duration,
    under_way: Arc<AtomicUsize>,
}

impl Storing {
    /// It, sealed, and how long it has to live; `None`: no longer.
    fn sealed(&self, seal: &Seal) -> Option<(Vec<u8>, u128)> {
        let left = self
            .life
            .saturating_sub(self.entry.asked_at.elapsed())
            .as_millis();
        let answer = Answer {
            life_ms: u64::try_from(self.life.as_millis()).unwrap_or(u64::MAX),
            under: &self.under,
            context: &self.entry.context,
            body: self.entry.said.body(),
            description: self.entry.said.description(),
            rows: self.entry.said.rows(),
        };
        (left > 0).then(|| (seal.seal(&self.name, &answer), left))
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        self.under_way.fetch_sub(self.entry.bytes(), Ordering::AcqRel);
    }
}

/// What Redis says to a question.
#[derive(Debug, Default)]
pub struct Found {
    /// What has changed of the tables; whatever is asked of a server from now on may be kept under it.
    pub under: Box<[u8]>,
    /// What lies there, and how long it has to live.
    pub sealed: Option<(Vec<u8>, Duration)>,
}

/// Questions that wait to be sent.
const ASKS_MAX: usize = 1024;

/// Bytes that wait to be stored.
const UNDER_WAY_MAX: usize = 16 << 20;

impl Shared {
    /// Nothing yet. It may go on from what others have shared, or must make all of it old.
    pub fn new(may_join: bool) -> Self {
        Shared {
            marks: mark::Marks::new(may_join),
            ..Shared::default()
        }
    }

    /// The way to Redis at this moment.
    pub fn door(&self) -> Option<Door> {
        self.lock().clone()
    }

    /// There is no way any more.
    pub fn close(&self) {
        *self.lock() = None;
    }

    /// There is a way now. Gives back the other end.
    fn open(&self, settings: &Settings, seal: &Arc<Seal>, place: &str) -> mpsc::Receiver<Ask> {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        *self.lock() = Some(Door {
            asks,
            seal: seal.clone(),
            place: place.into(),
            timeout: settings.timeout,
            under_way: self.under_way.clone(),
        });
        asked
    }

    fn lock(&self) -> MutexGuard<'_, Option<Door>> {
        self.door.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Door {
    /// Asks for what lies under a name. `None`: no answer in time.
    pub async fn find(&self, name: &[u8], rows: Arc<[Rows]>) -> Option<Found> {
        let (to, found) = oneshot::channel();
        let name = name.to_vec();
        self.asks.try_send(Ask::Find { name, rows, to }).ok()?;
        tokio::time::timeout(self.timeout, found).await.ok()?.ok()
    }

    /// Stores an answer, some time. Gives back whether it will be tried.
    pub fn keep(&self, name: Vec<u8>, entry: Arc<Entry>, under: Box<[u8]>, life: Duration) -> bool {
        let bytes = entry.bytes();
        let before = self.under_way.fetch_add(bytes, Ordering::AcqRel);
        let storing = Storing {
            name,
            entry,
            under,
            life,
            under_way: self.under_way.clone(),
        };
        before + bytes <= UNDER_WAY_MAX && self.asks.try_send(Ask::Keep(storing)).is_ok()
    }
}
