//! Says where statements go, and why: for SHOW pgshunt.last_route, EXPLAIN (ROUTE) and pgshunt.trace.

use std::task::Context;

use routing_rules::{Access, Facts, Names, Rules, Transaction, access, route};

use super::relay::Client;
use super::route::{Foretold, Placed, why_several};
use crate::pool::Reads;
use crate::protocol::reply::{self, ErrorFields};
use crate::protocol::session::ours::{Ours, RouteRow};
use crate::protocol::sqlstate;

impl Client {
    /// The answer to a statement that asks pgshunt itself.
    pub(super) fn tell(&mut self, asks: &Ours) -> RouteRow {
        match asks {
            Ours::LastRoute => self.last_route(),
            Ours::Explain(text) => self.would_go(text),
        }
    }

    fn last_route(&mut self) -> RouteRow {
        let reads = self.handle.pool.reads();
        if let Some(row) = self.hit_row() {
            return row;
        }
        let Some(told) = self.told_last() else {
            return RouteRow {
                target: "pgshunt".into(),
                shard: reads.cluster.name.to_string(),
                cache: "off".into(),
                access: "read".into(),
                because: "no statement has needed a server yet".into(),
                ..RouteRow::default()
            };
        };
        let is_pinned = self.lease.is_some() && !self.session.pins.is_empty();
        let is_within = self.lease.is_some() && !is_pinned && !told.is_replica;
        let transaction = match told.transaction {
            Transaction::None if is_within => Transaction::ReadWrite,
            other => other,
        };
        let facts = Facts {
            access: &told.access,
            transaction,
            wanted: told.wanted,
            consistency: told.consistency,
            has_replicas: told.has_replicas,
            is_pinned,
            batch_is_open: told.is_flushed,
        };
        let mut row = row(&reads.rules, &facts, &reads);
        if let Some(shard) = &told.shard {
            row.shard = shard.to_string();
        }
        if let Some(reason) = &told.beyond {
            row.because = reason.clone();
        } else if told.placed != Placed::Unsaid && reads.clusters.len() > 1 && !told.is_gathered {
            row.because = format!("{}; {}", told.placed.words(), row.because);
        }
        row.target = match (told.is_gathered, told.is_replica) {
            (true, _) => "shards".into(),
            (false, _) if told.beyond.is_some() => "coordinator".into(),
            (false, true) => "replica".into(),
            (false, false) => "primary".into(),
        };
        row.server = told.server;
        row.cache = self.cache_word();
        let gathered = if told.is_gathered { told.gathered } else { "" };
        for note in [told.note, gathered].into_iter().filter(|note| !note.is_empty()) {
            row.because += "; ";
            row.because += note;
        }
        if is_pinned {
            let pins: Vec<&str> = self.session.pins.iter().map(|pin| pin.reason()).collect();
            row.because += ": ";
            row.because += &pins.join(", ");
        }
        row
    }

    /// Where this text would go as the session's next statement.
    fn would_go(&mut self, text: &[u8]) -> RouteRow {
        let reads = self.handle.pool.reads();
        let foretold = self.foretell(text);
        let has_replicas = match &foretold {
            Some(Foretold::Shard(shard, _)) => {
                let here = reads.clusters.iter().find(|cluster| *cluster.name == **shard);
                here.is_some_and(|cluster| cluster.has_replicas())
            }
            Some(_) => reads.clusters.iter().any(|cluster| cluster.has_replicas()),
            None => reads.cluster.has_replicas(),
        };
        let found = reads.catalogued.current();
        let empty = Names::default();
        let names = match has_replicas {
            true => found.as_ref().map(|found| &found.names),
            false => Some(&empty),
        };
        let access = access(text, self.session.lex_now(), names);
        let (wanted, consistency) = self.wishes_now();
        let facts = Facts {
            access: &access,
            transaction: self.session.transaction(),
            wanted,
            consistency,
            has_replicas,
            is_pinned: !self.session.pins.is_empty(),
            batch_is_open: false,
        };
        let mut row = row(&reads.rules, &facts, &reads);
        row.cache = self.would_be_cached(text);
        match foretold {
            None => row,
            Some(foretold) => on_shards(row, foretold),
        }
    }

    /// Tells the client the route its statement has taken, if it asked for that.
    pub(super) fn trace(&mut self, cx: &mut Context<'_>) {
        if !self.traces() || self.session.is_answered() {
            return;
        }
        let row = self.last_route();
        let text = format!(
            "pgshunt: target={} shard={} server={} access={} cache={}: {}",
            row.target, row.shard, row.server, row.access, row.cache, row.because
        );
        self.notice(cx, &text);
    }

    /// Tells the client something that is no answer.
    pub(super) fn notice(&mut self, cx: &mut Context<'_>, text: &str) {
        let mut notice = Vec::new();
        let fields = ErrorFields {
            severity: "NOTICE",
            code: sqlstate::SUCCESSFUL_COMPLETION,
            message: text,
            detail: None,
            hint: None,
        };
        reply::notice_response(&mut notice, &fields);
        let (outbox, stream) = (&mut self.outbox, &mut self.stream);
        // A broken line shows at the next write.
        let _ = outbox.write(cx, stream, &notice);
    }
}

/// The same row, the database being sharded.
fn on_shards(row: RouteRow, foretold: Foretold) -> RouteRow {
    let (target, shard, because) = match foretold {
        Foretold::Shard(shard, placed) => (row.target, shard, format!("{}; {}", placed.words(), row.because)),
        Foretold::Shards(shards) if row.target == "replica" => {
            let because = format!("{}, from replicas; {}", why_several(), row.because);
            ("shards".into(), shards, because)
        }
        Foretold::Shards(shards) => {
            let because = format!("{}; {}", why_several(), row.because);
            ("shards".into(), shards, because)
        }
        Foretold::Bound => (
            row.target,
            String::new(),
            format!("what is bound to it says which shard; {}", row.because),
        ),
        Foretold::Coordinator(name, because) => ("coordinator".into(), name, because),
        Foretold::Refused(fault) => ("pgshunt".into(), String::new(), fault.message),
    };
    RouteRow {
        target,
        shard,
        because,
        ..row
    }
}

fn row(rules: &Rules, facts: &Facts<'_>, reads: &Reads) -> RouteRow {
    let route = route(rules, facts);
    RouteRow {
        target: route.target.word().into(),
        shard: reads.cluster.name.to_string(),
        server: String::new(),
        access: match facts.access {
            Access::Read => "read".into(),
            Access::Write(_) => "write".into(),
        },
        cache: "off".into(),
        because: route.because.to_string(),
    }
}
