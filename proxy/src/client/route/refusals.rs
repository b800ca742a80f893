//! What a client is told of a statement that has no place on the shards: what, why, and what to do.

use routing_rules::ShardReason;

use crate::fault::Fault;
use crate::pool::Reads;
use crate::protocol::session::said::STRETCH_MAX;
use crate::protocol::sqlstate::{self, SqlState};

/// Why a statement can't be placed, for its client.
pub(super) fn refusal(reason: &ShardReason) -> Fault {
    let code = reason.sqlstate().as_bytes().try_into();
    let code = code.map_or(sqlstate::FEATURE_NOT_SUPPORTED, SqlState);
    let fault = Fault::error(
        code,
        format!("this statement has no place on the shards: {reason}"),
    );
    match reason.hint() {
        Some(hint) => fault.hint(sentence(hint)),
        None => fault,
    }
}

/// One that only a coordinator could answer, in a session that is on a shard.
pub(super) fn beyond_here(reason: &ShardReason, reads: &Reads, in_transaction: bool) -> Fault {
    let fault = refusal(reason);
    match (&reads.coordinator, in_transaction) {
        (None, _) => fault,
        (Some(_), true) => fault
            .detail("The coordinator could answer it, but its transaction is on the shards already.")
            .hint("Run it outside of the transaction, or first in one that only reads."),
        (Some(_), false) => fault
            .detail("The coordinator could answer it, but the session keeps its server.")
            .hint("SHOW PINS at the console says why. Use another session."),
    }
}

/// One that the coordinator can't answer either.
pub(super) fn not_beyond(reason: &ShardReason, why: &str) -> Fault {
    let fault = refusal(reason).detail(format!("The coordinator can't answer it either: {why}."));
    fault.hint("Tie every sharded table to one tenant.")
}

/// What a transaction at the coordinator can't do.
pub(super) fn not_at_coordinator(why: &str) -> Fault {
    Fault::error(
        sqlstate::FEATURE_NOT_SUPPORTED,
        "this statement can't be run at the coordinator, where its transaction is",
    )
    .detail(format!("The coordinator only reads: {why}."))
    .hint("End the transaction first.")
}

/// No server of the coordinator can be had.
pub(in crate::client) fn no_coordinator(name: &str, fault: &Fault) -> Fault {
    Fault {
        message: format!("coordinator {name}: {}", fault.message),
        ..fault.clone()
    }
}

/// A statement for several shards, as long as nobody puts their answers together.
pub(super) fn several(shards: &[Box<str>]) -> Fault {
    let names = match shards {
        [] => "all of them".to_owned(),
        some => some.join(", "),
    };
    Fault::error(
        sqlstate::FEATURE_NOT_SUPPORTED,
        "this statement is for several shards, and can't be answered by one",
    )
    .detail(format!("It is for {names}."))
    .hint("Tie every sharded table to one tenant by its key, set pgshunt.tenant, or name a shard: pgshunt.target = 'shard:NAME'.")
}

fn sentence(hint: &str) -> String {
    let mut chars = hint.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).chain(['.']).collect()
}

pub(super) fn elsewhere(here: &str, other: &str, in_transaction: bool) -> Fault {
    let what = match in_transaction {
        true => "transaction",
        false => "session",
    };
    let fault = Fault::error(
        sqlstate::FEATURE_NOT_SUPPORTED,
        format!("this statement is for shard {other}, and the {what} is on shard {here}"),
    );
    match in_transaction {
        true => fault.hint("End the transaction first: one transaction is on one shard."),
        false => fault
            .hint("The session keeps its server; SHOW PINS at the console says why. Use another session."),
    }
}

pub(super) fn not_looked_up() -> Fault {
    Fault::error(
        sqlstate::NOT_IN_STATE,
        "the database's tables could not be looked up yet",
    )
    .hint("pgshunt's log says why the control role gets no answer.")
}

pub(super) fn too_long() -> Fault {
    Fault::error(
        sqlstate::PROGRAM_LIMIT,
        format!(
            "on a sharded database statements with their parameters may take {} MiB",
            STRETCH_MAX >> 20
        ),
    )
    .hint("Name its shard first: SET pgshunt.target = 'shard:NAME'.")
}

pub(super) fn other_characters() -> Fault {
    Fault::error(
        sqlstate::FEATURE_NOT_SUPPORTED,
        "on a sharded database, texts with other than ASCII characters must be in UTF-8",
    )
    .hint("SET client_encoding = 'UTF8'.")
}

pub(super) fn bound_tenant() -> Fault {
    Fault::error(
        sqlstate::INSUFFICIENT_PRIVILEGE,
        "permission denied to set parameter \"pgshunt.tenant\"",
    )
    .detail("The role is bound to one tenant.")
}

pub(super) fn sets_among_others() -> Fault {
    Fault::error(
        sqlstate::FEATURE_NOT_SUPPORTED,
        "pgshunt.tenant can't be set among other statements, or to a computed value",
    )
    .hint("Set it by itself, to a constant or a parameter.")
}

pub(super) fn no_such_shard(wanted: &str, reads: &Reads) -> Fault {
    let known: Vec<&str> = reads.clusters.iter().map(|cluster| &*cluster.name).collect();
    Fault::error(
        sqlstate::UNDEFINED_OBJECT,
        format!("there is no shard \"{wanted}\""),
    )
    .hint(format!(
        "pgshunt.target may name one of these: {}.",
        known.join(", ")
    ))
}
