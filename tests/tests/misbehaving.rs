//! Servers that break the protocol: the client at hand is told, with an SQLSTATE, or sees its connection end, and soon;
//! everybody else goes on.

use std::time::{Duration, Instant};

use pgshunt_tests::fake_server::{FakeServer, FalseLogin, Misdeed, Then};
use pgshunt_tests::{Config, Door, Frame, Messages, cluster, programs, until};

/// Frames put together.
fn frames(parts: &[(u8, &[u8])]) -> Vec<u8> {
    let all = parts.iter();
    all.fold(Messages::new(), |messages, (kind, body)| {
        messages.raw(*kind, body)
    })
    .bytes
}

/// A whole and honest answer of one row.
fn answer() -> Vec<u8> {
    frames(&[
        (
            b'T',
            b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
        ),
        (b'D', b"\0\x01\0\0\0\x01x"),
        (b'C', b"SELECT 1\0"),
        (b'Z', b"I"),
    ])
}

/// What the client must see of a misdeed.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Seen {
    /// An error of this SQLSTATE, and then the end.
    Told(&'static str),
    /// The end, in the middle of a message.
    End,
    /// An answer, and the session goes on.
    Answer,
}

fn misdeeds() -> Vec<(Misdeed, Seen)> {
    let mut all = Vec::new();
    let mut add = |name, bytes: Vec<u8>, then, seen| all.push((Misdeed { name, bytes, then }, seen));
    let broken = Seen::Told("08P01");
    let lost = Seen::Told("08006");
    use Then::{Close, Honest, Silence};
    // Lengths.
    add("length-3", b"C\0\0\0\x03".to_vec(), Silence, broken);
    add("length-0", b"D\0\0\0\0".to_vec(), Silence, broken);
    add("huge-tag", b"C\x7f\xff\xff\xff".to_vec(), Silence, broken);
    add("huge-ready", b"Z\x7f\xff\xff\xff".to_vec(), Silence, broken);
    add("negative", b"T\xff\xff\xff\xff".to_vec(), Silence, broken);
    // Cut short.
    add("cut-header", b"D\0\0".to_vec(), Close, lost);
    add("cut-row", b"D\0\0\x10\0half a row".to_vec(), Close, lost);
    add(
        "cut-row-behind-a-row",
        [&answer()[..39], b"D\0\0\x7f\xffhalf a row"].concat(),
        Close,
        lost,
    );
    // Longer than what is kept until it is whole: nothing can be said in the middle of it.
    add(
        "cut-long-row",
        b"D\0\x01\0\0half a row".to_vec(),
        Close,
        Seen::End,
    );
    add("cut-tag", b"C\0\0\0\x0dSEL".to_vec(), Close, lost);
    add("close-at-once", Vec::new(), Close, lost);
    add("half-an-answer", answer()[..40].to_vec(), Close, lost);
    // Out of order.
    add("parse-complete", frames(&[(b'1', b"")]), Silence, broken);
    add("bind-complete", frames(&[(b'2', b"")]), Silence, broken);
    add("close-complete", frames(&[(b'3', b"")]), Silence, broken);
    add("suspended", frames(&[(b's', b"")]), Silence, broken);
    add("no-data", frames(&[(b'n', b"")]), Silence, broken);
    add("parameters", frames(&[(b't', b"\0\0")]), Silence, broken);
    add("unknown-type", frames(&[(b'y', b"what")]), Silence, broken);
    add("authentication", frames(&[(b'R', b"\0\0\0\0")]), Silence, broken);
    add(
        "key-data",
        frames(&[(b'K', b"\0\0\0\x01\0\0\0\x02")]),
        Silence,
        broken,
    );
    // A ReadyForQuery that is none.
    add("ready-empty", frames(&[(b'Z', b"")]), Silence, broken);
    add("ready-x", frames(&[(b'Z', b"X")]), Silence, broken);
    add("ready-long", frames(&[(b'Z', b"II")]), Silence, broken);
    // Errors without what errors have.
    add(
        "error-empty",
        frames(&[(b'E', b""), (b'Z', b"I")]),
        Honest,
        Seen::Answer,
    );
    add(
        "error-no-code",
        frames(&[(b'E', b"SERROR\0Mno code\0\0"), (b'Z', b"I")]),
        Honest,
        Seen::Answer,
    );
    add(
        "error-no-end",
        frames(&[(b'E', b"SERROR\0VERRO"), (b'Z', b"I")]),
        Honest,
        Seen::Answer,
    );
    add(
        "notice-garbage",
        [frames(&[(b'N', b"\xff\xff")]), answer()].concat(),
        Honest,
        Seen::Answer,
    );
    add(
        "status-garbage",
        [frames(&[(b'S', b"no end")]), answer()].concat(),
        Honest,
        Seen::Answer,
    );
    add(
        "notification-short",
        [frames(&[(b'A', b"\0")]), answer()].concat(),
        Honest,
        Seen::Answer,
    );
    // More than was asked for.
    add(
        "answers-twice",
        [answer(), answer()].concat(),
        Silence,
        Seen::Answer,
    );
    add(
        "row-behind",
        [answer(), frames(&[(b'D', b"\0\0")])].concat(),
        Silence,
        Seen::Answer,
    );
    add(
        "half-behind",
        [answer(), b"D\0\0".to_vec()].concat(),
        Silence,
        Seen::Answer,
    );
    add(
        "statuses",
        [statuses(5_000, 1), answer()].concat(),
        Honest,
        Seen::Answer,
    );
    add(
        "many-statuses",
        [statuses(3_000, 3_000), answer()].concat(),
        Honest,
        Seen::Answer,
    );
    add(
        "fatal",
        frames(&[(b'E', b"SFATAL\0VFATAL\0C57P01\0Mout\0\0")]),
        Close,
        Seen::Told("57P01"),
    );
    // Says nothing at all: `query_timeout`.
    add("nothing", Vec::new(), Silence, Seen::Told("57014"));
    add(
        "row-and-nothing",
        answer()[..40].to_vec(),
        Silence,
        Seen::Told("57014"),
    );
    add(
        "half-a-row-and-nothing",
        b"D\0\0\x10\0half a row".to_vec(),
        Silence,
        Seen::Told("57014"),
    );
    add(
        "half-a-long-row-and-nothing",
        b"D\0\x01\0\0half a row".to_vec(),
        Silence,
        Seen::End,
    );
    // COPY nobody asked for: the client is asked for data, and may give it.
    add(
        "copy-both",
        frames(&[(b'W', b"\0\0\0")]),
        Silence,
        Seen::Told("57014"),
    );
    all
}

