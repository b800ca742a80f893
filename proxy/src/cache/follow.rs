//! Hears of what changes past this pgshunt: rights and definitions by looking at the catalog again and again (`rights`),
//! writes by the primary's stream (`stream`). Runs beside the data path; what it finds out it writes into the cache's
//! generations and into [`Heard`](super::heard::Heard).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use routing_rules::cache::Elsewhere;

use super::heard::OfShard;
use super::{Cache, rights, stream};
use crate::catalog::Catalogued;
use crate::cluster::Cluster;
use crate::cluster::watch::Watcher;
use crate::server::address::Target;
use crate::server::ask::Asker;

/// One cache, and where to hear what changes under it.
#[derive(Clone)]
pub struct Ear {
    /// The cache.
    pub cache: Arc<Cache>,
    /// The servers of its database, or of one shard of it.
    pub cluster: Arc<Cluster>,
    /// Which one.
    pub shard: usize,
    /// What is known of its names.
    pub catalogued: Arc<Catalogued>,
    /// Who looks, and in which database.
    pub watcher: Watcher,
}

/// Rights are looked at this often.
const RIGHTS_EVERY: Duration = Duration::from_millis(500);

/// The longest one look may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// After something failed.
const PAUSE: Duration = Duration::from_millis(500);

impl Ear {
    /// The primary of this moment, and which it is.
    pub(super) fn primary(&self) -> Option<(Target, u64)> {
        let at = self.cluster.primary_or_only()?;
        let target = Target {
            dbname: self.watcher.dbname.clone(),
            connect_timeout: PATIENCE,
            ..(*self.cluster.members[at].target).clone()
        };
        Some((target, self.cluster.epoch()))
    }

    /// Something is known of the shard.
    pub(super) fn note(&self, note: impl FnOnce(&OfShard)) {
        if let Some(heard) = self.cache.heard.shard(self.shard) {
            note(heard);
        }
    }

    pub(super) async fn connect(&self, target: &Target) -> Result<Asker, String> {
        let parameters = [
            (b"application_name".to_vec(), b"pgshunt cache".to_vec()),
            (b"search_path".to_vec(), b"pg_catalog, pg_temp".to_vec()),
        ];
        let asker = Asker::connect(target, &self.watcher.user, &self.watcher.secret, &parameters).await;
        asker.map_err(|fault| fault.to_string())
    }

    /// Looks at rights and definitions, for ever.
    pub async fn hear_rights(self) {
        let mut known: Option<(u64, Vec<u8>)> = None;
        let mut asker: Option<Asker> = None;
        loop {
            match tokio::time::timeout(PATIENCE, self.look_at_rights(&mut asker, &mut known)).await {
                Ok(Ok(())) => tokio::time::sleep(RIGHTS_EVERY).await,
                failed => {
                    if asker.take().is_some() {
                        let why = failed.map_or_else(
                            |_| "no answer in time".to_owned(),
                            |why| why.err().unwrap_or_default(),
                        );
                        let (database, shard) = (&self.cache.database, &self.cluster.name);
                        tracing::warn!(database, %shard, why, "the cache steps aside: rights can't be looked at");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn look_at_rights(
        &self,
        asker: &mut Option<Asker>,
        known: &mut Option<(u64, Vec<u8>)>,
    ) -> Result<(), String> {
        let (target, epoch) = self.primary().ok_or("no primary is known")?;
        if known.as_ref().is_some_and(|(of, _)| *of != epoch) {
            (*asker, *known) = (None, None);
        }
        if asker.as_ref().is_none_or(Asker::is_broken) {
            *asker = Some(self.connect(&target).await?);
        }
        let Some(looking) = asker else { return Ok(()) };
        let sent = Instant::now();
        let number = rights::look(looking).await.map_err(|fault| fault.to_string())?;
        let is_first = known.is_none();
        let is_same = known.as_ref().is_some_and(|(_, before)| *before == number);
        if !is_same {
            // Names first: what is asked for from here on is asked for under the new ones.
            match self.cache.sharding.is_some() {
                // There every statement needs the tables to find its shard.
                true => self.catalogued.doubt(),
                false => self.catalogued.outdate(),
            }
            let marks = &self.cache.shared.marks;
            self.cache.makes_all_old(marks.must_tell_sum());
            // INVARIANT: it is told before it may be marked.
            marks.sum_is(&number);
            *known = Some((epoch, number));
        }
        self.note(|heard| heard.rights_until(sent));
        if is_first {
            self.cache.first_looks.fetch_add(1, Ordering::AcqRel);
        }
        if !is_same {
            // A backend knows by its own clock when it has read its configuration again; a new one says what all new ones do.
            *asker = None;
        }
        Ok(())
    }

    /// Hears of writes, for ever.
    pub async fn hear_writes(self) {
        if self.cache.rules.elsewhere == Elsewhere::Ttl {
            return;
        }
        let mut last = String::new();
        loop {
            let why = match self.primary() {
                None => "no primary is known".to_owned(),
                Some((target, epoch)) => stream::hear(&self, &target, epoch).await,
            };
            self.note(OfShard::lose_writes);
            self.cache.shared.marks.stream_ends();
            if why != last {
                let (database, shard) = (&self.cache.database, &self.cluster.name);
                tracing::warn!(
                    database,
                    %shard,
                    why,
                    "the cache steps aside: writes from elsewhere can't be heard of"
                );
                last = why;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
