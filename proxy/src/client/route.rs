//! Which of a database's servers a client's next unit goes to, and back to the primary when a replica can't do it.
//!
//! `routing_rules::route` decides, `Cluster` knows who is fresh enough; this file brings them together, and remembers what
//! the session has written and seen.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use routing_rules::{Access, Consistency, Facts, Names, Target as To, Transaction, Wanted, Why, route};

use super::handle::{Doing, Signal};
use super::marks::Mark;
use super::relay::{Client, Then};
use crate::cluster::{Outstanding, Wish};
use crate::fault::Fault;
use crate::pool::lease::Lease;
use crate::pool::{Place, Pool, Reads};
use crate::protocol::session::Session;
use crate::protocol::session::settings::Shared;
use crate::protocol::session::unit::{Asked, Known, Unit};
use crate::protocol::sqlstate;
use crate::server::address::Target;

/// What routing remembers of one session.
#[derive(Default)]
pub struct Routing {
    /// What the session has written, or seen on the primary, was committed before this.
    needed: Option<Instant>,
    /// What it has seen on its replica was.
    seen: Option<Instant>,
    /// The replica it read last.
    own: Option<usize>,
    /// The next unit goes to the primary, whatever it asks for.
    to_primary: bool,
    /// Until when it waits for a replica to be fresh enough.
    catching: Option<Instant>,
    /// Is a task to wake it?
    is_woken: Rc<std::cell::Cell<bool>>,
    /// What the unit at hand asks for was found to be this.
    asked: Option<Box<Asked>>,
    /// It can be run twice.
    may_retry: bool,
    /// The unit sent to a replica, until something of its answer has reached the client.
    unit: Vec<u8>,
    /// That answer, as far as it has come.
    held: Vec<u8>,
    wishes: Wishes,
    outstanding: Option<Outstanding>,
    last: Last,
}

/// How the last unit was routed.
#[derive(Default)]
struct Last {
    /// What it asked for; `None`: it was not looked into, since there is one server only.
    asked: Option<Box<Asked>>,
    /// Its first bytes, then.
    text: Vec<u8>,
    facts: Option<Remembered>,
    /// What else there is to say.
    note: &'static str,
    server: Option<Arc<Target>>,
    is_replica: bool,
}

/// The circumstances a route was chosen in.
#[derive(Clone, Copy)]
struct Remembered {
    transaction: Transaction,
    wanted: Wanted,
    consistency: Option<Consistency>,
    has_replicas: bool,
}

/// A replica that is no further behind than this, when nobody asks, is worth a moment's wait.
const CLOSE_BEHIND: Duration = Duration::from_millis(250);

/// How old a replica may be while the primary does not answer.
const PRIMARY_IS_DOWN: Duration = Duration::from_secs(24 * 3600);

/// Bytes of a unit that are kept to say later what it asked for.
const TEXT_KEPT: usize = 240;

impl Routing {
    /// Before the client hears of what may be a write, whoever else reads for its tenant must.
    pub(super) fn mark_written(&self) {
        if let Some(mark) = &self.wishes.mark {
            mark.wrote(Instant::now());
        }
    }

    /// Bytes for the client from a replica: kept while the unit could still be run elsewhere. Else gives back what is to
    /// be written before them.
    pub(super) fn hold_back(&mut self, session: &Session, bytes: &[u8]) -> Option<Vec<u8>> {
        if session.is_unheard() {
            self.held.extend_from_slice(bytes);
            return None;
        }
        Some(std::mem::take(&mut self.held))
    }
}

/// What the session has asked for by settings of its own.
struct Wishes {
    under: Shared,
    wanted: Wanted,
    consistency: Option<Consistency>,
    mark: Option<Mark>,
    traces: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Wishes {
            under: Shared::default(),
            wanted: Wanted::Auto,
            consistency: None,
            mark: None,
            traces: false,
        }
    }
}

