//! What a session has changed that answers in the result cache may be made of, told before the client hears that it is
//! done.
//!
//! Every table has a generation; an answer is good as long as the generations it was made under are. A session collects
//! what its statements may change while they are sent, and raises those generations before bytes of a server reach the
//! client that could say so: at once outside of a transaction, with the COMMIT inside of one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use routing_rules::cache::{Bucket, Catalog, Effect, Name, Owned, Touches, effect};
use routing_rules::{Lex, Parameter};

use super::by_shape::{ByShape, LastShape};
use super::prepared::Schema;
use super::said::Bound;
use super::untold::{UNKNOWN_BYTES_MAX, UNKNOWN_MAX, Unknown, Untold};
use super::{Backend, Session};
use crate::protocol::message::cstr;

/// How often something was changed, and when last.
#[derive(Debug, Default)]
pub struct Generation {
    count: AtomicU64,
    /// By the clock of [`Generations`].
    at: AtomicU64,
}

impl Generation {
    /// How often it was changed.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// When it was changed last, by the clock it was given; 0: never.
    pub fn at(&self) -> u64 {
        self.at.load(Ordering::Acquire)
    }

    fn raise(&self, at: u64) {
        self.at.fetch_max(at, Ordering::AcqRel);
        self.count.fetch_add(1, Ordering::AcqRel);
    }
}

/// Rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rows {
    /// The table.
    pub table: Name,
    /// Those of the tenants with this number; `None`: all of them.
    pub of: Option<Bucket>,
}

impl Rows {
    /// All of a table.
    pub fn all(table: &Name) -> Self {
        Rows {
            table: table.clone(),
            of: None,
        }
    }

    /// Those of tables of which some tenants' are read or written by this text; all of them, where nobody can tell whose.
    pub fn owned(owned: &[Owned], text: &[u8], parameters: &[Parameter<'_>]) -> Vec<Self> {
        let mut rows = Vec::new();
        for (owned, buckets) in Owned::whose(owned, text, parameters) {
            for table in &owned.tables {
                match &buckets {
                    None => rows.push(Rows::all(table)),
                    Some(buckets) => rows.extend(buckets.iter().map(|bucket| Rows {
                        table: table.clone(),
                        of: Some(*bucket),
                    })),
                }
            }
        }
        rows
    }
}

/// The generations of one table that somebody looks at.
#[derive(Debug, Default)]
struct Table {
    /// Raised by each change.
    any: Arc<Generation>,
    /// Raised by a change of which nobody knows whose rows it is of.
    all: Arc<Generation>,
    /// Raised by a change of these tenants' rows.
    some: HashMap<Bucket, Arc<Generation>>,
}

/// The generations of one database's tables.
#[derive(Debug)]
pub struct Generations {
    /// Of everything at once: schema, rights, what nobody can tell.
    pub anything: Generation,
    tables: Mutex<HashMap<Name, Table>>,
    clock: fn() -> u64,
    /// What others are to be told.
    pub untold: Untold,
}

impl Generations {
    /// Nothing has changed yet. `clock` tells the time.
    pub fn new(clock: fn() -> u64) -> Self {
        Generations {
            anything: Generation::default(),
            tables: Mutex::default(),
            clock,
            untold: Untold::default(),
        }
    }

    /// The generations by which rows that somebody reads are known to be as they were.
    pub fn of(&self, rows: &[Rows]) -> Vec<Arc<Generation>> {
        let mut tables = self.tables();
        let mut generations = Vec::with_capacity(rows.len() + 1);
        for rows in rows {
            let table = match tables.get_mut(&rows.table) {
                Some(table) => table,
                None => tables.entry(rows.table.clone()).or_default(),
            };
            match rows.of {
                None => generations.push(table.any.clone()),
                Some(bucket) => {
                    generations.push(table.all.clone());
                    generations.push(table.some.entry(bucket).or_default().clone());
                }
            }
        }
        generations
    }

