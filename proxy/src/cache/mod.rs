//! Answers kept, so that the same question needs no server. Off for a database until its rules name a class.
//!
//! `key` says when two questions are the same, `local` keeps the answers, `stamp` says whether one is still good, `fill`
//! takes an answer down while it passes, `flight` lets one client ask for all who want to know the same, `counts` counts;
//! `redis` shares answers with other pgshunts; `follow` hears of what changes past pgshunt. What a statement may be kept for and what it changes is told by
//! `routing_rules::cache`; what this pgshunt's own sessions change by `protocol::session::touched`.

pub mod counts;
pub mod fill;
pub mod flight;
pub mod follow;
pub mod heard;
pub mod key;
pub mod local;
pub mod redis;
pub mod rights;
pub mod stamp;
pub mod stream;
pub mod stream_text;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use routing_rules::cache::{Admitted, Catalog, NotCached, Owned, Rules, admit};
use routing_rules::{Control, Lex, Script, Sharding, read};

use crate::catalog::Catalogued;
use crate::protocol::session::by_shape::ByShape;
use crate::protocol::session::question::Question;
use crate::protocol::session::touched::{Generations, Rows, Watch};
use counts::Counts;
use flight::Flights;
use heard::Heard;
use key::Hasher;
use local::Local;
use stamp::Stamp;

/// The answers of one database, as clients name it. Shared by all workers.
#[derive(Debug)]
pub struct Cache {
    /// The database.
    pub database: String,
    /// What is kept, and how long.
    pub rules: Arc<Rules>,
    /// Where its tenants are, if they are on several shards.
    pub sharding: Option<Arc<Sharding>>,
    /// What has changed.
    pub generations: Arc<Generations>,
    /// How much is known of changes past pgshunt.
    pub heard: Arc<Heard>,
    /// How often its first look at a shard's rights was done: that makes everything old.
    pub first_looks: AtomicUsize,
    /// The answers.
    pub local: Local,
    /// The second level.
    pub shared: redis::Shared,
    /// Who asks for what at this moment.
    pub flights: Flights,
    /// What is counted.
    pub counts: Counts,
    /// Makes numbers of keys.
    pub hasher: Hasher,
}

impl Cache {
    /// An empty one, of a database of so many shards. What is known of changes is known to the one before as well.
    pub fn new(
        database: String,
        rules: Rules,
        (sharding, shards): (Option<Arc<Sharding>>, usize),
        before: Option<&Cache>,
    ) -> Arc<Self> {
        let generations = before.map(|before| before.generations.clone());
        let heard = before
            .map(|before| before.heard.clone())
            .filter(|heard| heard.shards() == shards);
        Arc::new(Cache {
            database,
            local: Local::new(rules.max_bytes, rules.max_entry_bytes),
            counts: Counts::new(rules.classes.len()),
            rules: Arc::new(rules),
            generations: generations.unwrap_or_else(|| Arc::new(Generations::new(heard::nanos))),
            heard: heard.unwrap_or_else(|| Arc::new(Heard::new(shards))),
            first_looks: AtomicUsize::new(0),
            sharding,
            // What was shared under other rules was not told of meanwhile.
            shared: redis::Shared::new(before.is_none()),
            flights: Flights::default(),
            hasher: Hasher::default(),
        })
    }

    /// Are all its shards followed for its own sake, and not for one's before it?
    pub fn is_followed(&self) -> bool {
        self.first_looks.load(Ordering::Acquire) >= self.heard.shards()
    }

    /// Anything may have changed. `is_told`: to those who share answers too.
    pub fn makes_all_old(&self, is_told: bool) {
        match is_told {
            true => self.generations.all_changed(),
            false => self.generations.all_changed_here(),
        }
    }

    /// Forgets every answer.
    pub fn clear(&self) {
        self.generations.all_changed();
        self.local.clear();
    }
}

/// One worker's view of a [`Cache`].
#[derive(Debug)]
pub struct Reader {
    /// What it is a view of.
    pub cache: Arc<Cache>,
    /// The rules of this moment; a reload makes another reader.
    pub rules: Arc<Rules>,
    /// Tells what the worker's sessions change.
    pub watch: Rc<Watch>,
    /// What is known of the database's names.
    catalogued: Arc<Catalogued>,
    admissions: RefCell<ByShape<Admission>>,
}

