//! Has every cache hear of what changes past this pgshunt, as the configuration says at each moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::topology::watcher_of;
use crate::cache::Cache;
use crate::cache::follow::Ear;
use crate::cache::heard::OfShard;
use crate::cache::redis;
use crate::client::worker::Common;
use crate::cluster::Cluster;

/// How often it is seen to.
const TICK: Duration = Duration::from_millis(50);

/// A cache and the tasks that hear for it; they end with this.
struct Heard {
    cache: Arc<Cache>,
    shards: Vec<Arc<Cluster>>,
    redis: Option<Arc<redis::Settings>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        let heard = &self.cache.heard;
        (0..heard.shards())
            .filter_map(|at| heard.shard(at))
            .for_each(OfShard::lose_writes);
        self.cache.shared.close();
        self.cache.shared.marks.settle();
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
                && is_same_list(&shards_of(&common, name), &known.shards)
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

fn shards_of(common: &Common, name: &str) -> Vec<Arc<Cluster>> {
    let snapshot = common.snapshot.load();
    let clusters = common.clusters.load();
    let found = snapshot
        .database(name)
        .and_then(|database| clusters.get(&database.name));
    found.map_or(Vec::new(), |shards| shards.to_vec())
}

fn is_same_list(one: &[Arc<Cluster>], other: &[Arc<Cluster>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

fn begin(common: &Arc<Common>, name: &str, cache: &Arc<Cache>) -> Option<Heard> {
    let shards = shards_of(common, name);
    let snapshot = common.snapshot.load();
    let catalogued = common.catalogs().get(name)?.clone();
    let ear = |(shard, cluster): (usize, &Arc<Cluster>)| {
        Some(Ear {
            cache: cache.clone(),
            cluster: cluster.clone(),
            shard,
            catalogued: catalogued.clone(),
            watcher: watcher_of(&snapshot, name, cluster)?,
        })
    };
    let ears: Vec<Ear> = shards.iter().enumerate().map(ear).collect::<Option<_>>()?;
    let mut tasks = Vec::new();
    let redis = snapshot.redis.clone();
    // Where rows are is told to each pgshunt by its own rules: answers of several shards stay where they were asked for.
    if let (Some(settings), [ear]) = (&redis, &ears[..]) {
        cache.generations.untold.is_wanted(true);
        tasks.push(tokio::task::spawn_local(redis::link::serve(
            ear.clone(),
            settings.clone(),
        )));
    }
    if tasks.is_empty() {
        cache.generations.untold.is_wanted(false);
    }
    for ear in ears {
        tasks.push(tokio::task::spawn_local(ear.clone().hear_rights()));
        tasks.push(tokio::task::spawn_local(ear.hear_writes()));
    }
    Some(Heard {
        cache: cache.clone(),
        shards,
        redis,
        tasks,
    })
}
