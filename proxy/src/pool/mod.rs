//! Lending servers to clients: one pool for each database and role, one part of it on each worker.
//!
//! `ledger` counts, over all workers, and `room` over all pools of a database or a role; `Pool` holds the servers that are free, the clients that wait, and makes new
//! servers, never more than they allow. Nothing here is locked: a pool lives on its worker's thread.

mod change;
mod choose;
mod failover;
pub mod key;
pub mod lease;
pub mod ledger;
mod reserve;
pub mod room;
pub mod seats;
pub mod settings;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use routing_rules::{Guard, Rules, Sharding};

use crate::catalog::Catalogued;
use crate::catalog::coordinator::Coordinator;
use crate::cluster::Cluster;
use crate::fault::{Fault, Severity};
use crate::metrics::Totals;
use crate::net::buffer::Buffers;
use crate::protocol::auth::Secret;
use crate::protocol::session::prepared::{Schema, Statements};
use crate::protocol::session::reported;
use crate::protocol::sqlstate;
use crate::server::address::Target;
use crate::server::connect::{ConnectFault, connect};
use crate::server::held::{Facts, Server};
use failover::retry_after;
pub use key::{Key, Place, Role};
use lease::{Answer, Lease, Ticket, Waiter};
use ledger::{Ledger, Need};
use room::Room;
use seats::Seats;
use settings::{Mode, Settings};

/// What a pool is made of.
pub struct Plan {
    /// Whose it is.
    pub key: Key,
    /// What the workers' parts of this pool count together.
    pub ledger: Arc<Ledger>,
    /// Its part of what all pools of the database, and all of the role, count together.
    pub seats: Seats,
    /// What is known of changes to the database's schema.
    pub schema: Schema,
}

/// What the configuration says of a pool, and may say otherwise after a reload.
pub struct Ways {
    /// How it behaves.
    pub settings: Settings,
    /// The most servers of its database, over all pools (0: none).
    pub max_db_connections: usize,
    /// The most servers of its role, over all databases (0: none).
    pub max_user_connections: usize,
    /// The servers that may be the one, in order of preference.
    pub targets: Vec<Arc<Target>>,
    /// What is known of the servers, and what reads may do with it.
    pub reads: Reads,
}

/// What is known of a database's servers and of its names, and what its rules say.
#[derive(Clone)]
pub struct Reads {
    /// The servers of the pool's shard as they are known at this moment.
    pub cluster: Arc<Cluster>,
    /// Those of all its shards, in the order of the configuration.
    pub clusters: Arc<[Arc<Cluster>]>,
    /// How it is sharded, if it is.
    pub sharding: Option<Arc<Sharding>>,
    /// The tenant the pool's role is bound to.
    pub tenant: Option<Arc<str>>,
    /// What answers where the shards together can't, if there is one.
    pub coordinator: Option<Arc<Coordinator>>,
    /// What the database has that matters on a replica.
    pub catalogued: Arc<Catalogued>,
    /// Where reads go.
    pub rules: Rules,
}

impl Reads {
    /// Must each statement be looked at for whose rows it may see?
    pub fn is_guarded(&self) -> bool {
        let guards = |rules: &Arc<Sharding>| rules.guard != Guard::Off;
        self.tenant.is_some() || self.sharding.as_ref().is_some_and(guards)
    }
}