fn statuses(count: usize, names: usize) -> Vec<u8> {
    let status = |n: usize| frames(&[(b'S', format!("app.n{}\0{n}\0", n % names).as_bytes())]);
    (0..count).flat_map(status).collect()
}

/// Errors and the end of what a client hears.
fn seen(frames: &[Frame]) -> Seen {
    let error = frames.iter().find(|frame| frame.kind == b'E');
    match (error, frames.last().map(|frame| frame.kind)) {
        (_, Some(b'Z')) => Seen::Answer,
        (Some(error), _) => Seen::Told(error.sqlstate().leak()),
        (None, _) => Seen::End,
    }
}

#[test]
fn each_misdeed_is_told_to_its_client_and_to_nobody_else() {
    let database = cluster::database();
    let all = misdeeds();
    let server = FakeServer::before(
        database.cluster.port,
        all.iter().map(|(misdeed, _)| misdeed.clone()).collect(),
    );
    // A server that falls silent keeps its place until it is given up.
    let config = Config::new(&database).threads(1).pool("size = 8");
    let proxy = config
        .server(&format!("127.0.0.1:{}", server.port))
        .pool("query_timeout = \"1500ms\"")
        .start();
    let door = proxy.door(&database);
    let mut bystander = door.wire();
    bystander.run("SET work_mem = '5MB'; CREATE TEMP TABLE mine (a int)");
    for (misdeed, expected) in &all {
        let began = Instant::now();
        let mut client = door.wire();
        client.send(&Messages::new().query(&format!("SELECT 'misbehave:{} '", misdeed.name)));
        let heard = client.until_end_or_ready();
        assert_eq!(seen(&heard), *expected, "{}: {heard:?}", misdeed.name);
        assert!(began.elapsed() < Duration::from_secs(10), "{}", misdeed.name);
        // The bystander keeps its server, and the next client gets an answer to its own question.
        assert_eq!(
            bystander.value("SELECT count(*) FROM mine"),
            "0",
            "{}",
            misdeed.name
        );
        for _ in 0..2 {
            assert_eq!(
                door.wire().rows("SELECT 'honest'"),
                ["honest"],
                "{}",
                misdeed.name
            );
        }
        if *expected == Seen::Answer {
            assert_eq!(client.value("SELECT 'again'"), "again", "{}", misdeed.name);
        }
    }
    assert!(programs::resident_bytes(proxy.pid()) < 64 << 20);
}