    /// These rows have changed. What nobody reads needs no generation.
    pub fn changed<'a>(&self, changed: impl IntoIterator<Item = &'a Rows>) {
        let at = (self.clock)();
        let tables = self.tables();
        for rows in changed {
            // First: who sees the generation raised must find this here, or told.
            self.untold.add(rows);
            let Some(table) = tables.get(&rows.table) else {
                continue;
            };
            table.any.raise(at);
            match rows.of {
                None => table.all.raise(at),
                Some(bucket) => {
                    if let Some(generation) = table.some.get(&bucket) {
                        generation.raise(at);
                    }
                }
            }
        }
    }

    /// Anything may have changed.
    pub fn all_changed(&self) {
        self.untold.add_anything();
        self.all_changed_here();
    }

    /// Anything may have changed, by texts that nobody could look into yet.
    fn changed_unknown(&self, texts: &[Unknown]) {
        texts.iter().for_each(|text| self.untold.add_unknown(text));
        if !texts.is_empty() {
            self.all_changed_here();
        }
    }

    /// Anything may have changed that is known here; others need not be told.
    pub fn all_changed_here(&self) {
        self.anything.raise((self.clock)());
    }

    fn tables(&self) -> std::sync::MutexGuard<'_, HashMap<Name, Table>> {
        self.tables
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What tells the changes of one database's sessions on one worker.
#[derive(Debug)]
pub struct Watch {
    /// Where they are told.
    pub generations: Arc<Generations>,
    schema: Schema,
    /// The catalog, and the schema it is of: how often names and tables had changed by then.
    catalog: RefCell<Option<(u64, Arc<Catalog>)>>,
    effects: RefCell<ByShape<Rc<Effect>>>,
    /// Of the text that the worker's sessions asked about last.
    pub last_shape: RefCell<LastShape>,
    /// The text that was found last to be one whose answer may be kept: all it does is read.
    read: RefCell<Vec<u8>>,
    reads: Rc<Effect>,
}

impl Watch {
    /// Nothing is known of the catalog yet: every write may change anything.
    pub fn new(generations: Arc<Generations>, schema: Schema) -> Self {
        Watch {
            generations,
            schema,
            catalog: RefCell::default(),
            effects: RefCell::default(),
            last_shape: RefCell::default(),
            read: RefCell::default(),
            reads: Rc::new(Effect::NOTHING),
        }
    }

    /// This was found in the catalog of that schema. Gives back whether it is something else than
    /// before.
    pub fn follow(&self, generation: u64, catalog: &Arc<Catalog>) -> bool {
        let mut known = self.catalog.borrow_mut();
        if let Some((of, old)) = &*known
            && *of == generation
            && Arc::ptr_eq(old, catalog)
        {
            return false;
        }
        *known = Some((generation, catalog.clone()));
        self.effects.borrow_mut().clear();
        self.read.borrow_mut().clear();
        true
    }

    /// By what is known of the catalog, the answer to this text may be kept.
    pub fn note_read(&self, text: &[u8], lex: Lex) {
        let mut read = self.read.borrow_mut();
        read.clear();
        if lex.standard_conforming_strings {
            read.extend_from_slice(text);
        }
    }

    /// What a text changes, and whether the catalog was known for that.
    fn effect(&self, text: &[u8], lex: Lex) -> (Rc<Effect>, bool) {
        let known = self.catalog.borrow();
        // A catalog from before the last change of the schema knows nothing of what it made.
        let now = self.schema.state();
        let current = known.as_ref().filter(|(of, _)| *of == now);
        let is_standard = lex.standard_conforming_strings && current.is_some();
        if is_standard && *self.read.borrow() == text && !text.is_empty() {
            return (self.reads.clone(), true);
        }
        let find = || {
            let effect = effect(text, lex, current.map(|(_, catalog)| &**catalog));
            let by_shape = effect.by_shape;
            (Rc::new(effect), by_shape)
        };
        let effect = match is_standard {
            true => {
                let (mut effects, mut last) = (self.effects.borrow_mut(), self.last_shape.borrow_mut());
                effects.of(text, &mut last, find)
            }
            false => find().0,
        };
        (effect, current.is_some())
    }
}

/// What a session has changed and not told yet.
#[derive(Debug, Default)]
pub(super) struct Touched {
    watch: Option<Rc<Watch>>,
    rows: Vec<Rows>,
    /// What these have, nobody knows yet.
    unknown: Vec<Unknown>,
    anything: bool,
    /// The schema among it.
    defines: bool,
    /// Something was sent that may end the transaction.
    ends: bool,
}

/// What one transaction has changed is told one by one up to here; beyond, it is anything.
const ROWS_MAX: usize = 256;

impl Touched {
    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.unknown.is_empty() && !self.anything
    }

