//! SHOW DATABASES and SHOW USERS.

use std::collections::BTreeSet;

use crate::admin::lookout::Seen;
use crate::admin::table::{Cell, Column, Row, int, text};
use crate::metrics::PoolRow;
use crate::server::address::Address;
use crate::snapshot::{Database, Snapshot};

pub(super) const DATABASES: [Column; 18] = [
    text("name"),
    text("host"),
    int("port"),
    text("database"),
    text("force_user"),
    int("pool_size"),
    int("min_pool_size"),
    int("reserve_pool_size"),
    // Its name before PgBouncer 1.24, which prometheus-community/pgbouncer_exporter still reads.
    int("reserve_pool"),
    int("server_lifetime"),
    text("pool_mode"),
    text("load_balance_hosts"),
    int("max_connections"),
    int("current_connections"),
    int("max_client_connections"),
    int("current_client_connections"),
    int("paused"),
    int("disabled"),
];

/// The databases of the configuration; `*` is followed by those that clients use by way of it.
pub(super) fn databases(seen: &Seen) -> Vec<Row> {
    let mut rows = Vec::new();
    for database in &seen.snapshot.databases {
        rows.push(row(database, &database.name, seen));
        if database.is_wildcard() {
            let used = unnamed(&seen.snapshot, &seen.census.pools);
            rows.extend(used.iter().map(|name| row(database, name, seen)));
        }
    }
    rows
}

fn unnamed(snapshot: &Snapshot, pools: &[PoolRow]) -> BTreeSet<String> {
    let is_named = |name: &str| snapshot.databases.iter().any(|database| database.name == name);
    let used = pools.iter().map(|pool| &pool.database);
    used.filter(|name| !is_named(name)).cloned().collect()
}

fn row(database: &Database, name: &str, seen: &Seen) -> Row {
    let coordinator = database.coordinator.iter().map(|coordinator| &coordinator.shard);
    let shards = database.shards.iter().chain(coordinator);
    let servers: Vec<&Address> = shards.flat_map(|shard| &shard.servers).collect();
    let dbname = database.shards.first().and_then(|shard| shard.dbname.clone());
    let own = || seen.census.pools.iter().filter(|pool| pool.database == name);
    let settings = &database.pool;
    vec![
        name.to_owned().into(),
        hosts(&servers).into(),
        u64::from(servers.first().map_or(0, |address| port(address))).into(),
        dbname.unwrap_or_else(|| name.to_owned()).into(),
        Cell::Null,
        settings.size.into(),
        settings.min_size.into(),
        settings.reserve_pool_size.into(),
        settings.reserve_pool_size.into(),
        settings.server_lifetime.as_secs().into(),
        settings.mode.word().into(),
        Cell::Null,
        database.max_db_connections.into(),
        own().map(PoolRow::servers).sum::<u64>().into(),
        database.max_client_conn.into(),
        own().map(PoolRow::clients).sum::<u64>().into(),
        seen.switches.is_paused(name, &seen.snapshot).into(),
        seen.switches.is_disabled(name, &seen.snapshot).into(),
    ]
}

/// `10.0.0.1,10.0.0.2`; ports only where they differ from the first one's, which has its own column.
fn hosts(servers: &[&Address]) -> String {
    let first = servers.first().map(|address| port(address));
    let one = |address: &&Address| {
        let host = match address {
            Address::Tcp { host, .. } => host.clone(),
            Address::Unix { directory, .. } => directory.display().to_string(),
        };
        match Some(port(address)) == first {
            true => host,
            false => format!("{host}:{}", port(address)),
        }
    };
    servers.iter().map(one).collect::<Vec<_>>().join(",")
}

fn port(address: &Address) -> u16 {
    match address {
        Address::Tcp { port, .. } | Address::Unix { port, .. } => *port,
    }
}

pub(super) const USERS: [Column; 8] = [
    text("name"),
    int("pool_size"),
    int("reserve_pool_size"),
    text("pool_mode"),
    int("max_user_connections"),
    int("current_connections"),
    int("max_user_client_connections"),
    int("current_client_connections"),
];

/// Roles of the configuration and roles that have a pool.
pub(super) fn users(seen: &Seen) -> Vec<Row> {
    let row = |name: String| {
        let pools = || seen.census.pools.iter().filter(|pool| pool.user == name);
        let (servers, clients) = (
            pools().map(PoolRow::servers).sum::<u64>(),
            pools().map(PoolRow::clients).sum::<u64>(),
        );
        let written = seen
            .snapshot
            .databases
            .iter()
            .flat_map(|database| &database.users)
            .find(|user| user.name == name);
        let own = seen.snapshot.max_user_client_connections(&name);
        let max_clients = own.unwrap_or(seen.snapshot.limits.max_user_client_connections);
        vec![
            name.clone().into(),
            written.map_or(Cell::Null, |user| user.pool.size.into()),
            written.map_or(Cell::Null, |user| user.pool.reserve_pool_size.into()),
            written.map_or(Cell::Null, |user| user.pool.mode.word().into()),
            seen.snapshot.max_user_connections(&name).into(),
            servers.into(),
            max_clients.into(),
            clients.into(),
        ]
    };
    users_known(seen).into_iter().map(row).collect()
}

pub(super) fn users_known(seen: &Seen) -> BTreeSet<String> {
    let snapshot = &seen.snapshot;
    let overrides = snapshot.databases.iter().flat_map(|database| &database.users);
    let written = snapshot.auth.users.iter().map(|user| &user.name);
    let used = seen.census.pools.iter().map(|pool| &pool.user);
    written
        .chain(overrides.map(|user| &user.name))
        .chain(used)
        .cloned()
        .collect()
}
