//! Rules and facts in, a route and its reasons out, for databases of one shard. Which replica, if any is fresh enough, is
//! for whoever knows them.

use std::fmt;
use std::time::Duration;

use crate::access::{Access, Why};
use crate::facts::{Facts, Transaction, Wanted};
use crate::rules::{Consistency, Reads, Rules};

/// Where a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Which kind of server.
    pub target: Target,
    /// Why: shown as one text by [`fmt::Display`].
    pub because: Reasons<'a>,
}

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one that takes writes.
    Primary,
    /// A replica as fresh as this; the primary, if there is none.
    Replica(Freshness),
}

/// How much a replica may miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Must it have what the session has written and seen?
    pub has_own_writes: bool,
    /// It must have all that was committed before this long ago.
    pub within: Duration,
}

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// The text is proven to only read.
    OnlyReads,
    /// The text is not, or can't do its work on a replica.
    Text(&'a Why),
    /// The session set `pgshunt.target`.
    Wanted(Wanted),
    /// There is no replica.
    NoReplicas,
    /// The session is bound to its server.
    Pinned,
    /// The rules send reads to the primary.
    ReadsRule,
    /// The transaction decides.
    Transaction(Transaction),
    /// The batch may go on.
    OpenBatch,
    /// How fresh a read must be.
    Consistency(Consistency),
    /// Shards can't answer it together.
    BeyondShards,
}

/// The most reasons a route has.
const REASONS_MAX: usize = 3;

/// A few reasons, the decisive one first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons<'a>([Option<Reason<'a>>; REASONS_MAX]);

/// Decides. What binds comes first: what the session owns, what was asked for, what a replica can't do.
pub fn route<'a>(rules: &Rules, facts: &Facts<'a>) -> Route<'a> {
    if let Some(reason) = forbids(rules, facts) {
        let wanted = (facts.wanted == Wanted::Replica).then_some(Reason::Wanted(Wanted::Replica));
        return Route {
            target: Target::Primary,
            because: Reasons([Some(reason), wanted, None]),
        };
    }
    let consistency = facts.consistency.unwrap_or(rules.consistency);
    let first = match (facts.wanted, facts.access) {
        (Wanted::Replica, _) => Reason::Wanted(Wanted::Replica),
        (Wanted::Auto | Wanted::Primary, Access::Read) => Reason::OnlyReads,
        (Wanted::Auto | Wanted::Primary, Access::Write(why)) => Reason::Text(why),
    };
    let transaction = match facts.transaction {
        Transaction::None => None,
        other => Some(Reason::Transaction(other)),
    };
    Route {
        target: Target::Replica(freshness(consistency, rules.max_staleness)),
        because: Reasons([Some(first), transaction, Some(Reason::Consistency(consistency))]),
    }
}

/// Why the text can't go to a replica, if so.
fn forbids<'a>(rules: &Rules, facts: &Facts<'a>) -> Option<Reason<'a>> {
    let is_auto = facts.wanted != Wanted::Replica;
    let consistency = facts.consistency.unwrap_or(rules.consistency);
    if facts.is_pinned {
        return Some(Reason::Pinned);
    }
    if facts.wanted == Wanted::Primary {
        return Some(Reason::Wanted(Wanted::Primary));
    }
    if let Access::Write(why) = facts.access
        && (is_auto || why.is_certain())
    {
        return Some(Reason::Text(why));
    }
    match facts.transaction {
        Transaction::None | Transaction::ReadOnly => {}
        other @ (Transaction::ReadWrite | Transaction::Serializable) => {
            return Some(Reason::Transaction(other));
        }
    }
    if facts.batch_is_open {
        return Some(Reason::OpenBatch);
    }
    if !facts.has_replicas {
        return Some(Reason::NoReplicas);
    }
    if is_auto && rules.reads == Reads::Primary {
        return Some(Reason::ReadsRule);
    }
    if consistency == Consistency::Strong {
        return Some(Reason::Consistency(consistency));
    }
    None
}