    /// A text with this effect goes to a server, with these parameters.
    fn note(&mut self, effect: &Effect, text: &[u8], parameters: &[Parameter<'_>]) {
        match &effect.touches {
            Touches::Nothing => {}
            Touches::Anything => self.anything = true,
            Touches::Tables(names) => names.iter().for_each(|name| self.add(Rows::all(name))),
        }
        for rows in Rows::owned(&effect.owned, text, parameters) {
            self.add(rows);
        }
        self.ends |= effect.ends;
        self.defines |= effect.defines;
    }

    /// A statement goes to a server that nobody can look into yet.
    fn note_unknown(&mut self, effect: &Effect, text: Unknown) {
        match self.unknown.len() < UNKNOWN_MAX && text.0.len() <= UNKNOWN_BYTES_MAX {
            true if self.unknown.contains(&text) => {}
            true => self.unknown.push(text),
            false => self.anything = true,
        }
        self.ends |= effect.ends;
    }

    fn add(&mut self, rows: Rows) {
        if self.anything || self.rows.contains(&rows) {
            return;
        }
        match self.rows.len() < ROWS_MAX {
            true => self.rows.push(rows),
            false => self.anything = true,
        }
    }

    fn tell(&self) {
        let Some(watch) = &self.watch else { return };
        if self.defines {
            // What was found in the catalog while this was not committed is old.
            watch.schema.changed(true);
        }
        if self.anything {
            return watch.generations.all_changed();
        }
        watch.generations.changed_unknown(&self.unknown);
        if !self.rows.is_empty() {
            watch.generations.changed(&self.rows);
        }
    }

    fn forget(&mut self) {
        self.rows.clear();
        self.unknown.clear();
        (self.anything, self.defines, self.ends) = (false, false, false);
    }
}

impl Drop for Touched {
    /// The session ends, and what it has sent may have been done.
    fn drop(&mut self) {
        self.tell();
    }
}

impl Session {
    /// From now on its changes are told there; `None`: nobody wants to know.
    pub fn watched_by(&mut self, watch: Option<Rc<Watch>>) {
        if self.touched.is_empty() {
            self.touched.watch = watch;
        }
    }

    /// A text goes to a server.
    pub(super) fn touches(&mut self, text: &[u8]) {
        self.touches_with(text, |_| Vec::new());
    }

    /// The statement with this body is bound, by a Bind with this behind its names.
    pub(super) fn touches_bound(&mut self, body: &[u8], rest: &[u8], described: Option<&[u32]>) {
        let (text, types) = cstr(body).unwrap_or((body, &[]));
        self.touches_with(text, |effect| {
            let is_asked = effect.owned.iter().any(Owned::needs_parameters);
            let bound = Bound::read(types.get(2..).unwrap_or_default(), rest).filter(|_| is_asked);
            bound.map_or(Vec::new(), |bound| bound.parameters(described))
        });
    }

    fn touches_with<'p>(&mut self, text: &[u8], parameters: impl FnOnce(&Effect) -> Vec<Parameter<'p>>) {
        let Some(watch) = self.touched.watch.clone() else {
            return;
        };
        let reading = self.reading();
        let (effect, is_known) = match reading.is_unsafe {
            true => (Rc::new(Effect::UNKNOWN), true),
            false => watch.effect(text, reading.lex),
        };
        if !is_known && effect.touches == Touches::Anything && !effect.defines {
            let text = (text.into(), reading.lex);
            return self.touched.note_unknown(&effect, text);
        }
        let parameters = parameters(&effect);
        self.touched.note(&effect, text, &parameters);
    }