/// What was found out about a text.
#[derive(Clone, Debug)]
pub struct Admission {
    /// May its answer be kept, and what is it made of?
    pub kept: Result<Rc<Kept>, Rc<NotCached>>,
    /// The session needs not read it: [`Script::QUERY`] is what it would find, whatever the constants are.
    pub is_query: bool,
}

/// A text whose answer may be kept.
#[derive(Debug)]
pub struct Kept {
    /// The class it belongs to, by its place in the rules.
    pub class: usize,
    /// What it reads, whatever its constants and parameters: all of it, unless `owned` has more.
    rows: Arc<[Rows]>,
    /// Their generations.
    reads: stamp::Reads,
    /// Tables of which some tenants' rows are read: its keys say whose.
    owned: Vec<Owned>,
}

/// What one execution of a text reads.
#[derive(Clone, Debug)]
pub struct Reads {
    /// The rows.
    pub rows: Arc<[Rows]>,
    /// Their generations.
    pub generations: stamp::Reads,
}

impl Reader {
    /// Of a cache, under the rules of this moment.
    pub fn new(cache: Arc<Cache>, catalogued: Arc<Catalogued>) -> Rc<Self> {
        let watch = Watch::new(cache.generations.clone(), catalogued.schema().clone());
        Rc::new(Reader {
            rules: cache.rules.clone(),
            watch: Rc::new(watch),
            catalogued,
            admissions: RefCell::default(),
            cache,
        })
    }

    /// What is known of the catalog now, if it is known.
    pub fn catalog(&self) -> Option<Arc<Catalog>> {
        let (as_of, catalog) = self.catalogued.catalog()?;
        if self.watch.follow(as_of, &catalog) {
            self.admissions.borrow_mut().clear();
        }
        Some(catalog)
    }

    /// May the answer to a text be kept?
    pub fn admits(&self, text: &[u8], lex: Lex, catalog: &Catalog) -> Admission {
        let find = || {
            let (kept, by_shape) = match admit(text, lex, catalog, &self.rules) {
                Ok(admitted) => {
                    let by_shape = admitted.by_shape;
                    (Ok(Rc::new(self.kept(admitted))), by_shape)
                }
                // No reason is a constant's alone, but that it says a time: those have no shape.
                Err(why) => (Err(Rc::new(why)), true),
            };
            // What a function does may be said by a constant; one that is called for an answer that is kept does nothing.
            let is_plain = Control::is_surely_none(text) && !text.contains(&b'(');
            let is_query = (kept.is_ok() || is_plain) && read(text, lex) == Script::QUERY;
            (Admission { kept, is_query }, by_shape)
        };
        match lex.standard_conforming_strings {
            true => {
                let (mut known, mut last) =
                    (self.admissions.borrow_mut(), self.watch.last_shape.borrow_mut());
                known.of(text, &mut last, find)
            }
            false => find().0,
        }
    }

    fn kept(&self, admitted: Admitted) -> Kept {
        let rows: Vec<Rows> = admitted.reads.iter().map(Rows::all).collect();
        Kept {
            class: admitted.class,
            reads: self.cache.generations.of(&rows).into(),
            rows: rows.into(),
            owned: admitted.owned,
        }
    }

    /// What a text reads with these parameters.
    pub fn reads(&self, kept: &Kept, question: &Question) -> Reads {
        if kept.owned.is_empty() {
            return Reads {
                rows: kept.rows.clone(),
                generations: kept.reads.clone(),
            };
        }
        let some = Rows::owned(&kept.owned, question.text(), &question.parameters());
        let rows: Arc<[Rows]> = kept.rows.iter().cloned().chain(some).collect();
        Reads {
            generations: self.cache.generations.of(&rows).into(),
            rows,
        }
    }

    /// What an answer asked for now is made under.
    pub fn stamp(&self, reads: &Reads) -> Stamp {
        Stamp::now(&self.cache.generations, &reads.generations)
    }

    /// Why nothing may be answered from the cache at this moment, if so: nobody knows what has changed elsewhere.
    pub fn is_deaf(&self, at: Instant) -> Option<&'static str> {
        self.cache
            .heard
            .is_deaf(at, self.rules.elsewhere, self.rules.max_delay)
    }
}
