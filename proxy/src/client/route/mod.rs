//! Which of a database's servers a client's next unit goes to, and back to the primary when a replica can't do it.
//!
//! `shard` says which shard it is for, `routing_rules::route` whether a replica may do it, `Cluster` knows who is fresh
//! enough (`fresh`); this file brings them together. `wishes` is what the session asked for, `track` what it has written and
//! seen, `elsewhere` the way back from a replica, and `told` remembers for whoever asks.

mod beyond;
mod elsewhere;
mod foretold;
mod fresh;
mod gathered;
mod looking;
pub(in crate::client) mod meeting;
mod place;
pub mod readings;
mod refusals;
mod sets;
mod shard;
mod texts;
mod tie;
mod told;
mod track;
mod wishes;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use routing_rules::{Consistency, Facts, ShardReason, Target as To, Transaction, Wanted, route};

use super::cached::Cached;
use super::gather::Course;
use super::relay::Client;
use crate::cluster::Outstanding;
use crate::fault::Fault;
use crate::pool::lease::Lease;
use crate::pool::{Pool, Reads, Role};
use crate::protocol::session::Session;
use crate::protocol::session::unit::{Asked, Known, Unit};
use crate::server::address::Target;
pub(super) use elsewhere::Steer;
pub(super) use foretold::{Foretold, why_several};
pub(super) use gathered::Replicas;
pub(super) use place::Placed;
use place::Tenant;
pub(super) use refusals::no_coordinator;
pub(super) use shard::Stay;
use shard::Verdicted;
use track::Tracks;
use wishes::Wishes;
pub(super) use wishes::named_shard;

/// What routing remembers of one session.
#[derive(Default)]
pub struct Routing {
    /// What it has written and seen.
    tracks: Tracks,
    /// The next unit goes to the primary, whatever it asks for.
    to_primary: bool,
    /// What begins the inbox was sent to the coordinator, whose line broke.
    lost_beyond: bool,
    /// Why the last stretch went to its shard.
    placed: Placed,
    /// What begins the inbox was judged to go where it goes.
    is_judged: bool,
    /// The tenant that was set in the transaction, as long as it lasts.
    tenant_now: Option<Option<Tenant>>,
    /// What has been said in the transaction that another shard would have to hear.
    said: Vec<Vec<u8>>,
    /// What the session says to the gathering server beside its statements.
    course: Option<Rc<Course>>,
    /// The shard that was asked for in the transaction, likewise.
    shard_now: Option<Option<Box<str>>>,
    /// A temporary table may have been made in the transaction.
    made_temporary: bool,
    /// The transaction may have notified others.
    notified: bool,
    /// The last stretch that was tied to the tenant.
    tied: Vec<u8>,
    /// Until when it waits for the tables to be looked up.
    looking: Option<Instant>,
    /// Until when it waits for a replica to be fresh enough.
    catching: Option<Instant>,
    /// Is a task to wake it?
    is_awaited: Rc<std::cell::Cell<bool>>,
    /// What the unit at hand asks for was found to be this.
    asked: Option<Box<Asked>>,
    /// The unit sent to a replica, until something of its answer has reached the client.
    unit: Vec<u8>,
    /// That answer, as far as it has come.
    held: Vec<u8>,
    wishes: Wishes,
    outstanding: Option<Outstanding>,
    last: Last,
    /// What the cache has to do with it.
    pub(super) cache: Cached,
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
    /// The shard's name; `None`: the only one.
    shard: Option<Arc<str>>,
    is_replica: bool,
    is_gathered: bool,
    /// Why it went to the coordinator.
    beyond: Option<ShardReason>,
}

/// The circumstances a route was chosen in.
#[derive(Clone, Copy)]
struct Remembered {
    transaction: Transaction,
    wanted: Wanted,
    consistency: Option<Consistency>,
    has_replicas: bool,
}

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

/// Where the next unit goes.
pub(super) enum Pick {
    /// There.
    Pool(Rc<Pool>),
    /// More of it must come first.
    More,
    /// A replica may have caught up in a moment.
    Later,
    /// To several shards at once, and these servers of theirs.
    Gather(Replicas),
    /// Nowhere.
    Refused(Fault),
}

/// What a unit asks for, and where the rules send it.
struct Ruled {
    asked: Box<Asked>,
    facts: Remembered,
    to: To,
    /// The kind of the reason.
    kind: usize,
}

impl Client {
    /// Chooses the pool for the unit that begins the inbox. The session holds no server.
    pub(super) fn pick(&mut self, at: Instant) -> Pick {
        let own = self.handle.pool.clone();
        let reads = own.reads();
        self.follow_wishes(&reads, at);
        if self.session.is_answered() {
            // It only asks where the last statement went.
            self.routing.asked = None;
            return Pick::Pool(own);
        }
        if reads.sharding.is_none() {
            return self.pick_server(own, &reads, at);
        }
        match self.find_shard(&own, &reads, at) {
            Verdicted::Pool(primary) => {
                let reads = primary.reads();
                self.pick_server(primary, &reads, at)
            }
            Verdicted::Gather(shards) => self.pick_servers(&shards, &reads, at),
            Verdicted::Coordinator(pool, reason) => {
                self.remember_beyond(&pool, reason);
                Pick::Pool(pool)
            }
            Verdicted::Refused(fault) => Pick::Refused(fault),
            Verdicted::More => Pick::More,
            Verdicted::Later => Pick::Later,
        }
    }

