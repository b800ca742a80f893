//! A session whose stretch is for several shards: a gathering server is lent to it, and what it says goes there until its
//! transaction has ended. What only reads goes to a replica of each shard that has one that is fresh enough, as what is for one
//! shard does; should one of them be unable to do it, all of it is run again on primaries, if the client has heard nothing.

use std::rc::Rc;
use std::task::Context;
use std::time::Instant;

use routing_rules::{Freshness, Target as To, Transaction};

use super::super::gather::{self, Begun, Course, Seat, Site, Terms};
use super::super::relay::Client;
use super::elsewhere::Steer;
use super::place::Tenant;
use super::refusals::{beyond_here, not_looked_up};
use super::shard::{Noted, Stay, Verdict, Verdicted};
use super::{Last, Pick, Remembered};
use crate::fault::Fault;
use crate::pool::lease::Lease;
use crate::pool::{Reads, Role};
use crate::protocol::sqlstate;

/// The most that is kept of what a transaction has said.
const SAID_MAX: usize = 1000;

/// Which replicas answer together.
#[derive(Default)]
pub(in crate::client) struct Replicas {
    /// By the places of their shards; `None`: its primary does.
    chosen: Vec<Option<usize>>,
    /// Primaries may answer beside them.
    may_mix: bool,
}

impl Replicas {
    fn are_any(&self) -> bool {
        self.chosen.iter().any(Option::is_some)
    }
}

impl Client {
    /// The stretch at the beginning of the inbox goes to these shards.
    pub(super) fn gathers(&mut self, shards: Vec<Box<str>>, noted: Noted) -> Verdicted {
        self.routing.looking = None;
        self.take_note(noted);
        self.routing.is_judged = true;
        Verdicted::Gather(shards)
    }

    /// Chooses the servers for the unit that begins the inbox, which is for these shards (none named: all).
    pub(super) fn pick_servers(&mut self, shards: &[Box<str>], reads: &Rc<Reads>, at: Instant) -> Pick {
        if !reads.clusters.iter().any(|cluster| cluster.has_replicas()) {
            self.remember_alone(&self.handle.pool.clone());
            return Pick::Gather(Replicas::default());
        }
        let Some(ruled) = self.rule(reads) else {
            return Pick::More;
        };
        let mut replicas = Replicas {
            chosen: Vec::new(),
            may_mix: ruled.asked.access.is_read(),
        };
        if let To::Replica(freshness) = ruled.to
            && !self.routing.to_primary
        {
            match self.choose_each(shards, reads, freshness, at) {
                Some(chosen) => replicas.chosen = chosen,
                None => {
                    self.routing.asked = Some(ruled.asked);
                    return Pick::Later;
                }
            }
        }
        self.routing.catching = None;
        if !replicas.may_mix && replicas.chosen.iter().any(Option::is_none) {
            // What a replica would refuse must not be done by a primary before it has.
            replicas.chosen.clear();
        }
        let note = self.note(ruled.to, replicas.are_any());
        let mut totals = self.handle.pool.totals.borrow_mut();
        let is_fallback = !note.is_empty();
        totals.routes.count(ruled.kind, replicas.are_any(), is_fallback);
        drop(totals);
        self.routing.last = Last {
            asked: Some(ruled.asked),
            facts: Some(ruled.facts),
            note,
            ..Last::default()
        };
        Pick::Gather(replicas)
    }

    /// A replica of each shard that has a fit one; `None`: one of these shards may have one in a moment.
    fn choose_each(
        &mut self,
        shards: &[Box<str>],
        reads: &Rc<Reads>,
        freshness: Freshness,
        at: Instant,
    ) -> Option<Vec<Option<usize>>> {
        let mut chosen = Vec::with_capacity(reads.clusters.len());
        for cluster in reads.clusters.iter() {
            let wish = self.wish(freshness, cluster, &reads.rules, at);
            let replica = cluster.choose(&wish).filter(|_| cluster.has_replicas());
            let takes_part = shards.is_empty() || shards.iter().any(|shard| **shard == *cluster.name);
            let may_wait = replica.is_none() && takes_part && cluster.has_replicas();
            if may_wait && self.waits_for_replica(cluster, &reads.rules, at) {
                return None;
            }
            chosen.push(replica);
        }
        Some(chosen)
    }

