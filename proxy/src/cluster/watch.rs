//! Looks at every server of a shard several times a second, each over a connection of its own, for ever.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::lag::{Lsn, Samples};
use super::roles::{Look, Roles, Standing};
use super::{Cluster, NOBODY};
use crate::protocol::auth::Secret;
use crate::server::address::Target;
use crate::server::ask::{Asker, Row};

/// Who looks.
#[derive(Clone, Debug)]
pub struct Watcher {
    /// The role.
    pub user: String,
    /// What it proves.
    pub secret: Secret,
    /// The database it connects to.
    pub dbname: String,
}

/// Time between two looks at one server.
const INTERVAL: Duration = Duration::from_millis(100);

/// The shortest time between two looks at one server, however many ask for one.
const PAUSE: Duration = Duration::from_millis(1);

/// The longest one look may take before the server counts as down.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest pause between two attempts at a server that is down.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// One row: in recovery, position, timeline, system. `pg_walfile_name` begins with the timeline written now, which the
/// control file would only tell after the next checkpoint.
const QUESTION: &str = "\
SELECT r, CASE WHEN r THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
CASE WHEN r THEN (SELECT received_tli::pg_catalog.text FROM pg_catalog.pg_stat_wal_receiver) \
ELSE 'x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) END, \
(SELECT system_identifier FROM pg_catalog.pg_control_system()) \
FROM (SELECT pg_catalog.pg_is_in_recovery() AS r) AS recovery";

/// What the looks at one shard add up to.
struct Known {
    roles: Roles,
    samples: Samples,
}

/// Starts looking; it goes on until the tasks of this thread end.
pub fn watch(cluster: &Arc<Cluster>, watcher: &Watcher) -> Vec<tokio::task::JoinHandle<()>> {
    let known = Rc::new(RefCell::new(Known {
        roles: Roles::new(cluster.members.len(), cluster.system()),
        samples: Samples::default(),
    }));
    let start = |at| {
        let (cluster, watcher, known) = (cluster.clone(), watcher.clone(), known.clone());
        tokio::task::spawn_local(look_for_ever(cluster, watcher, known, at))
    };
    (0..cluster.members.len()).map(start).collect()
}

