//! The ways to Redis: in TLS, and where sentinels say which of several is the master.

use pgshunt_tests::cached::column::{REDIS, STORED};
use pgshunt_tests::cached::{FOLLOWED, READ, shard_with_rows, shown};
use pgshunt_tests::certificates::Certificates;
use pgshunt_tests::redis::{REDIS_PASSWORD, SENTINEL_PASSWORD};
use pgshunt_tests::{Proxy, Redis, Wire, until};

/// Asks until answers are stored there.
#[track_caller]
fn stores(wire: &mut Wire, proxy: &Proxy) {
    let before = shown(proxy, STORED);
    until("an answer to be stored", || {
        wire.run("SET pgshunt.cache = 'refresh'");
        assert_eq!(wire.rows(READ), ["v3"]);
        shown(proxy, REDIS) == "shared" && shown(proxy, STORED) != before && shown(proxy, STORED) != "0"
    });
}

#[test]
fn answers_are_shared_by_tls_with_whom_the_certificate_names() {
    let (shard, files) = (shard_with_rows(), Certificates::new(&[]));
    let redis = Redis::with(|port| {
        let port = port.to_string();
        let (certificate, key, ca) = (
            files.path("server.crt"),
            files.path("server.key"),
            files.path("ca.crt"),
        );
        let words = [
            "--port",
            "0",
            "--tls-port",
            &port,
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            "no",
        ];
        words.map(str::to_owned).to_vec()
    });
    let section = |ca: &str, more: &str| {
        let url = format!("rediss://127.0.0.1:{}/1", redis.port);
        format!(
            "{}sslrootcert = \"{}\"\n{more}",
            redis.section_with(&url),
            files.path(ca)
        )
    };
    let start = |section: &str| shard.config().rules(FOLLOWED).section(section).start();
    let proxy = start(&section("ca.crt", ""));
    stores(&mut proxy.door(&shard.database).wire(), &proxy);
    // Signed by another: no answer goes there, and every question has one.
    let proxy = start(&section("other.crt", ""));
    let mut wire = proxy.door(&shard.database).wire();
    until("it to be refused", || {
        assert_eq!(wire.rows(READ), ["v3"]);
        proxy.log().contains("answers are not shared") && proxy.log().contains("no TLS")
    });
    assert_eq!(
        (shown(&proxy, REDIS), shown(&proxy, STORED)),
        ("off".into(), "0".into())
    );
    let proxy = start(&section("other.crt", "sslmode = \"verify-ca\"\n"));
    proxy.door(&shard.database).wire().rows(READ);
    until("it to be refused", || proxy.log().contains("no TLS"));
}

#[test]
fn sentinels_say_who_the_master_is_now() {
    let shard = shard_with_rows();
    let login = |_| vec!["--masterauth".to_owned(), REDIS_PASSWORD.to_owned()];
    let mut first = Redis::with(login);
    let second = Redis::with(|port| {
        let replica = ["--replicaof".to_owned(), format!("127.0.0.1 {}", first.port)];
        [login(port), replica.to_vec()].concat()
    });
    let sentinel = first.sentinel();
    until("the replica to be known", || {
        let told = first.say(&[b"INFO", b"replication"]);
        format!("{told:?}").contains(&format!("{:?}", b"state=online".to_vec()).replace(['[', ']'], ""))
    });
    // One that nobody listens at comes first.
    let nobody = pgshunt::cli::demo::cluster::free_port();
    let url = format!(
        "redis-sentinel://127.0.0.1:{nobody},127.0.0.1:{}/main/1",
        sentinel.port
    );
    let proxy = shard
        .config()
        .rules(FOLLOWED)
        .section(&first.section_of_sentinels(&url))
        .start();
    let mut wire = proxy.door(&shard.database).wire();
    stores(&mut wire, &proxy);
    assert!(!proxy.log().contains(SENTINEL_PASSWORD));
    assert!(!first.answers().is_empty());
    // The sentinel looks for replicas every ten seconds.
    until("the sentinel to know the replica", || {
        use std::io::{Read, Write};
        let mut line = std::net::TcpStream::connect(("127.0.0.1", sentinel.port)).expect("the sentinel");
        let words = format!("AUTH \"{SENTINEL_PASSWORD}\"\r\nSENTINEL REPLICAS main\r\n");
        line.write_all(words.as_bytes()).expect("sent");
        let mut told = [0; 4096];
        let read = line.read(&mut told).expect("told");
        told[..read]
            .windows(5)
            .any(|word| word == second.port.to_string().as_bytes())
    });
    first.kill();
    until("the other one to be the master", || {
        assert_eq!(wire.rows(READ), ["v3"]);
        let role = second.ask(&[b"ROLE"]);
        role.is_ok_and(|role| format!("{role:?}").contains(&format!("{:?}", b"master".to_vec())))
    });
    stores(&mut wire, &proxy);
    assert!(!second.answers().is_empty());
}