    /// The unnamed statement is bound.
    pub(super) fn touches_by_unnamed(&mut self, rest: &[u8]) {
        if self.touched.watch.is_none() {
            return;
        }
        let unnamed = std::mem::take(&mut self.unnamed);
        self.touches_bound(&unnamed.body, rest, None);
        self.unnamed = unnamed;
    }

    /// Something is run that is not known here.
    pub(super) fn touches_anything(&mut self) {
        if self.touched.watch.is_some() {
            self.touched.note(&Effect::UNKNOWN, &[], &[]);
        }
    }

    /// Bytes of the server are about to reach the client, and may say that something is done: whoever reads the cache
    /// from now on must not find what was before.
    pub fn tell_changes(&mut self, backend: &Backend) {
        if self.touched.is_empty() {
            if self.touched.ends && backend.is_idle() {
                self.touched.ends = false;
            }
            return;
        }
        let goes_on = matches!(backend.status, b'T' | b'E') && !self.touched.ends;
        if !goes_on {
            self.touched.tell();
        }
        if backend.is_idle() {
            self.touched.forget();
        }
    }

    /// The server was lost: what it was sent may have been done.
    pub(super) fn tell_lost_changes(&mut self) {
        self.touched.tell();
        self.touched.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::session::pipeline::Expect;

    fn session() -> (Session, Arc<Generations>, Arc<Generation>) {
        let generations = Arc::new(Generations::new(|| 7));
        let mut session = Session::new(1, Default::default(), Default::default());
        let watch = Watch::new(generations.clone(), Schema::default());
        session.watched_by(Some(Rc::new(watch)));
        let table = generations.of(&[Rows::all(&b"t"[..].into())]).remove(0);
        (session, generations, table)
    }

    #[test]
    fn a_change_inside_a_transaction_is_told_with_its_end() {
        let (mut session, generations, _) = session();
        let mut backend = Backend {
            status: b'T',
            ..Backend::default()
        };
        backend.pipeline.push(Expect::Query);
        session.touched.anything = true;
        session.tell_changes(&backend);
        assert_eq!(generations.anything.count(), 0);
        session.touches(b"COMMIT");
        session.tell_changes(&backend);
        assert_eq!(generations.anything.count(), 1, "its tag may come before its end");
        backend.pipeline.pop();
        backend.status = b'I';
        session.tell_changes(&backend);
        session.tell_changes(&backend);
        assert_eq!(generations.anything.count(), 2);
        assert_eq!(generations.anything.at(), 7);
    }

    #[test]
    fn what_was_run_before_the_catalog_was_known_is_told_once_it_is() {
        let run = |text: &[u8]| {
            let (mut session, generations, table) = session();
            session.touches(text);
            drop(session);
            let is_old = (table.count(), generations.anything.count()) == (0, 1);
            assert!(is_old, "here it may have changed anything");
            generations
        };
        let read = b"SELECT v FROM t";
        let known = run(read);
        known.untold.know(&Catalog::default());
        assert!(known.untold.take().is_empty(), "it reads");
        assert!(run(read).untold.take().anything, "nobody will know");
        for text in [&b"SELECT f()"[..], b"CREATE TABLE t ()"] {
            let known = run(text);
            known.untold.know(&Catalog::default());
            assert!(known.untold.take().anything, "{}", text.escape_ascii());
        }
        let later = run(read);
        later.untold.know(&Catalog::default());
        later.changed_unknown(&[(read[..].into(), Lex::default())]);
        assert!(later.untold.take().anything, "too late");
    }

    #[test]
    fn who_leaves_amid_a_write_may_have_written() {
        let (mut session, generations, table) = session();
        session.touched.rows.push(Rows::all(&b"t"[..].into()));
        drop(session);
        assert_eq!((table.count(), generations.anything.count()), (1, 0));
        generations.changed(&[Rows::all(&b"unread"[..].into())]);
        assert_eq!(
            generations.tables().len(),
            1,
            "what nobody reads is not remembered"
        );
    }
}
