//! What a session has asked for by settings of its own.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use routing_rules::{Consistency, Wanted};

use super::super::marks::Mark;
use super::super::relay::Client;
use super::place::Tenant;
use super::readings::Remembered;
use crate::pool::Reads;
use crate::protocol::session::settings::Shared;

/// What the session has asked for by settings of its own.
pub(super) struct Wishes {
    pub under: Shared,
    pub wanted: Wanted,
    /// `pgshunt.target` names this shard.
    pub shard: Option<Box<str>>,
    pub consistency: Option<Consistency>,
    pub mark: Option<Mark>,
    pub traces: bool,
    /// The rules and the servers of this were followed.
    pub of: Option<Rc<Reads>>,
    /// The session's tenant, on a sharded database.
    pub tenant: Option<Tenant>,
    /// What its texts were read as, there.
    pub readings: Option<Rc<Remembered>>,
}

impl Default for Wishes {
    fn default() -> Self {
        Wishes {
            under: Shared::default(),
            wanted: Wanted::Auto,
            shard: None,
            consistency: None,
            mark: None,
            traces: false,
            of: None,
            tenant: None,
            readings: None,
        }
    }
}

impl Client {
    pub(super) fn follow_wishes(&mut self, reads: &Rc<Reads>, at: Instant) {
        let settings = &self.session.settings;
        let wishes = &mut self.routing.wishes;
        let is_same = |of: &Rc<Reads>| Rc::ptr_eq(of, reads);
        if Arc::ptr_eq(&wishes.under, settings) && wishes.of.as_ref().is_some_and(is_same) {
            return;
        }
        let plan = &self.handle.pool.plan;
        let lex = self.session.lex_of();
        let tenant = reads.tenant.as_ref().map(|tenant| tenant.as_bytes());
        let tenant = tenant.or_else(|| settings.value(b"pgshunt.tenant"));
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
                Some(target) if is_shard(target) => Wanted::Auto,
                Some(_) => Wanted::Primary,
            },
            shard: settings.value(b"pgshunt.target").and_then(named_shard),
            consistency: match text(b"pgshunt.consistency").as_deref() {
                None | Some("") => None,
                // What can't be read asks for the most.
                Some(text) => Some(Consistency::parse(text).unwrap_or(Consistency::Strong)),
            },
            traces: text(b"pgshunt.trace").as_deref() == Some("notice"),
            of: Some(reads.clone()),
            tenant: match (&reads.sharding, tenant) {
                (Some(sharding), Some(tenant)) => Tenant::of(tenant, sharding),
                (_, _) => None,
            },
            readings: reads.sharding.as_ref().map(|_| {
                let path = settings.value(b"search_path");
                self.worker.readings.of(&plan.key.database, path, lex)
            }),
            mark: tenant.filter(|tenant| !tenant.is_empty()).map(|tenant| {
                let oldest = at.checked_sub(reads.rules.max_staleness).unwrap_or(at);
                self.worker.common.marks.of(&plan.key.database, tenant, oldest)
            }),
        };
    }

    /// Where the session wants its statements, and how fresh.
    pub(in crate::client) fn wishes_now(&mut self) -> (Wanted, Option<Consistency>) {
        let reads = self.handle.pool.reads();
        self.follow_wishes(&reads, Instant::now());
        (self.routing.wishes.wanted, self.routing.wishes.consistency)
    }

    /// Does the session want to hear of each route?
    pub(in crate::client) fn traces(&self) -> bool {
        self.routing.wishes.traces
    }
}

fn is_shard(target: &str) -> bool {
    target.starts_with("shard:")
}

/// A shard's name is written as the configuration has it; the word before it in any case.
pub(in crate::client) fn named_shard(target: &[u8]) -> Option<Box<str>> {
    let target = std::str::from_utf8(target).ok()?.trim();
    let (word, name) = target.split_once(':')?;
    word.eq_ignore_ascii_case("shard").then(|| name.trim().into())
}