    /// Chooses among the servers of the shard whose primary's pool this is.
    fn pick_server(&mut self, primary: Rc<Pool>, reads: &Rc<Reads>, at: Instant) -> Pick {
        if !reads.cluster.has_replicas() {
            self.remember_alone(&primary);
            return Pick::Pool(primary);
        }
        let Some(ruled) = self.rule(reads) else {
            return Pick::More;
        };
        let Ruled {
            asked,
            facts,
            to,
            kind,
        } = ruled;
        let picked = match to {
            To::Replica(freshness) if !self.routing.to_primary => {
                let wish = self.wish(freshness, &reads.cluster, &reads.rules, at);
                match reads.cluster.choose(&wish) {
                    Some(replica) => Some(replica),
                    None if self.waits_for_replica(&reads.cluster, &reads.rules, at) => {
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
        let note = self.note(to, is_replica);
        let is_fallback = !note.is_empty();
        let mut totals = primary.totals.borrow_mut();
        totals.routes.count(kind, is_replica, is_fallback);
        drop(totals);
        self.routing.last = Last {
            asked: Some(asked),
            text: Vec::new(),
            facts: Some(facts),
            note,
            server: None,
            shard: Some(primary.plan.key.place.shard.clone()),
            is_replica,
            is_gathered: false,
            beyond: None,
        };
        let pool = picked.and_then(|at| {
            let shard = &primary.plan.key.place.shard;
            self.place(shard, Role::Replica(at))
        });
        Pick::Pool(pool.unwrap_or(primary))
    }

    /// What the unit asks for, and where the rules send it; `None`: it must come whole first.
    fn rule(&mut self, reads: &Reads) -> Option<Ruled> {
        let asked = self.ask_unit(reads, false)?;
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
        let (to, first) = (chosen.target, chosen.because.first());
        let kind = first.map(|reason| reason.kind()).unwrap_or_default();
        let facts = Remembered {
            transaction: facts.transaction,
            wanted: facts.wanted,
            consistency: facts.consistency,
            has_replicas: true,
        };
        Some(Ruled {
            asked,
            facts,
            to,
            kind,
        })
    }

    /// Why a unit that the rules send to a replica goes to none, if it does.
    fn note(&self, to: To, is_replica: bool) -> &'static str {
        match to {
            To::Replica(_) if self.routing.to_primary => "a replica could not do it",
            To::Replica(_) if !is_replica => "no replica is fresh enough",
            To::Replica(_) | To::Primary => "",
        }
    }

    /// The pool of the session's role at a place.
    fn place(&self, shard: &str, role: Role) -> Option<Rc<Pool>> {
        let worker = &self.worker;
        self.handle.pool.sibling(shard, role, |key| worker.pool(key))
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
            texts: &self.worker.texts,
        });
        match self.session.unit(self.inbox.bytes(), known, in_transaction) {
            Unit::Open => None,
            Unit::Told(asked) => Some(Box::new(asked)),
        }
    }

    /// The lent server is the one the unit goes to.
    pub(super) fn routed(&mut self, lease: &mut Lease, back: &mut Vec<u8>) {
        self.watched(lease);
        self.routing.to_primary = false;
        self.routing.last.server = Some(lease.facts.target.clone());
        let pool = lease.pool().clone();
        if lease.cancel.hail.is_some() {
            return self.gathered(lease, back);
        }
        let place = &pool.plan.key.place;
        if place.role == Role::Coordinator {
            self.session.attach_replica(&mut lease.backend, back);
            self.routing.unit.clear();
            self.routing.held.clear();
            return;
        }
        self.routing.tracks.enter(&place.shard);
        let Role::Replica(at) = place.role else {
            match pool.reads().sharding.is_some() {
                true => self.session.attach_shard(&mut lease.backend, back),
                false => self.session.attach(&mut lease.backend, back),
            }
            return;
        };
        self.session.attach_replica(&mut lease.backend, back);
        self.routing.unit.clear();
        self.routing.held.clear();
        self.routing.outstanding = Some(Outstanding::new(&pool.reads().cluster, at));
        self.routing.tracks.here.own = Some(at);
    }

    /// The server has done all it was sent.
    pub(super) fn done(&mut self, at: Instant) {
        if self.is_gathered() {
            return self.seen_there(at);
        }
        if self.is_at_coordinator() {
            return self.seen_everywhere(at);
        }
        if self.session.is_on_replica() {
            self.routing.tracks.here.seen = Some(at);
        } else {
            self.routing.tracks.here.needed = Some(at);
        }
    }

    /// The server in hand is no longer the session's.
    pub(super) fn unrouted(&mut self) {
        self.routing.cache.gives_up();
        self.routing.outstanding = None;
        self.routing.unit = Vec::new();
        self.routing.held = Vec::new();
        self.routing.is_judged = false;
    }

    /// A transaction has ended, and with it what was set for it.
    pub(super) fn transaction_ended(&mut self) {
        self.routing.tenant_now = None;
        self.routing.shard_now = None;
        self.routing.said = Vec::new();
        (self.routing.made_temporary, self.routing.notified) = (false, false);
    }

    /// The unit at hand goes to the primary, whatever it asks for.
    pub(super) fn goes_to_primary(&mut self) {
        self.routing.to_primary = true;
    }
}
