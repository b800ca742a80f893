//! A client's session: every decision about its messages, and none of the I/O.
//!
//! [`Session::on_client`] says what a client's bytes mean: what to answer at once, what to send on, whether a server is
//! needed. [`Session::on_server`] says which of a server's bytes are the client's. [`Session::afterwards`] says, when a
//! server owes nothing and sits idle, whether it may go. `Backend` is what is known of the server in hand.

mod alone;
mod backend;
pub mod by_shape;
mod copies;
mod described;
mod ends_all;
mod extended;
mod failed;
mod firsts;
mod from_client;
pub mod from_server;
mod lazy_begin;
mod loose;
mod makes;
pub mod ours;
mod own_names;
pub mod pin;
pub mod pipeline;
pub mod positions;
pub mod prepared;
pub mod probe;
pub mod question;
mod reading;
pub mod replica;
pub mod reported;
mod returns;
pub mod run;
pub mod said;
mod sequences;
pub mod settings;
mod shard;
#[cfg(test)]
mod tests;
pub mod touched;
pub mod unit;
pub mod untold;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use routing_rules::{Effects, Lex, Script};

use crate::fault::Fault;
use crate::metrics::Totals;
use crate::protocol::reply;
pub use backend::Backend;
use ours::{Ours, RouteRow};
use pin::{Pin, Pins};
use pipeline::{Expect, Own};
use prepared::{Statement, Statements};
use probe::Report;
use reading::Reading;
pub use replica::Cannot;
use replica::Lane;
use reported::Reported;
use run::Run;
use sequences::Remembers;
use settings::Shared;
use touched::Touched;

/// What every session of a worker shares while one step runs.
pub struct Desk<'a> {
    /// Prepared statements of all clients.
    pub statements: &'a mut Statements,
    /// The pool's totals.
    pub totals: &'a mut Totals,
    /// Source of tokens for unnamed statements.
    pub tokens: &'a mut u64,
    /// The longest message that must be read whole, in bytes.
    pub message_max: usize,
    /// Prepared statements one server may hold.
    pub held_max: usize,
}

/// Where a step puts what is to be written.
#[derive(Default)]
pub struct Sink {
    /// In the direction the input travels.
    pub forward: Run,
    /// Back to where it came from.
    pub back: Vec<u8>,
}

/// What a client's bytes ask for next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// More bytes.
    More,
    /// A server.
    Server,
    /// All answers owed so far.
    Drain,
    /// What pgshunt knows: see [`Session::answer`].
    Ours(Ours),
    /// The end of the session.
    Terminate,
    /// The end of the session, with a word about why.
    Fatal(Fault),
}

/// What a server's bytes amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing special.
    Going,
    /// Nothing is owed any more: see [`Session::afterwards`].
    Settled,
    /// What waited for the end of a unit may go on, though more is owed.
    UnitEnded,
    /// The client's settings could not be made: close the server, go on without it.
    SettingsRefused,
    /// The server ends the session (its FATAL has been passed on).
    Ending,
    /// The server can't do this, and nothing of an answer has reached the client: another one can (see
    /// [`Session::retract`]).
    Elsewhere(Cannot),
    /// The server broke the protocol: close it and tell the client.
    Broken(&'static str),
}

/// What to do with a server that owes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// Wait: a transaction is open.
    InTransaction,
    /// A probe was written to `Sink::back`.
    Probe,
    /// Keep it: the session is pinned.
    Keep,
    /// Give it back.
    Release,
}

