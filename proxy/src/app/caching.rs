//! Has every cache hear of what changes past this pgshunt, as the configuration says at each moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::topology::watcher_of;
use crate::cache::Cache;
use crate::cache::follow::Ear;
use crate::cache::redis;
use crate::client::worker::Common;
use crate::cluster::Cluster;

/// How often it is seen to.
const TICK: Duration = Duration::from_millis(50);

/// A cache and the tasks that hear for it; they end with this.
struct Heard {
    cache: Arc<Cache>,
    cluster: Arc<Cluster>,
    redis: Option<Arc<redis::Settings>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.cache.heard.lose_writes();
        self.cache.shared.close();
        self.cache.generations.untold.is_wanted(false);
    }
}

/// Hears for whoever has a cache, for ever. Runs on a [`tokio::task::LocalSet`].
pub async fn serve(common: Arc<Common>) {
    let mut heard: HashMap<String, Heard> = HashMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let caches: Vec<(String, Arc<Cache>)> = common
            .caches()
            .iter()
            .map(|(name, cache)| (name.clone(), cache.clone()))
            .collect();
        heard.retain(|name, known| {
            let is_same =
                |(other, cache): &(String, Arc<Cache>)| other == name && Arc::ptr_eq(cache, &known.cache);
            caches.iter().any(is_same)
                && known.redis == common.snapshot.load().redis
                && cluster_of(&common, name).is_some_and(|now| Arc::ptr_eq(&now, &known.cluster))
        });
        for (name, cache) in caches {
            if !heard.contains_key(&name)
                && let Some(begun) = begin(&common, &name, &cache)
            {
                heard.insert(name, begun);
            }
        }
    }
}

fn cluster_of(common: &Common, name: &str) -> Option<Arc<Cluster>> {
    let snapshot = common.snapshot.load();
    let database = snapshot.database(name)?;
    common.clusters.load().get(&database.name)?.first().cloned()
}

fn begin(common: &Arc<Common>, name: &str, cache: &Arc<Cache>) -> Option<Heard> {
    let cluster = cluster_of(common, name)?;
    let snapshot = common.snapshot.load();
    let ear = Ear {
        cache: cache.clone(),
        cluster: cluster.clone(),
        catalogued: common.catalogs().get(name)?.clone(),
        watcher: watcher_of(&snapshot, name, &cluster)?,
    };
    let redis = snapshot.redis.clone();
    let mut tasks = Vec::new();
    if let Some(settings) = &redis {
        cache.generations.untold.is_wanted(true);
        tasks.push(tokio::task::spawn_local(redis::link::serve(
            ear.clone(),
            settings.clone(),
        )));
    }
    tasks.extend([
        tokio::task::spawn_local(ear.clone().hear_rights()),
        tokio::task::spawn_local(ear.hear_writes()),
    ]);
    Some(Heard {
        cache: cache.clone(),
        cluster,
        redis,
        tasks,
    })
}
