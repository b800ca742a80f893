//! Which shard a client's next stretch is for, and what becomes of one that is for another shard than the server in hand is
//! of. Several shards at once are not for this file.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use routing_rules::{ShardReason, Sharding, TextKind, Unread};

use super::super::relay::{Client, Then};
use super::beyond::Asks;
use super::elsewhere::Steer;
use super::meeting::Meets;
use super::place::{Ground, Place, Placed, Tenant, is_of_session};
use super::readings::Read;
use super::refusals::{
    elsewhere, no_such_shard, not_looked_up, other_characters, refusal, sets_among_others, several, too_long,
};
use super::sets::{Set, mentions};
use super::texts::{Heard, named_by_definition};
use crate::catalog::Found;
use crate::fault::Fault;
use crate::pool::{Pool, Reads, Role};
use crate::protocol::session::pin::Pin;
use crate::protocol::session::said::{Said, Spoken, Stretch};

/// Where a stretch goes.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Wherever the session is, or to its home.
    Anywhere,
    /// To this shard.
    Shard(Box<str>),
    /// To several shards (none named: all), which no one server can answer.
    Several(Vec<Box<str>>),
    /// Where the rows of all shards are, if anywhere.
    Beyond(ShardReason),
    /// Nowhere.
    Refused(Fault),
    /// More of it must come first.
    More,
    /// The tables are not known yet.
    Later,
}

/// What judging a stretch found out besides.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// How long it is, and its last frame.
    bytes: usize,
    pub ends: u8,
    /// It makes or drops nothing but temporary tables.
    makes_temporary: bool,
    /// Why it goes where it goes.
    pub placed: Placed,
    /// A key of it is a parameter, and nothing is bound to it.
    pub lacks_values: bool,
    /// What it asks of a coordinator.
    pub asks: Asks,
    /// It calls a function by its number.
    pub calls: bool,
    /// It sets something of pgshunt's own.
    sets: bool,
    /// It notifies others.
    notifies: bool,
    /// Nothing will be sent: somebody asks where it would go.
    pub only_asks: bool,
    /// What another shard would have to hear, should the transaction go on there.
    heard: Heard,
    /// The tenant it sets.
    tenant: Option<Option<Tenant>>,
    /// The shard it asks for.
    shard: Option<Option<Box<str>>>,
}

impl Noted {
    /// For a stretch that nobody sends.
    pub fn of_nobody() -> Self {
        Noted {
            only_asks: true,
            ..Noted::default()
        }
    }
}

/// What becomes of the next stretch of a session that holds a server.
pub(in crate::client) enum Stay {
    /// It may be sent on.
    On,
    /// More of it must come first, or something must be found out.
    Wait,
    /// It was made to fail.
    Failed,
    /// The client's line is broken.
    Ended(Then),
}

/// The most temporary tables of one statement.
const TEMPORARY_MAX: usize = 16;

impl Client {
    /// Finds the pool of the primary of the shard that the stretch at the beginning of the inbox is for.
    pub(super) fn find_shard(&mut self, own: &Rc<Pool>, reads: &Rc<Reads>, at: Instant) -> Verdicted {
        if let Err(fault) = self.tie(reads) {
            return self.nowhere(own, reads, fault);
        }
        let (verdict, noted) = self.judge(reads);
        let name = match verdict {
            Verdict::Anywhere => self.home(reads),
            Verdict::Shard(shard) => Some(shard),
            Verdict::More => return Verdicted::More,
            Verdict::Later if self.waits_for_tables(reads, at) => return Verdicted::Later,
            Verdict::Later => return self.nowhere(own, reads, not_looked_up()),
            Verdict::Several(shards) => return self.gathers(shards, noted),
            Verdict::Beyond(reason) => return self.goes_beyond(own, reads, &reason, noted, at),
            Verdict::Refused(fault) => return self.nowhere(own, reads, fault),
        };
        self.routing.looking = None;
        let pool = match name.as_deref() {
            None => Some(own.clone()),
            Some(name) => self.place(name, Role::Primary),
        };
        match pool {
            Some(pool) => {
                self.take_note(noted);
                self.routing.is_judged = true;
                Verdicted::Pool(pool)
            }
            // Whoever is on his way to name another one may.
            None if mentions(self.inbox.bytes(), b"pgshunt.target") => Verdicted::Pool(own.clone()),
            None => {
                let fault = no_such_shard(name.as_deref().unwrap_or_default(), reads);
                Verdicted::Refused(fault)
            }
        }
    }

