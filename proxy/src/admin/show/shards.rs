//! SHOW SHARDS.

use std::collections::BTreeMap;

use crate::admin::lookout::Seen;
use crate::admin::table::{Column, Row, big, int, text};
use crate::cluster::Cluster;
use crate::cluster::roles::Standing;
use crate::metrics::PoolRow;

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
    let clusters: BTreeMap<_, _> = seen.clusters.iter().collect();
    let all = clusters
        .into_iter()
        .flat_map(|(database, shards)| shards.iter().map(move |cluster| (database, cluster)));
    all.map(|(database, cluster)| row(seen, database, cluster))
        .collect()
}

fn row(seen: &Seen, database: &str, cluster: &Cluster) -> Row {
    let mut sum = PoolRow::default();
    let served_here = |row: &&PoolRow| {
        let served_by = seen.snapshot.database(&row.database);
        *row.shard == *cluster.name && served_by.is_some_and(|served_by| served_by.name == database)
    };
    seen.census
        .shards
        .iter()
        .filter(served_here)
        .for_each(|row| sum.add(row));
    let members = 0..cluster.members.len();
    let primary = cluster.primary_or_only();
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    vec![
        database.to_owned().into(),
        cluster.name.to_string().into(),
        primary
            .map_or(String::new(), |at| cluster.members[at].label.to_string())
            .into(),
        state(cluster, primary, &sum).into(),
        (members.filter(|&at| cluster.is_readable(at)).count() as u64).into(),
        sum.sv_active.into(),
        sum.sv_idle.into(),
        sum.sv_login.into(),
        sum.waiting.into(),
        u64::try_from(sum.maxwait.as_millis()).unwrap_or(u64::MAX).into(),
        sum.totals.server_assignment_count.into(),
        micros(sum.totals.wait_time.sum).into(),
        sum.totals.server_connect_count.into(),
        sum.totals.server_connect_failure_count.into(),
    ]
}

/// `up`, `down`, or `unknown`: nobody looks, and there is no server connection that would show it.
fn state(cluster: &Cluster, primary: Option<usize>, sum: &PoolRow) -> &'static str {
    match primary.map(|at| cluster.standing(at)) {
        Some(Standing::Primary) => "up",
        Some(Standing::Down | Standing::Fenced) => "down",
        Some(Standing::Unknown | Standing::Standby) | None => match sum.logged_in_servers() {
            0 => "unknown",
            _ => "up",
        },
    }
}
