//! A worker: one thread, its clients, the servers they borrow. It shares nothing with other workers but counts.
//!
//! The rest of the process talks to it by [`Order`]s.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use routing_rules::Texts;
use tokio::sync::{Notify, mpsc, oneshot};

use super::arrive;
use super::credentials::Lookup;
use super::gate::Gate;
use super::handle::{Doing, Handle, Overdue, Signal};
use super::marks::Marks;
use super::replicate::{self, Listed};
use super::route::readings::Readings;
use super::switches::Switches;
use crate::cache::{Cache, Reader};
use crate::catalog::Catalogued;
use crate::catalog::coordinator::Coordinator;
use crate::cluster::Cluster;
use crate::metrics::Census;
use crate::net::buffer::{BUFFER, Buffers};
use crate::net::tls::FromClient;
use crate::pool::ledger::Ledger;
use crate::pool::room::Room;
use crate::pool::seats::Whose;
use crate::pool::{Key, Pool};
use crate::protocol::session::prepared::Schema;
use crate::protocol::session::run::Run;
use crate::protocol::session::{Desk, Sink};
use crate::server::address::Servers;
use crate::snapshot::Snapshot;

/// What a worker is told to do.
pub enum Order {
    /// Serve this connection.
    Arrive(Accepted),
    /// Cancel the statement of the client that was given this key.
    Cancel {
        /// The process id of the key.
        pid: i32,
        /// The secret of the key.
        secret: Vec<u8>,
    },
    /// Say what you have.
    Census(oneshot::Sender<Census>),
    /// The configuration has changed: follow it, and say when that is done.
    Reload(oneshot::Sender<()>),
    /// The switches have changed: pause and resume pools.
    Switch(oneshot::Sender<()>),
    /// Connect the servers of this database anew (`None`: of all).
    Renew(Option<String>, oneshot::Sender<()>),
    /// Close free servers of this database (by its name there): somebody wants to drop it.
    Vacate(String),
    /// This host is at these addresses now: servers elsewhere are to be connected anew.
    Moved(Arc<str>, Arc<[IpAddr]>),
    /// How many servers of this database wait for that, since clients hold them?
    Outdated(Option<String>, oneshot::Sender<usize>),
    /// End every client of this database.
    EndAll(Option<String>, oneshot::Sender<()>),
    /// End the client of this number, and say whether there was one.
    End(u64, oneshot::Sender<bool>),
    /// Take no more clients, let those there are stay as long as they like.
    Drain,
    /// Take no more clients, let idle ones go, let busy ones finish.
    Stop,
    /// End every client.
    Kill,
}

