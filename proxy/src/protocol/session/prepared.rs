//! Prepared statements under two names: the client's and the server's.
//!
//! A client's name maps to a [`Statement`]; equal texts with equal parameter types are one statement, whoever prepared
//! them, and carry one number. A server knows a statement by that number and holds a bounded set of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lazy_begin::NO_TYPES;
use super::settings::Shared;
use routing_rules::{Access, Control, Effects, Lex, Reading, read};

/// A statement somebody prepared.
#[derive(Debug)]
pub struct Statement {
    /// Its number, unique in the process.
    pub id: u64,
    /// Text, terminator and parameter types, as in a Parse message after the name.
    pub body: Box<[u8]>,
    /// What running it may do to the session.
    pub effects: Effects,
    /// Custom settings its text names.
    pub custom: Vec<String>,
    /// The tag, if it is a BEGIN in a form that may be answered at once.
    pub begins: Option<&'static str>,
    /// It asks where the last statement went: the answer is another one each time it is bound.
    pub asks_route: Cell<bool>,
    /// The name it gives up, if it is a DEALLOCATE of one.
    pub deallocates: Option<Box<[u8]>>,
    /// The schema's generation when it was first prepared: a statement prepared after a schema change is another one,
    /// as at a PostgreSQL, where the old one fails with "cached plan must not change result type" and the new one works.
    generation: u64,
    /// The settings under which a server last took it. A client with the same ones need not ask again: should the
    /// schema have changed since, its first Bind meets the error.
    pub proven: RefCell<Option<Shared>>,
    /// The columns it returned when a server first described it, as in RowDescription; `Some(None)`: no rows.
    pub result: RefCell<Option<Option<Box<[u8]>>>>,
    /// Under this generation of the schema its result is another one than it was.
    pub changed: Cell<Option<u64>>,
    /// What it does to data, with the stamp of the names by which that was told.
    pub access: RefCell<Option<(u64, Access)>>,
    /// Where it belongs on a sharded database, under rules and tables with this serial number, and whether keys stand in its
    /// text.
    pub reading: RefCell<Option<(u64, Arc<Reading>, bool)>>,
    /// The types of its parameters, once a server has described it.
    pub described: RefCell<Option<Box<[u32]>>>,
}

impl Statement {
    /// The schema's generation when it was prepared.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// A count of the schema changes seen in one database, shared by all its pools.
#[derive(Clone, Debug, Default)]
pub struct Schema(Arc<[AtomicU64; 4]>);

impl Schema {
    /// How many changes were seen.
    pub fn generation(&self) -> u64 {
        self.0[0].load(Ordering::Acquire)
    }

    /// How many of them may concern tables that others see.
    pub fn tables(&self) -> u64 {
        self.0[1].load(Ordering::Acquire)
    }

    /// A number for the whole state, as far as the result cache goes.
    pub fn state(&self) -> u64 {
        let doubts = self.0[3].load(Ordering::Acquire);
        self.names_generation()
            .wrapping_add(self.tables())
            .wrapping_add(doubts)
    }

    /// Somebody else may have made a change. Only the result cache cares at once.
    pub fn doubted(&self) {
        self.0[3].fetch_add(1, Ordering::AcqRel);
    }

    /// Does anybody else count along?
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// One more was.
    pub fn changed(&self, is_seen_by_others: bool) {
        self.0[2].fetch_add(1, Ordering::AcqRel);
        if is_seen_by_others {
            self.0[1].fetch_add(1, Ordering::AcqRel);
        }
        self.0[0].fetch_add(1, Ordering::AcqRel);
    }

    /// How many of them may have changed what names mean to everybody.
    pub fn names_generation(&self) -> u64 {
        self.0[2].load(Ordering::Acquire)
    }

    /// One more was, which leaves what names mean to everybody as it was.
    pub fn changed_but_for_names(&self, is_seen_by_others: bool) {
        if is_seen_by_others {
            self.0[1].fetch_add(1, Ordering::AcqRel);
        }
        self.0[0].fetch_add(1, Ordering::AcqRel);
    }
}

/// All statements the clients of a pool have prepared on one worker, each once.
#[derive(Debug)]
pub struct Statements {
    /// Somebody has asked what its session did to sequences, ever.
    pub(super) asks_sequences: bool,
    schema: Schema,
    known: HashMap<Box<[u8]>, Rc<Statement>>,
    next: u64,
    sweep_at: usize,
}

impl Statements {
    /// An empty table; `worker` makes the numbers of different workers differ.
    pub fn new(worker: u16, schema: Schema) -> Self {
        Statements {
            asks_sequences: false,
            schema,
            known: HashMap::new(),
            next: (u64::from(worker) << 48) + 1,
            sweep_at: 1024,
        }
    }