/// What of a session outlives its transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// Everything: servers are asked what it left, and what can't travel pins it.
    #[default]
    Faithful,
    /// What PgBouncer's transaction mode keeps: prepared statements and the settings that servers report.
    Transactions,
    /// The same, and there are no transactions of several statements.
    Statements,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    /// The process id the client was told of; 0: none.
    pub pid: i32,
    /// What outlives a transaction.
    pub pooling: Pooling,
    /// What the client was told the server reports.
    pub reported: Reported,
    /// What the client has set.
    pub settings: Shared,
    /// Why it keeps its server.
    pub pins: Pins,
    startup: Shared,
    /// Its number, unique on its worker.
    id: u64,
    /// Statements known to the server in hand by the client's own names, because SQL speaks of them.
    by_own_name: Vec<Box<[u8]>>,
    /// A unit being sent resets a setting.
    reset: Option<Box<returns::Reset>>,
    begin: Option<Box<[u8]>>,
    reading: Reading,
    script: Option<Script>,
    prepared: Option<Box<Prepared>>,
    unnamed: Unnamed,
    /// Counts units that have ended an unnamed statement, or made one, as the first they do.
    unnamed_era: u64,
    custom: Vec<String>,
    refusal: Option<Box<[u8]>>,
    stream_left: usize,
    /// The rest of the frame goes nowhere.
    stream_drops: bool,
    /// A COPY FROM STDIN on its way.
    copies: copies::Copies,
    /// The portal bound last, and its statement, while what that returns is not known.
    bound: Option<(Box<[u8]>, Rc<Statement>)>,
    /// A frame of the client's waits for answers to what was sent before it: the server is not free, though it is idle.
    awaits: bool,
    skip_to_sync: bool,
    copy_in: bool,
    due: bool,
    /// So often a cancel request that was meant for a statement before it has hit a probe since the last answer.
    asked_again: u8,
    /// The client has reset settings of its server (in modes that keep only what is reported).
    was_reset: bool,
    /// The client may have changed settings of pgshunt's (in those modes).
    ours_due: bool,
    makes: makes::Makes,
    /// What its transaction has changed of what statements may mean.
    defines: makes::Defines,
    own_done: Option<Own>,
    /// The client is about to ask for a database that nobody else is connected to.
    vacates: Option<String>,
    lane: Lane,
    /// What the unit at hand makes or drops is temporary, as far as it was read.
    makes_temporary: bool,
    answer: Option<Box<RouteRow>>,
    touched: Touched,
    /// A query was parsed in this transaction without its server.
    unseen: firsts::Unseen,
    /// Portals of a DEALLOCATE.
    deallocating: Vec<own_names::Deallocating>,
    /// The portal of a DEALLOCATE ALL or DISCARD ALL that was bound.
    ends_all: Option<Box<[u8]>>,
    positions: positions::Positions,
}

/// A client's prepared statements by its own names.
type Prepared = HashMap<Box<[u8]>, Rc<Statement>>;

/// The client's unnamed statement, kept because the next Bind may meet another server.
#[derive(Clone, Debug, Default)]
pub struct Unnamed {
    body: Vec<u8>,
    token: u64,
    effects: Effects,
    /// The name it gives up, if it is a DEALLOCATE of one.
    deallocates: Option<Box<[u8]>>,
}