/// How a unit was routed, for whoever asks.
pub(super) struct Told {
    pub access: Access,
    pub is_flushed: bool,
    pub transaction: Transaction,
    pub wanted: Wanted,
    pub consistency: Option<Consistency>,
    pub has_replicas: bool,
    pub note: &'static str,
    /// `host:port`
    pub server: String,
    pub is_replica: bool,
}

/// Where the next unit goes.
pub(super) enum Pick {
    /// There.
    Pool(Rc<Pool>),
    /// More of it must come first.
    More,
    /// A replica may have caught up in a moment.
    Later,
}

/// What becomes of the next unit of a session that is on a replica.
pub(super) enum Steer {
    /// It may be sent on.
    On,
    /// More of it must come first.
    More,
    /// It was made to go to the primary.
    Moved,
    /// It can't be done.
    Ended,
}

impl Client {
    /// Chooses the pool for the unit that begins the inbox. The session holds no server.
    pub(super) fn pick(&mut self, at: Instant) -> Pick {
        let primary = self.handle.pool.clone();
        let reads = primary.reads();
        self.follow_wishes(&reads, at);
        if self.session.is_answered() {
            // It only asks where the last statement went.
            self.routing.asked = None;
            return Pick::Pool(primary);
        }
        if !reads.cluster.has_replicas() {
            self.remember_alone();
            return Pick::Pool(primary);
        }
        let Some(asked) = self.ask_unit(&reads, false) else {
            return Pick::More;
        };
        let facts = Facts {
            access: &asked.access,
            transaction: self.session.transaction(),
            wanted: self.routing.wishes.wanted,
            consistency: self.routing.wishes.consistency,
            has_replicas: true,
            is_pinned: !self.session.pins.is_empty(),
            batch_is_open: asked.is_flushed,
        };
        let chosen = route(&reads.rules, &facts);
        let (to, kind) = (chosen.target, chosen.because.first().map(|reason| reason.kind()));
        let remembered = Remembered {
            transaction: facts.transaction,
            wanted: facts.wanted,
            consistency: facts.consistency,
            has_replicas: true,
        };
        let picked = match to {
            To::Replica(freshness) if !self.routing.to_primary => {
                let wish = self.wish(freshness, &reads, at);
                match reads.cluster.choose(&wish) {
                    Some(replica) => Some(replica),
                    None if self.waits_for_replica(&reads, at) => {
                        self.routing.asked = Some(asked);
                        return Pick::Later;
                    }
                    None => None,
                }
            }
            To::Replica(_) | To::Primary => None,
        };
        self.routing.catching = None;
        let is_replica = picked.is_some();
        let note = match to {
            To::Replica(_) if self.routing.to_primary => "a replica could not do it",
            To::Replica(_) if !is_replica => "no replica is fresh enough",
            To::Replica(_) | To::Primary => "",
        };
        primary
            .totals
            .borrow_mut()
            .routes
            .count(kind.unwrap_or_default(), is_replica, !note.is_empty());
        self.routing.may_retry = !asked.names_statements;
        self.routing.last = Last {
            asked: Some(asked),
            text: Vec::new(),
            facts: Some(remembered),
            note,
            server: None,
            is_replica,
        };
        let pool = picked.and_then(|at| {
            let worker = self.worker.clone();
            primary.replica(at, |key| worker.pool(key))
        });
        Pick::Pool(pool.unwrap_or(primary))
    }

    /// What the unit asks for; `None`: it must come whole first.
    fn ask_unit(&mut self, reads: &Reads, in_transaction: bool) -> Option<Box<Asked>> {
        if let Some(asked) = self.routing.asked.take() {
            return Some(asked);
        }
        let found = reads.catalogued.current();
        let known = found.as_ref().map(|found| Known {
            names: &found.names,
            stamp: found.stamp,
        });
        match self.session.unit(self.inbox.bytes(), known, in_transaction) {
            Unit::Open => None,
            Unit::Told(asked) => Some(Box::new(asked)),
        }
    }