/// What is asked of a server that has used up its time is short: its place is free soon.
#[test]
fn a_server_that_fell_silent_is_given_up_soon_after_its_time() {
    let database = cluster::database();
    let silent = Misdeed {
        name: "nothing",
        bytes: Vec::new(),
        then: Then::Silence,
    };
    let server = FakeServer::before(database.cluster.port, vec![silent]);
    let config = Config::new(&database).threads(1).pool("size = 1");
    let proxy = config
        .server(&format!("127.0.0.1:{}", server.port))
        .pool("query_timeout = \"500ms\"")
        .start();
    let door = proxy.door(&database);
    let mut client = door.wire();
    client.send(&Messages::new().query("SELECT 'misbehave:nothing '"));
    assert_eq!(seen(&client.until_end()), Seen::Told("57014"));
    let began = Instant::now();
    assert_eq!(door.wire().value("SELECT 'honest'"), "honest");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// By the extended protocol, where an answer out of order would put all later ones out of order.
#[test]
fn misdeeds_in_the_middle_of_a_pipeline() {
    let database = cluster::database();
    let lies: Vec<Misdeed> = [
        ("bind-first", frames(&[(b'2', b""), (b'1', b"")])),
        ("parse-twice", frames(&[(b'1', b""), (b'1', b"")])),
        ("ready-early", frames(&[(b'1', b""), (b'Z', b"I")])),
        (
            "no-bind",
            frames(&[(b'1', b""), (b'C', b"SELECT 0\0"), (b'Z', b"I")]),
        ),
        (
            "function-result",
            frames(&[(b'V', b"\xff\xff\xff\xff"), (b'1', b""), (b'3', b"")]),
        ),
    ]
    .map(|(name, bytes)| Misdeed {
        name,
        bytes,
        then: Then::Silence,
    })
    .into();
    let server = FakeServer::before(database.cluster.port, lies.clone());
    let config = Config::new(&database).threads(1).pool("size = 1");
    let proxy = config.server(&format!("127.0.0.1:{}", server.port)).start();
    let door = proxy.door(&database);
    for misdeed in &lies {
        let mut client = door.wire();
        let text = format!("SELECT 'misbehave:{} '", misdeed.name);
        client.send(&Messages::new().parse("a", &text).run("a", &[]).sync());
        let heard = client.until_end();
        assert_eq!(seen(&heard), Seen::Told("08P01"), "{}: {heard:?}", misdeed.name);
        let mut next = door.wire();
        assert_eq!(
            next.extended("SELECT $1::text", &["honest"])[3],
            "D honest",
            "{}",
            misdeed.name
        );
    }
}

/// odyssey#527: cancel connections that nobody ever closes must not pile up, nor hold anybody up.
#[test]
fn a_cancel_request_that_never_ends() {
    let database = cluster::database();
    let server = FakeServer::before(database.cluster.port, Vec::new());
    let config = Config::new(&database).threads(1).pool("size = 1");
    let proxy = config
        .server(&format!("127.0.0.1:{}", server.port))
        .pool("cancel_wait_timeout = \"300ms\"")
        .start();
    let door = proxy.door(&database);
    let mut client = door.wire();
    client.run("SELECT 1");
    server.at_login(Some(FalseLogin {
        whose: vec![0, 0, 0, 16, 4, 210, 22, 46],
        answers: Vec::new(),
        closes: false,
    }));
    for _ in 0..3 {
        client.send(&Messages::new().query("SELECT pg_sleep(0.2), 'not canceled'"));
        client.cancel();
        let heard = client.until_ready();
        assert!(heard.iter().all(|frame| frame.kind != b'E'), "{heard:?}");
        assert_eq!(door.wire().value("SELECT 'next'"), "next");
    }
}

/// pgbouncer#1358: a server that could not be cleaned is closed, not lent.
#[test]
fn a_server_that_refuses_to_be_cleaned_is_closed() {
    let database = cluster::database();
    let refusal = frames(&[(b'E', b"SERROR\0VERROR\0CXX000\0Mno\0\0"), (b'Z', b"I")]);
    let lie = Misdeed {
        name: "DISCARD ALL",
        bytes: refusal,
        then: Then::Honest,
    };
    let server = FakeServer::before(database.cluster.port, vec![lie]);
    let config = Config::new(&database).threads(1).pool("size = 1");
    let proxy = config.server(&format!("127.0.0.1:{}", server.port)).start();
    let door = proxy.door(&database);
    for _ in 0..3 {
        let mut client = door.wire();
        client.run("CREATE TEMP TABLE mine (a int)");
        drop(client);
        let mut next = door.wire();
        assert_eq!(next.sqlstate("SELECT * FROM mine"), "42P01");
    }
}

fn sasl(kind: u8, text: &[u8]) -> Vec<u8> {
    frames(&[(b'R', &[&[0, 0, 0, kind], text].concat())])
}

/// Logins at a server that lies: an error within `server_connect_timeout`, and a session as soon as it is honest.
#[test]
fn a_server_that_lies_at_login() {
    let database = cluster::database();
    let server = FakeServer::before(database.cluster.port, Vec::new());
    let config = Config::new(&database).threads(1).pool("size = 2");
    let proxy = config
        .server(&format!("127.0.0.1:{}", server.port))
        .pool("server_connect_timeout = \"1s\"")
        .pool("query_wait_timeout = \"3s\"")
        .pool("server_login_retry = \"100ms\"")
        .start();
    let door = proxy.door(&database);
    let offer = sasl(10, b"SCRAM-SHA-256\0\0");
    let lies: Vec<(&str, Vec<Vec<u8>>, bool)> = vec![
        ("silence", vec![], false),
        ("closes", vec![], true),
        ("unknown method", vec![sasl(99, b"")], false),
        ("no mechanism", vec![sasl(10, b"\0")], false),
        ("unknown mechanism", vec![sasl(10, b"TELEPATHY\0\0")], false),
        ("no list's end", vec![sasl(10, b"SCRAM-SHA-256")], false),
        (
            "another nonce",
            vec![offer.clone(), sasl(11, b"r=other,s=c2FsdA==,i=4096")],
            false,
        ),
        (
            "no salt",
            vec![offer.clone(), sasl(11, b"r=NONCEx,i=4096")],
            false,
        ),
        (
            "endless work",
            vec![offer.clone(), sasl(11, b"r=NONCEx,s=c2FsdA==,i=2147483647")],
            false,
        ),
        (
            "no work",
            vec![offer.clone(), sasl(11, b"r=NONCEx,s=c2FsdA==,i=0")],
            false,
        ),
        (
            "signature",
            vec![
                offer.clone(),
                sasl(11, b"r=NONCEx,s=c2FsdA==,i=4096"),
                sasl(12, b"v=AAAA"),
            ],
            false,
        ),
        ("no proof asked for", vec![offer.clone(), sasl(0, b"")], false),
        ("error without fields", vec![frames(&[(b'E', b"")])], true),
        ("a row", vec![frames(&[(b'D', b"\0\0")])], false),
        ("huge", vec![b"R\x7f\xff\xff\xff".to_vec()], false),
        ("HTTP", vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()], true),
        ("no ready", vec![sasl(0, b"")], false),
        (
            "key",
            vec![[sasl(0, b""), frames(&[(b'K', b"\0")])].concat()],
            false,
        ),
    ];
    for (name, answers, closes) in lies {
        // Nothing honest is kept from the time before.
        let kill = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'",
            database.name
        );
        server.at_login(Some(FalseLogin {
            whose: format!("user\0{}\0", database.name).into_bytes(),
            answers,
            closes,
        }));
        database.superuser().psql(&kill);
        until("the honest servers to be gone", || database.servers() == 0);
        let began = Instant::now();
        let code = refusal(name, &door);
        assert!(["08", "28", "53", "57"].contains(&&code[..2]), "{name}: {code}");
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "{name}: {:?}",
            began.elapsed()
        );
        server.at_login(None);
        until("an honest answer", || {
            door.try_wire(&[])
                .is_ok_and(|mut wire| wire.query("SELECT 1").contains(&"D 1".to_owned()))
        });
    }
}

/// The SQLSTATE of a login or of a first statement.
fn refusal(lie: &str, door: &Door) -> String {
    match door.try_wire(&[]) {
        Err(refusal) => refusal.sqlstate(),
        Ok(mut wire) => wire.sqlstate(&format!("SELECT '{lie}'")),
    }
}
