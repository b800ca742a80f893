//! Where a text would go on a sharded database, for EXPLAIN (ROUTE): nothing is sent, nothing is changed.

use std::time::Instant;

use super::super::relay::Client;
use super::place::Placed;
use super::refusals::{elsewhere, several};
use super::shard::{Noted, Verdict};
use crate::fault::Fault;
use crate::protocol::session::said::{Spoken, Stretch};

/// The shard of a text.
pub(in crate::client) enum Foretold {
    /// This one, and why.
    Shard(String, Placed),
    /// These.
    Shards(String),
    /// The coordinator, and why.
    Coordinator(String, String),
    /// It depends on what is bound to it.
    Bound,
    /// None.
    Refused(Fault),
}

impl Client {
    /// The shard of a text as the session's next statement; `None`: the database is not sharded.
    pub(in crate::client) fn foretell(&mut self, text: &[u8]) -> Option<Foretold> {
        let reads = self.handle.pool.reads();
        let sharding = reads.sharding.clone()?;
        self.follow_wishes(&reads, Instant::now());
        let spoken = Spoken {
            text,
            bound: None,
            statement: None,
        };
        let stretch = Stretch {
            bytes: 0,
            ends: b'Q',
            statements: vec![spoken],
            prepares: Vec::new(),
            calls: false,
        };
        let mut noted = Noted::of_nobody();
        let verdict = self.judge_stretch(&stretch, &reads, &sharding, &mut noted);
        let home = || self.home(&reads).unwrap_or_else(|| (*reads.cluster.name).into());
        let here = self
            .lease
            .as_ref()
            .map(|lease| lease.pool().plan.key.place.shard.clone());
        let names = || sharding.shards.join(", ");
        Some(match verdict.unwrap_or_else(|verdict| verdict) {
            Verdict::Anywhere => match here {
                Some(here) => Foretold::Shard(here.to_string(), noted.placed),
                None => Foretold::Shard(home().into(), noted.placed),
            },
            Verdict::Shard(shard) => match here {
                Some(here) if *here != *shard => {
                    Foretold::Refused(elsewhere(&here, &shard, self.is_in_transaction()))
                }
                _ => Foretold::Shard(shard.into(), noted.placed),
            },
            Verdict::Several(shards) if shards.is_empty() => Foretold::Shards(names()),
            Verdict::Several(shards) => Foretold::Shards(shards.join(", ")),
            Verdict::Beyond(reason) => match self.would_go_beyond(text, &reads, &noted, &reason) {
                Ok(name) => Foretold::Coordinator(name, reason.to_string()),
                Err(fault) => Foretold::Refused(fault),
            },
            Verdict::Refused(_) if has_parameters(text) && noted.lacks_values => Foretold::Bound,
            Verdict::Refused(fault) => Foretold::Refused(fault),
            Verdict::More | Verdict::Later => Foretold::Refused(super::refusals::not_looked_up()),
        })
    }
}

/// Is there a `$1` in it?
fn has_parameters(text: &[u8]) -> bool {
    text.windows(2)
        .any(|pair| pair[0] == b'$' && pair[1].is_ascii_digit())
}

/// What one server can't answer, in the words of its refusal.
pub(in crate::client) fn why_several() -> String {
    several(&[]).message
}
