//! What monitoring tools ask the console, word for word, and the columns they read: prometheus-community's
//! pgbouncer_exporter and Telegraf's pgbouncer plugin.

use std::collections::BTreeMap;

use pgshunt_tests::{Messages, Proxy, Wire, cluster};

/// The names of the columns, and each row by them, NULL as an empty text.
fn table(console: &mut Wire, sql: &str) -> (Vec<String>, Vec<BTreeMap<String, String>>) {
    console.send(&Messages::new().query(sql));
    let frames = console.until_ready();
    let description = frames.iter().find(|frame| frame.kind == b'T');
    let names = names(&description.unwrap_or_else(|| panic!("{sql}: {frames:?}")).body);
    let mut rows = Vec::new();
    for line in console.rows(sql) {
        let values: Vec<&str> = line.split('|').collect();
        assert_eq!(values.len(), names.len(), "{sql}: {line}");
        rows.push(
            names
                .iter()
                .cloned()
                .zip(values.into_iter().map(str::to_owned))
                .collect(),
        );
    }
    (names, rows)
}

/// Each column is a name ended by a zero byte and 18 bytes of types.
fn names(body: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = &body[2..];
    while let Some(end) = rest.iter().position(|&byte| byte == 0) {
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = &rest[end + 19..];
    }
    names
}

/// Every column is there, and in every row a number.
#[track_caller]
fn reads_numbers(console: &mut Wire, sql: &str, labels: &[&str], columns: &[&str]) {
    let (names, rows) = table(console, sql);
    assert!(!rows.is_empty(), "{sql} has no rows");
    for name in labels.iter().chain(columns) {
        assert!(
            names.iter().any(|known| known == name),
            "{sql} has no column {name}: {names:?}"
        );
    }
    for (row, column) in rows
        .iter()
        .flat_map(|row| columns.iter().map(move |column| (row, column)))
    {
        let value = &row[*column];
        assert!(
            value.parse::<f64>().is_ok(),
            "{sql}: {column} is {value:?} in {row:?}"
        );
    }
}

#[test]
fn prometheus_pgbouncer_exporter() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let mut client = proxy.door(&database).wire();
    assert_eq!(client.value("SELECT 1"), "1");
    // As lib/pq comes.
    let parameters = [
        ("extra_float_digits", "2"),
        ("client_encoding", "UTF8"),
        ("datestyle", "ISO, MDY"),
    ];
    let mut console = proxy.console().wire_with(&parameters);
    assert!(!console.rows("SHOW STATS").is_empty());
    assert_eq!(table(&mut console, "SHOW VERSION").0.len(), 1);
    let (names, lists) = table(&mut console, "SHOW LISTS;");
    assert_eq!(names, ["list", "items"]);
    for list in [
        "databases",
        "users",
        "pools",
        "free_clients",
        "used_clients",
        "login_clients",
        "free_servers",
        "used_servers",
    ] {
        let found = lists.iter().find(|row| row["list"] == list);
        assert!(
            found.is_some_and(|row| row["items"].parse::<f64>().is_ok()),
            "{list}: {lists:?}"
        );
    }
    let (names, config) = table(&mut console, "SHOW CONFIG;");
    assert!([3, 4].contains(&names.len()), "{names:?}");
    for key in ["max_client_conn", "max_user_connections"] {
        let found = config.iter().find(|row| row["key"] == key);
        assert!(
            found.is_some_and(|row| row["value"].parse::<f64>().is_ok()),
            "{key}: {found:?}"
        );
    }
    reads_numbers(
        &mut console,
        "SHOW databases;",
        &["name", "host", "port", "database", "force_user", "pool_mode"],
        &[
            "pool_size",
            "reserve_pool",
            "max_connections",
            "current_connections",
            "paused",
            "disabled",
        ],
    );
    reads_numbers(&mut console, "SHOW stats_totals;", &["database"], &STATS_TOTALS);
    reads_numbers(&mut console, "SHOW pools;", &["database", "user"], &POOLS);
}

/// `requests` is of PgBouncer before 1.8 alone.
const STATS_TOTALS: [&str; 11] = [
    "query_count",
    "query_time",
    "bytes_received",
    "bytes_sent",
    "wait_time",
    "xact_count",
    "xact_time",
    "client_parse_count",
    "server_parse_count",
    "bind_count",
    "server_assignment_count",
];

const POOLS: [&str; 12] = [
    "cl_active",
    "cl_active_cancel_req",
    "cl_waiting",
    "cl_waiting_cancel_req",
    "sv_active",
    "sv_active_cancel",
    "sv_being_canceled",
    "sv_idle",
    "sv_used",
    "sv_tested",
    "sv_login",
    "maxwait",
];

#[test]
fn telegraf_pgbouncer() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let mut client = proxy.door(&database).wire();
    assert_eq!(client.value("SELECT 1"), "1");
    let mut console = proxy.console().wire();
    let stats = [
        "total_query_count",
        "total_query_time",
        "total_wait_time",
        "total_xact_count",
        "total_xact_time",
        "total_received",
        "total_sent",
        "avg_query_count",
        "avg_query_time",
        "avg_wait_time",
        "avg_xact_count",
        "avg_xact_time",
        "avg_recv",
        "avg_sent",
    ];
    reads_numbers(&mut console, "SHOW STATS", &["database"], &stats);
    reads_numbers(
        &mut console,
        "SHOW POOLS",
        &["database", "user", "pool_mode"],
        &POOLS,
    );
    let (names, _) = table(&mut console, "SHOW LISTS");
    assert_eq!(names, ["list", "items"]);
    reads_numbers(
        &mut console,
        "SHOW DATABASES",
        &["name", "host", "port", "database", "force_user", "pool_mode"],
        &[
            "pool_size",
            "min_pool_size",
            "reserve_pool_size",
            "max_connections",
            "current_connections",
            "paused",
            "disabled",
        ],
    );
}
