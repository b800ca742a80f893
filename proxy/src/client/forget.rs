//! Pools that nobody has any use for are forgotten, and their statistics with them: those of a database that `*` made all
//! at once (`autodb_idle_timeout`), any other by itself (`pool_idle_timeout`).

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::worker::{Common, Worker};
use crate::pool::{Key, Pool};
use crate::snapshot::Database;

/// Since when all pools of one kind have been unused; `None`: one of them is in use.
type Since<K> = HashMap<K, Option<Instant>>;

impl Worker {
    /// Gives up pools that have been unused for long enough. They are removed once their last server is closed, and are
    /// back if a client comes first.
    pub(super) fn give_up_unused(&self, now: Instant) {
        let snapshot = self.common.snapshot.load();
        let (autodb, pool) = (
            snapshot.limits.autodb_idle_timeout,
            snapshot.limits.pool_idle_timeout,
        );
        let is_over = |limit: Duration, since: Instant| {
            !limit.is_zero() && now.saturating_duration_since(since) >= limit
        };
        let (mut of_databases, mut of_roles) = (Since::new(), Since::new());
        let pools = self.pools.borrow();
        let siblings: HashSet<*const Pool> = pools.values().flat_map(|pool| pool.known_siblings()).collect();
        for (key, pool) in pools.iter() {
            let owners = 1 + usize::from(siblings.contains(&Rc::as_ptr(pool)));
            let since = unused_since(pool, owners, now);
            put(&mut of_databases, &key.database, since);
            put(&mut of_roles, (&key.database, &key.user), since);
        }
        let is_forgotten = |key: &Key| {
            let is_auto = snapshot
                .database(&key.database)
                .is_some_and(Database::is_wildcard);
            let of_database = of_databases.get(&key.database).copied().flatten();
            let of_role = of_roles.get(&(&key.database, &key.user)).copied().flatten();
            is_auto && of_database.is_some_and(|since| is_over(autodb, since))
                || of_role.is_some_and(|since| is_over(pool, since))
        };
        let forgotten = pools
            .iter()
            .filter(|(key, pool)| !pool.is_removed() && is_forgotten(key));
        forgotten.for_each(|(_, pool)| pool.remove());
    }

    /// Lets go of pools that have been removed, so that what their workers share can go too.
    pub(super) fn forget(&self, gone: Vec<(Key, Rc<Pool>)>) {
        let ledgers: Vec<_> = gone.iter().map(|(_, pool)| pool.plan.ledger.clone()).collect();
        drop(gone);
        // Who minds one of these pools looks for it, and ends.
        ledgers.iter().for_each(|ledger| ledger.changed.notify_waiters());
    }
}

impl Common {
    /// Forgets what no pool of any worker needs any more.
    pub fn sweep(&self) {
        self.ledgers().retain(|_, ledger| Arc::strong_count(ledger) > 1);
        let mut rooms = self.rooms.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        rooms.retain(|_, room| Arc::strong_count(room) > 1);
        drop(rooms);
        self.catalogs()
            .retain(|_, catalogued| Arc::strong_count(catalogued) > 1);
        let mut schemas = self
            .schemas
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        schemas.retain(|_, schema| schema.is_shared());
    }
}

/// Nobody has it but its owners: the worker, and for another place's the pool it belongs to.
fn unused_since(pool: &Rc<Pool>, owners: usize, now: Instant) -> Option<Instant> {
    let since = match Rc::strong_count(pool) <= owners && pool.clients.get() == 0 {
        true => Some(pool.unused_since.get().unwrap_or(now)),
        false => None,
    };
    pool.unused_since.set(since);
    since
}

fn put<K: std::hash::Hash + Eq>(all: &mut Since<K>, key: K, since: Option<Instant>) {
    let known = all.entry(key).or_insert(since);
    // The last to be used counts.
    *known = known.zip(since).map(|(known, since)| known.max(since));
}
