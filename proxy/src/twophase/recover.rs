//! Ends what a crash has left behind: looks at the decisions and the prepared transactions of all shards, and commits or rolls
//! back what nobody else will. Several pgshunts may do so at once; whoever comes second finds nothing left to do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::door::{self, Door, text};
use super::gid::{Gid, Id};
use super::known::{Seen, State, Transaction};
use super::machine::Verdict;
use crate::server::ask::{Asker, Row};

/// A prepared transaction without a decision is left for this long to a coordinator that may be alive.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// How exactly servers tell how long ago something was.
const BLUR: Duration = Duration::from_millis(100);

/// One shard at one look.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Decisions: is it a commit, and the shards that took part.
    pub decisions: HashMap<Id, (bool, Vec<String>)>,
    /// Prepared transactions, looked at after the decisions of all shards.
    pub prepared: Vec<Prepared>,
    /// `max_prepared_transactions`.
    pub prepared_max: usize,
}

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its name.
    pub gid: String,
    /// Who may end it, beside superusers.
    pub owner: String,
    /// Since when it is prepared.
    pub age: Duration,
}

/// What is to become of a prepared part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// COMMIT PREPARED.
    Commit,
    /// ROLLBACK PREPARED.
    Rollback,
    /// Have the anchor decide; then one of the two.
    Decide,
    /// Nothing now.
    Leave(State),
}

/// What is to become of a part, given what is known of its anchor: `None`, it is no shard of this database; `Some(None)`, it did
/// not answer.
pub fn fate(part: &Prepared, anchor: Option<Option<&Look>>, abandoned_after: Duration) -> Fate {
    let Some(gid) = Gid::parse(&part.gid) else {
        return Fate::Leave(State::Foreign);
    };
    match anchor {
        None => Fate::Leave(State::Orphaned),
        Some(None) => Fate::Leave(State::Waiting),
        Some(Some(look)) => match look.decisions.get(&gid.id) {
            Some((true, _)) => Fate::Commit,
            Some((false, _)) => Fate::Rollback,
            None if part.age < abandoned_after => Fate::Leave(State::Prepared),
            None => Fate::Decide,
        },
    }
}

/// Decisions to commit that all have heard of. Only where every shard has answered, after the decisions were read.
pub fn finished<'a>(look: &'a Look, all: &HashMap<&str, &Look>) -> Vec<&'a Id> {
    let prepared: HashSet<Id> = all
        .values()
        .flat_map(|look| &look.prepared)
        .filter_map(|part| Some(Gid::parse(&part.gid)?.id))
        .collect();
    let is_over = |(id, (is_commit, shards)): &(&Id, &(bool, Vec<String>))| {
        *is_commit && !prepared.contains(*id) && shards.iter().all(|shard| all.contains_key(&**shard))
    };
    look.decisions.iter().filter(is_over).map(|(id, _)| id).collect()
}

const DECISIONS: &str = "\
SELECT id, outcome, array_to_string(shards, ',') FROM pgshunt.decision ORDER BY decided_at LIMIT 5000";

/// Of this database alone: a prepared transaction can be ended from its own only.
const PREPARED: &str = "\
SELECT gid, owner, pg_catalog.floor(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - prepared) * 1000) \
FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() ORDER BY prepared LIMIT 5000";

const PREPARED_MAX: &str = "SELECT pg_catalog.current_setting('max_prepared_transactions')";

const FORGET: &str = "DELETE FROM pgshunt.decision WHERE outcome = 'commit' AND id = ANY (pg_catalog.string_to_array($1, ','))";

/// An "abort" keeps its coordinator's COMMIT out for as long as that transaction may be open: it began before the "abort" was
/// written. Who may not see when transactions began leaves it.
const FORGET_ABORTS: &str = "\
DELETE FROM pgshunt.decision WHERE outcome = 'abort' AND pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') \
AND decided_at < (SELECT coalesce(pg_catalog.min(xact_start), pg_catalog.clock_timestamp()) - interval '1 minute' \
FROM pg_catalog.pg_stat_activity WHERE pid <> pg_catalog.pg_backend_pid())";

/// The most rows of one look; where there are more, nothing is cleared away.
const ROWS_MAX: usize = 5000;

