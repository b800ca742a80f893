//! Counts what a worker has, in the rows of `metrics`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::handle::{Doing, Handle};
use crate::metrics::{Census, PeerRow, PinRow, PoolRow};
use crate::pool::{Key, Pool};
use crate::server::address::Address;
use crate::server::held::{Facts, Server};

/// Looks at everything once.
pub fn take<'a>(
    clients: impl Iterator<Item = &'a Rc<Handle>>,
    pools: impl Iterator<Item = &'a Rc<Pool>>,
    login_clients: u64,
) -> Census {
    let now = Instant::now();
    let mut census = Census {
        login_clients,
        ..Census::default()
    };
    let mut rows: HashMap<Key, PoolRow> = HashMap::new();
    let mut out: HashMap<u64, (Rc<Facts>, Rc<Pool>)> = HashMap::new();
    for pool in pools {
        pool.each_known(|facts| {
            out.insert(facts.id, (facts, pool.clone()));
        });
        pool.each_free(|server, state| {
            out.remove(&server.id);
            census.servers.push(free_row(server, pool, state));
        });
        rows.insert(pool.plan.key.clone(), pool_row(pool, now));
    }
    for client in clients {
        if let Some(row) = rows.get_mut(&client.pool.plan.key) {
            match client.doing.get() {
                Doing::Waiting => row.cl_waiting += 1,
                Doing::Idle | Doing::Working | Doing::InTransaction | Doing::Pinned => row.cl_active += 1,
            }
        }
        let mut client_row = client_row(client, now);
        if let Some((facts, pool)) = out.remove(&client.link.get()) {
            if let Some(row) = rows.get_mut(&pool.plan.key) {
                row.sv_active += 1;
            }
            client_row.shard = pool.plan.key.place.shard.to_string();
            let close_needed = pool.is_outdated(&facts);
            census.servers.push(PeerRow {
                close_needed,
                ..lent_row(&facts, &pool.plan.key, &client_row)
            });
        }
        census.clients.push(client_row);
        census.pins.extend(pins(client));
    }
    // With a client that logs in or has left: introduced, drained, reset.
    for (facts, pool) in out.into_values() {
        if let Some(row) = rows.get_mut(&pool.plan.key) {
            row.sv_tested += 1;
        }
        census.servers.push(server_row(&facts, &pool.plan.key, "tested"));
    }
    (census.pools, census.shards) = together(rows);
    census
}

/// One row for each database and role, and one for each database and shard.
fn together(rows: HashMap<Key, PoolRow>) -> (Vec<PoolRow>, Vec<PoolRow>) {
    let mut pools: HashMap<(String, String), PoolRow> = HashMap::new();
    let mut shards: HashMap<(String, Arc<str>), PoolRow> = HashMap::new();
    for (key, row) in rows {
        let of_shard = PoolRow {
            user: String::new(),
            shard: key.place.shard.to_string(),
            ..row.clone()
        };
        match shards.entry((key.database.clone(), key.place.shard)) {
            Entry::Occupied(known) => known.into_mut().add(&of_shard),
            Entry::Vacant(new) => drop(new.insert(of_shard)),
        }
        match pools.entry((key.database, key.user)) {
            Entry::Occupied(known) => known.into_mut().add(&row),
            Entry::Vacant(new) => drop(new.insert(row)),
        }
    }
    (pools.into_values().collect(), shards.into_values().collect())
}

fn pins(client: &Handle) -> impl Iterator<Item = PinRow> {
    client.pins.get().iter().map(|pin| PinRow {
        database: client.pool.plan.key.database.clone(),
        user: client.pool.plan.key.user.clone(),
        client_id: client.id,
        server_pid: client.server_pid.get(),
        reason: pin.reason(),
    })
}

fn pool_row(pool: &Rc<Pool>, now: Instant) -> PoolRow {
    let (_, connecting, maxwait) = pool.counts(now);
    let mut row = PoolRow {
        database: pool.plan.key.database.clone(),
        user: pool.plan.key.user.clone(),
        sv_login: connecting as u64,
        waiting: pool.waiting(),
        maxwait,
        pool_mode: pool.settings().mode.word(),
        pool_size: pool.settings().size as u64,
        is_failing: pool.is_failing(),
        totals: pool.totals.borrow().clone(),
        ..PoolRow::default()
    };
    pool.each_free(|_, state| match state {
        "idle" => row.sv_idle += 1,
        _ => row.sv_being_canceled += 1,
    });
    row
}

fn client_row(client: &Handle, now: Instant) -> PeerRow {
    let doing = client.doing.get();
    let ago = now.saturating_duration_since(client.since.get());
    let (addr, port) = shown(client.peer);
    let (local_addr, local_port) = shown(client.local);
    PeerRow {
        user: client.pool.plan.key.user.clone(),
        database: client.pool.plan.key.database.clone(),
        state: match doing {
            Doing::Idle => "idle",
            Doing::Waiting => "waiting",
            Doing::Working | Doing::InTransaction | Doing::Pinned => "active",
        },
        addr,
        port,
        local_addr,
        local_port,
        connect_time: client.connect_time,
        request_time: SystemTime::now().checked_sub(ago).unwrap_or(client.connect_time),
        wait: if doing == Doing::Waiting {
            ago
        } else {
            Default::default()
        },
        close_needed: false,
        link: client.link.get(),
        remote_pid: 0,
        tls: client.tls.to_string(),
        application_name: client.application_name.borrow().to_string(),
        prepared_statements: client.prepared.get() as u64,
        id: client.id,
        shard: String::new(),
    }
}

/// PgBouncer's word for a Unix socket is `unix`.
fn shown(address: Option<SocketAddr>) -> (String, u16) {
    address.map_or_else(
        || ("unix".into(), 0),
        |address| (address.ip().to_string(), address.port()),
    )
}

/// What is known of a server whoever has it.
fn server_row(facts: &Facts, key: &Key, state: &'static str) -> PeerRow {
    let (addr, port) = match &facts.target.address {
        Address::Tcp { host, port } => (host.clone(), *port),
        Address::Unix { port, .. } => ("unix".into(), *port),
    };
    let (local_addr, local_port) = shown(facts.local);
    PeerRow {
        user: key.user.clone(),
        database: key.database.clone(),
        state,
        addr,
        port,
        local_addr,
        local_port,
        connect_time: facts.connect_time,
        request_time: facts.connect_time,
        wait: Default::default(),
        close_needed: false,
        link: 0,
        remote_pid: facts.pid,
        tls: facts.tls.to_string(),
        application_name: String::new(),
        prepared_statements: 0,
        id: facts.id,
        shard: key.place.shard.to_string(),
    }
}

fn free_row(server: &Server, pool: &Pool, state: &'static str) -> PeerRow {
    let name = server.backend.reported.value(b"application_name");
    PeerRow {
        request_time: SystemTime::now()
            .checked_sub(server.idle_since.elapsed())
            .unwrap_or(server.facts.connect_time),
        application_name: String::from_utf8_lossy(name.unwrap_or_default()).into_owned(),
        prepared_statements: server.backend.held.len() as u64,
        close_needed: pool.is_due(server, Instant::now()),
        ..server_row(&server.facts, &pool.plan.key, state)
    }
}

/// A lent server is in its client's task, which knows what it does with it.
fn lent_row(facts: &Facts, key: &Key, client: &PeerRow) -> PeerRow {
    PeerRow {
        request_time: client.request_time,
        link: client.id,
        application_name: client.application_name.clone(),
        prepared_statements: client.prepared_statements,
        ..server_row(facts, key, "active")
    }
}