/// One worker's part of a pool.
pub struct Pool {
    /// What it is made of.
    pub plan: Plan,
    /// Its clients' prepared statements, the same for all pools of the database and role: their servers go by their numbers.
    pub statements: Rc<RefCell<Statements>>,
    /// What it counts.
    pub totals: RefCell<Totals>,
    /// Clients that have logged in and not left.
    pub clients: Cell<usize>,
    /// Since when nobody has had any use for it.
    pub unused_since: Cell<Option<Instant>>,
    settings: RefCell<Rc<Settings>>,
    targets: RefCell<Rc<[Arc<Target>]>>,
    reads: RefCell<Rc<Reads>>,
    /// Pools of the same database and role at other places, as far as its clients have been there.
    siblings: RefCell<Vec<Rc<Pool>>>,
    generation: Cell<u64>,
    /// The cluster's epoch its servers are of.
    epoch: Cell<u64>,
    /// Servers of generations before this are of an old primary.
    fenced_below: Cell<u64>,
    paused: Cell<bool>,
    removed: Cell<bool>,
    vacant_until: Cell<Option<Instant>>,
    secret: RefCell<Secret>,
    // Lent and given back as boxes: nothing is moved but a pointer.
    #[allow(clippy::vec_box)]
    idle: RefCell<Vec<Box<Server>>>,
    #[allow(clippy::vec_box)]
    canceling: RefCell<Vec<Box<Server>>>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
    /// The generations of servers being connected.
    connecting: RefCell<Vec<u64>>,
    /// Servers that are asked whether they still answer.
    checking: Cell<usize>,
    alive: Cell<usize>,
    failure: RefCell<Option<Failure>>,
    preferred: Cell<usize>,
    need: Cell<Need>,
    known: RefCell<Vec<Weak<Facts>>>,
    buffers: Rc<Buffers>,
}

/// The last connect that failed.
struct Failure {
    at: Instant,
    fault: Fault,
    /// Would another server's promotion end it? Then clients wait for that, no longer than they wait for any server.
    may_pass: bool,
}

/// How long a worker may keep a server above its share although another worker's clients wait for one.
const TURN: Duration = Duration::from_millis(100);

impl Pool {
    /// An empty pool.
    pub fn new(
        plan: Plan,
        ways: Ways,
        statements: Rc<RefCell<Statements>>,
        buffers: Rc<Buffers>,
    ) -> Rc<Self> {
        Rc::new(Pool {
            plan,
            statements,
            totals: RefCell::default(),
            clients: Cell::new(0),
            unused_since: Cell::new(None),
            settings: RefCell::new(Rc::new(ways.settings)),
            targets: RefCell::new(ways.targets.into()),
            epoch: Cell::new(ways.reads.cluster.epoch()),
            reads: RefCell::new(Rc::new(ways.reads)),
            siblings: RefCell::default(),
            generation: Cell::new(0),
            fenced_below: Cell::new(0),
            paused: Cell::new(false),
            removed: Cell::new(false),
            vacant_until: Cell::new(None),
            secret: RefCell::default(),
            idle: RefCell::default(),
            canceling: RefCell::default(),
            waiters: RefCell::default(),
            connecting: RefCell::default(),
            checking: Cell::default(),
            alive: Cell::new(0),
            failure: RefCell::new(None),
            preferred: Cell::new(0),
            need: Cell::default(),
            known: RefCell::default(),
            buffers,
        })
    }

    /// How it behaves at this moment.
    pub fn settings(&self) -> Rc<Settings> {
        self.settings.borrow().clone()
    }

    /// When its clients give their servers back, at this moment.
    pub fn mode(&self) -> Mode {
        self.settings.borrow().mode
    }

    /// What is known of its database's servers, and what reads may do.
    pub fn reads(&self) -> Rc<Reads> {
        self.reads.borrow().clone()
    }

    /// What the next server is logged in with: whatever the last client proved.
    pub fn know(&self, secret: Secret) {
        for sibling in self.siblings.borrow().iter() {
            sibling.know(secret.clone());
        }
        *self.secret.borrow_mut() = secret;
    }

    /// Asks for a server: an idle one, a place in the queue, or a refusal. `last` is the number of the server the client
    /// had last (0: none).
    pub fn borrow(self: &Rc<Self>, last: u64, waker: impl FnOnce() -> Waker) -> Answer {
        self.follow_primary();
        if self.waiters.borrow().is_empty()
            && let Some(server) = self.take_idle(last)
        {
            self.totals.borrow_mut().server_assignment_count += 1;
            return Answer::Lent(Lease::new(self.clone(), server));
        }
        if let Some(fault) = self.recent_failure() {
            return Answer::Refused(fault);
        }
        let limit = self.settings.borrow().queue_size;
        if limit > 0 && self.waiters.borrow().len() >= limit {
            let fault = Fault::error(
                sqlstate::TOO_MANY_CONNECTIONS,
                "too many clients wait for a server already",
            )
            .hint("Raise queue_size or size in [pool], or send fewer statements at a time.");
            return Answer::Refused(fault);
        }
        let waiter = Rc::new(Waiter::new(waker()));
        self.waiters.borrow_mut().push_back(waiter.clone());
        self.connect_more();
        Answer::Queued(Ticket::new(self.clone(), waiter))
    }