    /// A gathering server, with the transaction that has begun on one shard, if any. `None`: it was refused.
    pub(in crate::client) fn gathering(
        &mut self,
        begun: Option<Begun>,
        replicas: &Replicas,
    ) -> Option<Lease> {
        let own = self.handle.pool.clone();
        let reads = own.reads();
        let shards = self.sites(&reads, replicas);
        let (Some(sharding), Some(readings), Some(shards)) = (
            reads.sharding.clone(),
            self.routing.wishes.readings.clone(),
            shards,
        ) else {
            let text = "a shard of this database is not configured any more";
            self.refuse(&Fault::error(sqlstate::CONFIG_FILE_ERROR, text));
            return None;
        };
        let course = Rc::new(Course::new(replicas.are_any(), replicas.may_mix));
        self.routing.course = Some(course.clone());
        let settings = own.settings();
        let terms = Terms {
            worker: self.worker.clone(),
            database: own.plan.key.database.clone(),
            shards,
            sharding,
            catalogued: reads.catalogued.clone(),
            readings,
            course,
            settings: self.session.settings.clone(),
            lex: self.session.lex_of(),
            is_c: self.worker.collation(&own.plan.key.database),
            merge_memory: settings.merge_memory,
            shard_timeout: settings.shard_timeout,
        };
        self.note_shards(&terms.shards);
        self.tell_course(&reads);
        Some(gather::lend(&own, terms, begun, &self.session.reported))
    }

    fn note_shards(&mut self, sites: &[Site]) {
        let names: Vec<&str> = sites.iter().map(|site| &*site.name).collect();
        let last = &mut self.routing.last;
        (last.is_gathered, last.server) = (true, None);
        last.shard = Some(names.join(", ").into());
    }

    /// A gathering server is lent to the session.
    pub(super) fn gathered(&mut self, lease: &mut Lease, back: &mut Vec<u8>) {
        let is_on_replicas = |course: &Rc<Course>| course.is_on_replicas;
        match self.routing.course.as_ref().is_some_and(is_on_replicas) {
            true => {
                self.session.attach_replica(&mut lease.backend, back);
                self.routing.unit.clear();
                self.routing.held.clear();
            }
            false => self.session.attach_shard(&mut lease.backend, back),
        }
    }

    /// Is a gathering server lent to it?
    pub(super) fn is_gathered(&self) -> bool {
        let is_played = |lease: &Lease| lease.cancel.hail.is_some();
        self.lease.as_ref().is_some_and(is_played)
    }

    /// The servers that took part in what was last gathered.
    pub(super) fn seats(&self) -> Vec<Seat> {
        self.routing
            .course
            .as_ref()
            .map_or_else(Vec::new, |course| course.seats())
    }

    /// What the session reads from now on, where it has been, must be as new as this.
    pub(super) fn seen_there(&mut self, at: Instant) {
        for seat in self.seats() {
            match seat.replica {
                Some(replica) => self.routing.tracks.saw(&seat.shard, replica, at),
                None => self.routing.tracks.need(&seat.shard, at),
            }
        }
    }

    /// What the session reads from now on, on whatever shard, must be as new as this.
    pub(super) fn seen_everywhere(&mut self, at: Instant) {
        for cluster in self.handle.pool.reads().clusters.iter() {
            self.routing.tracks.need(&cluster.name, at);
        }
    }

    fn sites(&self, reads: &Reads, replicas: &Replicas) -> Option<Vec<Site>> {
        let site = |(at, cluster): (usize, &std::sync::Arc<crate::cluster::Cluster>)| {
            let replica = replicas.chosen.get(at).copied().flatten();
            Some(Site {
                name: (*cluster.name).into(),
                primary: self.place(&cluster.name, Role::Primary)?,
                replica: replica.and_then(|replica| self.place(&cluster.name, Role::Replica(replica))),
            })
        };
        reads.clusters.iter().enumerate().map(site).collect()
    }

    /// Looks at the next stretch of a session that has a gathering server.
    pub(super) fn stay_gathered(&mut self, reads: &Rc<Reads>) -> Stay {
        let tied = self.tie(reads);
        let (verdict, noted) = self.judge(reads);
        if let Verdict::More = verdict {
            self.grows = true;
            return Stay::Wait;
        }
        let Some(fault) = self.why_not_gathered(verdict, tied, reads) else {
            return Stay::Wait;
        };
        self.goes_there(noted, fault, reads);
        Stay::On
    }

