//! Has transactions that span shards ended where a crash left them, at the start, every few seconds, and when something was left
//! undone. Every pgshunt does so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::build::{Names, shards};
use crate::client::worker::Common;
use crate::snapshot::Snapshot;
use crate::twophase::door::Door;
use crate::twophase::known::{Known, Seen, State};
use crate::twophase::recover::{ABANDONED_AFTER, sweep};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// After so long, what nobody can end is worth a line in the log.
const ORPHANED_AFTER: Duration = Duration::from_secs(600);

/// The doors of each database that has several shards and a control role; or why there are none.
pub fn doors(snapshot: &Snapshot) -> Vec<(String, Result<Vec<Door>, String>)> {
    let mut names = Names::new();
    let databases = snapshot.databases.iter();
    databases
        .filter(|database| database.shards.len() > 1)
        .filter_map(|database| {
            let control = database.control.as_ref()?;
            let servers = shards(snapshot, database, &mut names);
            let doors = servers.map(|servers| control.doors(&servers));
            Some((database.name.clone(), doors.map_err(|fault| fault.to_string())))
        })
        .collect()
}

/// The doors of every database that can be looked at.
fn usable(snapshot: &Snapshot) -> BTreeMap<String, Arc<[Door]>> {
    let usable = doors(snapshot)
        .into_iter()
        .filter_map(|(name, doors)| match doors {
            Ok(doors) => Some((name, doors.into())),
            Err(why) => {
                tracing::warn!(
                    database = name,
                    why,
                    "transactions left behind can't be looked for"
                );
                None
            }
        });
    usable.collect()
}

/// Looks for ever. Runs on a [`tokio::task::LocalSet`].
pub async fn serve(common: Arc<Common>) {
    let known = common.transactions.clone();
    let mut snapshot = common.snapshot.load_full();
    let mut databases = usable(&snapshot);
    known.follow(databases.clone());
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = known.wanted.notified() => {}
        }
        let current = common.snapshot.load_full();
        if !Arc::ptr_eq(&snapshot, &current) {
            snapshot = current;
            databases = usable(&snapshot);
            known.follow(databases.clone());
        }
        for (name, doors) in &databases {
            let seen = sweep(doors, ABANDONED_AFTER).await;
            report(&known, name, seen);
        }
    }
}

/// One line for each thing that is new.
fn report(known: &Known, database: &str, seen: Seen) {
    let before = known.note(database, seen.clone()).unwrap_or_default();
    for (shard, why) in &seen.silent {
        if !before.silent.iter().any(|(known, _)| known == shard) {
            tracing::warn!(
                database,
                shard,
                why,
                "transactions left behind can't be looked for"
            );
        }
    }
    for shard in seen.off.iter().filter(|shard| !before.off.contains(shard)) {
        tracing::warn!(
            database,
            shard,
            "max_prepared_transactions is 0: transactions that write on several shards are refused"
        );
    }
    for transaction in &seen.transactions {
        let was_known = before
            .transactions
            .iter()
            .any(|known| known.gid == transaction.gid && known.age >= ORPHANED_AFTER);
        if transaction.age >= ORPHANED_AFTER && !was_known {
            let (gid, state, age_s) = (
                &transaction.gid,
                transaction.state.word(),
                transaction.age.as_secs(),
            );
            let why = match transaction.state {
                State::Foreign => "pgshunt did not make it",
                State::Orphaned => "its decision is on a shard that this database does not have",
                _ => transaction.why.as_deref().unwrap_or("a shard does not answer"),
            };
            tracing::warn!(
                database,
                gid,
                state,
                age_s,
                why,
                "a prepared transaction keeps its locks"
            );
        }
    }
}