    fn recent_failure(&self) -> Option<Fault> {
        let failure = self.failure.borrow();
        // A database that was not there may have been made since.
        let stands =
            |failure: &&Failure| !failure.may_pass && failure.fault.code != sqlstate::NO_SUCH_DATABASE;
        let failure = failure.as_ref().filter(stands)?;
        let recent = failure.at.elapsed() < self.settings.borrow().server_login_retry;
        (recent && self.alive.get() == 0 && !self.paused.get()).then(|| failure.fault.clone())
    }

    /// Takes a server back that is idle and clean.
    pub fn give_back(self: &Rc<Self>, mut server: Box<Server>) {
        let now = Instant::now();
        if server.is_being_canceled() {
            self.canceling.borrow_mut().push(server);
            return;
        }
        if self.is_due(&server, now) || self.lends_no_more() || !server.is_alive(&self.buffers) {
            return self.retire(server);
        }
        if self.plan.ledger.gives_up() {
            return self.retire_surplus(server);
        }
        if self.gives_way(&server, now) {
            return self.retire(server);
        }
        if self.is_past_its_turn(&server, now)
            && let Some(whose) = self.plan.seats.makes_room(!self.has_waiters())
        {
            return self.retire_for_others(server, whose);
        }
        server.idle_since = now;
        while let Some(waiter) = self.waiters.borrow_mut().pop_front() {
            if waiter.is_waiting() {
                let mut totals = self.totals.borrow_mut();
                totals.server_assignment_count += 1;
                totals.wait_time.record(waiter.since.elapsed());
                drop(totals);
                return waiter.serve(server);
            }
        }
        self.idle.borrow_mut().push(server);
    }

    /// Must this worker give up a server so that another one gets its share? Not at once: a connect is dear.
    fn gives_way(&self, server: &Server, now: Instant) -> bool {
        let has_more = self.alive.get() > self.plan.ledger.share();
        has_more && self.plan.ledger.others_are_behind(self.need.get()) && self.is_past_its_turn(server, now)
    }

    fn is_past_its_turn(&self, server: &Server, now: Instant) -> bool {
        now.saturating_duration_since(server.connected_at) >= TURN
    }

    /// Does what the needs of other workers and pools ask of this one, for as long as the pool lives.
    pub async fn mind_others(pool: Weak<Pool>, ledger: Arc<Ledger>, rooms: [Arc<Room>; 2]) {
        loop {
            // Cancel safe: what is missed is seen at the next `tidy`.
            tokio::select! {
                () = ledger.changed.notified() => {}
                () = rooms[0].changed.notified() => {}
                () = rooms[1].changed.notified() => {}
            }
            let Some(pool) = pool.upgrade() else { return };
            pool.mind();
        }
    }

    /// A free server nobody here waits for goes to those who starve; who starves tries again.
    fn mind(self: &Rc<Self>) {
        if self.need.get() != Need::None {
            self.connect_more();
        } else if self.plan.ledger.others_starve(Need::None) && !self.has_waiters() {
            self.close_one_idle();
        }
        self.make_room();
    }

    /// Closes a server. Its place is free once PostgreSQL has let it go, so that it never counts more than the limit.
    pub fn retire(self: &Rc<Self>, server: Box<Server>) {
        let pool = self.clone();
        tokio::task::spawn_local(async move {
            server.say_goodbye().await;
            pool.closed();
        });
    }

    /// A server of this pool is no more.
    fn closed(self: &Rc<Self>) {
        self.alive.set(self.alive.get() - 1);
        self.plan.ledger.release();
        self.plan.seats.release();
        self.connect_more();
    }

    fn close_one_idle(self: &Rc<Self>) {
        let oldest = {
            let mut idle = self.idle.borrow_mut();
            (!idle.is_empty()).then(|| idle.remove(0))
        };
        if let Some(server) = oldest {
            self.retire(server);
        }
    }