/// How long the oldest transaction has been open here; NULL for who may not see that.
const OLDEST: &str = "\
SELECT CASE WHEN pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') THEN pg_catalog.floor(pg_catalog.date_part('epoch', \
pg_catalog.clock_timestamp() - coalesce(pg_catalog.min(xact_start), pg_catalog.clock_timestamp())) * 1000) END \
FROM pg_catalog.pg_stat_activity \
WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend'";

/// A coordinator's own transaction is open on its anchor from before anything is prepared until it has decided. Where none is so
/// old, its coordinator is gone. Asked of the anchor after the part was seen.
async fn is_without_coordinator(anchor: &mut Asker, part: &Prepared) -> bool {
    let oldest = ask(anchor, OLDEST, &[]).await;
    let oldest = oldest.ok().and_then(|rows| text(&rows, 0)?.parse().ok());
    oldest.is_some_and(|millis| Duration::from_millis(millis) + BLUR < part.age)
}

/// Looks once at a database's shards, and ends what can be ended.
pub async fn sweep(doors: &[Door], abandoned_after: Duration) -> Seen {
    let mut seen = Seen::default();
    let mut open: Vec<(&Door, Asker, Look)> = Vec::new();
    for door in doors {
        match begin(door).await {
            Ok((asker, look)) => open.push((door, asker, look)),
            Err(why) => seen.silent.push((door.shard.clone(), why)),
        }
    }
    let mut silent: Vec<&str> = Vec::new();
    for (door, asker, look) in &mut open {
        match prepared(asker).await {
            Ok(parts) => look.prepared = parts,
            Err(why) => {
                silent.push(&door.shard);
                seen.silent.push((door.shard.clone(), why));
            }
        }
    }
    open.retain(|(door, ..)| !silent.contains(&&*door.shard));
    for (door, _, look) in &open {
        if look.prepared_max == 0 {
            seen.off.push(door.shard.clone());
        }
    }
    let rows = end_all(doors, &mut open, abandoned_after).await;
    forget(doors, &mut open).await;
    seen.transactions = gathered(rows);
    seen
}

async fn begin(door: &Door) -> Result<(Asker, Look), String> {
    let mut asker = door.open().await?;
    let decisions = ask(&mut asker, DECISIONS, &[]).await?;
    let decisions = decisions.iter().filter_map(|row| {
        let text = |at: usize| str::from_utf8(row.get(at)?.as_deref()?).ok();
        let shards = text(2)?.split(',').map(str::to_owned).collect();
        Some((Id::parse(text(0)?)?, (text(1)? == "commit", shards)))
    });
    let mut look = Look {
        decisions: decisions.collect(),
        ..Look::default()
    };
    let most = ask(&mut asker, PREPARED_MAX, &[]).await?;
    look.prepared_max = text(&most, 0).and_then(|most| most.parse().ok()).unwrap_or(0);
    Ok((asker, look))
}

async fn prepared(asker: &mut Asker) -> Result<Vec<Prepared>, String> {
    let rows = ask(asker, PREPARED, &[]).await?;
    let part = |row: &Row| {
        let text = |at: usize| str::from_utf8(row.get(at)?.as_deref()?).ok();
        Some(Prepared {
            gid: text(0)?.to_owned(),
            owner: text(1)?.to_owned(),
            age: Duration::from_millis(text(2)?.parse().unwrap_or(0)),
        })
    };
    Ok(rows.iter().filter_map(part).collect())
}

