//! What may change about a pool while it is in use: its settings, its servers, whether it lends them at all.
//!
//! Servers are never taken from a client: those lent are closed when they come back.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::seats::Whose;
use super::{Key, Place, Pool, Role, Ways};
use crate::server::address::{Address, Target};
use crate::server::held::{Facts, Server};

/// PostgreSQL waits five seconds for others to leave a database that is to be dropped.
const VACANT: Duration = Duration::from_secs(6);

impl Pool {
    /// The configuration says this now. What it says as before stays untouched.
    pub fn change(self: &Rc<Self>, ways: Ways) {
        self.removed.set(false);
        self.plan
            .ledger
            .limit(ways.settings.size, ways.settings.reserve_pool_size);
        self.plan
            .seats
            .limit(ways.max_db_connections, ways.max_user_connections);
        let was_loose = self.mode().is_loose();
        *self.settings.borrow_mut() = Rc::new(ways.settings);
        let is_other = !Arc::ptr_eq(&self.reads.borrow().cluster, &ways.reads.cluster);
        if is_other {
            self.epoch.set(ways.reads.cluster.epoch());
            self.siblings.borrow_mut().clear();
        }
        *self.reads.borrow_mut() = Rc::new(ways.reads);
        let before = self.targets.replace(ways.targets.into());
        let is_like = |(old, new): (&Arc<Target>, &Arc<Target>)| old.is_like(new);
        let after = self.targets.borrow().clone();
        let is_same = before.len() == after.len() && before.iter().zip(after.iter()).all(is_like);
        if !is_same {
            self.preferred.set(0);
        }
        // What PgBouncer's modes have left in servers nobody is to find in the others.
        if !is_same || was_loose && !self.mode().is_loose() {
            self.renew();
        }
        self.tidy(Instant::now());
    }

    /// The configuration knows it no more: its clients are to leave when they are idle.
    pub fn remove(self: &Rc<Self>) {
        self.removed.set(true);
        self.close_idle();
    }

    /// The pool of the same database and role at another place, known from then on; `find` finds it.
    pub fn sibling(
        self: &Rc<Self>,
        shard: &str,
        role: Role,
        find: impl FnOnce(Key) -> Option<Rc<Pool>>,
    ) -> Option<Rc<Pool>> {
        let is_there =
            |pool: &Rc<Pool>| pool.plan.key.place.role == role && *pool.plan.key.place.shard == *shard;
        if is_there(self) {
            return Some(self.clone());
        }
        let known = self.siblings.borrow().iter().find(|pool| is_there(pool)).cloned();
        if known.as_ref().is_some_and(|pool| !pool.is_removed()) {
            return known;
        }
        let shard = shard.into();
        let found = find(self.plan.key.at(Place { shard, role }))?;
        found.know(self.secret.borrow().clone());
        let mut siblings = self.siblings.borrow_mut();
        siblings.retain(|pool| !pool.is_removed() && !Rc::ptr_eq(pool, &found));
        siblings.push(found.clone());
        Some(found)
    }

    /// The pools of other places that it knows, by their addresses.
    pub fn known_siblings(&self) -> Vec<*const Pool> {
        self.siblings.borrow().iter().map(Rc::as_ptr).collect()
    }

    /// Has it been removed?
    pub fn is_removed(&self) -> bool {
        self.removed.get()
    }

    /// All its servers are to be connected anew: free ones now, the others when they come back.
    pub fn renew(self: &Rc<Self>) {
        self.generation.set(self.generation.get() + 1);
        *self.failure.borrow_mut() = None;
        self.plan.ledger.forget_welcomes();
        self.close_idle();
        self.connect_more();
    }

    /// Is this server to be closed when it comes back, because others have been asked for since?
    pub fn is_outdated(&self, facts: &Facts) -> bool {
        facts.generation != self.generation.get()
    }

    /// The same of the generation of a server that a client keeps; `u64::MAX` is none.
    pub fn is_replaced(&self, generation: u64) -> bool {
        generation < self.generation.get()
    }

