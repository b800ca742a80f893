//! Fetches answers in advance, as the rules say, once the cache can keep them: at start, and when the rules have changed.
//!
//! It goes in by pgshunt's own door and logs in as the role, as any client does. So whose answer it is, and who may have
//! it, is decided where it is for clients, and nowhere else. It has one session for each database at a time, and asks only
//! what would be kept: a statement that is none of the cache's is not run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::admin::visit::Visit;
use crate::cache::Cache;
use crate::client::worker::Common;
use crate::protocol::auth::Secret;
use crate::snapshot::{Endpoint, Warm};

/// How often it is seen to, and how often it is looked whether a cache keeps answers yet.
const TICK: Duration = Duration::from_millis(100);

/// Databases that are asked at the same time.
const DATABASES_MAX: usize = 2;

/// The longest one statement may take.
const STATEMENT_WITHIN: Duration = Duration::from_secs(60);

/// How often a statement is asked: once to fetch its answer, once to see that it is kept, and more if it was old before.
const TRIES: usize = 4;

/// The place of `cache` in a route.
const CACHE: usize = 4;

/// A cache that is being filled, or was.
struct Warming {
    cache: Arc<Cache>,
    warm: Vec<Warm>,
    task: JoinHandle<()>,
}

impl Drop for Warming {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Fills what there is to fill, for ever. Runs on a [`tokio::task::LocalSet`].
pub async fn serve(common: Arc<Common>) {
    let turns = Arc::new(Semaphore::new(DATABASES_MAX));
    let mut known: HashMap<String, Warming> = HashMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let snapshot = common.snapshot.load_full();
        known.retain(|name, _| snapshot.databases.iter().any(|database| database.name == *name));
        let Some(door) = snapshot.listen.clients.first() else {
            continue;
        };
        for database in snapshot.databases.iter().filter(|one| !one.warm.is_empty()) {
            // Names are looked up and changes heard of from now on, though no client asked yet.
            common.catalogued(&database.name);
            let Some(cache) = common.cache(&database.name) else {
                continue;
            };
            let is_done = |known: &Warming| Arc::ptr_eq(&known.cache, &cache) && known.warm == database.warm;
            if known.get(&database.name).is_some_and(is_done) {
                continue;
            }
            let (warm, name) = (database.warm.clone(), database.name.clone());
            let filled = fill(
                common.clone(),
                cache.clone(),
                door.clone(),
                warm.clone(),
                turns.clone(),
            );
            let task = tokio::task::spawn_local(filled);
            known.insert(name, Warming { cache, warm, task });
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Sum {
    kept: u64,
    failed: u64,
}

async fn fill(
    common: Arc<Common>,
    cache: Arc<Cache>,
    door: Endpoint,
    warm: Vec<Warm>,
    turns: Arc<Semaphore>,
) {
    let Ok(_turn) = turns.acquire().await else { return };
    keeps(&common, &cache).await;
    for one in &warm {
        let (began, mut sum) = (Instant::now(), Sum::default());
        let nobody = [String::new()];
        let tenants = match one.tenants.is_empty() {
            true => &nobody[..],
            false => &one.tenants[..],
        };
        for tenant in tenants {
            fill_for(&cache, &door, one, tenant, &mut sum).await;
        }
        let (database, role, ms) = (&cache.database, &one.role, began.elapsed().as_millis());
        let Sum { kept, failed } = sum;
        tracing::info!(
            database,
            role,
            tenants = one.tenants.len(),
            kept,
            failed,
            ms,
            "answers were fetched in advance"
        );
    }
}

/// Waits until the cache keeps answers.
async fn keeps(common: &Common, cache: &Cache) {
    let is_deaf = || {
        let rules = &cache.rules;
        let deaf = cache
            .heard
            .is_deaf(Instant::now(), rules.elsewhere, rules.max_delay);
        !cache.is_followed() || deaf.is_some() || common.catalogued(&cache.database).catalog().is_none()
    };
    while is_deaf() {
        tokio::time::sleep(TICK).await;
    }
}

/// Asks each statement in one session.
async fn fill_for(cache: &Cache, door: &Endpoint, warm: &Warm, tenant: &str, sum: &mut Sum) {
    let (database, role) = (&cache.database, &warm.role);
    let classes = cache.rules.classes.iter();
    let statements: Vec<_> = classes
        .flat_map(|class| class.statements.iter().map(|text| (&class.name, text)))
        .collect();
    let mut failed = |count: usize, class: &str, why: String| {
        sum.failed += count as u64;
        cache.counts.unwarmed.fetch_add(count as u64, Ordering::Relaxed);
        tracing::warn!(
            database,
            role,
            class,
            why,
            "an answer could not be fetched in advance"
        );
    };
    let password = warm.password.as_ref();
    let secret = password.map_or(Secret::None, |password| {
        Secret::Password(password.expose().into())
    });
    let mut kept = 0;
    let mut visit = match Visit::open(door, (role.as_str(), &secret), database, &startup(warm, tenant)).await
    {
        Ok(visit) => visit,
        Err(why) => return failed(statements.len(), "*", why),
    };
    for (class, text) in statements {
        let fetched = tokio::time::timeout(STATEMENT_WITHIN, fetch(&mut visit, text)).await;
        match fetched {
            Ok(Ok(())) => kept += 1,
            Ok(Err(why)) => failed(1, class, why),
            Err(_) => {
                // The session still waits for the answer.
                failed(
                    1,
                    class,
                    format!("no answer within {} s", STATEMENT_WITHIN.as_secs()),
                );
                break;
            }
        }
    }
    sum.kept += kept;
    cache.counts.warmed.fetch_add(kept, Ordering::Relaxed);
}

/// What the sessions say at startup: no setting that changes an answer, but what the rules say.
fn startup(warm: &Warm, tenant: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut said = vec![(b"application_name".to_vec(), b"pgshunt cache".to_vec())];
    if !tenant.is_empty() {
        said.push((b"pgshunt.tenant".to_vec(), tenant.into()));
    }
    let settings = warm.settings.iter();
    said.extend(settings.map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes())));
    said
}

/// Asks a statement until its answer is kept.
async fn fetch(visit: &mut Visit, text: &str) -> Result<(), String> {
    // Nothing is run by this.
    let route = visit.query(&format!("EXPLAIN (ROUTE) {text}")).await?;
    keeps_it(&route)?;
    for _ in 0..TRIES {
        visit.each_row(text, |_| ()).await?;
        if keeps_it(&visit.query("SHOW pgshunt.last_route").await?)? {
            return Ok(());
        }
    }
    Err("it is too long to be kept, or is old before it is".to_owned())
}

/// Is the answer kept already? Says why it will not be.
fn keeps_it(route: &[Vec<String>]) -> Result<bool, String> {
    match route.first().and_then(|row| row.get(CACHE)).map(String::as_str) {
        Some("hit") => Ok(true),
        Some("miss") => Ok(false),
        Some(why) => Err(format!("it is not kept: {why}")),
        None => Err("its route is not told".to_owned()),
    }
}
