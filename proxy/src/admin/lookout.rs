//! The place from which all workers are seen: asks each for its census, adds them up, and keeps samples for averages.
//!
//! It lives on the thread that accepts; workers spend one census on a look, and looks are few at a time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::command::Patience;
use super::process;
use super::rates::{Rates, STATS_PERIOD, Sample, Samples, Twelve};
use crate::cache::Cache;
use crate::client::switches::Switches;
use crate::client::worker::{Common, Order};
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::metrics::{Census, Process};
use crate::protocol::sqlstate;
use crate::snapshot::Snapshot;

/// How long a worker may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How many looks may go on at one time; more wait.
const LOOKS_MAX: usize = 2;

/// How long a look may wait for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(3);

/// Sees all workers.
pub struct Lookout {
    /// What the workers share.
    pub common: Arc<Common>,
    /// When pgshunt started.
    pub started: SystemTime,
    /// Where a shutdown is asked for.
    shutdown: mpsc::UnboundedSender<Patience>,
    /// Where another configuration is asked for.
    changes: mpsc::UnboundedSender<Change>,
    turns: Semaphore,
    samples: RefCell<Samples>,
    stopping: Cell<bool>,
}

/// What the console wants of the process.
pub struct Wishes {
    /// Its end.
    pub shutdowns: mpsc::UnboundedReceiver<Patience>,
    /// Another configuration.
    pub changes: mpsc::UnboundedReceiver<Change>,
}

/// Another configuration, and where to say what came of it.
pub enum Change {
    /// What the files say now.
    Reload(oneshot::Sender<Result<Vec<String>, Fault>>),
    /// Another value of one key, until the next reload.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Where to say what came of it.
        answer: oneshot::Sender<Result<(), Fault>>,
    },
}

/// Everything at one moment.
pub struct Seen {
    /// All workers together.
    pub census: Census,
    /// Workers that did not answer in time: their rows are missing.
    pub silent: Vec<usize>,
    /// The totals of each database.
    pub totals: BTreeMap<String, Twelve>,
    /// Their averages over the last stats period.
    pub rates: Rates,
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    /// What operators have switched off.
    pub switches: Arc<Switches>,
    /// The servers of each database, shard by shard.
    pub clusters: Arc<HashMap<String, Arc<[Arc<Cluster>]>>>,
    /// Transactions that span shards, per database.
    pub transactions: BTreeMap<String, crate::twophase::known::Seen>,
    /// The answers kept for each database.
    pub caches: HashMap<String, Arc<Cache>>,
    /// Is pgshunt about to stop?
    pub stopping: bool,
    /// Connections, logged in or not.
    pub connections: usize,
    /// Cancel requests being passed on.
    pub cancels: usize,
    /// When pgshunt started.
    pub started: SystemTime,
}

impl Seen {
    /// The numbers of the whole process.
    pub fn process(&self) -> Process {
        Process {
            start_s: self
                .started
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64(),
            connections: self.connections,
            connections_max: self.snapshot.limits.max_client_conn,
            login_clients: self.census.login_clients,
            cancels: self.cancels,
            workers: self.snapshot.threads,
            workers_silent: self.silent.len(),
            is_stopping: self.stopping,
            ..process::memory()
        }
    }
}

/// Too many look at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

impl Lookout {
    /// A lookout over the workers of `common`, and what comes of its wishes.
    pub fn new(common: Arc<Common>) -> (Rc<Self>, Wishes) {
        let (shutdown, shutdowns) = mpsc::unbounded_channel();
        let (changes, changed) = mpsc::unbounded_channel();
        let lookout = Lookout {
            common,
            started: SystemTime::now(),
            shutdown,
            changes,
            turns: Semaphore::new(LOOKS_MAX),
            samples: RefCell::default(),
            stopping: Cell::new(false),
        };
        let wishes = Wishes {
            shutdowns,
            changes: changed,
        };
        (Rc::new(lookout), wishes)
    }

    /// Takes a sample every stats period, for ever.
    pub async fn keep_samples(self: Rc<Self>) {
        let mut period = tokio::time::interval(STATS_PERIOD);
        loop {
            period.tick().await;
            if let Ok(seen) = self.look().await
                && seen.silent.is_empty()
            {
                let sample = Sample::of(&seen.census.pools, Instant::now());
                self.samples.borrow_mut().take(sample);
            }
        }
    }

    /// Looks at everything once.
    ///
    /// # Errors
    /// Others look, and no turn came in time.
    pub async fn look(&self) -> Result<Seen, Crowded> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Crowded);
        };
        let (census, silent) = self.ask().await;
        let now = Sample::of(&census.pools, Instant::now());
        let rates = self.samples.borrow().rates(&now);
        Ok(Seen {
            census,
            silent,
            totals: now.databases().clone(),
            rates,
            ..self.nothing()
        })
    }

    /// What is known without asking any worker.
    pub fn nothing(&self) -> Seen {
        let count = |of: &std::sync::atomic::AtomicUsize| of.load(std::sync::atomic::Ordering::Relaxed);
        Seen {
            census: Census::default(),
            silent: Vec::new(),
            totals: BTreeMap::new(),
            rates: Rates::default(),
            snapshot: self.common.snapshot.load_full(),
            switches: self.common.switches.load_full(),
            clusters: self.common.clusters.load_full(),
            transactions: self.common.transactions.seen(),
            caches: self.common.caches().clone(),
            stopping: self.stopping.get(),
            connections: count(&self.common.connections),
            cancels: count(&self.common.cancels),
            started: self.started,
        }
    }

    async fn ask(&self) -> (Census, Vec<usize>) {
        let deadline = tokio::time::Instant::now() + ANSWER_WITHIN;
        let answers: Vec<_> = self
            .common
            .doors
            .iter()
            .map(|door| {
                let (answer, told) = oneshot::channel();
                let _ = door.send(Order::Census(answer));
                told
            })
            .collect();
        let (mut parts, mut silent) = (Vec::new(), Vec::new());
        for (worker, told) in answers.into_iter().enumerate() {
            match tokio::time::timeout_at(deadline, told).await {
                Ok(Ok(part)) => parts.push(part),
                // A worker that has ended has no rows any more.
                Ok(Err(_)) => {}
                Err(_) => silent.push(worker),
            }
        }
        (Census::sum(parts), silent)
    }

    /// Asks for the end of pgshunt.
    pub fn shut_down(&self, patience: Patience) {
        let _ = self.shutdown.send(patience);
    }

    /// Has the configuration read again. What of it has to wait for a restart comes back as warnings.
    ///
    /// # Errors
    /// It is wrong, and nothing was changed.
    pub async fn reload(&self) -> Result<Vec<String>, Fault> {
        let (answer, told) = oneshot::channel();
        let _ = self.changes.send(Change::Reload(answer));
        told.await.map_err(|_| stopping())?
    }

    /// Changes one value of the configuration until it is read again.
    ///
    /// # Errors
    /// There is no such key that can be changed, or this is no value for it.
    pub async fn set(&self, key: &str, value: &str) -> Result<(), Fault> {
        let (answer, told) = oneshot::channel();
        let _ = self.changes.send(Change::Set {
            key: key.into(),
            value: value.into(),
            answer,
        });
        told.await.map_err(|_| stopping())?
    }

    /// Notes that pgshunt is about to stop.
    pub fn stops(&self) {
        self.stopping.set(true);
    }
}

fn stopping() -> Fault {
    Fault::error(sqlstate::CANNOT_CONNECT_NOW, "pgshunt is shutting down")
}