    /// The statement of a Parse body, known or new.
    pub fn intern(&mut self, text: &[u8], body: &[u8], lex: Lex) -> Rc<Statement> {
        let generation = self.schema.generation();
        if let Some(statement) = self.known.get(body)
            && statement.generation == generation
        {
            return statement.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, statement| Rc::strong_count(statement) > 1);
            self.sweep_at = (self.known.len() * 2).max(1024);
        }
        let script = read(text, lex);
        let statement = Rc::new(Statement {
            id: self.next,
            body: body.into(),
            effects: script.effects,
            custom: script.custom_settings,
            deallocates: deallocates(&script.control),
            begins: match script.control {
                Control::Begin { tag, .. } if body.len() == text.len() + NO_TYPES => Some(tag),
                _ => None,
            },
            asks_route: Cell::new(false),
            generation,
            proven: RefCell::default(),
            result: RefCell::default(),
            changed: Cell::new(None),
            access: RefCell::default(),
            reading: RefCell::default(),
            described: RefCell::default(),
        });
        self.next += 1;
        self.known.insert(body.into(), statement.clone());
        statement
    }

    /// The statement of a Parse body, if a server has taken it under these settings.
    pub fn proven(&self, body: &[u8], settings: &Shared) -> Option<Rc<Statement>> {
        let statement = self.known.get(body)?;
        if statement.generation != self.schema.generation() {
            return None;
        }
        let is_proven = statement
            .proven
            .borrow()
            .as_ref()
            .is_some_and(|under| under == settings);
        is_proven.then(|| statement.clone())
    }

    /// The schema of the database they are for.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Is none known?
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// The name a DEALLOCATE of one gives up.
pub fn deallocates(control: &Control) -> Option<Box<[u8]>> {
    match control {
        Control::Deallocate { name } => Some(name.as_slice().into()),
        _ => None,
    }
}

/// The statements one server holds, least recently used first to go.
#[derive(Debug, Default)]
pub struct Held {
    used: HashMap<u64, u64>,
    clock: u64,
}

impl Held {
    /// Does the server hold it? If so it counts as used now.
    pub fn touch(&mut self, id: u64) -> bool {
        self.clock += 1;
        let clock = self.clock;
        self.used.get_mut(&id).map(|used| *used = clock).is_some()
    }

    /// Does the server hold it?
    pub fn has(&self, id: u64) -> bool {
        self.used.contains_key(&id)
    }

    /// The server holds it from now on.
    pub fn insert(&mut self, id: u64) {
        self.clock += 1;
        self.used.insert(id, self.clock);
    }

    /// The server holds it no more.
    pub fn remove(&mut self, id: u64) {
        self.used.remove(&id);
    }

    /// The server holds nothing.
    pub fn clear(&mut self) {
        self.used.clear();
    }

    /// Counts time on from where another did.
    pub fn goes_on_from(&mut self, other: &Held) {
        self.clock = other.clock;
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Does it hold none?
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// The present moment: what is touched from now on counts as used later than this.
    pub fn now(&self) -> u64 {
        self.clock
    }

    /// The one to give up when there are `limit` already: the least recently used, if unused since `before`.
    pub fn victim(&self, limit: usize, before: u64) -> Option<u64> {
        if self.used.len() < limit {
            return None;
        }
        let (&id, &used) = self.used.iter().min_by_key(|&(_, used)| *used)?;
        (used <= before).then_some(id)
    }
}

/// Front of every name pgshunt gives a statement on a server.
pub const PREFIX: &[u8] = b"pgshunt:";

/// Appends the name a server knows a statement by.
pub fn server_name(out: &mut Vec<u8>, id: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = id;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(PREFIX);
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bodies_are_one_statement() {
        let mut statements = Statements::new(0, Schema::default());
        let a = statements.intern(b"select 1", b"select 1\0\0\0", Lex::default());
        let b = statements.intern(b"select 1", b"select 1\0\0\0", Lex::default());
        let c = statements.intern(b"select 1", b"select 1\0\0\x01\0\0\0\x17", Lex::default());
        assert!(Rc::ptr_eq(&a, &b));
        assert_ne!(a.id, c.id);
    }

    #[test]
    fn a_schema_change_makes_equal_bodies_different_statements() {
        let schema = Schema::default();
        let mut statements = Statements::new(0, schema.clone());
        let before = statements.intern(b"select 1", b"select 1\0\0\0", Lex::default());
        schema.changed(true);
        let after = statements.intern(b"select 1", b"select 1\0\0\0", Lex::default());
        assert_ne!(before.id, after.id);
    }

    #[test]
    fn the_least_recently_used_goes_first_but_never_one_used_in_this_batch() {
        let mut held = Held::default();
        held.insert(1);
        held.insert(2);
        let batch = held.now();
        assert!(held.touch(1));
        assert_eq!(held.victim(2, batch), Some(2));
        assert!(held.touch(2));
        assert_eq!(held.victim(2, batch), None);
        assert_eq!(held.victim(3, held.now()), None);
    }

    #[test]
    fn server_names_are_numbers() {
        let mut out = Vec::new();
        server_name(&mut out, 120);
        assert_eq!(out, b"pgshunt:120");
    }
}