/// A connection just accepted.
pub enum Accepted {
    /// Over TCP.
    Tcp(std::net::TcpStream, std::net::SocketAddr),
    /// Over a Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

/// What all workers share: the configuration, and counts.
pub struct Common {
    /// The configuration of this moment.
    pub snapshot: ArcSwap<Snapshot>,
    /// TLS towards clients, files read.
    pub tls: ArcSwap<FromClient>,
    /// Where verifiers come from.
    pub lookup: Lookup,
    /// Ledgers of all pools.
    pub ledgers: std::sync::Mutex<HashMap<Key, Arc<Ledger>>>,
    /// The places of each database, by the name clients give.
    pub rooms: std::sync::Mutex<HashMap<(Whose, String), Arc<Room>>>,
    /// Schema changes seen in each database, by the name clients give.
    pub schemas: std::sync::Mutex<HashMap<String, Schema>>,
    /// Numbers for servers.
    pub server_ids: Arc<AtomicU64>,
    /// Numbers for clients.
    pub client_ids: AtomicU64,
    /// Clients, logged in or about to be.
    pub connections: AtomicUsize,
    /// Who else may come in.
    pub gate: Arc<Gate>,
    /// The door of every worker.
    pub doors: Vec<mpsc::UnboundedSender<Order>>,
    /// Targets of each database, shard by shard, TLS files read.
    pub targets: ArcSwap<HashMap<String, Vec<Servers>>>,
    /// The servers of each database as they are known at this moment, shard by shard.
    pub clusters: ArcSwap<HashMap<String, Arc<[Arc<Cluster>]>>>,
    /// What answers where a database's shards together can't.
    pub coordinators: ArcSwap<HashMap<String, Arc<Coordinator>>>,
    /// What is known of each database's names, by the name clients give.
    pub catalogs: std::sync::Mutex<HashMap<String, Arc<Catalogued>>>,
    /// The instant up to which each tenant must be read, by database and tenant.
    pub marks: Marks,
    /// Answers kept, by the name clients give a database.
    pub caches: std::sync::Mutex<HashMap<String, Arc<Cache>>>,
    /// Cancel requests being passed on.
    pub cancels: AtomicUsize,
    /// Replication connections.
    pub replicating: std::sync::Mutex<Vec<Arc<Listed>>>,
    /// Transactions that span shards.
    pub transactions: Arc<crate::twophase::known::Known>,
    /// What operators have switched off.
    pub switches: ArcSwap<Switches>,
}

impl Common {
    /// Replication connections.
    pub fn replicating(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Listed>>> {
        self.replicating
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// One worker.
pub struct Worker {
    /// Its place among the doors.
    pub index: usize,
    /// What it shares.
    pub common: Arc<Common>,
    /// Its spare buffers.
    pub buffers: Rc<Buffers>,
    /// What its clients' texts were found to do.
    pub texts: RefCell<Texts>,
    /// Source of tokens for unnamed statements.
    pub tokens: Cell<u64>,
    /// Its clients.
    pub clients: RefCell<HashMap<u64, Rc<Handle>>>,
    /// Clients logging in.
    pub logging_in: Cell<u64>,
    /// Its replication connections.
    pub replications: Cell<u64>,
    /// Servers being brought to an end of what a client that is gone has left in them.
    pub leaving: Cell<u64>,
    /// What is known of texts on sharded databases.
    pub readings: Readings,
    /// Do texts compare byte by byte on all of a database's shards? By the name clients give.
    collations: RefCell<HashMap<String, Rc<Cell<Option<bool>>>>>,
    /// Is it about to end?
    pub stopping: Cell<bool>,
    /// Does it take no more clients, and end with the last one?
    pub draining: Cell<bool>,
    /// Wakes what passes bytes only, when it must end.
    pub ending: Notify,
    /// Its parts of the pools.
    pub(super) pools: RefCell<HashMap<Key, Rc<Pool>>>,
    /// Its views of the caches; `None`: there is none.
    pub(super) cache_readers: RefCell<HashMap<String, Option<Rc<Reader>>>>,
    /// Grows each time clients must ask for theirs again.
    pub(super) cache_epoch: Cell<u64>,
    scratch: RefCell<Vec<Vec<u8>>>,
}

/// How often a worker looks after its clients and pools.
const TICK: Duration = Duration::from_millis(100);

impl Worker {
    /// A worker without clients.
    pub fn new(index: usize, common: Arc<Common>) -> Rc<Self> {
        Rc::new(Worker {
            index,
            common,
            buffers: Rc::default(),
            texts: RefCell::default(),
            tokens: Cell::new((index as u64) << 48),
            clients: RefCell::default(),
            logging_in: Cell::new(0),
            replications: Cell::new(0),
            leaving: Cell::new(0),
            readings: Readings::default(),
            collations: RefCell::default(),
            stopping: Cell::new(false),
            draining: Cell::new(false),
            ending: Notify::new(),
            pools: RefCell::default(),
            cache_readers: RefCell::default(),
            cache_epoch: Cell::new(1),
            scratch: RefCell::default(),
        })
    }

    /// Whether texts of a database compare byte by byte, once somebody has asked its shards.
    pub fn collation(&self, database: &str) -> Rc<Cell<Option<bool>>> {
        let mut known = self.collations.borrow_mut();
        known.entry(database.to_owned()).or_default().clone()
    }

    /// Follows orders until the last client has left after [`Order::Stop`], or the door closes.
    pub async fn work(self: Rc<Self>, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(order) => self.follow(order),
                    None => return,
                },
                // Cancel safe: an interval keeps its place.
                _ = tick.tick() => self.tidy(Instant::now()),
            }
            let ends = self.stopping.get() || self.draining.get();
            let others = self.logging_in.get() + self.replications.get() + self.leaving.get();
            if ends && self.clients.borrow().is_empty() && others == 0 {
                return;
            }
        }
    }

    fn follow(self: &Rc<Self>, order: Order) {
        match order {
            Order::Arrive(accepted) => {
                let worker = self.clone();
                tokio::task::spawn_local(arrive::serve(worker, accepted));
            }
            Order::Cancel { pid, secret } => {
                let clients = self.clients.borrow();
                let client = clients.values().find(|client| client.pid == pid);
                if let Some(client) = client
                    && crate::protocol::auth::same_secret(&client.secret, &secret)
                {
                    client.signal(Signal::Cancel);
                }
            }
            Order::Census(reply) => {
                let _ = reply.send(self.census());
            }
            Order::Reload(reply) => {
                self.reload();
                let _ = reply.send(());
            }
            Order::Switch(reply) => {
                self.switch();
                let _ = reply.send(());
            }
            Order::Renew(database, reply) => {
                self.pools_of(database.as_deref()).iter().for_each(Pool::renew);
                let _ = reply.send(());
            }
            Order::Vacate(dbname) => {
                self.all_pools().iter().for_each(|pool| pool.vacate(&dbname));
            }
            Order::Moved(host, addresses) => {
                let pools = self.all_pools();
                pools.iter().for_each(|pool| pool.host_moved(&host, &addresses));
            }
            Order::Outdated(database, reply) => {
                let pools = self.pools_of(database.as_deref());
                let _ = reply.send(pools.iter().map(|pool| pool.outdated()).sum());
            }
            Order::EndAll(database, reply) => {
                self.end_all(database.as_deref());
                let _ = reply.send(());
            }
            Order::End(id, reply) => {
                let clients = self.clients.borrow();
                let client = clients.get(&id);
                if let Some(client) = client {
                    client.signal(Signal::Kill);
                }
                let _ = reply.send(client.is_some());
            }
            Order::Drain => self.draining.set(true),
            Order::Stop => {
                self.stopping.set(true);
                self.ending.notify_waiters();
                self.signal_all(Signal::Stop);
            }
            Order::Kill => {
                self.stopping.set(true);
                self.ending.notify_waiters();
                self.signal_all(Signal::Kill);
            }
        }
    }

