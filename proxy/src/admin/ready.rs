//! Can statements be served? For load balancers and orchestrators, who ask often.
//!
//! A database with a living server connection is ready. One without is tried: pgshunt logs in as its control role, or,
//! where there is none, sees whether the server can be reached. What was found counts for a moment.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::lookout::{Crowded, Lookout, Seen};
use crate::protocol::reply;
use crate::protocol::sqlstate::SqlState;
use crate::server::address::Target;
use crate::server::connect::{ConnectFault, LoggedIn, connect};
use crate::server::dial::{dial, lines};
use crate::snapshot::{Control, Database};

/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(1);

/// How long one server may take.
const TRY_WITHIN: Duration = Duration::from_secs(3);

/// Answers whether statements can be served.
pub struct Readiness {
    lookout: Rc<Lookout>,
    // Who comes while another one asks waits for the same answer.
    last: tokio::sync::Mutex<Option<(Instant, Vec<String>)>>,
}

impl Readiness {
    /// Nothing known yet.
    pub fn new(lookout: Rc<Lookout>) -> Self {
        Readiness {
            lookout,
            last: tokio::sync::Mutex::new(None),
        }
    }

    /// Why not everything can be served; empty when it can. Names databases, never servers.
    pub async fn reasons_against(&self) -> Vec<String> {
        if self.lookout.nothing().stopping {
            return vec!["pgshunt is stopping".into()];
        }
        let mut last = self.last.lock().await;
        if let Some((at, reasons)) = &*last
            && at.elapsed() < FRESH
        {
            return reasons.clone();
        }
        let reasons = match self.lookout.look().await {
            Ok(seen) => self.judge(&seen).await,
            Err(Crowded) => vec!["the workers could not be asked".into()],
        };
        *last = Some((Instant::now(), reasons.clone()));
        reasons
    }

    async fn judge(&self, seen: &Seen) -> Vec<String> {
        let silent = seen.silent.iter();
        let mut reasons: Vec<String> = silent
            .map(|worker| format!("worker {worker} does not answer"))
            .collect();
        let targets = self.lookout.common.targets.load_full();
        let mut tries = JoinSet::new();
        for database in &seen.snapshot.databases {
            if has_server(seen, database) {
                continue;
            }
            let name = database.name.clone();
            let shards = targets.get(&name).map_or(&[][..], |shards| shards);
            // One shard that is down is no reason to turn the tenants of the others away.
            let targets: Vec<_> = shards.iter().flat_map(|shard| shard.targets.clone()).collect();
            let control = database.control.clone();
            tries.spawn_local(async move { (name, any_primary(&targets, control.as_ref()).await) });
        }
        while let Some(tried) = tries.join_next().await {
            if let Ok((name, Err(why))) = tried {
                reasons.push(format!("database \"{name}\": {why}"));
            }
        }
        reasons.sort();
        reasons
    }
}

fn has_server(seen: &Seen, database: &Database) -> bool {
    let mut pools = seen.census.pools.iter();
    pools.any(|pool| {
        let served_by = seen.snapshot.database(&pool.database);
        served_by.is_some_and(|served_by| served_by.name == database.name) && pool.logged_in_servers() > 0
    })
}

/// Is one of the servers a primary that lets us in?
async fn any_primary(targets: &[Arc<Target>], control: Option<&Control>) -> Result<(), String> {
    let mut why = String::from("it has no server");
    for target in targets {
        let tried = async {
            match control {
                Some(control) => log_in(target, control).await,
                None => reach(target).await,
            }
        };
        match tokio::time::timeout(TRY_WITHIN, tried).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(this)) => why = this,
            Err(_) => why = "a server does not answer".into(),
        }
    }
    Err(why)
}

async fn log_in(target: &Target, control: &Control) -> Result<(), String> {
    let target = Target {
        dbname: control.dbname.clone(),
        ..target.clone()
    };
    match connect(&target, &control.user, &control.secret(), &[]).await {
        Ok(mut server) => {
            let standby = is_standby(&server);
            let mut bye = Vec::new();
            reply::frame(&mut bye, b'X', |_| ());
            let _ = server.stream.write_all(&bye).await;
            match standby {
                true => Err("its servers are standbys".into()),
                false => Ok(()),
            }
        }
        Err(fault) if is_up(&fault) => Ok(()),
        Err(fault) => Err(fault.for_client().message),
    }
}

/// PostgreSQL says so at login since version 14; an older one is believed to be a primary.
fn is_standby(server: &LoggedIn) -> bool {
    server
        .parameters
        .iter()
        .any(|(name, value)| name == b"in_hot_standby" && value == b"on")
}

/// A server that refuses the role (class 28) or the database (3D), or lacks a right (42), serves others.
fn is_up(fault: &ConnectFault) -> bool {
    let ConnectFault::Refused(error) = fault else {
        return false;
    };
    matches!(
        error.code,
        Some(SqlState([b'2', b'8', ..] | [b'3', b'D', ..] | [b'4', b'2', ..]))
    )
}

async fn reach(target: &Target) -> Result<(), String> {
    let mut why = String::from("it has no server");
    for line in lines(target) {
        match dial(target, *line, TRY_WITHIN).await {
            Ok(_) => return Ok(()),
            Err(fault) => why = fault.for_client().message,
        }
    }
    Err(why)
}
