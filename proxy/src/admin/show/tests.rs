//! Tests of this module.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::*;
use crate::admin::rates::{Rates, Sample};
use crate::admin::table::Cell;
use crate::metrics::{Census, PeerRow, PinRow, PoolRow, Totals};
use crate::pool::settings::Settings;
use crate::server::address::{Address, ServerTls};
use crate::snapshot::{
    Auth, AuthMode, AuthUser, Console, Control, Credential, Database, Limits, Listen, LogSettings,
    SecretText, Shard, Snapshot,
};
use crate::twophase::known;

fn database(name: &str) -> Database {
    let server = |port| Address::Tcp {
        host: format!("10.0.0.{port}"),
        port,
    };
    Database {
        name: name.into(),
        shards: vec![Shard {
            name: "s0".into(),
            weights: Vec::new(),
            servers: vec![server(1), server(1), server(2)],
            dbname: Some("real".into()),
            tls: ServerTls::default(),
        }],
        control: Some(Control {
            user: "pgshunt".into(),
            password: Some(SecretText::new("hunter2")),
            dbname: "postgres".into(),
        }),
        pool: Settings::default(),
        users: Vec::new(),
        max_client_conn: 50,
        max_db_connections: 40,
        rules: None,
        split: Default::default(),
        cache: None,
        warm: Vec::new(),
        coordinator: None,
        sharding: None,
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        redis: None,
        listen: Listen {
            clients: Vec::new(),
            admin: None,
            http: None,
        },
        tls: Default::default(),
        limits: Limits::default(),
        pool: Default::default(),
        databases: vec![database("app"), database("*")],
        auth: Auth {
            mode: AuthMode::Passthrough,
            users: vec![AuthUser {
                name: "batch".into(),
                credential: Some(Credential::Password(SecretText::new("hunter3"))),
                cert: None,
            }],
            auth_query: "select 1".into(),
        },
        console: Console::default(),
        threads: 2,
        log: LogSettings::default(),
    }
}

fn peer(id: u64, link: u64) -> PeerRow {
    PeerRow {
        user: "ann".into(),
        database: "app".into(),
        state: "active",
        addr: "127.0.0.1".into(),
        port: 5432,
        local_addr: "127.0.0.2".into(),
        local_port: 6432,
        connect_time: UNIX_EPOCH,
        request_time: UNIX_EPOCH + Duration::from_secs(1),
        wait: Duration::from_micros(2_000_003),
        close_needed: false,
        link,
        remote_pid: 77,
        tls: String::new(),
        application_name: "psql".into(),
        prepared_statements: 4,
        id,
        shard: "s0".into(),
    }
}

fn pool(database: &str, queries: u64) -> PoolRow {
    PoolRow {
        database: database.into(),
        user: "ann".into(),
        cl_active: 3,
        cl_waiting: 1,
        sv_active: 2,
        sv_idle: 5,
        sv_login: 1,
        maxwait: Duration::from_micros(1_500_000),
        pool_mode: "auto",
        totals: Totals {
            query_count: queries,
            bytes_received: 10,
            ..Totals::default()
        },
        ..PoolRow::default()
    }
}

/// A transaction that its coordinator has not decided on.
fn spanning() -> known::Seen {
    known::Seen {
        transactions: vec![known::Transaction {
            gid: "pgshunt_0123".into(),
            state: known::State::Prepared,
            age: Duration::from_millis(1500),
            shards: vec!["s0".into(), "s1".into()],
            role: "ann".into(),
            why: None,
        }],
        ..known::Seen::default()
    }
}

fn seen() -> Seen {
    let census = Census {
        pools: vec![pool("app", 7), pool("other", 1)],
        shards: Vec::new(),
        clients: vec![peer(12, 5)],
        servers: vec![peer(5, 12), peer(6, 0)],
        pins: vec![PinRow {
            database: "app".into(),
            user: "ann".into(),
            client_id: 12,
            server_pid: 77,
            reason: "temporary tables",
        }],
        login_clients: 2,
    };
    let sample = Sample::of(&census.pools, Instant::now());
    Seen {
        totals: sample.databases().clone(),
        census,
        silent: Vec::new(),
        rates: Rates {
            databases: BTreeMap::from([("app".into(), [9; 12])]),
            together: [8; 12],
        },
        snapshot: Arc::new(snapshot()),
        switches: Default::default(),
        clusters: Default::default(),
        transactions: BTreeMap::from([("app".into(), spanning())]),
        caches: Default::default(),
        stopping: false,
        connections: 3,
        cancels: 0,
        started: UNIX_EPOCH,
    }
}