fn freshness(consistency: Consistency, max_staleness: Duration) -> Freshness {
    let within = match consistency {
        Consistency::Bounded(bound) => bound.min(max_staleness),
        Consistency::Session | Consistency::Eventual | Consistency::Strong => max_staleness,
    };
    Freshness {
        has_own_writes: matches!(consistency, Consistency::Session | Consistency::Strong),
        within,
    }
}

impl Reason<'_> {
    /// Kinds of reasons, for counting; each reason's place is its [`Reason::kind`].
    pub const KINDS: [&'static str; 22] = [
        "only reads",
        "begins with another word than a query",
        "contains a word that writes",
        "locks rows",
        "volatile function",
        "unknown function",
        "relation that only the primary has",
        "volatile operator",
        "catalog of one server",
        "unclear text",
        "no statement",
        "names not looked up yet",
        "pgshunt.target",
        "no replica",
        "pinned",
        "rules send reads to the primary",
        "read-only transaction",
        "transaction that may write",
        "batch flushed before Sync",
        "consistency",
        "refused by a replica",
        "shards can't answer it together",
    ];

    /// Its place among the [`Reason::KINDS`].
    pub fn kind(&self) -> usize {
        match self {
            Reason::OnlyReads => 0,
            Reason::Text(Why::Begins(_)) => 1,
            Reason::Text(Why::Word(_)) => 2,
            Reason::Text(Why::Locks) => 3,
            Reason::Text(Why::Volatile(_)) => 4,
            Reason::Text(Why::Unknown(_)) => 5,
            Reason::Text(Why::Relation(_)) => 6,
            Reason::Text(Why::Operator(_)) => 7,
            Reason::Text(Why::Catalog(_)) => 8,
            Reason::Text(Why::Unclear) => 9,
            Reason::Text(Why::Empty) => 10,
            Reason::Text(Why::NamesUnknown) => 11,
            Reason::Wanted(_) => 12,
            Reason::NoReplicas => 13,
            Reason::Pinned => 14,
            Reason::ReadsRule => 15,
            Reason::Transaction(Transaction::ReadOnly) => 16,
            Reason::Transaction(_) => 17,
            Reason::OpenBatch => 18,
            Reason::Consistency(_) => 19,
            Reason::Text(Why::Refused) => 20,
            Reason::BeyondShards => 21,
        }
    }
}

impl<'a> Reasons<'a> {
    /// The decisive one.
    pub fn first(&self) -> Option<Reason<'a>> {
        self.0[0]
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = Reason<'a>> {
        self.0.into_iter().flatten()
    }
}

impl Target {
    /// The word in SHOW pgshunt.last_route.
    pub fn word(self) -> &'static str {
        match self {
            Target::Primary => "primary",
            Target::Replica(_) => "replica",
        }
    }
}

impl fmt::Display for Route<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.because)
    }
}

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, reason) in self.iter().enumerate() {
            let before = if place == 0 { "" } else { "; " };
            write!(f, "{before}{reason}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::OnlyReads => f.write_str("the text only reads"),
            Reason::Text(why) => write!(f, "the text is not for a replica: {why}"),
            Reason::Wanted(Wanted::Auto) => f.write_str("pgshunt.target is auto"),
            Reason::Wanted(Wanted::Primary) => f.write_str("pgshunt.target is primary"),
            Reason::Wanted(Wanted::Replica) => f.write_str("pgshunt.target is replica"),
            Reason::NoReplicas => f.write_str("there is no replica"),
            Reason::Pinned => f.write_str("the session is pinned to its server"),
            Reason::ReadsRule => f.write_str("the rules say reads = \"primary\""),
            Reason::Transaction(Transaction::None) => f.write_str("it is no transaction's"),
            Reason::Transaction(Transaction::ReadOnly) => f.write_str("its transaction is read-only"),
            Reason::Transaction(Transaction::ReadWrite) => f.write_str("its transaction may write"),
            Reason::Transaction(Transaction::Serializable) => {
                f.write_str("its transaction is serializable, which replicas refuse")
            }
            Reason::OpenBatch => f.write_str("its batch was flushed before Sync and may still write"),
            Reason::Consistency(consistency) => write!(f, "consistency is {consistency}"),
            Reason::BeyondShards => f.write_str("shards can't answer it together"),
        }
    }
}