    fn signal_all(&self, signal: Signal) {
        self.clients
            .borrow()
            .values()
            .for_each(|client| client.signal(signal));
    }

    /// Sends a cancel request to the worker that has the client.
    pub fn pass_cancel(&self, pid: i32, secret: Vec<u8>) {
        if replicate::cancel(self, pid, &secret) {
            return;
        }
        let door = usize::from((pid >> PID_WORKER_SHIFT) as u16 & 0x7f);
        if let Some(door) = self.common.doors.get(door) {
            let _ = door.send(Order::Cancel { pid, secret });
        }
    }

    /// A process id for a client: it names the worker, so that a cancel request finds it.
    pub fn pid_for(&self, client_id: u64) -> i32 {
        (self.index as i32) << PID_WORKER_SHIFT | (client_id as i32 & ((1 << PID_WORKER_SHIFT) - 1)).max(1)
    }

    /// Runs a step of a session with what the sessions of this worker share.
    pub fn at_desk<R>(&self, pool: &Pool, message_max: usize, step: impl FnOnce(&mut Desk<'_>) -> R) -> R {
        let mut tokens = self.tokens.get();
        let mut desk = Desk {
            statements: &mut pool.statements.borrow_mut(),
            totals: &mut pool.totals.borrow_mut(),
            tokens: &mut tokens,
            message_max,
            held_max: pool.settings().max_prepared_statements,
        };
        let result = step(&mut desk);
        self.tokens.set(tokens);
        result
    }

    /// A place for what a step wants written.
    pub fn sink(&self) -> Sink {
        let made = self.scratch.borrow_mut().pop().unwrap_or_default();
        Sink {
            forward: Run::new(made),
            back: Vec::new(),
        }
    }

    /// Takes back the memory of a sink, unless it has grown large.
    pub fn recycle(&self, sink: Sink) {
        let made = sink.forward.into_buffer();
        let mut scratch = self.scratch.borrow_mut();
        if made.capacity() <= BUFFER && scratch.len() < 4 {
            scratch.push(made);
        }
    }

    fn tidy(self: &Rc<Self>, now: Instant) {
        self.tidy_pools(now);
        for client in self.clients.borrow().values() {
            if client.pool.is_fenced(client.generation.get()) {
                client.signal(Signal::Fenced);
            }
            if let Some(overdue) = overdue(client, now) {
                client.overdue.set(Some(overdue));
                client.signal(Signal::Overdue);
            }
        }
    }

    fn census(&self) -> Census {
        let clients = self.clients.borrow();
        super::census::take(
            clients.values(),
            self.pools.borrow().values(),
            self.logging_in.get(),
        )
    }
}

/// Where the worker's number stands in a client's process id.
const PID_WORKER_SHIFT: u32 = 24;

/// The limit on time a client has passed, if any.
fn overdue(client: &Handle, now: Instant) -> Option<Overdue> {
    let settings = client.pool.settings();
    let passed =
        |limit: Duration, since: Instant| !limit.is_zero() && now.saturating_duration_since(since) >= limit;
    let since = client.since.get();
    if let Some(began) = client.xact_since.get()
        && passed(settings.transaction_timeout, began)
    {
        return Some(Overdue::Transaction);
    }
    match client.doing.get() {
        Doing::Working if passed(settings.query_timeout, since) => Some(Overdue::Query),
        Doing::InTransaction if passed(settings.idle_transaction_timeout, since) => {
            Some(Overdue::IdleTransaction)
        }
        Doing::Idle | Doing::Pinned if passed(settings.client_idle_timeout, since) => Some(Overdue::Idle),
        Doing::Pinned if settings.server_fast_close && client.pool.is_replaced(client.generation.get()) => {
            Some(Overdue::Server)
        }
        _ => None,
    }
}

/// Counts one connection for as long as it lives.
pub struct Counted(Arc<Common>);

impl Counted {
    /// One more connection, unless there are `max` already (0: no limit).
    pub fn new(common: &Arc<Common>, max: usize) -> Option<Self> {
        let before = common.connections.fetch_add(1, Ordering::AcqRel);
        let counted = Counted(common.clone());
        (max == 0 || before < max).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}
