//! SHOW SHARDS.

use std::collections::BTreeMap;

use crate::admin::lookout::Seen;
use crate::admin::table::{Column, Row, big, int, text};
use crate::cluster::Cluster;
use crate::cluster::roles::Standing;
use crate::metrics::{PoolRow, ShardRow};

pub(super) const SHARDS: [Column; 14] = [
    text("database"),
    text("shard"),
    text("primary"),
    text("state"),
    big("replicas"),
    int("sv_active"),
    int("sv_idle"),
    int("sv_login"),
    int("waiting"),
    int("maxwait_ms"),
    big("assignments"),
    big("wait_time"),
    big("connects"),
    big("connect_failures"),
];

/// Every shard of every database, over all roles. `replicas` are those that can be read, times are microseconds.
pub(super) fn shards(seen: &Seen) -> Vec<Row> {
    every(seen).iter().map(row).collect()
}

/// What is known of a shard.
pub(in crate::admin) struct Shard<'s> {
    pub database: &'s str,
    pub name: String,
    primary: String,
    state: &'static str,
    pub row: ShardRow,
}

/// Every shard of every database, in order.
pub(in crate::admin) fn every(seen: &Seen) -> Vec<Shard<'_>> {
    let clusters: BTreeMap<_, _> = seen.clusters.iter().collect();
    let all = clusters
        .into_iter()
        .flat_map(|(database, shards)| shards.iter().map(move |cluster| (database, cluster)));
    all.map(|(database, cluster)| shard(seen, database, cluster))
        .collect()
}

fn shard<'s>(seen: &'s Seen, database: &'s str, cluster: &Cluster) -> Shard<'s> {
    let mut pool = PoolRow::default();
    let served_here = |row: &&PoolRow| {
        let served_by = seen.snapshot.database(&row.database);
        *row.shard == *cluster.name && served_by.is_some_and(|served_by| served_by.name == database)
    };
    let own = seen.census.shards.iter().filter(served_here);
    own.for_each(|row| pool.add(row));
    let members = 0..cluster.members.len();
    let primary = cluster.primary_or_only();
    let state = state(cluster, primary, &pool);
    Shard {
        database,
        name: cluster.name.to_string(),
        primary: primary.map_or(String::new(), |at| cluster.members[at].label.to_string()),
        state,
        row: ShardRow {
            is_down: state == "down",
            replicas: members.filter(|&at| cluster.is_readable(at)).count() as u64,
            pool,
        },
    }
}

fn row(shard: &Shard<'_>) -> Row {
    let pool = &shard.row.pool;
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    vec![
        shard.database.to_owned().into(),
        (&shard.name).into(),
        (&shard.primary).into(),
        shard.state.into(),
        shard.row.replicas.into(),
        pool.sv_active.into(),
        pool.sv_idle.into(),
        pool.sv_login.into(),
        pool.waiting.into(),
        u64::try_from(pool.maxwait.as_millis()).unwrap_or(u64::MAX).into(),
        pool.totals.server_assignment_count.into(),
        micros(pool.totals.wait_time.sum).into(),
        pool.totals.server_connect_count.into(),
        pool.totals.server_connect_failure_count.into(),
    ]
}

/// `up`, `down`, or `unknown`: nobody looks, and no server connection was made or refused that would show it.
fn state(cluster: &Cluster, primary: Option<usize>, sum: &PoolRow) -> &'static str {
    match primary.map(|at| cluster.standing(at)) {
        Some(Standing::Primary) => "up",
        Some(Standing::Down | Standing::Fenced) => "down",
        Some(Standing::Unknown | Standing::Standby) | None => match (sum.logged_in_servers(), sum.is_failing)
        {
            (0, true) => "down",
            (0, false) => "unknown",
            (_, _) => "up",
        },
    }
}
