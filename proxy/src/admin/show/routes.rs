//! SHOW REPLICAS, ROUTES and REASONS.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use routing_rules::Reason;

use crate::admin::lookout::Seen;
use crate::admin::table::{Cell, Column, Row, big, int, text};
use crate::cluster::Cluster;
use crate::cluster::roles::Standing;
use crate::metrics::Routes;

pub(super) const REPLICAS: [Column; 12] = [
    text("database"),
    text("shard"),
    text("server"),
    text("role"),
    text("state"),
    big("lag_ms"),
    text("lsn"),
    int("outstanding"),
    int("weight"),
    big("epoch"),
    text("watched"),
    text("system"),
];

/// Every server of every database. `lag_ms` is how long ago it had everything the primary had; NULL: not known. `system` is
/// the system identifier by the server's own word: one that differs from the primary's is fenced.
pub(super) fn replicas(seen: &Seen) -> Vec<Row> {
    let now = Instant::now();
    let clusters: BTreeMap<_, _> = seen.clusters.iter().collect();
    clusters
        .into_iter()
        .flat_map(|(database, shards)| shards.iter().map(move |cluster| (database, cluster)))
        .flat_map(|(database, cluster)| {
            (0..cluster.members.len()).map(move |at| replica(database, cluster, at, now))
        })
        .collect()
}

fn replica(database: &str, cluster: &Cluster, at: usize, now: Instant) -> Row {
    let member = &cluster.members[at];
    let standing = cluster.standing(at);
    let is_primary = cluster.primary() == Some(at);
    let lag = cluster.caught_up(at).filter(|_| !is_primary);
    let lag = lag.map(|instant| now.saturating_duration_since(instant).as_millis());
    vec![
        database.to_owned().into(),
        cluster.name.to_string().into(),
        member.label.to_string().into(),
        match is_primary {
            true => "primary".into(),
            false if standing == Standing::Standby => "replica".into(),
            false => standing.word().into(),
        },
        match standing {
            Standing::Down => "down".into(),
            Standing::Fenced => "fenced".into(),
            Standing::Unknown => "unknown".into(),
            Standing::Primary | Standing::Standby => "up".into(),
        },
        lag.map_or(Cell::Null, |millis| {
            u64::try_from(millis).unwrap_or(u64::MAX).into()
        }),
        cluster.position(at).to_string().into(),
        (member.outstanding.load(Ordering::Relaxed) as u64).into(),
        (member.weight as u64).into(),
        cluster.epoch().into(),
        if cluster.has_replicas() { "yes" } else { "no" }.into(),
        member
            .system()
            .map_or(Cell::Null, |system| system.to_string().into()),
    ]
}

fn of_databases(seen: &Seen) -> BTreeMap<String, Routes> {
    let mut sums: BTreeMap<String, Routes> = BTreeMap::new();
    for pool in &seen.census.pools {
        sums.entry(pool.database.clone())
            .or_default()
            .add(&pool.totals.routes);
    }
    sums
}

pub(super) const ROUTES: [Column; 4] = [text("database"), text("target"), big("count"), text("about")];

/// How many statements went where. Those inside a transaction count with its first.
pub(super) fn routes(seen: &Seen) -> Vec<Row> {
    let mut retries: BTreeMap<&str, u64> = BTreeMap::new();
    for pool in &seen.census.pools {
        *retries.entry(&pool.database).or_default() += pool.totals.retry_count;
    }
    let sums = of_databases(seen);
    let rows = sums.iter().flat_map(|(database, routes)| {
        let row = |target: &'static str, count: u64, about: &'static str| -> Row {
            vec![database.into(), target.into(), count.into(), about.into()]
        };
        [
            row(
                "primary",
                routes.primary_count,
                "writes, and all that is not proven to only read",
            ),
            row("replica", routes.replica_count, "reads"),
            row(
                "coordinator",
                routes.coordinator_count,
                "reads that shards can't answer together",
            ),
            row(
                "unfit",
                routes.unfit_count,
                "of those on the primary: reads no replica was fit for",
            ),
            row(
                "retry",
                retries.get(database.as_str()).copied().unwrap_or_default(),
                "run again on the primary after a replica could not",
            ),
        ]
    });
    rows.collect()
}

pub(super) const REASONS: [Column; 3] = [text("database"), text("reason"), big("count")];

/// The decisive reason of each route, counted.
pub(super) fn reasons(seen: &Seen) -> Vec<Row> {
    let sums = of_databases(seen);
    let rows = sums.iter().flat_map(|(database, routes)| {
        let counted = Reason::KINDS.into_iter().zip(routes.reasons);
        counted
            .filter(|(_, count)| *count > 0)
            .map(move |(reason, count)| -> Row { vec![database.into(), reason.into(), count.into()] })
    });
    rows.collect()
}