    /// There is no shard for it. In a transaction that has only been asked for, a server is made to fail it.
    pub(super) fn nowhere(&mut self, own: &Rc<Pool>, reads: &Rc<Reads>, fault: Fault) -> Verdicted {
        self.routing.looking = None;
        if !self.session.has_begun() {
            return Verdicted::Refused(fault);
        }
        let home = self.home(reads);
        let home = home.and_then(|name| self.place(&name, Role::Primary));
        Verdicted::Pool(home.unwrap_or_else(|| own.clone()))
    }

    /// Looks at the next stretch of a session that is on a shard already.
    pub(in crate::client) fn stay(&mut self, cx: &mut Context<'_>) -> Stay {
        if std::mem::take(&mut self.routing.is_judged) {
            return Stay::On;
        }
        let reads = self.handle.pool.reads();
        self.follow_wishes(&reads, Instant::now());
        let Some(lease) = &self.lease else {
            return Stay::On;
        };
        // A failed transaction refuses all but its end, and what stands behind that in the same text must be looked at.
        let is_for_gathering = lease.backend.status == b'E' && self.is_gathered();
        if self.inbox.is_empty() || self.inbox.bytes().first() == Some(&b'X') || is_for_gathering {
            return Stay::On;
        }
        if self.is_gathered() {
            return self.stay_gathered(&reads);
        }
        let here = lease.pool().plan.key.place.shard.clone();
        let tied = self.tie(&reads);
        let (verdict, noted) = self.judge(&reads);
        let fault = match verdict {
            Verdict::More => {
                self.grows = true;
                return Stay::Wait;
            }
            _ if tied.is_err() => tied.err(),
            Verdict::Anywhere => None,
            Verdict::Shard(shard) if *shard == *here => None,
            Verdict::Later if self.waits_for_tables(&reads, Instant::now()) => return Stay::Wait,
            Verdict::Later => Some(not_looked_up()),
            Verdict::Shard(_) | Verdict::Several(_) if self.can_go_on() => return self.goes_on(noted),
            Verdict::Shard(other) => Some(elsewhere(&here, &other, self.is_in_transaction())),
            Verdict::Several(shards) => Some(several(&shards)),
            Verdict::Beyond(reason) => Some(self.not_beyond_here(&reads, &reason, &noted)),
            Verdict::Refused(fault) => Some(fault),
        };
        self.routing.looking = None;
        let Some(fault) = fault else {
            self.take_note(noted);
            return Stay::On;
        };
        self.fail_there(cx, &fault, &noted)
    }

    /// Looks at the next unit of a session that is on a replica of one shard. `None`: it may stay, as far as shards go.
    pub(super) fn steer_on_shard(&mut self, cx: &mut Context<'_>) -> Option<Steer> {
        let here = self.lease.as_ref()?.pool().plan.key.place.shard.clone();
        let reads = self.handle.pool.reads();
        self.follow_wishes(&reads, Instant::now());
        let tied = self.tie(&reads);
        let (verdict, noted) = self.judge(&reads);
        let fault = match verdict {
            Verdict::More => return Some(Steer::More),
            _ if tied.is_err() => tied.err()?,
            Verdict::Anywhere => return None,
            Verdict::Shard(shard) if *shard == *here => return None,
            // What was read there was committed; so will be what is read elsewhere.
            Verdict::Shard(_) | Verdict::Several(_) if self.session.can_begin_again() => {
                return Some(self.begin_again());
            }
            Verdict::Shard(other) => elsewhere(&here, &other, self.is_in_transaction()),
            Verdict::Several(shards) => several(&shards),
            // Likewise.
            Verdict::Beyond(_) if self.session.can_begin_again() => return Some(self.begin_again()),
            Verdict::Beyond(reason) => self.not_beyond_here(&reads, &reason, &noted),
            Verdict::Refused(fault) => fault,
            Verdict::Later => not_looked_up(),
        };
        Some(match self.fail_there(cx, &fault, &noted) {
            Stay::On | Stay::Failed => Steer::On,
            Stay::Wait => Steer::More,
            Stay::Ended(_) => Steer::Ended,
        })
    }