    fn follow_wishes(&mut self, reads: &Reads, at: Instant) {
        let settings = &self.session.settings;
        let wishes = &mut self.routing.wishes;
        if Arc::ptr_eq(&wishes.under, settings) {
            return;
        }
        let text = |name: &[u8]| {
            let value = settings
                .value(name)
                .and_then(|value| std::str::from_utf8(value).ok());
            value.map(|value| value.trim().to_ascii_lowercase())
        };
        *wishes = Wishes {
            under: settings.clone(),
            wanted: match text(b"pgshunt.target").as_deref() {
                None | Some("" | "auto") => Wanted::Auto,
                Some("replica") => Wanted::Replica,
                Some(_) => Wanted::Primary,
            },
            consistency: match text(b"pgshunt.consistency").as_deref() {
                None | Some("") => None,
                // What can't be read asks for the most.
                Some(text) => Some(Consistency::parse(text).unwrap_or(Consistency::Strong)),
            },
            traces: text(b"pgshunt.trace").as_deref() == Some("notice"),
            mark: settings
                .value(b"pgshunt.tenant")
                .filter(|tenant| !tenant.is_empty())
                .map(|tenant| {
                    let oldest = at.checked_sub(reads.rules.max_staleness).unwrap_or(at);
                    let database = &self.handle.pool.plan.key.database;
                    self.worker.common.marks.of(database, tenant, oldest)
                }),
        };
    }

    /// How fresh a replica must be. While the primary does not answer, nothing is written that could be missed, and a
    /// replica with all the session needs is better than nobody: only a bound the session has set itself stands then.
    fn wish(&self, freshness: routing_rules::Freshness, reads: &Reads, at: Instant) -> Wish {
        let routing = &self.routing;
        let mark = routing.wishes.mark.as_ref().and_then(Mark::written);
        let needed = routing.needed.max(mark);
        let has_own_writes = freshness.has_own_writes;
        let is_bounded = matches!(
            routing.wishes.consistency.unwrap_or(reads.rules.consistency),
            Consistency::Bounded(_)
        );
        let within = match reads.cluster.is_primary_down() && !is_bounded {
            true => PRIMARY_IS_DOWN,
            false => freshness.within,
        };
        let oldest = at.checked_sub(within).unwrap_or(at);
        Wish {
            oldest,
            needed: needed.filter(|_| has_own_writes),
            seen: routing.seen.filter(|_| has_own_writes),
            own: routing.own,
        }
    }

    /// Waits a moment for a replica to catch up, if the rules allow it and that moment is not over. Writes that no sample
    /// can show for a long time are not waited for.
    fn waits_for_replica(&mut self, reads: &Rc<Reads>, at: Instant) -> bool {
        let wait = reads.rules.catchup_wait;
        let until = *self.routing.catching.get_or_insert(at + wait);
        // One that is far behind will not be here in a moment.
        let recent = at.checked_sub(wait + CLOSE_BEHIND).unwrap_or(at);
        let mut members = 0..reads.cluster.members.len();
        let has_hope = members.any(|member| {
            let caught_up = reads.cluster.caught_up(member);
            reads.cluster.is_readable(member) && caught_up.is_some_and(|as_of| as_of >= recent)
        });
        if wait.is_zero() || at >= until || !has_hope {
            return false;
        }
        if !self.routing.is_woken.replace(true) {
            let (handle, reads) = (self.handle.clone(), reads.clone());
            let is_woken = self.routing.is_woken.clone();
            tokio::task::spawn_local(async move {
                let looked = reads.cluster.looked.notified();
                tokio::pin!(looked);
                looked.as_mut().enable();
                reads.cluster.wanted.notify_waiters();
                let _ = tokio::time::timeout_at(until.into(), looked).await;
                is_woken.set(false);
                handle.signal(Signal::Caught);
            });
        }
        true
    }

    /// Keeps of a unit what it takes to say later what it asked for: there is one server only, so nothing depends on it.
    fn remember_alone(&mut self) {
        let last = &mut self.routing.last;
        let bytes = self.inbox.bytes();
        last.text.clear();
        last.text.extend_from_slice(&bytes[..bytes.len().min(TEXT_KEPT)]);
        (last.asked, last.note, last.is_replica) = (None, "", false);
        last.facts = Some(Remembered {
            transaction: Transaction::None,
            wanted: self.routing.wishes.wanted,
            consistency: self.routing.wishes.consistency,
            has_replicas: false,
        });
        let no_replicas = routing_rules::Reason::NoReplicas.kind();
        self.handle
            .pool
            .totals
            .borrow_mut()
            .routes
            .count(no_replicas, false, false);
    }

