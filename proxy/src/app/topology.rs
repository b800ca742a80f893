//! Has every database's servers watched, and its names kept up to date, as the configuration says at each moment.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use routing_rules::cache::Columns;
use tokio::task::JoinHandle;

use super::build::Clusters;
use crate::catalog::Catalogued;
use crate::catalog::keep::{self, Wanted};
use crate::client::worker::Common;
use crate::cluster::Cluster;
use crate::cluster::watch::{Watcher, watch};
use crate::snapshot::{Control, Database, Snapshot};

/// How often it is seen to.
const TICK: Duration = Duration::from_millis(50);

/// Names are asked for this often although no change was seen: others may have made one.
const NAMES_FRESH: Duration = Duration::from_secs(10);

/// The shortest time between two questions for names of one database, if a change was seen.
const NAMES_PAUSE: Duration = Duration::from_millis(100);

/// After a question that took this long the pause is so many times longer.
const NAMES_SHARE: u32 = 10;

/// Watches what there is to watch, for ever. Runs on a [`tokio::task::LocalSet`].
pub async fn serve(common: Arc<Common>) {
    let mut watched: Vec<Watched> = Vec::new();
    let mut asked: HashMap<String, Asked> = HashMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let snapshot = common.snapshot.load_full();
        let clusters = common.clusters.load_full();
        let all = || clusters.values().flat_map(|shards| shards.iter());
        watched.retain(|watched| all().any(|cluster| Arc::ptr_eq(cluster, &watched.cluster)));
        for (name, shards) in clusters.iter() {
            let Some(control) = control(&snapshot, name) else {
                continue;
            };
            for cluster in shards.iter().filter(|cluster| cluster.has_replicas()) {
                if !watched.iter().any(|known| Arc::ptr_eq(&known.cluster, cluster)) {
                    watched.push(Watched::begin(cluster, control));
                }
            }
        }
        ask_for_names(&common, &snapshot, &clusters, &mut asked);
    }
}

fn control<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Control> {
    snapshot.database(name)?.control.as_ref()
}

/// Who looks into a database that clients call `name`, and what its servers call it.
pub(super) fn watcher_of(snapshot: &Snapshot, name: &str, cluster: &Cluster) -> Option<Watcher> {
    let database = snapshot.database(name)?;
    let dbname = dbname_of(database, name, cluster);
    Some(watcher(database.control.as_ref()?, &dbname))
}

fn dbname_of(database: &Database, name: &str, cluster: &Cluster) -> String {
    match database.is_wildcard() {
        true => name.to_owned(),
        false => cluster.members[0].target.dbname.clone(),
    }
}

fn watcher(control: &Control, dbname: &str) -> Watcher {
    Watcher {
        user: control.user.clone(),
        secret: control.secret(),
        dbname: dbname.to_owned(),
    }
}

/// A cluster and the tasks that look at it; they end with this.
struct Watched {
    cluster: Arc<Cluster>,
    tasks: Vec<JoinHandle<()>>,
}

impl Watched {
    fn begin(cluster: &Arc<Cluster>, control: &Control) -> Self {
        Watched {
            cluster: cluster.clone(),
            tasks: watch(cluster, &watcher(control, &control.dbname)),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The last question for a database's names.
struct Asked {
    began: Instant,
    under: Arc<Snapshot>,
    task: JoinHandle<()>,
    took: Rc<Cell<Duration>>,
}

fn ask_for_names(
    common: &Arc<Common>,
    snapshot: &Arc<Snapshot>,
    clusters: &Clusters,
    asked: &mut HashMap<String, Asked>,
) {
    let catalogs: Vec<(String, Arc<Catalogued>)> = common
        .catalogs()
        .iter()
        .map(|(name, catalogued)| (name.clone(), catalogued.clone()))
        .collect();
    for (name, catalogued) in catalogs {
        let Some(database) = snapshot.database(&name) else {
            continue;
        };
        let shards = clusters.get(&database.name).map_or(&[][..], |shards| shards);
        let wanted = Wanted {
            names: database.cache.is_some()
                || database.coordinator.is_some()
                || shards.iter().any(|cluster| cluster.has_replicas()),
            tables: database.sharding.is_some(),
            relations: database.cache.is_some(),
            tenants: tenants_of(database),
        };
        // All shards have the same names and tables: the first one that answers tells.
        let reached = |cluster: &&Arc<Cluster>| cluster.primary_or_only().is_some();
        let asked_ones: Vec<_> = shards.iter().filter(reached).cloned().collect();
        if asked_ones.is_empty() || !(wanted.names || wanted.tables) {
            continue;
        }
        let Some(control) = &database.control else {
            continue;
        };
        if asked
            .get(&name)
            .is_some_and(|last| !last.is_over(snapshot, &catalogued, wanted.tables))
        {
            continue;
        }
        let who = |cluster: &Arc<Cluster>| {
            let dbname = dbname_of(database, &name, cluster);
            (cluster.clone(), watcher(control, &dbname))
        };
        let asked_ones: Vec<_> = asked_ones.iter().map(who).collect();
        let rules = database.split.clone();
        let began = Instant::now();
        let took = Rc::new(Cell::new(Duration::ZERO));
        let (clock, database) = (took.clone(), name.clone());
        let task = tokio::task::spawn_local(async move {
            for (cluster, who) in &asked_ones {
                match keep::ask(cluster, who, &rules, &wanted, &catalogued).await {
                    Ok(()) => break,
                    Err(why) => tracing::warn!(
                        database,
                        shard = %cluster.name,
                        why,
                        "functions, views and tables could not be looked up: reads go to the primary"
                    ),
                }
            }
            clock.set(began.elapsed());
        });
        let under = snapshot.clone();
        asked.insert(
            name,
            Asked {
                began,
                under,
                task,
                took,
            },
        );
    }
}

/// Which column says whose a row is, for the result cache.
fn tenants_of(database: &Database) -> Option<Columns> {
    let own = database.cache.as_ref()?.tenants.clone();
    let sharded = || {
        database.sharding.as_ref().map(|sharding| Columns {
            column: sharding.column.clone(),
            others: sharding.columns.clone(),
        })
    };
    own.or_else(sharded)
}

impl Asked {
    /// Is it time for the next question?
    fn is_over(&self, snapshot: &Arc<Snapshot>, catalogued: &Catalogued, has_tables: bool) -> bool {
        if !self.task.is_finished() {
            return false;
        }
        // CREATE INDEX and its like leave names as they were, and tables in doubt.
        let is_in_doubt = has_tables && catalogued.tables().is_none();
        let is_old = is_in_doubt || catalogued.is_outdated() || catalogued.has_old_catalog();
        let is_wanted = is_old || !Arc::ptr_eq(&self.under, snapshot);
        let pause = match is_wanted {
            true => NAMES_PAUSE.max(self.took.get() * NAMES_SHARE).min(NAMES_FRESH),
            false => NAMES_FRESH,
        };
        self.began.elapsed() >= pause
    }
}