    /// Cancel requests have ended: servers kept back for them may go on.
    pub fn cancel_ended(self: &Rc<Self>) {
        let kept = std::mem::take(&mut *self.canceling.borrow_mut());
        for server in kept {
            self.give_back(server);
        }
    }

    /// Clients that wait.
    pub fn waiting(&self) -> u64 {
        let waiters = self.waiters.borrow();
        waiters.iter().filter(|waiter| waiter.is_waiting()).count() as u64
    }

    /// Does a client wait?
    pub fn has_waiters(&self) -> bool {
        self.waiters.borrow().iter().any(|waiter| waiter.is_waiting())
    }

    /// Connects as many servers as are waited for, in bounded parallel.
    fn connect_more(self: &Rc<Self>) {
        let settings = self.settings();
        loop {
            let wanted = self
                .waiters
                .borrow()
                .iter()
                .filter(|waiter| waiter.is_waiting())
                .count();
            let connecting = self.connecting.borrow().len();
            let coming = connecting + self.checking.get();
            if wanted > coming && self.check_one() {
                continue;
            }
            let patient = self
                .failure
                .borrow()
                .as_ref()
                .is_none_or(|failure| failure.at.elapsed() >= retry_after(failure, &settings));
            let is_enough = coming >= wanted || connecting >= settings.connect_parallel;
            if is_enough || !patient || self.paused.get() {
                return self.needs(Need::None);
            }
            let is_behind = self.alive.get() < self.plan.ledger.share().max(1);
            // A place that was just given up is for those who have less than their share.
            let yields = !is_behind && self.plan.ledger.others_are_behind(self.need.get());
            if yields || !self.takes_place(&settings) {
                return self.needs(if is_behind { Need::Behind } else { Need::Starving });
            }
            if let Err(need) = self.plan.seats.reserve() {
                self.plan.ledger.hand_back();
                return self.needs(need);
            }
            self.needs(Need::None);
            let generation = self.generation.get();
            self.connecting.borrow_mut().push(generation);
            self.alive.set(self.alive.get() + 1);
            let pool = self.clone();
            tokio::task::spawn_local(async move { pool.connect_one(generation).await });
        }
    }

    fn needs(&self, need: Need) {
        let before = self.need.replace(need);
        if before != need {
            self.plan.ledger.need(before, need);
            self.plan.seats.wait(before, need);
        }
    }

    async fn connect_one(self: Rc<Self>, planned: u64) {
        // Else a server of a new primary would pass for one of the old.
        self.follow_primary();
        let generation = self.generation.get();
        if let Some(coming) = self
            .connecting
            .borrow_mut()
            .iter_mut()
            .find(|each| **each == planned)
        {
            *coming = generation;
        }
        let result = self.reach(generation).await;
        let at = self
            .connecting
            .borrow()
            .iter()
            .position(|each| *each == generation);
        at.map(|at| self.connecting.borrow_mut().swap_remove(at));
        match result {
            Ok(server) => {
                *self.failure.borrow_mut() = None;
                self.totals.borrow_mut().server_connect_count += 1;
                self.known.borrow_mut().retain(|facts| facts.strong_count() > 0);
                self.known.borrow_mut().push(Rc::downgrade(&server.facts));
                self.give_back(server);
                self.connect_more();
            }
            // It was to be another server, or none at all.
            Err(_) if self.paused.get() || generation != self.generation.get() => self.closed(),
            Err(fault) => {
                let targets = self.targets.borrow().clone();
                let address = &targets[self.preferred.get() % targets.len()].address;
                tracing::warn!(%address, user = self.plan.key.user, error = %fault, "no server could be connected");
                self.totals.borrow_mut().server_connect_failure_count += 1;
                let told = Fault {
                    severity: Severity::Error,
                    ..self.naming_shard(fault.for_client())
                };
                let failure = Failure {
                    at: Instant::now(),
                    fault: told.clone(),
                    may_pass: self.awaits_primary(&fault),
                };
                let may_pass = failure.may_pass;
                *self.failure.borrow_mut() = Some(failure);
                self.closed();
                if self.alive.get() == 0 && !may_pass {
                    self.fail_waiters(&told);
                }
            }
        }
    }