    /// Has the server in hand fail in place of the next stretch.
    pub(super) fn fail_there(&mut self, cx: &mut Context<'_>, fault: &Fault, noted: &Noted) -> Stay {
        let Some(lease) = &mut self.lease else {
            return Stay::On;
        };
        let server: &mut crate::server::held::Server = lease;
        let mut out = Vec::new();
        let is_done = self
            .session
            .fail(fault, noted.ends, &mut server.backend, &mut out);
        if server.outbox.write(cx, &mut server.stream, &out).is_err() {
            return Stay::Ended(self.server_gone(cx));
        }
        if !is_done {
            return Stay::Wait;
        }
        self.handle.pool.totals.borrow_mut().fault_count += 1;
        // A Sync or Flush at its end is sent as it is.
        let used = match noted.ends {
            b'S' | b'H' => noted.bytes.saturating_sub(crate::protocol::frame::HEADER),
            _ => noted.bytes,
        };
        self.inbox.consume(used, &self.worker.buffers);
        Stay::Failed
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        let status = self.lease.as_ref().map(|lease| lease.backend.status);
        self.session.has_begun() || status == Some(b'T')
    }

    /// Where what belongs nowhere goes: to the shard that was asked for, the tenant's, the last one, the first.
    pub(super) fn home(&self, reads: &Reads) -> Option<Box<str>> {
        if let Some(shard) = self.target() {
            return Some(shard.into());
        }
        let of_tenant = match (&reads.sharding, self.tenant()) {
            (Some(sharding), Some(Tenant::Key(key))) => sharding.placement.shard(key).ok(),
            (_, _) => None,
        };
        let last = || {
            let last = self.routing.tracks.here.shard.as_deref();
            last.filter(|last| reads.clusters.iter().any(|cluster| *cluster.name == **last))
        };
        of_tenant.or_else(last).map(Into::into)
    }

    /// The session's tenant at this moment.
    pub(super) fn tenant(&self) -> Option<&Tenant> {
        match &self.routing.tenant_now {
            Some(now) => now.as_ref(),
            None => self.routing.wishes.tenant.as_ref(),
        }
    }

    /// The shard that `pgshunt.target` names at this moment.
    pub(super) fn target(&self) -> Option<&str> {
        match &self.routing.shard_now {
            Some(now) => now.as_deref(),
            None => self.routing.wishes.shard.as_deref(),
        }
    }

    pub(super) fn take_note(&mut self, noted: Noted) {
        self.routing.placed = noted.placed;
        self.session.makes_temporary(noted.makes_temporary);
        if noted.heard.is_anew {
            self.routing.said.clear();
        }
        self.routing.said.extend(noted.heard.said);
        self.routing.made_temporary |= noted.makes_temporary;
        self.routing.notified |= noted.notifies;
        if noted.tenant.is_some() {
            self.routing.tenant_now = noted.tenant;
        }
        if noted.shard.is_some() {
            self.routing.shard_now = noted.shard;
        }
    }

    /// Judges the stretch that begins the inbox.
    pub(super) fn judge(&self, reads: &Reads) -> (Verdict, Noted) {
        let Some(sharding) = &reads.sharding else {
            return (Verdict::Anywhere, Noted::default());
        };
        let placed = Placed::Target;
        let sets_ours = || mentions(self.inbox.bytes(), b"pgshunt.");
        if !reads.is_guarded()
            && self.target().is_some()
            && self.lease.is_none()
            && !self.session.has_begun()
            && !sets_ours()
        {
            // Whoever names a shard knows what is there.
            let noted = Noted {
                placed,
                ..Noted::default()
            };
            return (Verdict::Anywhere, noted);
        }
        let (stretch, is_clear) = match self.session.said(self.inbox.bytes()) {
            Said::Open => return (Verdict::More, Noted::default()),
            Said::TooLong => return (Verdict::Refused(too_long()), Noted::default()),
            Said::Unclear(stretch) => (stretch, false),
            Said::Told(stretch) => (stretch, true),
        };
        let mut noted = Noted {
            bytes: stretch.bytes,
            ends: if is_clear { stretch.ends } else { 0 },
            calls: stretch.calls,
            ..Noted::default()
        };
        let verdict = self.judge_stretch(&stretch, reads, sharding, &mut noted);
        (verdict.unwrap_or_else(|verdict| verdict), noted)
    }

