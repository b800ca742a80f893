//! Counts what a worker has, in the rows of `metrics`.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use super::handle::{Doing, Handle};
use crate::metrics::{Census, PeerRow, PinRow, PoolRow};
use crate::pool::{Key, Pool};
use crate::server::address::Address;
use crate::server::held::Server;

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
    for pool in pools {
        let row = pool_row(pool, now);
        pool.each_free(|server, state| census.servers.push(server_row(server, &pool.plan.key, state)));
        rows.insert(pool.plan.key.clone(), row);
    }
    for client in clients {
        if let Some(row) = rows.get_mut(&client.pool.plan.key) {
            match client.doing.get() {
                Doing::Waiting => row.cl_waiting += 1,
                Doing::Idle | Doing::Working | Doing::InTransaction | Doing::Pinned => row.cl_active += 1,
            }
            row.sv_active += u64::from(client.link.get() != 0);
        }
        census.clients.push(client_row(client, now));
        if client.link.get() != 0 {
            census.servers.push(lent_row(client));
        }
        for pin in client.pins.get().iter() {
            census.pins.push(PinRow {
                database: client.pool.plan.key.database.clone(),
                user: client.pool.plan.key.user.clone(),
                client_id: client.id,
                server_pid: client.server_pid.get(),
                reason: pin.reason(),
            });
        }
    }
    census.pools = rows.into_values().collect();
    census
}

fn pool_row(pool: &Rc<Pool>, now: Instant) -> PoolRow {
    let (_, connecting, maxwait) = pool.counts(now);
    let mut row = PoolRow {
        database: pool.plan.key.database.clone(),
        user: pool.plan.key.user.clone(),
        sv_login: connecting as u64,
        maxwait,
        pool_mode: pool.plan.settings.mode.word(),
        pool_size: pool.plan.settings.size as u64,
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
    PeerRow {
        user: client.pool.plan.key.user.clone(),
        database: client.pool.plan.key.database.clone(),
        state: match doing {
            Doing::Idle => "idle",
            Doing::Waiting => "waiting",
            Doing::Working | Doing::InTransaction | Doing::Pinned => "active",
        },
        addr: client
            .peer
            .map_or_else(|| "unix".into(), |peer| peer.ip().to_string()),
        port: client.peer.map_or(0, |peer| peer.port()),
        local_addr: String::new(),
        local_port: 0,
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
    }
}

fn place(address: &Address) -> (String, u16) {
    match address {
        Address::Tcp { host, port } => (host.clone(), *port),
        Address::Unix { port, .. } => ("unix".into(), *port),
    }
}

fn server_row(server: &Server, key: &Key, state: &'static str) -> PeerRow {
    let (addr, port) = place(&server.cancel.target.address);
    PeerRow {
        user: key.user.clone(),
        database: key.database.clone(),
        state,
        addr,
        port,
        local_addr: String::new(),
        local_port: 0,
        connect_time: server.connect_time,
        request_time: server.request_time,
        wait: Default::default(),
        close_needed: false,
        link: 0,
        remote_pid: server.cancel.pid,
        tls: if server.stream.is_tls() {
            "TLS".into()
        } else {
            String::new()
        },
        application_name: text(server.backend.reported.value(b"application_name")),
        prepared_statements: server.backend.held.len() as u64,
        id: server.id,
    }
}

/// A lent server is in its client's task: what is shown of it is what the client's handle knows.
fn lent_row(client: &Handle) -> PeerRow {
    let (addr, port) = client
        .pool
        .plan
        .targets
        .first()
        .map(|target| place(&target.address))
        .unwrap_or_default();
    PeerRow {
        state: "active",
        addr,
        port,
        link: client.id,
        id: client.link.get(),
        remote_pid: client.server_pid.get(),
        ..client_row(client, Instant::now())
    }
}

fn text(value: Option<&[u8]>) -> String {
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}
