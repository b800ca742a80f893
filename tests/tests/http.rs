//! HTTP: health, readiness, metrics that are true, and a page that nobody can write into.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use pgshunt::cli::demo::cluster::{Plan, Stop};
use pgshunt_tests::sharded::{RULES, Sharded};
use pgshunt_tests::{Cluster, Config, Messages, PATIENCE, Proxy, cluster, programs, until};

/// A request as it is, and everything that comes back.
#[track_caller]
fn send(proxy: &Proxy, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.http())).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Status and body.
#[track_caller]
fn get(proxy: &Proxy, path: &str) -> (u16, String) {
    let answer = send(
        proxy,
        &format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"),
    );
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// The samples of `/metrics`, each checked for its form.
#[track_caller]
fn metrics(proxy: &Proxy) -> BTreeMap<String, f64> {
    let (status, text) = get(proxy, "/metrics");
    assert_eq!(status, 200, "{text}");
    let mut samples = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            family = comment.split(' ').nth(1).expect("a name").into();
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        assert!(name.starts_with(&family), "{line} is not of {family}");
        let is_new = samples.insert(name.to_owned(), value.parse().expect("a number"));
        assert!(is_new.is_none(), "{line} twice");
    }
    samples
}

#[test]
fn health_and_wrong_requests() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    assert_eq!(get(&proxy, "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(&proxy, "/readyz"), (200, "ready\n".into()));
    assert_eq!(get(&proxy, "/nothing").0, 404);
    assert_eq!(get(&proxy, "/metrics?name=x").0, 200);
    let post = send(
        &proxy,
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    assert!(
        post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD"),
        "{post}"
    );
    let head = send(
        &proxy,
        "HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let long = send(&proxy, &format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)));
    assert!(!long.starts_with("HTTP/1.1 200"), "{long}");
    assert_eq!(get(&proxy, "/healthz").0, 200);
}

#[test]
fn metrics_count_what_happened() {
    let database = cluster::database();
    let proxy = Config::new(&database).threads(2).pool("size = 3").start();
    let mut clients: Vec<_> = (0..4).map(|_| proxy.door(&database).wire()).collect();
    for client in &mut clients {
        client.run("SELECT pg_sleep(0.002)");
    }
    clients[0].run("BEGIN");
    clients[0].run("SELECT 1");
    let samples = metrics(&proxy);
    let labels = format!("database=\"{0}\",user=\"{0}\"", database.name);
    let sample = |name: &str| samples[&format!("{name}{{{labels}}}")];
    assert_eq!(sample("pgshunt_clients_active"), 4.0);
    assert_eq!(sample("pgshunt_servers_active"), 1.0);
    assert_eq!(sample("pgshunt_pool_size"), 3.0);
    assert_eq!(sample("pgshunt_queries_total"), 6.0);
    assert_eq!(sample("pgshunt_logins_total"), 4.0);
    // BEGIN was answered at once.
    assert_eq!(sample("pgshunt_query_seconds_count"), 5.0);
    assert!(sample("pgshunt_query_seconds_sum") >= 0.008);
    let bucket = |bound: &str| samples[&format!("pgshunt_query_seconds_bucket{{{labels},le=\"{bound}\"}}")];
    assert!(bucket("0.001") <= 2.0 && bucket("+Inf") == 5.0);
    assert_eq!(
        (samples["pgshunt_workers"], samples["pgshunt_workers_silent"]),
        (2.0, 0.0)
    );
    assert!(samples["process_resident_memory_bytes"] > 1e6);
    assert_eq!(samples["pgshunt_connections"], 4.0);
}

#[test]
fn each_shard_has_its_own_numbers() {
    let sharded = Sharded::databases(2).filled();
    let rules = RULES.replace("s2 = [\"2\"]\ns3 = [\"3\"]\n", "");
    let proxy = sharded.config(&rules).start();
    let mut wire = proxy.door(&sharded.first).wire();
    for _ in 0..3 {
        wire.run("SELECT * FROM orders WHERE tenant_id = 1");
    }
    wire.run("SELECT count(*) FROM orders");
    let samples = metrics(&proxy);
    let sample = |name: &str, shard: &str| {
        samples[&format!("{name}{{database=\"{}\",shard=\"{shard}\"}}", sharded.first.name)]
    };
    assert_eq!(sample("pgshunt_shard_down", "s0"), 0.0);
    assert!(sample("pgshunt_shard_server_assignments_total", "s0") >= 1.0);
    assert!(sample("pgshunt_shard_server_assignments_total", "s1") >= 4.0);
    assert!(sample("pgshunt_shard_wait_seconds_count", "s1") >= 0.0);
}

#[test]
fn names_that_need_escaping() {
    let database = cluster::database();
    let role = format!("{}\"\\<b>", database.name);
    let quoted = role.replace('"', "\"\"");
    database.superuser().psql(&format!(
        "CREATE ROLE \"{quoted}\" LOGIN PASSWORD '{}'",
        cluster::PASSWORD
    ));
    let proxy = Proxy::sized(&database, 2);
    let door = proxy.door(&database).as_user(&role);
    let mut client = door.wire_with(&[("application_name", "<script>alert(1)</script>")]);
    client.run("CREATE TEMP TABLE mine (a int)");
    let escaped = format!("user=\"{}\\\"\\\\<b>\"", database.name);
    assert!(metrics(&proxy).keys().any(|name| name.contains(&escaped)));
    let (status, page) = get(&proxy, "/");
    assert_eq!(status, 200);
    assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    assert!(
        !page.contains("<script") && !page.contains("<b>\"") && page.contains("&lt;b&gt;"),
        "{page}"
    );
    // A role can't be dropped while its tables are.
    client.run("DROP TABLE mine");
    client.send(&Messages::new().terminate());
    database.superuser().psql(&format!("DROP ROLE \"{quoted}\""));
}

#[test]
fn not_ready_while_the_server_is_down() {
    let mut node = cluster::private(&Plan::default());
    let database = Cluster::of(&node).database();
    let proxy = Proxy::sized(&database, 2);
    // Nobody has come yet: pgshunt asks for itself.
    assert_eq!(get(&proxy, "/readyz").0, 200);
    node.stop(Stop::Fast).expect("stopped");
    until("pgshunt to see that", || get(&proxy, "/readyz").0 == 503);
    let (_, reasons) = get(&proxy, "/readyz");
    assert_eq!(
        reasons,
        format!(
            "database \"{}\": connection to server failed: connection refused\n",
            database.name
        )
    );
    assert!(get(&proxy, "/").1.contains("Not ready."));
    assert_eq!(get(&proxy, "/healthz").0, 200);
    node.start().expect("started");
    until("pgshunt to see that, too", || get(&proxy, "/readyz").0 == 200);
}

#[test]
fn not_ready_while_stopping() {
    let database = cluster::database();
    let mut proxy = Proxy::sized(&database, 2);
    let mut client = proxy.door(&database).wire();
    client.run("BEGIN");
    client.run("SELECT 1");
    programs::signal(proxy.pid(), "TERM");
    until("pgshunt to say so", || {
        get(&proxy, "/readyz") == (503, "pgshunt is stopping\n".into())
    });
    assert_eq!(get(&proxy, "/healthz").0, 200);
    assert_eq!(metrics(&proxy)["pgshunt_stopping"], 1.0);
    client.send(&Messages::new().query("COMMIT"));
    client.until_end();
    assert!(proxy.ended().success());
}

#[test]
fn many_visitors_who_say_nothing_leave_room_for_others() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let mut client = proxy.door(&database).wire();
    let silent: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(("127.0.0.1", proxy.http())).expect("a connection"))
        .collect();
    assert_eq!(client.value("SELECT 1"), "1");
    drop(silent);
    until("HTTP to have room again", || {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.http())).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let request = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_string(&mut answer);
        answer.ends_with("ok\n")
    });
}