    /// Connects to a server that is what the pool is for, beginning with the one that was last.
    async fn reach(&self, generation: u64) -> Result<Box<Server>, ConnectFault> {
        let secret = self.secret.borrow().clone();
        let user = &self.plan.key.user;
        let targets = self.candidates();
        let count = targets.len();
        let mut last = None;
        for turn in 0..count {
            let at = (self.preferred.get() + turn) % count;
            let target = &targets[at];
            match connect(target, user, &secret, &[]).await {
                Ok(logged_in) => {
                    let login: Arc<[u8]> = user.as_bytes().into();
                    let mut server = Box::new(Server::new(
                        (self.plan.ledger.next_id(), generation),
                        target.clone(),
                        login,
                        logged_in,
                    ));
                    if !self.is_of_use(&mut server).await {
                        continue;
                    }
                    if generation == self.generation.get() {
                        self.preferred.set(at);
                    }
                    return Ok(server);
                }
                Err(fault) => last = Some(fault),
            }
        }
        Err(last
            .unwrap_or_else(|| ConnectFault::Unreachable(std::io::Error::other("no server is a primary"))))
    }

    /// Is a server just connected what the pool is for?
    async fn is_of_use(&self, server: &mut Server) -> bool {
        match self.plan.key.place.role {
            Role::Primary => {
                self.targets.borrow().len() == 1
                    || (self.is_at_primary(&server.facts.target) && !is_standby(server, &self.buffers).await)
            }
            Role::Coordinator => true,
            Role::Replica(_) => {
                // Sessions come and go between servers; that one of them is a standby is not theirs to hear.
                server.backend.reported = reported::as_on_primary(&server.backend.reported);
                true
            }
        }
    }

    fn fail_waiters(&self, fault: &Fault) {
        for waiter in self.waiters.borrow_mut().drain(..) {
            waiter.refuse(fault.clone());
        }
    }

    /// What must be done now and then: old servers closed, waiting clients refused, connects tried again.
    pub fn tidy(self: &Rc<Self>, now: Instant) {
        self.follow_primary();
        let settings = self.settings();
        self.mind_waiters(&settings, now);
        let mut kept = Vec::new();
        let mut gone = Vec::new();
        for mut server in std::mem::take(&mut *self.idle.borrow_mut()) {
            let spare = self.alive.get() - gone.len() > settings.min_size;
            let old = self.is_due(&server, now)
                || (spare && server.is_past(settings.server_idle_timeout, server.idle_since, now));
            if old || !server.is_alive(&self.buffers) {
                gone.push(server)
            } else {
                kept.push(server)
            }
        }
        // Servers given back while this ran are newer: they stay last.
        kept.append(&mut self.idle.borrow_mut());
        *self.idle.borrow_mut() = kept;
        for server in gone {
            self.retire(server);
        }
        self.close_surplus();
        self.connect_more();
        self.mind();
    }

    /// Free servers and those kept back for a cancel, for the census.
    pub fn each_free(&self, mut see: impl FnMut(&Server, &'static str)) {
        self.idle.borrow().iter().for_each(|server| see(server, "idle"));
        self.canceling
            .borrow()
            .iter()
            .for_each(|server| see(server, "being_canceled"));
    }

    /// Every server that has logged in, lent or free, for the census.
    pub fn each_known(&self, see: impl FnMut(Rc<Facts>)) {
        self.known.borrow().iter().filter_map(Weak::upgrade).for_each(see);
    }

    /// Servers alive or being connected, those being connected, and how long the oldest client has waited.
    pub fn counts(&self, now: Instant) -> (usize, usize, Duration) {
        let waited = self.longest_wait(now);
        (self.alive.get(), self.connecting.borrow().len(), waited)
    }
}

/// A standby says so at login since PostgreSQL 14; older ones are asked.
async fn is_standby(server: &mut Server, buffers: &Buffers) -> bool {
    if let Some(value) = server.backend.reported.value(b"in_hot_standby") {
        return value == b"on";
    }
    // Division by zero on a standby, nothing on a primary.
    let question = b"SELECT 1/(CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0 ELSE 1 END)";
    !matches!(server.run(question, buffers).await, Ok(Ok(())))
}