    /// How the last unit was routed; `None`: none was.
    pub(super) fn told_last(&mut self) -> Option<Told> {
        let last = &self.routing.last;
        let facts = last.facts?;
        let is_flushed = last.asked.as_ref().is_some_and(|asked| asked.is_flushed);
        let access = match &last.asked {
            Some(asked) => asked.access.clone(),
            None => {
                // Without replicas no catalog is read: names are taken for tables, functions for builtins.
                let names = Names::default();
                let known = Known {
                    names: &names,
                    stamp: 0,
                };
                let text = last.text.clone();
                match self.session.unit(&text, Some(known), false) {
                    Unit::Told(asked) => asked.access,
                    Unit::Open => Access::Write(Why::Unclear),
                }
            }
        };
        let last = &self.routing.last;
        let server = last.server.as_ref();
        Some(Told {
            access,
            is_flushed,
            transaction: facts.transaction,
            wanted: facts.wanted,
            consistency: facts.consistency,
            has_replicas: facts.has_replicas,
            note: last.note,
            server: server
                .map(|server| server.address.to_string())
                .unwrap_or_default(),
            is_replica: last.is_replica,
        })
    }

    /// Where the session wants its statements, and how fresh.
    pub(super) fn wishes_now(&mut self) -> (Wanted, Option<Consistency>) {
        let reads = self.handle.pool.reads();
        self.follow_wishes(&reads, Instant::now());
        (self.routing.wishes.wanted, self.routing.wishes.consistency)
    }

    /// Does the session want to hear of each route?
    pub(super) fn traces(&self) -> bool {
        self.routing.wishes.traces
    }

    /// The lent server is the one the unit goes to.
    pub(super) fn routed(&mut self, lease: &mut Lease, back: &mut Vec<u8>) {
        self.routing.to_primary = false;
        self.routing.last.server = Some(lease.facts.target.clone());
        let Place::Replica(at) = lease.pool().plan.key.place else {
            self.session.attach(&mut lease.backend, back);
            return;
        };
        let may_retry = self.routing.may_retry;
        self.session.attach_replica(&mut lease.backend, may_retry, back);
        self.routing.unit.clear();
        self.routing.held.clear();
        self.routing.outstanding = Some(Outstanding::new(&self.handle.pool.reads().cluster, at));
        if self.routing.own != Some(at) {
            self.routing.own = Some(at);
        }
    }

    /// The server has done all it was sent.
    pub(super) fn done(&mut self, at: Instant) {
        if self.session.is_on_replica() {
            self.routing.seen = Some(at);
        } else {
            self.routing.needed = Some(at);
        }
    }

    /// The server in hand is no longer the session's.
    pub(super) fn unrouted(&mut self) {
        self.routing.outstanding = None;
        self.routing.unit = Vec::new();
        self.routing.held = Vec::new();
    }

    /// Bytes of the client's have been used for what was sent to a replica.
    pub(super) fn remember(&mut self, used: usize) {
        if self.session.is_unheard() {
            self.routing.unit.extend_from_slice(&self.inbox.bytes()[..used]);
        }
    }

    /// Runs the unit at the primary: the replica could not, and the client has heard nothing.
    pub(super) fn run_elsewhere(&mut self, cx: &mut Context<'_>, why: &str) -> Then {
        if let Some(lease) = &self.lease {
            let address = &lease.facts.target.address;
            tracing::info!(%address, why, "a statement is run again at the primary");
        }
        self.handle.pool.totals.borrow_mut().retry_count += 1;
        let unit = std::mem::take(&mut self.routing.unit);
        self.session.retract();
        self.lease = None;
        self.handle.xact_since.set(None);
        self.unlinked(Instant::now());
        self.inbox.unread(&unit);
        self.routing.to_primary = true;
        self.hear_client(cx)
    }

