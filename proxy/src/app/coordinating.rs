//! Has every coordinator brought up to date and looked at: after a change of the shards' tables, of the rules, and now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use routing_rules::Sharding;
use tokio::task::JoinHandle;

use super::topology::watcher_of;
use crate::catalog::Catalogued;
use crate::catalog::alike::{Ways, look as look_at};
use crate::catalog::coordinator::{Compared, Coordinator};
use crate::catalog::unite::{ReadAs, Site};
use crate::client::worker::Common;
use crate::cluster::Cluster;
use crate::server::address::{Address, Target};
use crate::server::ask::Asker;
use crate::snapshot::{self, Control, CoordinatorKind, Database, SecretText, Shard, Snapshot};

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
        let coordinators = common.coordinators.load_full();
        if coordinators.is_empty() {
            continue;
        }
        let snapshot = common.snapshot.load_full();
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
    let mut askers: Vec<(String, Asker)> = Vec::new();
    for shard in shards {
        let told = |why: String| format!("shard {}: {why}", shard.name);
        let asker = reach(snapshot, database, shard).await.map_err(told)?;
        askers.push((shard.name.to_string(), asker));
    }
    let mut there = reach(snapshot, database, &coordinator.cluster).await?;
    let looked = look_at(&mut askers).await?;
    if let Some(ways) = ways(snapshot, database) {
        match looked.unite(&mut there, ways, false).await {
            Ok(made) => {
                let name = &**coordinator.name();
                for line in made
                    .iter()
                    .flatten()
                    .filter(|line| !line.starts_with("left out "))
                {
                    tracing::info!(database, coordinator = name, "coordinator: {line}");
                }
            }
            // What it has is compared all the same: what does not fit is not read there.
            Err(why) => tracing::warn!(database, why, "the coordinator could not be brought up to date"),
        }
    }
    looked.compare(&mut there).await
}

/// How a database's coordinator is brought up to date; `None`: somebody else does.
fn ways<'a>(snapshot: &'a Snapshot, name: &str) -> Option<Ways<'a>> {
    let database = snapshot.database(name)?;
    let coordinator = database.coordinator.as_ref()?;
    let ways = || {
        Some(Ways {
            sites: sites(database, name),
            reads_as: reads_as(coordinator, database.control.as_ref()?),
            sharding: database.sharding.as_deref()?,
        })
    };
    match coordinator.kind {
        CoordinatorKind::Postgres => ways(),
        CoordinatorKind::Citus => None,
    }
}

/// As whom a coordinator reads the shards.
pub fn reads_as<'a>(coordinator: &'a snapshot::Coordinator, control: &'a Control) -> ReadAs<'a> {
    let (user, password) = match &coordinator.reader {
        Some(reader) => (&reader.user, &reader.password),
        None => (&control.user, &control.password),
    };
    ReadAs {
        user,
        password: password.as_ref().map(SecretText::expose),
    }
}

/// The shards of a database that clients call `name`, as a coordinator reaches them. Files are those of its own machine.
pub fn sites(database: &Database, name: &str) -> Vec<Site> {
    let site = |shard: &Shard| {
        let place = |address: &Address| match address {
            Address::Tcp { host, port } => (host.clone(), port.to_string()),
            Address::Unix { directory, port } => (directory.display().to_string(), port.to_string()),
        };
        let (hosts, ports): (Vec<_>, Vec<_>) = shard.servers.iter().map(place).unzip();
        let dbname = shard.dbname.clone().unwrap_or_else(|| name.to_owned());
        let patience = database.pool.server_connect_timeout.as_secs().max(2);
        let mut options = vec![
            ("host", hosts.join(",")),
            ("port", ports.join(",")),
            ("dbname", dbname),
            ("sslmode", shard.tls.mode.word().to_owned()),
            ("connect_timeout", patience.to_string()),
        ];
        if hosts.len() > 1 {
            options.push(("target_session_attrs", "read-write".to_owned()));
        }
        let files = [
            ("sslrootcert", &shard.tls.ca),
            ("sslcert", &shard.tls.certificate),
            ("sslkey", &shard.tls.key),
        ];
        for (name, file) in files {
            options.extend(file.as_ref().map(|file| (name, file.display().to_string())));
        }
        Site {
            name: shard.name.clone(),
            options: options
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    };
    database.shards.iter().map(site).collect()
}

/// A connection to a primary as the control role.
async fn reach(snapshot: &Snapshot, database: &str, cluster: &Cluster) -> Result<Asker, String> {
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
    asker.map_err(|fault| fault.to_string())
}
