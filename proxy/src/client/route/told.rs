//! How the last unit was routed, for whoever asks.

use std::sync::Arc;

use routing_rules::{Access, Consistency, Names, Transaction, Wanted, Why};

use super::super::gather::Seat;
use super::super::relay::Client;
use super::Remembered;
use super::place::Placed;
use crate::pool::Pool;
use crate::protocol::session::unit::{Known, Unit};

/// Bytes of a unit that are kept to say later what it asked for.
const TEXT_KEPT: usize = 240;

/// How a unit was routed, for whoever asks.
pub(in crate::client) struct Told {
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
    /// Several shards have answered together.
    pub is_gathered: bool,
    /// How, in words.
    pub gathered: &'static str,
    /// The coordinator has, because of this.
    pub beyond: Option<String>,
    /// The shard's name, unless there is only one.
    pub shard: Option<Arc<str>>,
    /// Why it went to that shard.
    pub placed: Placed,
}

impl Client {
    /// Keeps of a unit what it takes to say later what it asked for: there is one server only, so nothing depends on it.
    pub(super) fn remember_alone(&mut self, pool: &Pool) {
        let last = &mut self.routing.last;
        let bytes = self.inbox.bytes();
        last.text.clear();
        last.is_gathered = false;
        last.shard = Some(pool.plan.key.place.shard.clone());
        last.text.extend_from_slice(&bytes[..bytes.len().min(TEXT_KEPT)]);
        (last.asked, last.note, last.is_replica, last.beyond) = (None, "", false, None);
        last.facts = Some(Remembered {
            transaction: Transaction::None,
            wanted: self.routing.wishes.wanted,
            consistency: self.routing.wishes.consistency,
            has_replicas: false,
        });
        let no_replicas = routing_rules::Reason::NoReplicas.kind();
        let mut totals = pool.totals.borrow_mut();
        totals.routes.count(no_replicas, false, false);
    }

    /// How the last unit was routed; `None`: none was.
    pub(in crate::client) fn told_last(&mut self) -> Option<Told> {
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
                    texts: &self.worker.texts,
                };
                let text = last.text.clone();
                match self.session.unit(&text, Some(known), false) {
                    Unit::Told(asked) => asked.access,
                    Unit::Open => Access::Write(Why::Unclear),
                }
            }
        };
        let last = &self.routing.last;
        let seats = if last.is_gathered {
            self.seats()
        } else {
            Vec::new()
        };
        let (servers, shards) = named(&seats);
        let server = last.server.as_ref().filter(|_| !last.is_gathered);
        Some(Told {
            access,
            is_flushed,
            transaction: facts.transaction,
            wanted: facts.wanted,
            consistency: facts.consistency,
            has_replicas: facts.has_replicas,
            note: last.note,
            server: server.map_or(servers, |server| server.address.to_string()),
            is_replica: last.is_replica,
            is_gathered: last.is_gathered,
            gathered: how(&seats),
            beyond: last.beyond.as_ref().map(ToString::to_string),
            shard: shards.or_else(|| last.shard.clone()),
            placed: self.routing.placed,
        })
    }
}

/// The servers that took part, and their shards; `None`: nobody has yet.
fn named(seats: &[Seat]) -> (String, Option<Arc<str>>) {
    let servers: Vec<String> = seats.iter().map(|seat| seat.server.address.to_string()).collect();
    let shards: Vec<&str> = seats.iter().map(|seat| &*seat.shard).collect();
    let shards = shards.join(", ");
    (servers.join(", "), (!shards.is_empty()).then(|| shards.into()))
}

/// How they have answered together.
fn how(seats: &[Seat]) -> &'static str {
    let replicas = seats.iter().filter(|seat| seat.replica.is_some()).count();
    match replicas {
        0 => "several shards answer together",
        all if all == seats.len() => "several shards answer together, from replicas",
        _ => "several shards answer together, some of them from replicas",
    }
}
