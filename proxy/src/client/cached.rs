//! Answers from the cache: asks it before a server is borrowed, and fills it with what a server answers.
//!
//! It is asked only where nothing is owed to the client and it holds no server, so an answer is in its place wherever it
//! comes from. Everything else is `cache`'s.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context as Waking;
use std::time::{Duration, Instant};

use routing_rules::Consistency;
use routing_rules::cache::{Elsewhere, NotCached, Wish, says_a_time};

use super::filling::{Filling, Unanswered};
use super::handle::Doing;
use super::relay::Client;
use super::shared::{Asked, Asks};
use crate::cache::counts::count;
use crate::cache::fill::Recorder;
use crate::cache::flight::{Flight, Leader};
use crate::cache::heard;
use crate::cache::key::Context;
use crate::cache::local::Entry;
use crate::cache::{Admission, Reader};
use crate::pool::Role;
use crate::pool::lease::Lease;
use crate::protocol::session::Session;
use crate::protocol::session::ours::RouteRow;
use crate::protocol::session::question::{Asking, Question};

/// What the cache has to do with one client.
#[derive(Default)]
pub(super) struct Cached {
    /// Its database's, as of the worker's last reload; `None`: nothing is kept.
    reader: Option<Rc<Reader>>,
    /// The reload that was of.
    as_of: u64,
    asker: Option<Rc<Asker>>,
    /// What it has asked the second level.
    pub(super) asked: Option<Asked>,
    filling: Option<Box<Filling>>,
    /// The flight it waits for, and until when.
    pub(super) waits: Option<(u128, Instant)>,
    is_awaited: Rc<Cell<bool>>,
    /// What became of the last unit.
    pub(super) last: Told,
}

/// What became of a unit, as far as the cache goes.
#[derive(Clone, Debug, Default)]
pub(super) enum Told {
    /// There is no cache.
    #[default]
    Off,
    /// It was answered, by an answer of this class that was so many milliseconds old.
    Hit(Rc<Reader>, usize, u128),
    /// A server was asked, and the answer is kept if it can be.
    Miss,
    /// A server was asked, because of this.
    Not(Why),
}

/// Who the client is at this moment, to the cache.
struct Asker {
    context: Context,
    /// The context's number.
    number: u128,
    wish: Wish,
    consistency: Option<Consistency>,
}

/// What the cache says to a unit.
pub(super) enum Looked {
    /// Nothing: a server is needed.
    No,
    /// It has been answered.
    Answered,
    /// More of it must come first.
    More,
    /// Somebody else has asked the same.
    Later,
}

/// What there is to a question.
enum Found {
    /// An answer.
    Entry(Arc<Entry>),
    /// One that is to be fetched anew, by this client for all.
    ToRefresh(Leader),
    /// None.
    Nothing,
}

