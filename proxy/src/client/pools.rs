//! A worker's pools and the configuration: made when first asked for, changed and removed by a reload.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use super::handle::Signal;
use super::replicate;
use super::switches::means;
use super::worker::{Common, Order, Worker};
use crate::catalog::Catalogued;
use crate::pool::ledger::Ledger;
use crate::pool::seats::{Seats, Whose};
use crate::pool::{Key, Plan, Pool, Reads, Role, Ways};
use crate::protocol::session::prepared::{Schema, Statements};
use crate::server::address::Target;

impl Common {
    /// What the configuration says of a pool at this moment; `None`: it knows no such database.
    fn ways(&self, key: &Key) -> Option<Ways> {
        // INVARIANT: targets are swapped before the snapshot, so a database that is in the snapshot and not in them is
        // about to be removed.
        let snapshot = self.snapshot.load();
        let database = snapshot.database(&key.database)?;
        let clusters = self.clusters.load().get(&database.name)?.clone();
        let coordinator = self.coordinators.load().get(&database.name).cloned();
        let (targets, cluster) = match (key.place.role, &coordinator) {
            (Role::Coordinator, coordinator) => {
                let there = coordinator.as_ref()?;
                (
                    vec![there.target()],
                    (there.name() == &key.place.shard).then_some(&there.cluster)?,
                )
            }
            (role, _) => {
                let shards = self.targets.load();
                let mut shards = shards.get(&database.name)?.iter();
                let servers = shards.find(|servers| servers.shard == key.place.shard)?;
                let targets = match role {
                    Role::Replica(at) => vec![servers.targets.get(at)?.clone()],
                    Role::Primary | Role::Coordinator => servers.targets.clone(),
                };
                let cluster = clusters.iter().find(|cluster| cluster.name == key.place.shard)?;
                (targets, cluster)
            }
        };
        let targets = targets.into_iter().map(|target| match database.is_wildcard() {
            true => Arc::new(Target {
                dbname: key.database.clone(),
                ..(*target).clone()
            }),
            false => target,
        });
        let cluster = cluster.clone();
        Some(Ways {
            settings: database.pool_of(&key.user).clone(),
            max_db_connections: database.max_db_connections,
            max_user_connections: snapshot.max_user_connections(&key.user),
            targets: targets.collect(),
            reads: Reads {
                cluster,
                clusters,
                coordinator,
                sharding: database.sharding.clone(),
                tenant: database.tenant_of(&key.user).map(Into::into),
                catalogued: self.catalogued(&key.database),
                rules: database.split.clone(),
            },
        })
    }

    fn plan(&self, key: &Key, ways: &Ways) -> Plan {
        let size = ways.settings.size;
        let ledger = {
            let new = || Arc::new(Ledger::new(size, self.doors.len(), self.server_ids.clone()));
            let mut ledgers = self.ledgers();
            ledgers.entry(key.clone()).or_insert_with(new).clone()
        };
        ledger.limit(size, ways.settings.reserve_pool_size);
        let seat = |whose, name: &str| {
            let mut rooms = self.rooms.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            rooms.entry((whose, name.to_owned())).or_default().seat()
        };
        let seats = Seats {
            database: seat(Whose::Database, &key.database),
            role: seat(Whose::Role, &key.user),
        };
        seats.limit(ways.max_db_connections, ways.max_user_connections);
        let schema = self.schema(&key.database);
        Plan {
            key: key.clone(),
            ledger,
            seats,
            schema,
        }
    }

    fn schema(&self, database: &str) -> Schema {
        let mut schemas = self
            .schemas
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        schemas.entry(database.to_owned()).or_default().clone()
    }

    /// What is known of a database's names.
    pub fn catalogued(&self, database: &str) -> Arc<Catalogued> {
        let new = || Arc::new(Catalogued::new(self.schema(database)));
        self.catalogs()
            .entry(database.to_owned())
            .or_insert_with(new)
            .clone()
    }