    /// `Err` is a verdict that nothing behind it can change.
    pub(super) fn judge_stretch(
        &self,
        stretch: &Stretch<'_>,
        reads: &Reads,
        sharding: &Arc<Sharding>,
        noted: &mut Noted,
    ) -> Result<Verdict, Verdict> {
        let Some(readings) = &self.routing.wishes.readings else {
            return Ok(Verdict::Anywhere);
        };
        if stretch.statements.is_empty() && !stretch.calls {
            return Ok(Verdict::Anywhere);
        }
        let tables = reads.catalogued.tables();
        let nothing;
        let found = match &tables {
            Some(found) => &**found,
            None => {
                nothing = Found::nothing();
                &nothing
            }
        };
        let mut ground = Ground {
            sharding,
            found,
            readings,
            tenant: self.tenant(),
            first: reads.clusters.first().map(|cluster| &*cluster.name),
            is_targeted: self.target().is_some(),
            has_coordinator: reads.coordinator.is_some(),
        };
        let mut verdict = Verdict::Anywhere;
        for spoken in &stretch.statements {
            let place = self.judge_statement(spoken, reads, &mut ground, noted)?;
            verdict = together(verdict, place)?;
        }
        if noted.sets && stretch.statements.len() > 1 {
            return Err(Verdict::Refused(sets_among_others()));
        }
        if !self.is_in_transaction() {
            // Outside of one, the server is asked afterwards what was set.
            (noted.tenant, noted.shard) = (None, None);
        }
        match stretch.calls {
            true => together(verdict, self.call(sharding)),
            false => Ok(verdict),
        }
    }

    fn judge_statement(
        &self,
        spoken: &Spoken<'_>,
        reads: &Reads,
        ground: &mut Ground<'_>,
        noted: &mut Noted,
    ) -> Result<Place, Verdict> {
        if self.session.asks_us(spoken.text) {
            return Ok(Place::Anywhere);
        }
        let may_be_gathered = !noted.only_asks && self.may_be_gathered(reads);
        let read = match self.read_whole(spoken, ground) {
            Ok(read) => read,
            // Is it a mistake? A shard says so, in PostgreSQL's words.
            Err(NotRead::Unread(unread)) if may_be_gathered && unread.may_be_mistake() => {
                return Ok(Place::Several(Vec::new()));
            }
            Err(NotRead::Unread(unread)) => return Ok(Place::Refused(refusal(&unread.into()))),
            Err(NotRead::Characters) => return Ok(Place::Refused(other_characters())),
        };
        let is_of_session = is_of_session(&read.reading);
        if ground.found.tables.is_none() && !is_of_session {
            return Err(Verdict::Later);
        }
        let parameters = spoken.parameters();
        noted.lacks_values = spoken.bound.is_none();
        let heard = Heard::of(spoken.text, read.reading.statements, ground.readings.lex());
        noted.heard.add(heard);
        let set = self
            .sets(spoken, &read, &parameters, reads)
            .map_err(Verdict::Refused)?;
        if reads.coordinator.is_some() || self.is_at_coordinator() {
            noted.asks.add(&read.reading);
        }
        noted.makes_temporary = read.reading.has_local && is_of_session;
        noted.sets |= set.is_some();
        // What sets a tenant or a shard goes there.
        match set {
            None => {}
            Some(Set::Tenant(value)) => {
                let tenant = Tenant::of(value.as_bytes(), ground.sharding);
                let home = match &tenant {
                    Some(Tenant::Key(key)) => ground.sharding.placement.shard(key).ok(),
                    Some(Tenant::Wrong(_)) | None => None,
                };
                let place = home.map_or(Place::Anywhere, |home| Place::Shard(home.into()));
                noted.tenant = Some(tenant);
                return Ok(place);
            }
            Some(Set::Shard(shard)) => {
                if let Some(name) = shard.as_deref().filter(|name| !is_known(name, reads)) {
                    return Ok(Place::Refused(no_such_shard(name, reads)));
                }
                let place = shard.clone().map_or(Place::Anywhere, Place::Shard);
                noted.shard = Some(shard);
                return Ok(place);
            }
        }
        let place = match (ground.place_text(&read, &parameters), &read.reading.refused) {
            // Likewise.
            (Place::Refused(_), Some(reason)) if may_be_gathered && ground.may_be_mistake(reason) => {
                Place::Several(Vec::new())
            }
            (place, _) => place,
        };
        let (place, placed) = match (self.target(), place) {
            (Some(target), Place::Anywhere) if !is_of_session => {
                (Place::Shard(target.into()), Placed::Target)
            }
            (None, Place::Anywhere) => {
                let meets = Meets::of(spoken.text);
                noted.notifies |= meets.notifies;
                match meets.are_any() {
                    true => (ground.meeting(), Placed::Meeting),
                    false => (Place::Anywhere, Placed::Home),
                }
            }
            (_, Place::Anywhere) => (Place::Anywhere, Placed::Home),
            (_, place) => (place, Placed::by(&read.reading)),
        };
        noted.placed = placed;
        Ok(place)
    }