impl Session {
    /// A session that has just logged in with these settings.
    pub fn new(id: u64, startup: Shared, reported: Reported) -> Self {
        Session {
            pid: 0,
            pooling: Pooling::Faithful,
            id,
            by_own_name: Vec::new(),
            reset: None,
            reported,
            settings: startup.clone(),
            pins: Pins::default(),
            startup,
            begin: None,
            reading: Reading::default(),
            script: None,
            prepared: None,
            unnamed: Unnamed::default(),
            unnamed_era: 0,
            custom: Vec::new(),
            refusal: None,
            stream_left: 0,
            stream_drops: false,
            copies: Default::default(),
            bound: None,
            awaits: false,
            skip_to_sync: false,
            copy_in: false,
            due: false,
            asked_again: 0,
            was_reset: false,
            ours_due: false,
            makes: makes::Makes::default(),
            defines: makes::Defines::default(),
            own_done: None,
            vacates: None,
            lane: Lane::Primary,
            makes_temporary: false,
            answer: None,
            touched: Touched::default(),
            unseen: firsts::Unseen::default(),
            deallocating: Vec::new(),
            ends_all: None,
            positions: Default::default(),
        }
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Prepared statements the client has.
    pub fn prepared_len(&self) -> usize {
        self.prepared.as_ref().map_or(0, |map| map.len())
    }

    /// The database (by its name on the servers) that the client's last statement wants others to leave, once.
    pub fn take_vacated(&mut self) -> Option<String> {
        self.vacates.take()
    }

    /// The unit that comes next makes or drops nothing but temporary tables.
    pub fn makes_temporary(&mut self, is_so: bool) {
        self.makes_temporary = is_so;
    }

    /// Is the client in a transaction it was told of, though no server knows yet?
    pub fn has_begun(&self) -> bool {
        self.begin.is_some()
    }

    /// May what the session left in a server be unknown?
    pub fn is_due(&self) -> bool {
        self.due && self.pooling == Pooling::Faithful || self.ours_due
    }

    /// The transaction status a client without a server is told.
    fn status_alone(&self) -> u8 {
        if self.begin.is_some() { b'T' } else { b'I' }
    }

    /// How texts are to be read.
    pub fn lex_now(&mut self) -> Lex {
        self.lex()
    }

    fn lex(&mut self) -> Lex {
        self.reading().lex
    }

    /// How texts are to be read under what is reported now. Looked up only when that has changed.
    fn reading(&mut self) -> &Reading {
        if !Arc::ptr_eq(&self.reading.under, &self.reported) {
            self.reading = Reading::new(&self.reported);
        }
        &self.reading
    }

    /// A server was lent: the client hears what is reported differently there.
    pub fn attach(&mut self, backend: &mut Backend, back: &mut Vec<u8>) {
        self.lane = Lane::Primary;
        // A server that nobody has had remembers nobody.
        match std::mem::replace(&mut backend.last_session, self.id) {
            last if last == self.id => {}
            0 => backend.remembers = Remembers::Own,
            _ => backend.remembers = Remembers::Strangers,
        }
        if !needs_settings(&self.settings, backend) {
            reported::catch_up(back, &mut self.reported, &mut backend.reported);
        }
    }

    /// What becomes of a server that owes nothing. A probe, if one is due, goes to `to_server`.
    pub fn afterwards(
        &mut self,
        backend: &mut Backend,
        desk: &mut Desk<'_>,
        to_server: &mut Vec<u8>,
    ) -> Afterwards {
        let waits = self.stream_left > 0 || backend.stream_left > 0 || self.copy_in || self.awaits;
        if backend.status != b'I' || backend.pipeline.is_open() || waits {
            self.next_unit();
            return Afterwards::InTransaction;
        }
        let is_due = self.is_due();
        (self.due, self.ours_due) = (false, false);
        if is_due {
            backend.report = Some(Box::default());
            backend.pipeline.push(Expect::Own(Own::Probe));
            backend.unnamed = 0;
            let custom = self.custom.iter().map(String::as_str);
            reply::frame(to_server, b'Q', |out| {
                match self.pooling {
                    Pooling::Faithful => probe::question(out, custom),
                    Pooling::Transactions | Pooling::Statements => probe::question_of_ours(out, custom),
                }
                out.push(0);
            });
            desk.totals.probe_count += 1;
            return Afterwards::Probe;
        }
        if self.pins.is_empty() {
            Afterwards::Release
        } else {
            self.next_unit();
            Afterwards::Keep
        }
    }

    /// No server can be had: the next frame that needs one is answered with this.
    pub fn refuse(&mut self, fault: &Fault) {
        let mut bytes = Vec::new();
        fault.write(&mut bytes);
        self.refusal = Some(bytes.into());
    }

    /// The client left in the middle of something: what to send so that the server comes to an end of it. `None` if
    /// nothing can, because a frame was cut or what is owed is not known.
    pub fn wind_up(&mut self, backend: &mut Backend) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        if self.stream_left > 0 || self.early_syncs_are_void() {
            return None;
        }
        if std::mem::take(&mut self.copy_in) {
            reply::frame(&mut out, b'f', |out| reply::cstr(out, b"the client left"));
        }
        if backend.pipeline.is_open() {
            reply::frame(&mut out, b'S', |_| ());
            backend.pipeline.push(Expect::Sync);
        }
        Some(out)
    }