    /// The host is at these addresses now. If a server is at another one, all are connected anew.
    pub fn host_moved(self: &Rc<Self>, host: &str, addresses: &[IpAddr]) {
        let mut is_elsewhere = false;
        self.each_known(|facts| {
            let is_there = matches!(&facts.target.address, Address::Tcp { host: at, .. } if at == host);
            let is_current = !self.is_outdated(&facts);
            is_elsewhere |=
                is_there && is_current && facts.peer.is_some_and(|peer| !addresses.contains(&peer.ip()));
        });
        if is_elsewhere {
            let Key { database, user, .. } = &self.plan.key;
            tracing::info!(
                database,
                user,
                host,
                "a server's name stands for other addresses now"
            );
            self.renew();
        }
    }

    /// How many such servers are left, those that are still being connected with them.
    pub fn outdated(&self) -> usize {
        let now = self.generation.get();
        let mut count = self
            .connecting
            .borrow()
            .iter()
            .filter(|each| **each != now)
            .count();
        self.each_known(|facts| count += usize::from(self.is_outdated(&facts)));
        count
    }

    /// Lends no more servers and closes them all; clients queue. Or lends them again.
    pub fn pause(self: &Rc<Self>, paused: bool) {
        if self.paused.replace(paused) == paused {
            return;
        }
        if paused {
            return self.close_idle();
        }
        // What comes up again may be another version.
        self.plan.ledger.forget_welcomes();
        *self.failure.borrow_mut() = None;
        self.connect_more();
    }

    /// Is it about to close this server when it is next free?
    pub fn is_due(&self, server: &Server, now: Instant) -> bool {
        let lifetime = self.settings.borrow().server_lifetime;
        let is_vacated = self.vacant_until.get().is_some_and(|end| now < end);
        is_vacated || self.is_outdated(&server.facts) || server.is_past(lifetime, server.connected_at, now)
    }

    /// Somebody wants this database of the servers to be left by all others: free servers are closed, and for a while
    /// those that come back.
    pub fn vacate(self: &Rc<Self>, dbname: &str) {
        let is_of_it = self.targets.borrow().iter().any(|target| target.dbname == dbname);
        if is_of_it {
            self.vacant_until.set(Some(Instant::now() + VACANT));
            self.close_idle();
        }
    }

    /// Has the pool no use for servers any more?
    pub(super) fn lends_no_more(&self) -> bool {
        self.paused.get() || (self.removed.get() && !self.has_waiters())
    }

    /// Closes every free server; those lent are closed when they come back.
    fn close_idle(self: &Rc<Self>) {
        for server in std::mem::take(&mut *self.idle.borrow_mut()) {
            self.retire(server);
        }
    }

    /// Closes free servers above the limit, the oldest first.
    pub(super) fn close_surplus(self: &Rc<Self>) {
        while !self.idle.borrow().is_empty() && self.plan.ledger.gives_up() {
            let oldest = self.idle.borrow_mut().remove(0);
            self.retire_surplus(oldest);
        }
    }

    /// Closes free servers whose places others of the database or the role wait for, the oldest first.
    pub(super) fn make_room(self: &Rc<Self>) {
        while !self.idle.borrow().is_empty()
            && let Some(whose) = self.plan.seats.makes_room(!self.has_waiters())
        {
            let oldest = self.idle.borrow_mut().remove(0);
            self.retire_for_others(oldest, whose);
        }
    }

    /// Closes a server that its seat said is to make room.
    pub(super) fn retire_for_others(self: &Rc<Self>, server: Box<Server>, whose: Whose) {
        let pool = self.clone();
        tokio::task::spawn_local(async move {
            server.say_goodbye().await;
            pool.closed();
            pool.plan.seats.made_room(whose);
        });
    }

    /// Closes a server that the ledger said is too many.
    pub(super) fn retire_surplus(self: &Rc<Self>, server: Box<Server>) {
        let pool = self.clone();
        tokio::task::spawn_local(async move {
            server.say_goodbye().await;
            pool.closed();
            pool.plan.ledger.gave_up();
        });
    }
}