/// Why a unit is not looked for: its kind for counting, and what it is.
type Refusal = (&'static str, Why);

/// Why a unit is not looked for. Said for each, so it is put into words only where somebody asks.
#[derive(Clone, Debug)]
pub(super) enum Why {
    /// Because of who asks, and when: in words.
    Session(&'static str),
    /// Because of its text.
    Text(Rc<NotCached>),
    /// A parameter says this time.
    Parameter(&'static str),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Session(words) => f.write_str(words),
            Why::Text(why) => why.fmt(f),
            Why::Parameter(time) => write!(f, "a parameter says '{time}'"),
        }
    }
}

fn not_kept(why: Rc<NotCached>) -> Refusal {
    (why.kind(), Why::Text(why))
}

/// The longest a client waits for another one's answer before it asks itself.
const FLIGHT_WAIT: Duration = Duration::from_secs(60);

/// Bytes not taken by the client yet beyond which a server is asked: it sends no faster than they are.
const UNSENT_MAX: usize = 256 * 1024;

impl Cached {
    /// Does it wait for somebody else's answer?
    pub(super) fn waits(&self) -> bool {
        self.waits.is_some()
    }

    /// It waits no longer.
    pub(super) fn stops_waiting(&mut self) -> bool {
        self.asked = None;
        self.waits.take().is_some()
    }

    /// What it was to be filled with will not come.
    pub(super) fn gives_up(&mut self) {
        self.filling = None;
    }

    /// Bytes pass from a server to the client.
    pub(super) fn passes(&mut self, session: &Session, bytes: &[u8]) {
        if self
            .filling
            .as_mut()
            .is_some_and(|filling| filling.passes(session, bytes))
        {
            self.filling = None;
        }
    }
}

impl Client {
    /// Asks the cache for the unit that begins the inbox. The session holds no server.
    pub(super) fn look_in_cache(&mut self, cx: &mut Waking<'_>, at: Instant) -> Looked {
        let epoch = self.worker.cache_epoch.get();
        if self.routing.cache.as_of != epoch {
            self.routing.cache.reader = self.worker.cache_reader(&self.handle.pool.plan.key.database);
            self.routing.cache.as_of = epoch;
            self.routing.cache.asker = None;
        }
        let Some(reader) = self.routing.cache.reader.clone() else {
            return Looked::No;
        };
        if self.session.is_answered() {
            return Looked::No;
        }
        self.routing.cache.filling = None;
        self.follow_asker(&reader);
        match self.look(&reader, cx, at) {
            Ok(looked) => looked,
            Err((kind, why)) => {
                reader.cache.counts.refused(kind);
                self.routing.cache.stops_waiting();
                self.routing.cache.last = Told::Not(why);
                Looked::No
            }
        }
    }

    /// Who the client is now.
    fn follow_asker(&mut self, reader: &Reader) {
        let (session, known) = (&self.session, &mut self.routing.cache.asker);
        if known.as_ref().is_some_and(|asker| asker.context.is_of(session)) {
            return;
        }
        let text = |name: &[u8]| {
            let value = session
                .settings
                .value(name)
                .and_then(|value| std::str::from_utf8(value).ok());
            value
                .map(|value| value.trim().to_ascii_lowercase())
                .filter(|value| !value.is_empty())
        };
        let key = &self.handle.pool.plan.key;
        let context = Context::of(&key.database, &key.user, session);
        *known = Some(Rc::new(Asker {
            number: reader.cache.hasher.context(&context.bytes),
            context,
            // What can't be read asks for nothing from the cache.
            wish: text(b"pgshunt.cache").map_or(Wish::Auto, |text| Wish::parse(&text).unwrap_or(Wish::Off)),
            consistency: text(b"pgshunt.consistency")
                .map(|text| Consistency::parse(&text).unwrap_or(Consistency::Strong)),
        }));
    }

    fn look(&mut self, reader: &Rc<Reader>, cx: &mut Waking<'_>, at: Instant) -> Result<Looked, Refusal> {
        let Some(asker) = self.routing.cache.asker.clone() else {
            return Ok(Looked::No);
        };
        if asker.wish == Wish::Off {
            return Err(("pgshunt.cache", Why::Session("pgshunt.cache is off")));
        }
        let question = match self.session.question(self.inbox.bytes()) {
            Asking::Open => return Ok(Looked::More),
            Asking::Not(why) => return Err(("session", Why::Session(why))),
            Asking::This(question) => question,
        };
        let looked = self.admits(reader, &question)?;
        if looked.is_query {
            self.session.asks_a_query(&question);
        }
        let kept = looked.kept.map_err(not_kept)?;
        self.is_fresh_enough(reader, asker.consistency, at)?;
        let hash = reader.cache.hasher.hash(asker.number, &question.body);
        let asked = self.routing.cache.asked.take().filter(|asked| asked.hash == hash);
        if asked.as_ref().is_some_and(Asked::is_open) {
            self.routing.cache.asked = asked;
            return Ok(Looked::Later);
        }
        let is_to_look = asked.as_ref().is_none_or(|asked| !asked.refreshes);
        let mut leader = None;
        if is_to_look {
            match self.found(reader, &asker, &question, (hash, at)) {
                Found::Entry(entry) => return self.hit(cx, reader, &question, &entry, at),
                Found::ToRefresh(known) => leader = Some(known),
                Found::Nothing => {}
            }
        }
        if let Some(word) = question.values().find_map(says_a_time) {
            return Err(("depends on the moment", Why::Parameter(word)));
        }
        let counts = &reader.cache.counts.classes[kept.class];
        let (leader, under) = match asked {
            Some(asked) => asked.ends(),
            None => {
                let refreshes = leader.is_some() || asker.wish == Wish::Refresh;
                let leader = match leader {
                    None if asker.wish != Wish::Refresh => match reader.cache.flights.lead(hash) {
                        Ok(leader) => Some(leader),
                        Err(flight) if self.waits_for_flight(hash, &flight, at) => {
                            count(&counts.waits);
                            return Ok(Looked::Later);
                        }
                        Err(_) => None,
                    },
                    leader => leader,
                };
                let asking = Asks {
                    reader,
                    kept: &kept,
                    question: &question,
                    context: &asker.context,
                    hash,
                    refreshes,
                };
                match self.asks_shared(&asking, leader, at) {
                    Ok(()) => return Ok(Looked::Later),
                    Err(leader) => (leader, None),
                }
            }
        };
        count(&counts.misses);
        reader
            .watch
            .note_read(question.text(), self.session.question_lex());
        let status = if self.session.is_begun() { b'T' } else { b'I' };
        self.routing.cache.waits = None;
        self.routing.cache.last = Told::Miss;
        self.routing.cache.filling = Some(Box::new(Filling {
            recorder: Recorder::new(reader.rules.max_entry_bytes, status),
            of: Unanswered {
                stamp: reader.stamp(&reader.reads(&kept, &question)),
                reader: reader.clone(),
                hash,
                context: asker.context.clone(),
                class: kept.class,
                asked_at: at,
                question,
                under,
                leader,
            },
        }));
        Ok(Looked::No)
    }

    /// An answer that may be given now.
    fn found(
        &self,
        reader: &Reader,
        asker: &Asker,
        question: &Question,
        (hash, at): (u128, Instant),
    ) -> Found {
        let cache = &reader.cache;
        let entry = cache.local.find(hash).filter(|entry| {
            let has_all = !question.is_described || !entry.said.description().is_empty();
            has_all && entry.is_of(&asker.context.bytes, &question.body)
        });
        let Some(entry) = entry.filter(|_| asker.wish != Wish::Refresh) else {
            return Found::Nothing;
        };
        let (class, counts) = (
            &reader.rules.classes[entry.class],
            &cache.counts.classes[entry.class],
        );
        if !entry.stamp.holds(&cache.generations) {
            count(&counts.invalidated);
            cache.local.forget(&entry);
            return Found::Nothing;
        }
        let age = at.saturating_duration_since(entry.asked_at);
        let (ttl, stale) = match asker.wish {
            Wish::Ttl(wanted) if wanted < class.ttl => (wanted, Duration::ZERO),
            _ => (class.ttl, class.stale),
        };
        if age >= ttl + stale {
            count(&counts.expired);
            return Found::Nothing;
        }
        if age + class.refresh_ahead < ttl {
            return Found::Entry(entry);
        }
        match cache.flights.lead(hash) {
            Ok(leader) => Found::ToRefresh(leader),
            // Somebody fetches it anew already.
            Err(_) => {
                if age >= ttl {
                    count(&counts.stale_hits);
                }
                Found::Entry(entry)
            }
        }
    }

    /// May the answer to the question be kept?
    fn admits(&mut self, reader: &Rc<Reader>, question: &Question) -> Result<Admission, Refusal> {
        let Some(catalog) = reader.catalog() else {
            return Err((
                "other",
                Why::Session("the database's tables have not been looked up yet"),
            ));
        };
        if self.session.is_begun() && catalog.relations.isolates_by_default() {
            return Err((
                "session",
                Why::Session("its transaction may read from one snapshot"),
            ));
        }
        let lex = self.session.question_lex();
        Ok(reader.admits(question.text(), lex, &catalog))
    }

    /// Is what the cache has heard of enough for the session?
    fn is_fresh_enough(
        &self,
        reader: &Reader,
        consistency: Option<Consistency>,
        at: Instant,
    ) -> Result<(), Refusal> {
        if let Some(why) = reader.is_deaf(at) {
            return Err(("not heard in time", Why::Session(why)));
        }
        let rules = self.handle.pool.reads();
        match consistency.unwrap_or(rules.rules.consistency) {
            Consistency::Session | Consistency::Eventual => Ok(()),
            Consistency::Strong => Err(("consistency", Why::Session("the consistency is strong"))),
            Consistency::Bounded(within) => {
                let is_heard =
                    reader.rules.elsewhere == Elsewhere::Follow && reader.cache.heard.behind(at) <= within;
                is_heard.then_some(()).ok_or((
                    "consistency",
                    Why::Session("the consistency is stricter than what was heard"),
                ))
            }
        }
    }

    fn hit(
        &mut self,
        cx: &mut Waking<'_>,
        reader: &Rc<Reader>,
        question: &Question,
        entry: &Entry,
        at: Instant,
    ) -> Result<Looked, Refusal> {
        if self.outbox.waiting_bytes() >= UNSENT_MAX {
            return Err((
                "session",
                Why::Session("the client has not taken earlier answers yet"),
            ));
        }
        let counts = &reader.cache.counts.classes[entry.class];
        count(&counts.hits);
        let age = at.saturating_duration_since(entry.asked_at);
        self.routing.cache.waits = None;
        // Its time of being idle begins anew.
        self.handle.does(Doing::Idle, at);
        self.routing.cache.last = Told::Hit(reader.clone(), entry.class, age.as_millis());
        if self.traces() {
            self.trace(cx);
        }
        let mut answer = Vec::new();
        let (session, worker) = (&mut self.session, self.worker.clone());
        worker.at_desk(&self.handle.pool, self.message_max, |desk| {
            session.answers(
                question,
                (entry.said.description(), entry.said.rows()),
                desk,
                &mut answer,
            );
            desk.totals.bytes_sent += answer.len() as u64;
        });
        self.inbox.consume(question.bytes, &worker.buffers);
        let (outbox, stream) = (&mut self.outbox, &mut self.stream);
        // A broken line shows at the next write.
        let _ = outbox.write(cx, stream, &answer);
        Ok(Looked::Answered)
    }

    /// Waits for somebody else's answer, if that has not taken too long already.
    fn waits_for_flight(&mut self, hash: u128, flight: &Arc<Flight>, at: Instant) -> bool {
        let cached = &mut self.routing.cache;
        let until = match cached.waits {
            Some((other, until)) if other == hash => until,
            Some(_) | None => at + FLIGHT_WAIT,
        };
        if at >= until {
            return false;
        }
        cached.waits = Some((hash, until));
        let flight = flight.clone();
        let landed = async move { flight.wait().await };
        self.handle.looks_again(&cached.is_awaited, until, landed);
        self.handle.does(Doing::Waiting, at);
        true
    }

    /// The last unit's route, if it was answered from the cache.
    pub(super) fn hit_row(&self) -> Option<RouteRow> {
        let Told::Hit(reader, class, age_ms) = &self.routing.cache.last else {
            return None;
        };
        let class = &reader.rules.classes[*class].name;
        Some(RouteRow {
            target: "cache".into(),
            shard: self.handle.pool.reads().cluster.name.to_string(),
            access: "read".into(),
            cache: "hit".into(),
            because: format!("class {class}, {age_ms} ms old"),
            ..RouteRow::default()
        })
    }

    /// What the cache would say to this text as the session's next statement.
    pub(super) fn would_be_cached(&mut self, text: &[u8]) -> String {
        let Some(reader) = self.worker.cache_reader(&self.handle.pool.plan.key.database) else {
            return "off".into();
        };
        self.routing.cache.asker = None;
        self.follow_asker(&reader);
        let question = Question::simple(text, 0);
        let at = Instant::now();
        let fresh = self.routing.cache.asker.clone().map(|asker| {
            self.is_fresh_enough(&reader, asker.consistency, at)?;
            let hash = reader.cache.hasher.hash(asker.number, &question.body);
            let entry = reader.cache.local.find(hash);
            Ok(entry.is_some_and(|entry| {
                entry.stamp.holds(&reader.cache.generations)
                    && entry.is_of(&asker.context.bytes, &question.body)
            }))
        });
        let admitted = self.admits(&reader, &question);
        let kept = admitted.and_then(|looked| looked.kept.map_err(not_kept));
        match kept.and(fresh.unwrap_or(Ok(false))) {
            Ok(true) => "hit".into(),
            Ok(false) => "miss".into(),
            Err((_, why)) => why.to_string(),
        }
    }

    /// The last unit's `cache` column.
    pub(super) fn cache_word(&self) -> String {
        match &self.routing.cache.last {
            Told::Off => "off".into(),
            Told::Hit(..) => "hit".into(),
            Told::Miss => "miss".into(),
            Told::Not(why) => why.to_string(),
        }
    }

    /// A server was lent for the unit: what it changes is told to the cache. A replica's answer is kept only if the
    /// replica has every change the cache knows of.
    pub(super) fn watched(&mut self, lease: &Lease) {
        let cached = &mut self.routing.cache;
        let watch = cached.reader.as_ref().map(|reader| reader.watch.clone());
        if let Some(reader) = &cached.reader {
            reader.catalog();
        }
        self.session.watched_by(watch);
        if lease.cancel.hail.is_some() && cached.filling.take().is_some() {
            // Shards answer one after the other: what they say together was so at no one moment.
            cached.last = Told::Not(Why::Session("several shards answer it"));
        }
        let Some(filling) = &cached.filling else { return };
        if lease.pool().plan.key.place.role == Role::Coordinator {
            // What it has read on the shards, it may have read before what makes it old was heard of.
            cached.filling = None;
            return;
        }
        if let Role::Replica(member) = lease.pool().plan.key.place.role {
            let cluster = &lease.pool().reads().cluster;
            let has_all = cluster
                .caught_up(member)
                .is_some_and(|instant| heard::nanos_at(instant) > filling.of.stamp.changed_at);
            if !has_all {
                cached.filling = None;
            }
        }
        // What Redis has been told of may not have reached a replica.
        if let Role::Replica(_) = lease.pool().plan.key.place.role
            && let Some(filling) = &mut cached.filling
        {
            filling.of.under = None;
        }
    }
}