    /// Does the next of the client's frames wait for answers to those before it?
    pub fn awaits(&self) -> bool {
        self.awaits
    }

    /// The server in hand was lost: what was in flight on it is no more.
    pub fn detach(&mut self) {
        self.tell_lost_changes();
        self.copy_in = false;
        self.early_syncs_are_void();
        self.awaits = false;
        self.unnamed.token = 0;
        self.by_own_name.clear();
        self.unseen = firsts::Unseen::No;
        self.ends_all = None;
        self.deallocating.clear();
    }

    /// Takes in what a probe found.
    fn learn(&mut self, report: Report, backend: &mut Backend) {
        if self.pooling != Pooling::Faithful {
            return self.learn_ours(&report, backend);
        }
        self.pins = self.pins.probed(report.pins);
        for name in &self.custom {
            if report.settings.value(name.as_bytes()).is_some() && !backend.custom.contains(name) {
                backend.custom.push(name.clone());
            }
        }
        let mut wanted = report.settings.clone();
        for (name, value) in self.startup.iter() {
            // What the client asked for at startup is what RESET returns to.
            if wanted.value(name).is_none() {
                wanted.set(name, value);
            }
        }
        if *backend.settings != report.settings {
            backend.settings = Arc::new(report.settings);
        }
        if *self.settings != wanted {
            self.settings = if *self.startup == wanted {
                self.startup.clone()
            } else if *backend.settings == wanted {
                backend.settings.clone()
            } else {
                Arc::new(wanted)
            };
        }
    }

    /// Takes note of what a statement on its way to a server may do.
    fn note(&mut self, effects: Effects, custom: &[String]) {
        if self.pooling != Pooling::Faithful {
            // In those modes nothing is asked and nothing pins, except for what is pgshunt's own.
            self.note_ours(effects, custom);
            return;
        }
        // CLOSE ends a held cursor, and is too common a statement to ask after each.
        self.due |= self.pins.contains(Pin::HeldCursors);
        if self.reading().is_unsafe {
            self.due = true;
        }
        if effects.is_empty() {
            return;
        }
        self.due |= effects.contains(Effects::PROBE);
        if effects.contains(Effects::COMPUTED_SETTING) && effects.contains(Effects::PROBE) {
            self.pins.insert(Pin::UnknownSettings);
        }
        for (effect, pin) in [
            (Effects::BACKEND_PID, Pin::BackendPid),
            (Effects::SET_SEED, Pin::RandomSeed),
            (Effects::LOADS, Pin::Library),
        ] {
            if effects.contains(effect) {
                self.pins.insert(pin);
            }
        }
        self.follow(custom);
    }

    /// Custom settings the session may have set from now on: a probe must ask for them by name.
    fn follow(&mut self, custom: &[String]) {
        for name in custom {
            if self.custom.contains(name) {
                continue;
            }
            if self.custom.len() >= CUSTOM_MAX {
                if self.pooling == Pooling::Faithful {
                    self.pins.insert(Pin::UnknownSettings);
                }
                return;
            }
            self.custom.push(name.clone());
        }
    }

    fn forget_prepared(&mut self, backend: &mut Backend) {
        self.prepared = None;
        self.by_own_name.clear();
        backend.held.clear();
    }
}

/// Custom settings one session may name before it keeps its server.
const CUSTOM_MAX: usize = 64;

/// Must the server be told of other settings? Equal ones become the same one, so that the next look is short.
fn needs_settings(wanted: &Shared, backend: &mut Backend) -> bool {
    if Arc::ptr_eq(wanted, &backend.settings) {
        return false;
    }
    if *wanted == backend.settings {
        backend.settings = wanted.clone();
        return false;
    }
    true
}