    /// Looks at the next unit of a session that is on a replica between two of them.
    pub(super) fn steer(&mut self, cx: &mut Context<'_>) -> Steer {
        let pool = self.handle.pool.clone();
        let reads = pool.reads();
        let input = self.inbox.bytes();
        if input.is_empty() || input.first() == Some(&b'X') {
            return Steer::On;
        }
        let Some(asked) = self.ask_unit(&reads, true) else {
            return Steer::More;
        };
        let why = match &asked.access {
            Access::Read if !asked.is_flushed => return Steer::On,
            Access::Read => None,
            Access::Write(why) => Some(why),
        };
        let word = match why {
            Some(Why::Begins(word)) => &**word,
            _ => "",
        };
        if ENDS.contains(&word) && asked.is_single {
            return Steer::On;
        }
        if self.session.can_begin_again() {
            let lease = self.lease.take();
            self.session.retract();
            self.unlinked(Instant::now());
            self.routing.to_primary = true;
            self.routing.asked = Some(asked);
            if let Some(lease) = lease {
                tokio::task::spawn_local(roll_back(self.worker.clone(), lease));
            }
            return Steer::Moved;
        }
        if KEPT.contains(&word) && asked.is_single {
            self.session.stays();
            return Steer::On;
        }
        if REFUSED.contains(&word) && asked.is_single {
            return Steer::On;
        }
        let why = why.map(ToString::to_string).unwrap_or_default();
        let fault = Fault::fatal(
            sqlstate::FEATURE_NOT_SUPPORTED,
            "this statement can't be run in a transaction that is on a replica",
        );
        let fault = fault
            .detail(why)
            .hint("SET pgshunt.target = 'primary' before the transaction begins.");
        self.say(cx, &fault);
        Steer::Ended
    }

    /// The unit at hand goes to the primary, whatever it asks for.
    pub(super) fn goes_to_primary(&mut self) {
        self.routing.to_primary = true;
    }

    /// Is the server in hand one of a primary that no longer is?
    pub(super) fn is_fenced(&self) -> bool {
        let Some(lease) = &self.lease else { return false };
        let pool = lease.pool();
        pool.follow_primary();
        pool.is_fenced(lease.facts.generation)
    }

    /// Its server is no longer the primary's.
    pub(super) fn fenced(&mut self, cx: &mut Context<'_>) -> Then {
        let whole = self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.backend.is_between_frames());
        let busy = self.handle.doing.get() == Doing::Working;
        self.drop_server();
        if whole {
            let fault = Fault::fatal(
                sqlstate::CONNECTION_FAILURE,
                "the primary has changed, and the session was on the old one",
            );
            let fault = match busy {
                true => fault.detail("What the statement did is not known."),
                false => fault.detail("Its transaction is lost."),
            };
            self.say(cx, &fault.hint("Connect again."));
        }
        Then::Abandon
    }
}

async fn roll_back(worker: Rc<super::worker::Worker>, mut lease: Lease) {
    let patience = Duration::from_secs(5);
    let rolled_back = lease.run(b"ROLLBACK", &worker.buffers);
    if let Ok(Ok(Ok(()))) = tokio::time::timeout(patience, rolled_back).await {
        lease.give_back();
    }
}

/// First words of statements that end a transaction.
const ENDS: [&str; 4] = ["COMMIT", "END", "ROLLBACK", "ABORT"];

/// First words of statements that concern nothing but the transaction or the session.
const KEPT: [&str; 10] = [
    "SAVEPOINT",
    "RELEASE",
    "DECLARE",
    "FETCH",
    "MOVE",
    "CLOSE",
    "SHOW",
    "SET",
    "RESET",
    "DEALLOCATE",
];

/// First words of statements that any server refuses in a READ ONLY transaction, in the same words (25006).
const REFUSED: [&str; 11] = [
    "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "ALTER", "DROP", "TRUNCATE", "GRANT", "REVOKE",
    "COMMENT",
];