    /// Looks at the next unit of a session whose gathering server reads replicas, in a transaction.
    pub(super) fn steer_gathered(&mut self, cx: &mut Context<'_>, reads: &Rc<Reads>) -> Steer {
        self.follow_wishes(reads, Instant::now());
        let tied = self.tie(reads);
        let (verdict, noted) = self.judge(reads);
        if let Verdict::More = verdict {
            return Steer::More;
        }
        // What was read there was committed; so will be what is read elsewhere.
        if matches!(verdict, Verdict::Beyond(_)) && self.session.can_begin_again() {
            return self.begin_again();
        }
        let Some(fault) = self.why_not_gathered(verdict, tied, reads) else {
            return Steer::More;
        };
        let steer = self.steer_by_access(cx, reads);
        if let Steer::On = steer {
            self.goes_there(noted, fault, reads);
        }
        steer
    }

    /// The stretch goes to the gathering server, or is refused there.
    fn goes_there(&mut self, noted: Noted, fault: Option<Fault>, reads: &Reads) {
        self.routing.looking = None;
        self.take_note(noted);
        self.tell_course(reads);
        if let Some(course) = &self.routing.course {
            course.refusal.replace(fault);
        }
    }

    /// Why a stretch is refused by a gathering server, if it is; `None`: something must be found out first.
    fn why_not_gathered(
        &mut self,
        verdict: Verdict,
        tied: Result<(), Fault>,
        reads: &Rc<Reads>,
    ) -> Option<Option<Fault>> {
        Some(match verdict {
            _ if tied.is_err() => tied.err(),
            Verdict::Later if self.waits_for_tables(reads, Instant::now()) => return None,
            Verdict::Later => Some(not_looked_up()),
            // What has no place is for the server to say; what the tenant may not see is not.
            Verdict::Refused(fault) if reads.is_guarded() => Some(fault),
            Verdict::Beyond(reason) => Some(beyond_here(&reason, reads, self.is_in_transaction())),
            Verdict::Refused(_)
            | Verdict::Anywhere
            | Verdict::Shard(_)
            | Verdict::Several(_)
            | Verdict::More => None,
        })
    }

    fn tell_course(&self, reads: &Reads) {
        let Some(course) = &self.routing.course else {
            return;
        };
        let tenant = match self.tenant() {
            Some(Tenant::Key(key)) => Some(key.clone()),
            Some(Tenant::Wrong(_)) | None => None,
        };
        course.tenant.replace(tenant);
        let place = |target: &str| reads.clusters.iter().position(|cluster| *cluster.name == *target);
        course.target.set(self.target().and_then(place));
    }

    /// Is the session in a transaction that can go on to another shard?
    pub(super) fn can_go_on(&self) -> bool {
        let is_idle = |lease: &Lease| lease.backend.status == b'T' && lease.backend.pipeline.is_empty();
        let is_open = |lease: &Lease| lease.backend.pipeline.is_open();
        self.session.pins.is_empty()
            && !self.routing.made_temporary
            && self.routing.said.len() < SAID_MAX
            && self
                .lease
                .as_ref()
                .is_some_and(|lease| is_idle(lease) && !is_open(lease))
    }

    /// The transaction goes on, its server taken over by a gathering one.
    pub(super) fn goes_on(&mut self, noted: Noted) -> Stay {
        let reads = self.handle.pool.reads();
        let Some(lease) = self.lease.take() else {
            return Stay::On;
        };
        let shard = lease.pool().plan.key.place.shard.clone();
        let Some(at) = reads.clusters.iter().position(|cluster| cluster.name == shard) else {
            self.lease = Some(lease);
            return Stay::On;
        };
        let said = std::mem::take(&mut self.routing.said);
        self.session.detach();
        self.remember_goes_on(&reads);
        let begun = Begun {
            at,
            lease,
            said,
            notifies: self.routing.notified,
        };
        if let Some(mut lease) = self.gathering(Some(begun), &Replicas::default()) {
            let mut back = Vec::new();
            self.routed(&mut lease, &mut back);
            self.handle.link.set(lease.id);
            self.handle.server_pid.set(0);
            self.handle.generation.set(u64::MAX);
            self.lease = Some(lease);
        }
        self.take_note(noted);
        Stay::On
    }

    /// Notes that the transaction goes on, which a replica has no part in.
    fn remember_goes_on(&mut self, reads: &Reads) {
        self.remember_alone(&self.handle.pool.clone());
        let has_replicas = reads.clusters.iter().any(|cluster| cluster.has_replicas());
        let facts = self.routing.last.facts;
        self.routing.last.facts = facts.map(|facts| Remembered {
            transaction: Transaction::ReadWrite,
            has_replicas,
            ..facts
        });
    }
}