/// The value in the first row (or the row whose first column says so) and a column by name.
fn value(show: Show, row: Option<&str>, column: &str) -> Cell {
    let rows = show.rows(&seen());
    let at = show.columns().iter().position(|c| c.name == column);
    let at = at.unwrap_or_else(|| panic!("{column} in {show:?}"));
    let found = match row {
        Some(name) => rows.iter().find(|row| row[0] == name.to_owned().into()),
        None => rows.first(),
    };
    found.unwrap_or_else(|| panic!("{row:?} in {rows:?}"))[at].clone()
}

fn types(show: Show) -> String {
    let one = |column: &Column| match column.oid {
        25 => 's',
        23 => 'i',
        20 => 'q',
        1700 => 'N',
        oid => panic!("oid {oid}"),
    };
    show.columns().iter().map(one).collect()
}

fn names(show: Show) -> String {
    let names: Vec<_> = show.columns().iter().map(|column| column.name).collect();
    names.join(",")
}

#[test]
fn columns_are_those_of_pgbouncer() {
    let golden = [
        (
            Show::Pools,
            "ssiiiiiiiiiiiiiss",
            "database,user,cl_active,cl_waiting,cl_active_cancel_req,cl_waiting_cancel_req,sv_active,sv_active_cancel,sv_being_canceled,sv_idle,sv_used,sv_tested,sv_login,maxwait,maxwait_us,pool_mode,load_balance_hosts",
        ),
        (
            Show::StatsTotals,
            "sNNNNNNNNNNNN",
            "database,server_assignment_count,xact_count,query_count,bytes_received,bytes_sent,xact_time,query_time,wait_time,client_parse_count,server_parse_count,bind_count,client_login_count",
        ),
        (
            Show::StatsAverages,
            "sNNNNNNNNNNNN",
            "database,server_assignment_count,xact_count,query_count,bytes_received,bytes_sent,xact_time,query_time,wait_time,client_parse_count,server_parse_count,bind_count,client_login_count",
        ),
        (
            Show::Stats,
            "sNNNNNNNNNNNNNNNNNNNNNNNN",
            "database,total_server_assignment_count,total_xact_count,total_query_count,total_received,total_sent,total_xact_time,total_query_time,total_wait_time,total_client_parse_count,total_server_parse_count,total_bind_count,total_client_login_count,avg_server_assignment_count,avg_xact_count,avg_query_count,avg_recv,avg_sent,avg_xact_time,avg_query_time,avg_wait_time,avg_client_parse_count,avg_server_parse_count,avg_bind_count,avg_client_login_count",
        ),
        (Show::Totals, "sN", "name,value"),
        (Show::Lists, "si", "list,items"),
        (
            Show::Databases,
            "ssissiiiiissiiiiii",
            "name,host,port,database,force_user,pool_size,min_pool_size,reserve_pool_size,reserve_pool,server_lifetime,pool_mode,load_balance_hosts,max_connections,current_connections,max_client_connections,current_client_connections,paused,disabled",
        ),
        (
            Show::Clients,
            "ssssssisissiiississiqs",
            "type,user,database,replication,state,addr,port,local_addr,local_port,connect_time,request_time,wait,wait_us,close_needed,ptr,link,remote_pid,tls,application_name,prepared_statements,id,shard",
        ),
        (
            Show::Users,
            "siisiiii",
            "name,pool_size,reserve_pool_size,pool_mode,max_user_connections,current_connections,max_user_client_connections,current_client_connections",
        ),
        (Show::Config, "ssss", "key,value,default,changeable"),
        (Show::State, "ss", "key,value"),
        (Show::Mem, "siqqq", "name,size,used,free,memtotal"),
        (Show::Version, "s", "version"),
        (
            Show::Replicas,
            "sssssqsiiqss",
            "database,shard,server,role,state,lag_ms,lsn,outstanding,weight,epoch,watched,system",
        ),
        (
            Show::Shards,
            "ssssqiiiiiqqqq",
            "database,shard,primary,state,replicas,sv_active,sv_idle,sv_login,waiting,maxwait_ms,assignments,wait_time,connects,connect_failures",
        ),
        (Show::Tenants, "ssssq", "database,tenant,shard,because,epoch"),
        (Show::Routes, "ssqs", "database,target,count,about"),
        (
            Show::Cache,
            "sssqqNqqqqqqqqqqqsqqqqq",
            "database,class,about,hits,misses,hit_rate,stale_hits,waits,fills,dropped,invalidated,expired,entries,bytes,max_bytes,evictions,changes,redis,redis_hits,redis_stored,redis_foreign,warmed,unwarmed",
        ),
        (Show::Reasons, "ssq", "database,reason,count"),
        (Show::Pins, "ssqis", "database,user,client_id,server_pid,reason"),
    ];
    for (show, kinds, columns) in golden {
        assert_eq!(names(show), columns);
        assert_eq!(types(show), kinds, "{show:?}");
    }
    assert_eq!(names(Show::Servers), names(Show::Clients));
}

