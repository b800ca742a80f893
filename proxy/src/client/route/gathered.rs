//! A session whose stretch is for several shards: a gathering server is lent to it, and what it says goes there until its
//! transaction has ended.

use std::rc::Rc;
use std::time::Instant;

use routing_rules::Guard;

use super::super::gather::{self, Begun, Course, Site, Terms};
use super::super::relay::Client;
use super::place::Tenant;
use super::refusals::{beyond_here, not_looked_up};
use super::shard::{Noted, Stay, Verdict, Verdicted};
use crate::fault::Fault;
use crate::pool::lease::Lease;
use crate::pool::{Reads, Role};
use crate::protocol::sqlstate;

/// The most that is kept of what a transaction has said.
const SAID_MAX: usize = 1000;

impl Client {
    /// The stretch at the beginning of the inbox goes to several shards.
    pub(super) fn gathers(&mut self, noted: Noted) -> Verdicted {
        self.routing.looking = None;
        self.take_note(noted);
        self.routing.is_judged = true;
        Verdicted::Gather
    }

    /// A gathering server, with the transaction that has begun on one shard, if any. `None`: it was refused.
    pub(in crate::client) fn gathering(&mut self, begun: Option<Begun>) -> Option<Lease> {
        let own = self.handle.pool.clone();
        let reads = own.reads();
        let shards = self.sites(&reads);
        let (Some(sharding), Some(readings), Some(shards)) = (
            reads.sharding.clone(),
            self.routing.wishes.readings.clone(),
            shards,
        ) else {
            let text = "a shard of this database is not configured any more";
            self.refuse(&Fault::error(sqlstate::CONFIG_FILE_ERROR, text));
            return None;
        };
        let course = Rc::new(Course::default());
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
        self.remember_alone(&self.handle.pool.clone());
        let last = &mut self.routing.last;
        (last.is_gathered, last.server) = (true, None);
        last.shard = Some(names.join(", ").into());
        last.note = "several shards answer together";
    }

    /// Is a gathering server lent to it?
    pub(super) fn is_gathered(&self) -> bool {
        let is_played = |lease: &Lease| lease.cancel.hail.is_some();
        self.lease.as_ref().is_some_and(is_played)
    }

    /// What the session reads from now on, on whatever shard, must be as new as this.
    pub(super) fn seen_everywhere(&mut self, at: Instant) {
        for cluster in self.handle.pool.reads().clusters.iter() {
            self.routing.tracks.need(&cluster.name, at);
        }
    }

    fn sites(&self, reads: &Reads) -> Option<Vec<Site>> {
        let site = |cluster: &std::sync::Arc<crate::cluster::Cluster>| {
            Some(Site {
                name: (*cluster.name).into(),
                pool: self.place(&cluster.name, Role::Primary)?,
            })
        };
        reads.clusters.iter().map(site).collect()
    }

    /// Looks at the next stretch of a session that has a gathering server.
    pub(super) fn stay_gathered(&mut self, reads: &Rc<Reads>) -> Stay {
        let tied = self.tie(reads);
        let (verdict, noted) = self.judge(reads);
        let fault = match verdict {
            Verdict::More => {
                self.grows = true;
                return Stay::Wait;
            }
            _ if tied.is_err() => tied.err(),
            Verdict::Later if self.waits_for_tables(reads, Instant::now()) => return Stay::Wait,
            Verdict::Later => Some(not_looked_up()),
            // What has no place is for the server to say; what the tenant may not see is not.
            Verdict::Refused(fault)
                if reads.tenant.is_some()
                    || reads
                        .sharding
                        .as_ref()
                        .is_some_and(|rules| rules.guard != Guard::Off) =>
            {
                Some(fault)
            }
            Verdict::Beyond(reason) => Some(beyond_here(&reason, reads, self.is_in_transaction())),
            Verdict::Refused(_) | Verdict::Anywhere | Verdict::Shard(_) | Verdict::Several(_) => None,
        };
        self.routing.looking = None;
        self.take_note(noted);
        self.tell_course(reads);
        if let Some(course) = &self.routing.course {
            course.refusal.replace(fault);
        }
        Stay::On
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
        let begun = Begun { at, lease, said };
        if let Some(mut lease) = self.gathering(Some(begun)) {
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
}
