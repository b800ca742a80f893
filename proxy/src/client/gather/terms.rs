//! What a gathering server is given: the shards and their pools, the rules, what the session has set.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use routing_rules::{Lex, Sharding};

use super::course::Course;
use crate::catalog::Catalogued;
use crate::client::route::readings::Remembered;
use crate::client::worker::Worker;
use crate::pool::Pool;
use crate::protocol::session::settings::Shared;
use crate::twophase::door::Door;

/// One shard.
pub(in crate::client) struct Site {
    /// Its name.
    pub name: Box<str>,
    /// The pool of its primary, for the session's role.
    pub primary: Rc<Pool>,
    /// That of the replica it is read on, if it is.
    pub replica: Option<Rc<Pool>>,
}

/// Everything it is given.
pub(in crate::client) struct Terms {
    /// The worker it runs on.
    pub worker: Rc<Worker>,
    /// The database, as clients name it.
    pub database: String,
    /// All shards, in the order of the configuration.
    pub shards: Vec<Site>,
    /// How the database is sharded.
    pub sharding: Arc<Sharding>,
    /// Its tables.
    pub catalogued: Arc<Catalogued>,
    /// What its texts were read as.
    pub readings: Rc<Remembered>,
    /// What the session says meanwhile.
    pub course: Rc<Course>,
    /// What the session has set.
    pub settings: Shared,
    /// How texts are read.
    pub lex: Lex,
    /// Text compares byte by byte on every shard; `None`: nobody has asked yet.
    pub is_c: Rc<Cell<Option<bool>>>,
    /// Bytes one statement may hold.
    pub merge_memory: usize,
    /// The longest a shard may take for one statement (0: for ever).
    pub shard_timeout: Duration,
}

impl Terms {
    /// The way to each shard for pgshunt's own role.
    pub(super) fn doors(&self) -> Vec<Door> {
        let common = &self.worker.common;
        let snapshot = common.snapshot.load();
        let targets = common.targets.load();
        let Some(database) = snapshot.database(&self.database) else {
            return Vec::new();
        };
        let (Some(control), Some(shards)) = (&database.control, targets.get(&database.name)) else {
            return Vec::new();
        };
        control.doors(shards)
    }

    /// The place of a shard.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.shards.iter().position(|site| *site.name == *name)
    }
}
