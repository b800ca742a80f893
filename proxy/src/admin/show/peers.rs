//! SHOW CLIENTS and SHOW SERVERS, which have the same columns.

use crate::admin::lookout::Seen;
use crate::admin::table::{Cell, Column, Row, big, int, text, time};
use crate::metrics::PeerRow;

pub(super) const COLUMNS: [Column; 22] = [
    text("type"),
    text("user"),
    text("database"),
    text("replication"),
    text("state"),
    text("addr"),
    int("port"),
    text("local_addr"),
    int("local_port"),
    text("connect_time"),
    text("request_time"),
    int("wait"),
    int("wait_us"),
    int("close_needed"),
    text("ptr"),
    text("link"),
    int("remote_pid"),
    text("tls"),
    text("application_name"),
    int("prepared_statements"),
    big("id"),
    text("shard"),
];

pub(super) fn clients(seen: &Seen) -> Vec<Row> {
    let clients = seen.census.clients.iter();
    clients.map(|client| row("C", "c", "s", client)).collect()
}

pub(super) fn servers(seen: &Seen) -> Vec<Row> {
    let servers = seen.census.servers.iter();
    servers.map(|server| row("S", "s", "c", server)).collect()
}

/// `ptr` and `link` are no addresses of memory here: `c12` is the client with id 12, `s5` the server with id 5.
fn row(kind: &'static str, own: &str, other: &str, peer: &PeerRow) -> Row {
    let link = match peer.link {
        0 => Cell::from(""),
        id => format!("{other}{id}").into(),
    };
    vec![
        kind.into(),
        (&peer.user).into(),
        (&peer.database).into(),
        "none".into(),
        peer.state.into(),
        (&peer.addr).into(),
        u64::from(peer.port).into(),
        (&peer.local_addr).into(),
        u64::from(peer.local_port).into(),
        time(peer.connect_time),
        time(peer.request_time),
        peer.wait.as_secs().into(),
        u64::from(peer.wait.subsec_micros()).into(),
        peer.close_needed.into(),
        format!("{own}{}", peer.id).into(),
        link,
        u64::from(peer.remote_pid.unsigned_abs()).into(),
        (&peer.tls).into(),
        (&peer.application_name).into(),
        peer.prepared_statements.into(),
        peer.id.into(),
        (&peer.shard).into(),
    ]
}
