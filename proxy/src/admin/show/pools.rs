//! SHOW POOLS, LISTS and PINS.

use std::collections::BTreeSet;

use super::databases;
use crate::admin::lookout::Seen;
use crate::admin::table::{Cell, Column, Row, big, int, text};

pub(super) const POOLS: [Column; 17] = [
    text("database"),
    text("user"),
    int("cl_active"),
    int("cl_waiting"),
    int("cl_active_cancel_req"),
    int("cl_waiting_cancel_req"),
    int("sv_active"),
    int("sv_active_cancel"),
    int("sv_being_canceled"),
    int("sv_idle"),
    int("sv_used"),
    int("sv_tested"),
    int("sv_login"),
    int("maxwait"),
    int("maxwait_us"),
    text("pool_mode"),
    text("load_balance_hosts"),
];

pub(super) fn pools(seen: &Seen) -> Vec<Row> {
    let row = |pool: &crate::metrics::PoolRow| {
        vec![
            (&pool.database).into(),
            (&pool.user).into(),
            pool.cl_active.into(),
            pool.cl_waiting.into(),
            pool.cl_active_cancel_req.into(),
            pool.cl_waiting_cancel_req.into(),
            pool.sv_active.into(),
            pool.sv_active_cancel.into(),
            pool.sv_being_canceled.into(),
            pool.sv_idle.into(),
            pool.sv_used.into(),
            pool.sv_tested.into(),
            pool.sv_login.into(),
            pool.maxwait.as_secs().into(),
            u64::from(pool.maxwait.subsec_micros()).into(),
            pool.pool_mode.into(),
            Cell::Null,
        ]
    };
    seen.census.pools.iter().map(row).collect()
}

pub(super) const PINS: [Column; 5] = [
    text("database"),
    text("user"),
    big("client_id"),
    int("server_pid"),
    text("reason"),
];

pub(super) fn pins(seen: &Seen) -> Vec<Row> {
    let row = |pin: &crate::metrics::PinRow| {
        vec![
            (&pin.database).into(),
            (&pin.user).into(),
            pin.client_id.into(),
            u64::from(pin.server_pid.unsigned_abs()).into(),
            pin.reason.into(),
        ]
    };
    seen.census.pins.iter().map(row).collect()
}

pub(super) const LISTS: [Column; 2] = [text("list"), int("items")];

/// PgBouncer's lists. What pgshunt has none of (peers, spare client structures, a DNS cache) is 0.
pub(super) fn lists(seen: &Seen) -> Vec<Row> {
    let pools = &seen.census.pools;
    let users: BTreeSet<String> = databases::users_known(seen);
    let free: u64 = pools.iter().map(|pool| pool.sv_idle).sum();
    let used: u64 = pools.iter().map(|pool| pool.servers() - pool.sv_idle).sum();
    let counts = [
        ("databases", databases::databases(seen).len() as u64),
        ("users", users.len() as u64),
        ("peers", 0),
        ("pools", pools.len() as u64),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", seen.census.clients.len() as u64),
        ("login_clients", seen.census.login_clients),
        ("free_servers", free),
        ("used_servers", used),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    let row = |(list, items): (&'static str, u64)| vec![list.into(), items.into()];
    counts.into_iter().map(row).collect()
}