async fn look_for_ever(cluster: Arc<Cluster>, watcher: Watcher, known: Rc<RefCell<Known>>, at: usize) {
    let target = Target {
        dbname: watcher.dbname.clone(),
        connect_timeout: PATIENCE,
        ..(*cluster.members[at].target).clone()
    };
    let mut asker: Option<Asker> = None;
    let mut backoff = INTERVAL;
    loop {
        // What is asked for while this look goes on makes another one follow.
        let (wanted, sampled) = (cluster.wanted.notified(), cluster.sampled.notified());
        tokio::pin!(wanted, sampled);
        wanted.as_mut().enable();
        sampled.as_mut().enable();
        let sent = Instant::now();
        match tokio::time::timeout(PATIENCE, look(&target, &watcher, &mut asker)).await {
            Ok(Ok(look)) => {
                backoff = INTERVAL;
                note(&cluster, &mut known.borrow_mut(), at, &look, sent);
                let is_primary = cluster.primary() == Some(at);
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = wanted => tokio::time::sleep_until((sent + PAUSE).into()).await,
                    () = sampled, if !is_primary => {}
                }
            }
            failed => {
                asker = None;
                let why = failed.map_or_else(
                    |_| "no answer in time".to_owned(),
                    |answer| answer.err().unwrap_or_default(),
                );
                lose(&cluster, &mut known.borrow_mut(), at, &why);
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

async fn look(target: &Target, watcher: &Watcher, asker: &mut Option<Asker>) -> Result<Look, String> {
    if asker.as_ref().is_none_or(Asker::is_broken) {
        let params = [(b"application_name".to_vec(), b"pgshunt watch".to_vec())];
        let new = Asker::connect(target, &watcher.user, &watcher.secret, &params).await;
        *asker = Some(new.map_err(|fault| fault.to_string())?);
    }
    let Some(asker) = asker else {
        return Err("no connection".into());
    };
    let rows = asker
        .ask(QUESTION, &[])
        .await
        .map_err(|fault| fault.to_string())?;
    rows.first()
        .and_then(read)
        .ok_or_else(|| "an answer that makes no sense".into())
}

fn read(row: &Row) -> Option<Look> {
    let text = |at: usize| row.get(at).and_then(Option::as_deref);
    let number = |at: usize| text(at).and_then(|digits| std::str::from_utf8(digits).ok());
    let timeline = number(2).and_then(|digits| match digits.strip_prefix('x') {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    });
    Some(Look {
        in_recovery: text(0)? == b"t",
        lsn: text(1).map_or(Some(Lsn(0)), Lsn::parse)?,
        timeline,
        system: number(3).and_then(|digits| digits.parse().ok()),
    })
}

/// Takes in a look.
fn note(cluster: &Cluster, known: &mut Known, at: usize, look: &Look, sent: Instant) {
    let before: Vec<Standing> = standings(cluster, &known.roles).collect();
    let epoch = known.roles.epoch();
    known.roles.looked(at, look);
    if known.roles.epoch() != epoch {
        known.samples.clear();
        cluster.forget_caught_up();
    }
    cluster.members[at].set_system(look.system);
    tell(cluster, &known.roles, &before);
    let standing = known.roles.standing(at);
    cluster.members[at].position.store(look.lsn.0, Ordering::Release);
    let follows = look
        .timeline
        .map_or(known.roles.epoch() <= 1, |line| line == known.roles.timeline());
    match standing {
        Standing::Primary if !look.in_recovery => {
            known.samples.primary_at(sent, look.lsn);
            // Replicas that are waited for may be past this by now.
            cluster.sampled.notify_waiters();
        }
        Standing::Standby if look.in_recovery && follows => {
            if let Some(instant) = known.samples.caught_up(look.lsn) {
                cluster.set_caught_up(at, instant);
            }
        }
        Standing::Primary | Standing::Standby | Standing::Unknown | Standing::Fenced | Standing::Down => {}
    }
    publish(cluster, &known.roles);
}

fn lose(cluster: &Cluster, known: &mut Known, at: usize, why: &str) {
    let before: Vec<Standing> = standings(cluster, &known.roles).collect();
    known.roles.failed(at);
    if before[at] != Standing::Down {
        let (server, shard) = (&cluster.members[at].target.address, &cluster.name);
        tracing::warn!(%server, %shard, why, "a server does not answer");
    }
    tell(cluster, &known.roles, &before);
    publish(cluster, &known.roles);
}

fn standings<'a>(cluster: &Cluster, roles: &'a Roles) -> impl Iterator<Item = Standing> + 'a {
    (0..cluster.members.len()).map(|at| roles.standing(at))
}

/// Has the log know of each role that has changed. That a server does not answer was said with the reason.
fn tell(cluster: &Cluster, roles: &Roles, before: &[Standing]) {
    let now = standings(cluster, roles);
    for ((member, was), is) in cluster.members.iter().zip(before).zip(now) {
        if *was == is || is == Standing::Down {
            continue;
        }
        let (server, shard, system) = (&member.target.address, &cluster.name, member.system());
        let (was, epoch) = (was.word(), roles.epoch());
        match (is, system, roles.system()) {
            (Standing::Fenced, Some(system), Some(ours)) if system != ours => {
                tracing::warn!(%server, %shard, system, ours, "a server is of another system and is not used");
            }
            (is, _, _) => tracing::info!(%server, %shard, was, is = is.word(), epoch, "a server's role"),
        }
    }
}

fn publish(cluster: &Cluster, roles: &Roles) {
    let primary = roles.primary().unwrap_or(NOBODY);
    cluster.primary.store(primary, Ordering::Release);
    cluster.epoch.store(roles.epoch(), Ordering::Release);
    cluster.know_system(roles.system());
    for (place, member) in cluster.members.iter().enumerate() {
        let standing = roles.standing(place);
        member.standing.store(standing as usize, Ordering::Release);
        member
            .is_readable
            .store(standing == Standing::Standby, Ordering::Release);
    }
    cluster.looked.notify_waiters();
}
