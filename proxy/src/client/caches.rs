//! The caches of all databases, and each worker's view of them.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, MutexGuard};

use super::worker::{Common, Worker};
use crate::cache::{Cache, Reader};

impl Common {
    /// The caches there are, by the name clients give.
    pub fn caches(&self) -> MutexGuard<'_, HashMap<String, Arc<Cache>>> {
        self.caches
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The cache of a database, made when first asked for; `None`: its rules name no class. Other rules make another one,
    /// empty.
    pub fn cache(&self, database: &str) -> Option<Arc<Cache>> {
        let snapshot = self.snapshot.load();
        // One generation of a table on several shards would need all their streams, and a guard looks at each statement.
        let found = snapshot
            .database(database)
            .filter(|found| found.shards.len() == 1 && found.sharding.is_none());
        let rules = found.and_then(|found| found.cache.clone());
        let mut caches = self.caches();
        let Some(rules) = rules else {
            caches.remove(database);
            return None;
        };
        if let Some(known) = caches.get(database).filter(|known| *known.rules == rules) {
            return Some(known.clone());
        }
        let made = Cache::new(database.to_owned(), rules, caches.get(database).map(Arc::as_ref));
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
        let reader = self
            .common
            .cache(database)
            .map(|cache| Reader::new(cache, catalogued()));
        readers.insert(database.to_owned(), reader.clone());
        reader
    }

    /// The configuration has changed: clients ask for their cache again.
    pub(super) fn forget_caches(&self) {
        self.cache_readers.borrow_mut().clear();
        self.cache_epoch.set(self.cache_epoch.get() + 1);
    }
}