#[test]
fn every_row_has_a_cell_for_every_column() {
    for show in Show::ALL {
        let rows = show.rows(&seen());
        // There is no server in what these tests see.
        assert!(
            !rows.is_empty()
                || matches!(
                    show,
                    Show::Replicas | Show::Reasons | Show::Shards | Show::Tenants | Show::Cache
                ),
            "{show:?}"
        );
        for row in rows {
            assert_eq!(row.len(), show.columns().len(), "{show:?}");
            for (cell, column) in row.iter().zip(show.columns()) {
                let fits = match cell {
                    Cell::Null => true,
                    Cell::Text(_) => column.oid == 25,
                    Cell::Count(_) => column.oid != 25,
                };
                assert!(fits, "{show:?} {}: {cell:?}", column.name);
            }
        }
    }
}

#[test]
fn pools_and_lists() {
    assert_eq!(value(Show::Pools, None, "maxwait"), 1u64.into());
    assert_eq!(value(Show::Pools, None, "maxwait_us"), 500_000u64.into());
    for (list, items) in [
        ("databases", 3u64),
        ("users", 2),
        ("pools", 2),
        ("free_servers", 10),
        ("used_servers", 6),
        ("login_clients", 2),
        ("peers", 0),
    ] {
        assert_eq!(value(Show::Lists, Some(list), "items"), items.into(), "{list}");
    }
}

#[test]
fn a_wildcard_is_followed_by_the_databases_that_use_it() {
    let rows = Show::Databases.rows(&seen());
    let names: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(names, ["app".into(), "*".into(), "other".into()]);
    assert_eq!(
        value(Show::Databases, Some("app"), "host"),
        "10.0.0.1,10.0.0.1,10.0.0.2:2".into()
    );
    assert_eq!(
        value(Show::Databases, Some("app"), "current_connections"),
        8u64.into()
    );
    assert_eq!(
        value(Show::Databases, Some("*"), "current_connections"),
        0u64.into()
    );
    assert_eq!(
        value(Show::Databases, Some("other"), "current_client_connections"),
        4u64.into()
    );
    assert_eq!(value(Show::Databases, Some("app"), "database"), "real".into());
}

#[test]
fn totals_and_averages() {
    assert_eq!(value(Show::Stats, Some("app"), "total_query_count"), 7u64.into());
    assert_eq!(value(Show::Stats, Some("app"), "avg_recv"), 9u64.into());
    assert_eq!(value(Show::Stats, Some("other"), "avg_recv"), 0u64.into());
    assert_eq!(
        value(Show::StatsTotals, Some("other"), "query_count"),
        1u64.into()
    );
    assert_eq!(
        value(Show::StatsAverages, Some("app"), "query_count"),
        9u64.into()
    );
    assert_eq!(
        value(Show::Totals, Some("total_query_count"), "value"),
        8u64.into()
    );
    assert_eq!(value(Show::Totals, Some("total_received"), "value"), 20u64.into());
    assert_eq!(
        value(Show::Totals, Some("avg_client_login_count"), "value"),
        8u64.into()
    );
}

#[test]
fn peers_name_each_other() {
    assert_eq!(value(Show::Clients, None, "ptr"), "c12".into());
    assert_eq!(value(Show::Clients, None, "link"), "s5".into());
    assert_eq!(value(Show::Servers, None, "link"), "c12".into());
    assert_eq!(value(Show::Clients, None, "wait"), 2u64.into());
    assert_eq!(value(Show::Clients, None, "wait_us"), 3u64.into());
    assert_eq!(
        value(Show::Clients, None, "request_time"),
        "1970-01-01 00:00:01 UTC".into()
    );
}

#[test]
fn the_configuration_has_what_exporters_read_and_no_secret() {
    let rows = Show::Config.rows(&seen());
    for key in ["max_client_conn", "max_user_connections"] {
        match value(Show::Config, Some(key), "value") {
            Cell::Text(text) => assert!(text.parse::<f64>().is_ok(), "{key}"),
            other => panic!("{key}: {other:?}"),
        }
    }
    let all = format!("{rows:?}");
    assert!(!all.contains("hunter"), "{all}");
    assert_eq!(
        value(Show::Config, Some("database.app.control.password"), "value"),
        "********".into()
    );
    assert_eq!(
        value(Show::Config, Some("database.app.pool.size"), "default"),
        "20".into()
    );
}

#[test]
fn help_names_every_show() {
    let rows = Show::Help.rows(&seen());
    for show in Show::ALL {
        let name = format!("SHOW {}", show.word());
        assert!(rows.iter().any(|row| row[0] == name.clone().into()), "{name}");
    }
}