    /// What is known of all databases' names, by the name clients give.
    pub fn catalogs(&self) -> MutexGuard<'_, std::collections::HashMap<String, Arc<Catalogued>>> {
        self.catalogs
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Ledgers of all pools.
    pub fn ledgers(&self) -> MutexGuard<'_, std::collections::HashMap<Key, Arc<Ledger>>> {
        self.ledgers
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Worker {
    /// The pool of a database and a role, made when first asked for. `None`: there is no such database (any more).
    pub fn pool(&self, key: Key) -> Option<Rc<Pool>> {
        let known = self.pools.borrow().get(&key).cloned();
        if let Some(pool) = known.as_ref().filter(|pool| !pool.is_removed()) {
            return Some(pool.clone());
        }
        let ways = self.common.ways(&key)?;
        if let Some(pool) = known {
            // Removed, and here again before its last client has left.
            pool.change(ways);
            return Some(pool);
        }
        let plan = self.common.plan(&key, &ways);
        let statements = self.statements(&key, &plan.schema);
        let pool = Pool::new(plan, ways, statements, self.buffers.clone());
        let (ledger, rooms) = (pool.plan.ledger.clone(), pool.plan.seats.rooms());
        tokio::task::spawn_local(Pool::mind_others(Rc::downgrade(&pool), ledger, rooms));
        let snapshot = self.common.snapshot.load();
        pool.pause(self.common.switches.load().is_paused(&key.database, &snapshot));
        self.pools.borrow_mut().insert(key, pool.clone());
        Some(pool)
    }

    /// The pool of a database's first shard, where a client that wants nothing special goes.
    pub fn first_pool(&self, database: &str, user: &str) -> Option<Rc<Pool>> {
        let snapshot = self.common.snapshot.load();
        let shards = self.common.targets.load();
        let first = shards.get(&snapshot.database(database)?.name)?.first()?;
        self.pool(Key::primary(database.into(), user.into(), first.shard.clone()))
    }

    /// The statements of a database and a role: those of any of their pools.
    fn statements(&self, key: &Key, schema: &Schema) -> Rc<RefCell<Statements>> {
        let pools = self.pools.borrow();
        let mut keys = pools.iter();
        let known = keys.find(|(other, _)| other.database == key.database && other.user == key.user);
        let new = || Rc::new(RefCell::new(Statements::new(self.index as u16, schema.clone())));
        known.map_or_else(new, |(_, pool)| pool.statements.clone())
    }

    /// Follows a changed configuration. A pool of which it says the same as before stays untouched; clients of a
    /// database that is no more leave when they are idle.
    pub(super) fn reload(&self) {
        self.forget_caches();
        for pool in self.all_pools() {
            match self.common.ways(&pool.plan.key) {
                Some(ways) => {
                    let before = pool.mode();
                    pool.change(ways);
                    if pool.mode() != before {
                        self.wake(&pool);
                    }
                }
                None => {
                    pool.remove();
                    self.wake(&pool);
                }
            }
        }
        // A switch on `*` may be about other databases now.
        self.switch();
    }

    /// Pauses and resumes pools as the switches say.
    pub(super) fn switch(&self) {
        let (snapshot, switches) = (self.common.snapshot.load(), self.common.switches.load());
        for pool in self.all_pools() {
            pool.pause(switches.is_paused(&pool.plan.key.database, &snapshot));
        }
    }

    /// The pools of one database; `None`: of all.
    pub(super) fn pools_of(&self, database: Option<&str>) -> Vec<Rc<Pool>> {
        let snapshot = self.common.snapshot.load();
        let mut pools = self.all_pools();
        pools.retain(|pool| database.is_none_or(|said| means(said, &pool.plan.key.database, &snapshot)));
        pools
    }

    /// Ends every client of a database, replication connections with them. What servers do for them is cancelled.
    pub(super) fn end_all(&self, database: Option<&str>) {
        let snapshot = self.common.snapshot.load();
        for client in self.clients.borrow().values() {
            if database.is_none_or(|said| means(said, &client.pool.plan.key.database, &snapshot)) {
                client.signal(Signal::Kill);
            }
        }
        replicate::end_all(&self.common, database, &snapshot);
    }

    /// Has all workers close free servers of a database that is to be dropped.
    pub fn vacate(&self, dbname: &str) {
        for door in &self.common.doors {
            let _ = door.send(Order::Vacate(dbname.into()));
        }
    }

    /// Every pool, so that nothing is borrowed while something is done with them.
    pub(super) fn all_pools(&self) -> Vec<Rc<Pool>> {
        self.pools.borrow().values().cloned().collect()
    }

    /// A pool's clients look whether they are to leave, and what mode to follow.
    fn wake(&self, pool: &Rc<Pool>) {
        let clients = self.clients.borrow();
        let own = clients.values().filter(|client| Rc::ptr_eq(&client.pool, pool));
        own.for_each(|client| client.signal(Signal::Stop));
    }

    /// Does what pools need now and then, and forgets those that nobody has any use for.
    pub(super) fn tidy_pools(&self, now: Instant) {
        for pool in self.all_pools() {
            pool.tidy(now);
        }
        self.give_up_unused(now);
        let is_left =
            |pool: &Rc<Pool>| !pool.is_removed() || pool.clients.get() > 0 || pool.counts(now).0 > 0;
        let gone = self
            .pools
            .borrow_mut()
            .extract_if(|_, pool| !is_left(pool))
            .collect();
        self.forget(gone);
    }
}
