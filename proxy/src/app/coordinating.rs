//! Has every coordinator looked at: after a change of the shards' tables, of the rules, and now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use routing_rules::Sharding;
use tokio::task::JoinHandle;

use super::topology::watcher_of;
use crate::catalog::Catalogued;
use crate::catalog::coordinator::{Compared, Coordinator};
use crate::catalog::definitions::{self, Definitions};
use crate::client::worker::Common;
use crate::cluster::Cluster;
use crate::server::address::Target;
use crate::server::ask::Asker;
use crate::snapshot::Snapshot;

/// How often it is seen to.
const TICK: Duration = Duration::from_millis(50);

/// It is looked at this often although no change was seen: others may have made one.
const FRESH: Duration = Duration::from_secs(10);

/// The shortest time between two looks at one coordinator.
const PAUSE: Duration = Duration::from_millis(100);

/// The time between two looks at one that does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// The longest one look may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The last look at a coordinator.
struct Look {
    at: Arc<Coordinator>,
    began: Instant,
    task: JoinHandle<()>,
}

/// Looks at what there is to look at, for ever. Runs on a [`tokio::task::LocalSet`].
pub async fn serve(common: Arc<Common>) {
    let mut looks: HashMap<String, Look> = HashMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let snapshot = common.snapshot.load_full();
        let coordinators = common.coordinators.load_full();
        let catalogs: Vec<(String, Arc<Catalogued>)> = common
            .catalogs()
            .iter()
            .map(|(name, catalogued)| (name.clone(), catalogued.clone()))
            .collect();
        for (name, catalogued) in catalogs {
            let database = snapshot.database(&name);
            let Some((database, coordinator)) =
                database.and_then(|database| Some((database, coordinators.get(&database.name)?)))
            else {
                continue;
            };
            let Some(sharding) = &database.sharding else {
                continue;
            };
            let is_current = coordinator.is_current(catalogued.schema().tables(), sharding);
            let is_due = looks.get(&name).is_none_or(|look| {
                let pause = match is_current && Arc::ptr_eq(&look.at, coordinator) {
                    true if coordinator.is_lost() => RETRY,
                    true => FRESH,
                    false => PAUSE,
                };
                look.task.is_finished() && look.began.elapsed() >= pause
            });
            if !is_due {
                continue;
            }
            let shards = common.clusters.load().get(&database.name).cloned();
            let looked = look(
                snapshot.clone(),
                name.clone(),
                coordinator.clone(),
                shards.unwrap_or_else(|| Arc::new([])),
                (catalogued, sharding.clone()),
            );
            let task = tokio::task::spawn_local(looked);
            let look = Look {
                at: coordinator.clone(),
                began: Instant::now(),
                task,
            };
            looks.insert(name, look);
        }
    }
}

async fn look(
    snapshot: Arc<Snapshot>,
    database: String,
    coordinator: Arc<Coordinator>,
    shards: Arc<[Arc<Cluster>]>,
    (catalogued, sharding): (Arc<Catalogued>, Arc<Sharding>),
) {
    let as_of = catalogued.schema().tables();
    let compared = compare(&snapshot, &database, &coordinator, &shards);
    let found = tokio::time::timeout(PATIENCE, compared).await;
    let found = found.unwrap_or_else(|_| Err("no answer in time".into()));
    if let Err(why) = &found
        && !coordinator.is_lost()
    {
        let name = &**coordinator.name();
        tracing::warn!(
            database,
            coordinator = name,
            why,
            "the coordinator's tables could not be looked up: nothing goes there"
        );
    }
    let told = found.map_err(|_| "its tables could not be looked up".to_owned());
    coordinator.learn(as_of, sharding, told);
}

async fn compare(
    snapshot: &Snapshot,
    database: &str,
    coordinator: &Coordinator,
    shards: &[Arc<Cluster>],
) -> Result<Compared, String> {
    let mut of_shards: Vec<Definitions> = Vec::new();
    for shard in shards {
        let told = |why: String| format!("shard {}: {why}", shard.name);
        of_shards.push(ask(snapshot, database, shard).await.map_err(told)?);
    }
    let there = ask(snapshot, database, &coordinator.cluster).await?;
    Ok(Compared::new(&of_shards, &there))
}

async fn ask(snapshot: &Snapshot, database: &str, cluster: &Cluster) -> Result<Definitions, String> {
    let watcher = watcher_of(snapshot, database, cluster).ok_or("there is no control role")?;
    let at = cluster.primary_or_only().ok_or("no primary is known")?;
    let target = Target {
        dbname: watcher.dbname.clone(),
        ..(*cluster.members[at].target).clone()
    };
    let parameters = [
        (b"application_name".to_vec(), b"pgshunt catalog".to_vec()),
        (b"search_path".to_vec(), b"pg_catalog, pg_temp".to_vec()),
    ];
    let asker = Asker::connect(&target, &watcher.user, &watcher.secret, &parameters).await;
    let mut asker = asker.map_err(|fault| fault.to_string())?;
    definitions::ask(&mut asker).await
}