async fn ask(asker: &mut Asker, sql: &str, params: &[Option<&str>]) -> Result<Vec<Row>, String> {
    match tokio::time::timeout(door::PATIENCE, asker.ask(sql, params)).await {
        Ok(rows) => rows.map_err(|fault| fault.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// One part that is still there.
type Left = (Prepared, String, State, Option<String>);

async fn end_all(doors: &[Door], open: &mut [(&Door, Asker, Look)], abandoned_after: Duration) -> Vec<Left> {
    let mut left = Vec::new();
    for at in 0..open.len() {
        for part in open[at].2.prepared.clone() {
            let gid = Gid::parse(&part.gid);
            let anchor = gid.as_ref().and_then(|gid| Door::named(doors, &gid.anchor));
            let place =
                anchor.and_then(|anchor| open.iter().position(|(door, ..)| door.shard == anchor.shard));
            let look = anchor.map(|_| place.map(|place| &open[place].2));
            let mut fate = fate(&part, look, abandoned_after);
            let mut why = None;
            if let (Fate::Leave(State::Prepared), Some(place)) = (&fate, place)
                && is_without_coordinator(&mut open[place].1, &part).await
            {
                fate = Fate::Decide;
            }
            if let (Fate::Decide, Some(place), Some(gid)) = (&fate, place, &gid) {
                fate = match door::decide_abort(&mut open[place].1, &gid.id).await {
                    Ok(Verdict::Committed) => Fate::Commit,
                    Ok(Verdict::Aborted) => Fate::Rollback,
                    Ok(Verdict::Unknown) => Fate::Leave(State::Waiting),
                    Err(fault) => {
                        why = Some(fault);
                        Fate::Leave(State::Waiting)
                    }
                };
            }
            let (word, state) = match fate {
                Fate::Commit => ("COMMIT", State::Committing),
                Fate::Rollback => ("ROLLBACK", State::Aborting),
                Fate::Leave(state) => {
                    left.push((part, open[at].0.shard.clone(), state, why));
                    continue;
                }
                Fate::Decide => continue,
            };
            let (door, asker, _) = &mut open[at];
            match end(door, asker, &part, word).await {
                Ok(()) => tracing::info!(
                    gid = part.gid,
                    shard = door.shard,
                    did = word,
                    "a transaction left behind was ended"
                ),
                Err(why) => left.push((part, door.shard.clone(), state, Some(why))),
            }
        }
    }
    left
}

/// COMMIT PREPARED or ROLLBACK PREPARED, as its owner: PostgreSQL lets nobody else do it but superusers.
async fn end(door: &Door, asker: &mut Asker, part: &Prepared, word: &str) -> Result<(), String> {
    // Ours, or it would not have been parsed: nothing in it ends a literal.
    let sql = format!("{word} PREPARED '{}'", part.gid);
    let is_own = part.owner == door.user;
    if !is_own {
        let role = format!("SET ROLE \"{}\"", part.owner.replace('"', "\"\""));
        ask(asker, &role, &[])
            .await
            .map_err(|fault| format!("role {} may not act for {}: {fault}", door.user, part.owner))?;
    }
    let ended = ask(asker, &sql, &[]).await;
    if !is_own {
        ask(asker, "RESET ROLE", &[]).await?;
    }
    match ended {
        Ok(_) => Ok(()),
        // Somebody else was faster.
        Err(fault) if fault.contains("42704") => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// Rows that nobody needs any more.
async fn forget(doors: &[Door], open: &mut [(&Door, Asker, Look)]) {
    // Where a part may be unseen, its decision stays.
    if open.len() < doors.len() || open.iter().any(|(.., look)| look.prepared.len() >= ROWS_MAX) {
        return;
    }
    let looks: Vec<(String, Look)> = open
        .iter()
        .map(|(door, _, look)| (super::gid::plain(&door.shard), look.clone()))
        .collect();
    let all: HashMap<&str, &Look> = looks.iter().map(|(name, look)| (&**name, look)).collect();
    for (_, asker, look) in open {
        let ids: Vec<&str> = finished(look, &all).into_iter().map(Id::as_str).collect();
        let mut forgotten = Ok(Vec::new());
        if !ids.is_empty() {
            forgotten = ask(asker, FORGET, &[Some(&ids.join(","))]).await;
        }
        if look.decisions.values().any(|(is_commit, _)| !is_commit) {
            forgotten = ask(asker, FORGET_ABORTS, &[]).await;
        }
        if let Err(why) = forgotten {
            tracing::debug!(why, "decisions could not be cleared away");
        }
    }
}

/// Parts of one transaction together.
fn gathered(parts: Vec<Left>) -> Vec<Transaction> {
    let mut all: BTreeMap<String, (Transaction, BTreeSet<String>)> = BTreeMap::new();
    for (part, shard, state, why) in parts {
        let name = match Gid::parse(&part.gid) {
            Some(gid) => format!("pgshunt_{}", gid.id),
            None => part.gid.clone(),
        };
        let (transaction, shards) = all.entry(name.clone()).or_insert_with(|| {
            let new = Transaction {
                gid: name,
                state,
                age: part.age,
                shards: Vec::new(),
                role: part.owner.clone(),
                why: None,
            };
            (new, BTreeSet::new())
        });
        transaction.age = transaction.age.max(part.age);
        transaction.why = transaction.why.take().or(why);
        shards.insert(shard);
    }
    all.into_values()
        .map(|(transaction, shards)| Transaction {
            shards: shards.into_iter().collect(),
            ..transaction
        })
        .collect()
}