    /// A function called by its number may read anything: only a tenant can say where.
    fn call(&self, sharding: &Sharding) -> Place {
        if let Some(target) = self.target() {
            return Place::Shard(target.into());
        }
        match self.tenant() {
            Some(Tenant::Key(key)) => match sharding.placement.shard(key) {
                Ok(shard) => Place::Shard(shard.into()),
                Err(unplaced) => Place::Refused(refusal(&unplaced.into())),
            },
            Some(Tenant::Wrong(_)) | None => {
                let function = ShardReason::Function("called by its number".into());
                Place::Refused(refusal(&function))
            }
        }
    }

    /// Reads a statement; tables nobody knows are temporary ones, if the session has some.
    fn read_whole<'s>(&self, spoken: &Spoken<'s>, ground: &Ground<'_>) -> Result<Read<'s>, NotRead> {
        let mut read = self.read(spoken, ground)?;
        let has_temporary = self.session.pins.contains(Pin::TemporaryTables) || self.routing.made_temporary;
        let mut temporary: Vec<Box<str>> = Vec::new();
        while has_temporary
            && temporary.len() < TEMPORARY_MAX
            && let Some(ShardReason::UnknownTable(name)) = &read.reading.refused
            && ground.lacks(name)
        {
            temporary.push(name.clone());
            let again = ground
                .readings
                .read(spoken.text, ground.sharding, ground.found, &temporary);
            read = again.map_err(NotRead::Unread)?;
        }
        if has_temporary && read.reading.kind == TextKind::Everywhere {
            let named = named_by_definition(&read);
            if named.iter().all(|name| ground.lacks(name)) {
                let again = ground
                    .readings
                    .read(spoken.text, ground.sharding, ground.found, &named);
                read = again.map_err(NotRead::Unread)?;
            }
        }
        Ok(read)
    }

    fn read<'s>(&self, spoken: &Spoken<'s>, ground: &Ground<'_>) -> Result<Read<'s>, NotRead> {
        if self.session.speaks_otherwise() && !spoken.text.is_ascii() {
            return Err(NotRead::Characters);
        }
        let (sharding, found) = (ground.sharding, ground.found);
        let read = match spoken.statement {
            Some(statement) if found.tables.is_some() => {
                ground
                    .readings
                    .read_named(statement, spoken.text, sharding, found)
            }
            _ => ground.readings.read(spoken.text, sharding, found, &[]),
        };
        read.map_err(NotRead::Unread)
    }

    /// Could the next stretch be a gathering server's, and is nobody kept from anything by its text?
    fn may_be_gathered(&self, reads: &Reads) -> bool {
        let is_on_shard = self.session.is_on_shard() && self.can_go_on();
        !reads.is_guarded() && (self.lease.is_none() || self.is_gathered() || is_on_shard)
    }
}

/// Why a text was not read.
enum NotRead {
    /// Its characters can't be.
    Characters,
    /// What it says could not be.
    Unread(Unread),
}

/// What came of looking for a shard.
pub(super) enum Verdicted {
    /// The pool of its primary.
    Pool(Rc<Pool>),
    /// To these shards at once (none named: all).
    Gather(Vec<Box<str>>),
    /// The coordinator's, since the shards can't answer it together.
    Coordinator(Rc<Pool>, ShardReason),
    /// Nowhere.
    Refused(Fault),
    /// More of it must come first.
    More,
    /// The tables are not known yet.
    Later,
}

fn is_known(shard: &str, reads: &Reads) -> bool {
    reads.clusters.iter().any(|cluster| *cluster.name == *shard)
}

/// Where two statements of one stretch go together.
fn together(so_far: Verdict, place: Place) -> Result<Verdict, Verdict> {
    Ok(match (so_far, place) {
        (_, Place::Refused(fault)) => return Err(Verdict::Refused(fault)),
        (Verdict::Beyond(reason), _) | (_, Place::Beyond(reason)) => Verdict::Beyond(reason),
        (so_far, Place::Anywhere) => so_far,
        (Verdict::Anywhere, Place::Shard(shard)) => Verdict::Shard(shard),
        (Verdict::Shard(one), Place::Shard(other)) if one == other => Verdict::Shard(one),
        (Verdict::Shard(one), Place::Shard(other)) => Verdict::Several(vec![one, other]),
        (_, Place::Several(shards)) => Verdict::Several(shards),
        (so_far, Place::Shard(_)) => so_far,
    })
}
