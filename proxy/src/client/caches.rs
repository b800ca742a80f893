//! The caches of all databases, and each worker's view of them.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, MutexGuard};

use routing_rules::{Guard, Sharding};

use super::worker::{Common, Worker};
use crate::cache::{Cache, Reader};

impl Common {
    /// The caches there are, by the name clients give.
    pub fn caches(&self) -> MutexGuard<'_, HashMap<String, Arc<Cache>>> {
        self.caches
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The cache of a database, made when first asked for; `None`: its rules name no class, or guard its tenants.
    /// Other rules make another one, empty.
    pub fn cache(&self, database: &str) -> Option<Arc<Cache>> {
        let snapshot = self.snapshot.load();
        // A guard looks at each statement: who has set no tenant, or another one, may not be told what is kept.
        let is_guarded = |sharding: &Arc<Sharding>| sharding.guard != Guard::Off;
        let found = snapshot
            .database(database)
            .filter(|found| !found.sharding.as_ref().is_some_and(is_guarded))
            .filter(|found| found.sharding.is_some() || found.shards.len() == 1);
        let mut caches = self.caches();
        let Some((found, rules)) = found.and_then(|found| Some((found, found.cache.clone()?))) else {
            caches.remove(database);
            return None;
        };
        let is_same = |known: &&Arc<Cache>| *known.rules == rules && known.sharding == found.sharding;
        if let Some(known) = caches.get(database).filter(is_same) {
            return Some(known.clone());
        }
        let before = caches.get(database).map(Arc::as_ref);
        let shards = (found.sharding.clone(), found.shards.len());
        let made = Cache::new(database.to_owned(), rules, shards, before);
        caches.insert(database.to_owned(), made.clone());
        Some(made)
    }
}

impl Worker {
    /// The worker's view of a database's cache.
    pub(super) fn cache_reader(&self, database: &str) -> Option<Rc<Reader>> {
        let mut readers = self.cache_readers.borrow_mut();
        if let Some(known) = readers.get(database) {
            return known.clone();
        }
        let catalogued = || self.common.catalogued(database);
        let cache = self.common.cache(database);
        if let Some(cache) = cache.as_ref().filter(|cache| cache.sharding.is_some()) {
            // By what the configuration says of roles and tenants an answer may now come from another shard.
            cache.generations.all_changed();
        }
        let reader = cache.map(|cache| Reader::new(cache, catalogued()));
        readers.insert(database.to_owned(), reader.clone());
        reader
    }

    /// The configuration has changed: clients ask for their cache again.
    pub(super) fn forget_caches(&self) {
        self.cache_readers.borrow_mut().clear();
        self.cache_epoch.set(self.cache_epoch.get() + 1);
    }
}
