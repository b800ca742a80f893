//! Reads on replicas, everything else on the primary, and one's own writes read back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pgshunt::cli::demo::cluster::Stop;
use pgshunt_tests::load::Done;
use pgshunt_tests::shard::{CATCHES_UP, Shard};
use pgshunt_tests::{Messages, Proxy, Wire, until};

/// The port of the server a statement runs on, by a read that any server answers.
const WHERE: &str = "SELECT current_setting('port')";

/// Waits until reads are served by a replica.
#[track_caller]
fn replicas_serve(proxy: &Proxy, shard: &Shard) {
    let mut wire = proxy.door(&shard.database).wire();
    let primary = shard.primary.port().to_string();
    until("a replica to serve reads", || wire.value(WHERE) != primary);
}

#[test]
fn reads_go_to_a_replica_and_writes_to_the_primary() {
    let shard = Shard::with(&[&[]]);
    let proxy = shard.config().rules(CATCHES_UP).start();
    let mut wire: Wire = proxy.door(&shard.database).wire();
    wire.run("CREATE TABLE t (x int)");
    replicas_serve(&proxy, &shard);
    for round in 0..100 {
        wire.run(&format!("INSERT INTO t VALUES ({round})"));
        assert_eq!(wire.value("SELECT max(x) FROM t"), round.to_string());
    }
    let replica = shard.replicas[0].port().to_string();
    until("a read on the replica", || wire.value(WHERE) == replica);
    wire.run("BEGIN");
    assert_eq!(wire.value(WHERE), shard.primary.port().to_string());
    wire.run("COMMIT");
    until("a read on the replica", || {
        wire.run("BEGIN READ ONLY");
        let at = wire.value(WHERE);
        wire.run("COMMIT");
        at == replica
    });
}

/// Where a session reads once the replica has all it needs.
#[track_caller]
fn reads_at(wire: &mut Wire, server: &str) {
    until("a read there", || wire.value(WHERE) == server);
}

#[test]
fn routes_are_explained_in_every_protocol() {
    let shard = Shard::with(&[&[]]);
    let proxy = shard.config().rules(CATCHES_UP).start();
    let mut wire = proxy.door(&shard.database).wire();
    wire.run("CREATE TABLE t (x int)");
    replicas_serve(&proxy, &shard);
    let replica = shard.replicas[0].port().to_string();
    reads_at(&mut wire, &replica);
    let shown = wire.rows("SHOW pgshunt.last_route");
    assert_eq!(
        shown,
        [format!(
            "replica|s0|127.0.0.1:{replica}|read|off|the text only reads; consistency is session"
        )]
    );
    wire.run("INSERT INTO t VALUES (1)");
    let primary = shard.primary.port();
    let write = format!(
        "primary|s0|127.0.0.1:{primary}|write|off|the text is not for a replica: INSERT is not proven to only read"
    );
    assert_eq!(
        wire.rows("SHOW pgshunt.last_route"),
        [write.as_str()],
        "asking changes nothing"
    );
    assert_eq!(wire.rows("show PGSHUNT.last_route;"), [write.as_str()]);
    let extended = wire.extended("SHOW pgshunt.last_route", &[]);
    assert!(
        extended.iter().any(|line| *line == format!("D {write}")),
        "{extended:?}"
    );
    // A named statement tells of the last route each time.
    wire.exchange(&Messages::new().parse("shown", "SHOW pgshunt.last_route").sync());
    let show = Messages::new().bind("", "shown", &[]).execute("", 0).sync();
    assert!(wire.exchange(&show).contains(&format!("D {write}")));
    reads_at(&mut wire, &replica);
    assert!(
        wire.exchange(&show)
            .iter()
            .any(|line| line.starts_with("D replica|s0|"))
    );
    let explained = wire.rows("EXPLAIN (ROUTE) SELECT * FROM t FOR UPDATE");
    assert_eq!(
        explained,
        ["primary|s0||write|off|the text is not for a replica: it locks rows"]
    );
    let explained = wire.extended("EXPLAIN (ROUTE) SELECT 1", &[]);
    assert!(
        explained
            .iter()
            .any(|line| line.starts_with("D replica|s0||read|off|")),
        "{explained:?}"
    );
    wire.run("SET pgshunt.trace = 'notice'");
    let traced = wire.query("SELECT count(*) FROM t");
    assert!(
        traced[0].starts_with("N NOTICE") && traced[0].contains("access=read"),
        "{traced:?}"
    );
}

#[test]
fn a_session_says_where_and_how_fresh() {
    let shard = Shard::with(&[&[("recovery_min_apply_delay", "3s")]]);
    let proxy = shard.config().start();
    let door = proxy.door(&shard.database);
    let mut writer = door.wire();
    let (primary, replica) = (
        shard.primary.port().to_string(),
        shard.replicas[0].port().to_string(),
    );
    writer.run("CREATE TABLE t (x int)");
    // A session that needs nothing reads from the replica, however far behind that is within max_staleness.
    let mut reader = door.wire();
    until("the replica to have what was there before", || {
        door.wire().value(WHERE) == replica
    });
    writer.run("INSERT INTO t VALUES (1)");
    assert_eq!(writer.value("SELECT count(*) FROM t"), "1", "its own write");
    assert_eq!(writer.value(WHERE), primary);
    for (setting, value, place) in [
        ("pgshunt.target", "primary", &primary),
        ("pgshunt.target", "replica", &replica),
        ("pgshunt.consistency", "strong", &primary),
        ("pgshunt.consistency", "bounded:100ms", &primary),
        ("pgshunt.consistency", "eventual", &replica),
    ] {
        reader.run(&format!("SET {setting} = '{value}'"));
        // SET was the session's own word to the primary: under `session` its reads would follow it.
        reader.run("SET pgshunt.trace = 'off'");
        if setting == "pgshunt.target" && value == "replica" {
            reader.run("SET pgshunt.consistency = 'eventual'");
        }
        if value == "bounded:100ms" {
            // Old enough a moment after a write that the replica does not have.
            writer.run("INSERT INTO t VALUES (2)");
            until("the replica to be too old", || reader.value(WHERE) == *place);
        }
        assert_eq!(reader.value(WHERE), *place, "{setting} = {value}");
        reader.run("RESET pgshunt.target");
        reader.run("RESET pgshunt.consistency");
    }
    // The settings are settings: LOCAL, and rolled back.
    reader.run("SET pgshunt.consistency = 'strong'");
    reader.run("BEGIN");
    reader.run("SET pgshunt.consistency = 'eventual'");
    reader.run("ROLLBACK");
    assert_eq!(reader.value("SHOW pgshunt.consistency"), "strong");
    assert_eq!(reader.value("SHOW pgshunt.target"), "auto");
    for (wrong, code) in [
        ("SET pgshunt.target = 'nowhere'", "22023"),
        ("SET pgshunt.consistency = 'often'", "22023"),
        ("SET pgshunt.fish = '1'", "42704"),
    ] {
        assert_eq!(reader.sqlstate(wrong), code, "{wrong}");
    }
    let at_startup = |value: &str| Wire::log_in(&door, &[("options", &format!("-c pgshunt.target={value}"))]);
    assert!(at_startup("nowhere").is_err());
    let mut pinned_down = at_startup("primary").expect("a session");
    assert_eq!(pinned_down.value(WHERE), primary);
    // What libpq's target_session_attrs looks for.
    let on_replica = Wire::log_in(&door, &[("target_session_attrs", "read-only")]).expect("a session");
    assert_eq!(on_replica.parameter("in_hot_standby").as_deref(), Some("on"));
    assert_eq!(pinned_down.parameter("in_hot_standby").as_deref(), Some("off"));
}

#[test]
fn what_a_replica_can_not_do_runs_on_the_primary() {
    let shard = Shard::with(&[&[]]);
    let proxy = shard.config().rules(CATCHES_UP).start();
    let mut wire = proxy.door(&shard.database).wire();
    wire.run("CREATE TABLE t (x int); CREATE SEQUENCE s; INSERT INTO t VALUES (1)");
    wire.run("CREATE FUNCTION counts() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM t'");
    wire.run("CREATE FUNCTION writes() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT nextval(''s'')'");
    wire.run("CREATE VIEW counted AS SELECT counts(); CREATE VIEW written AS SELECT writes()");
    replicas_serve(&proxy, &shard);
    let target = |wire: &mut Wire| wire.rows("SHOW pgshunt.last_route")[0].clone();
    for (read, route) in [
        ("SELECT counts()", "replica|"),
        ("SELECT * FROM counted", "replica|"),
        ("SELECT writes()", "primary|"),
        ("SELECT * FROM written", "primary|"),
        ("SELECT nextval('s')", "primary|"),
    ] {
        reads_at(&mut wire, &shard.replicas[0].port().to_string());
        wire.run(read);
        let shown = target(&mut wire);
        assert!(shown.starts_with(route), "{read}: {shown}");
    }
    assert_eq!(wire.sqlstate("SELECT nobody_knows()"), "42883");
    let shown = target(&mut wire);
    assert!(shown.contains("function nobody_knows is not known"), "{shown}");
    assert!(shown.starts_with("primary|"), "{shown}");
    // Sent to a replica by the session's wish, refused there, done by the primary: once.
    wire.run("SET pgshunt.target = 'replica'");
    reads_at(&mut wire, &shard.replicas[0].port().to_string());
    let before: u64 = wire.value("SELECT nextval('s')").parse().expect("a number");
    assert!(target(&mut wire).contains("a replica could not do it"));
    let extended = wire.extended("SELECT nextval('s')", &[]);
    assert!(extended.contains(&format!("D {}", before + 1)), "{extended:?}");
}

#[test]
fn what_a_replica_has_refused_is_not_sent_to_one_again() {
    let shard = Shard::with(&[&[]]);
    let proxy = shard.config().rules(CATCHES_UP).start();
    let mut wire = proxy.door(&shard.database).wire();
    wire.run("CREATE SEQUENCE s");
    wire.run("CREATE FUNCTION writes() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT nextval(''s'')'");
    // Declared to only read, and does not.
    wire.run(
        "CREATE FUNCTION hides(int) RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN writes(); END'",
    );
    replicas_serve(&proxy, &shard);
    let replica = shard.replicas[0].port().to_string();
    reads_at(&mut wire, &replica);
    assert_eq!(wire.value("SELECT hides(1)"), "1");
    for n in 2..5 {
        reads_at(&mut wire, &replica);
        let answer = match n {
            2 => wire.extended("SELECT hides(2)", &[]).contains(&"D 2".into()),
            n => wire.value(&format!("SELECT hides({n})")) == n.to_string(),
        };
        assert!(answer, "{n}");
        let shown = wire.rows("SHOW pgshunt.last_route")[0].clone();
        assert!(shown.starts_with("primary|"), "{shown}");
        assert!(
            shown.contains("a replica has refused a statement like it"),
            "{shown}"
        );
    }
}

#[test]
fn a_read_only_transaction_is_a_transaction_wherever_it_is() {
    let shard = Shard::with(&[&[]]);
    let proxy = shard.config().rules(CATCHES_UP).start();
    let door = proxy.door(&shard.database);
    let mut wire = door.wire();
    wire.run("CREATE TABLE t (x int); INSERT INTO t VALUES (1)");
    replicas_serve(&proxy, &shard);
    let (primary, replica) = (
        shard.primary.port().to_string(),
        shard.replicas[0].port().to_string(),
    );
    let on_replica = |wire: &mut Wire, begin: &str| {
        until("a transaction on the replica", || {
            wire.run(begin);
            let is_there = wire.value(WHERE) == replica;
            if !is_there {
                wire.run("ROLLBACK");
            }
            is_there
        });
    };
    on_replica(&mut wire, "BEGIN READ ONLY");
    assert_eq!(wire.sqlstate("INSERT INTO t VALUES (2)"), "25006");
    assert_eq!(wire.sqlstate("SELECT 1"), "25P02");
    wire.run("ROLLBACK");
    // What a primary does in such a transaction and a replica does not: it begins again there.
    on_replica(&mut wire, "BEGIN READ ONLY");
    wire.run("LISTEN somebody");
    assert_eq!(wire.value(WHERE), primary);
    wire.run("COMMIT");
    wire.run("UNLISTEN *");
    on_replica(&mut wire, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    wire.run("DECLARE c CURSOR FOR SELECT x FROM t");
    assert_eq!(wire.value("FETCH c"), "1");
    wire.run("SAVEPOINT here");
    assert_eq!(wire.sqlstate("SELECT 1/0"), "22012");
    wire.run("ROLLBACK TO here");
    assert_eq!(wire.value(WHERE), replica);
    wire.run("COMMIT");
    on_replica(&mut wire, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    assert_eq!(wire.sqlstate("INSERT INTO t VALUES (2)"), "25006");
    wire.run("ROLLBACK");
    // A pipeline behind it does not follow it to the replica.
    on_replica(&mut wire, "BEGIN READ ONLY");
    wire.send(
        &Messages::new()
            .query("COMMIT")
            .query("INSERT INTO t VALUES (3)")
            .query("SELECT max(x) FROM t"),
    );
    let heard: Vec<String> = (0..3)
        .flat_map(|_| wire.until_ready())
        .map(|frame| frame.to_string())
        .collect();
    assert!(heard.contains(&"D 3".to_owned()), "{heard:?}");
    // Nor does what is behind its end in one batch, or in one text.
    on_replica(&mut wire, "BEGIN READ ONLY");
    let m = Messages::new;
    let batch = m()
        .parse("", "COMMIT")
        .run("", &[])
        .parse("", "INSERT INTO t VALUES (4)")
        .run("", &[]);
    let heard = wire.exchange(&batch.sync());
    assert!(heard.contains(&"C INSERT 0 1".to_owned()), "{heard:?}");
    // One that has failed stays so, whatever is said in it.
    on_replica(&mut wire, "BEGIN READ ONLY");
    assert_eq!(wire.sqlstate("SELECT 1/0"), "22012");
    assert_eq!(wire.sqlstate("LISTEN somebody"), "25P02");
    assert_eq!(wire.sqlstate("INSERT INTO t VALUES (5)"), "25P02");
    wire.run("ROLLBACK; INSERT INTO t VALUES (6)");
    assert_eq!(wire.value("SELECT max(x) FROM t"), "6");
    let mut serializable = door.wire();
    serializable.run("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY");
    assert_eq!(serializable.value(WHERE), primary);
}

#[test]
fn temporary_tables_of_one_session_keep_no_others_from_replicas() {
    let shard = Shard::with(&[&[]]);
    let proxy = shard.config().start();
    let door = proxy.door(&shard.database);
    replicas_serve(&proxy, &shard);
    let (mut maker, mut reader) = (door.wire(), door.wire());
    let (primary, replica) = (
        shard.primary.port().to_string(),
        shard.replicas[0].port().to_string(),
    );
    reads_at(&mut reader, &replica);
    for round in 0..20 {
        maker.run("CREATE TEMP TABLE mine (x int)");
        maker.run("CREATE INDEX ON mine (x)");
        assert_eq!(reader.value(WHERE), replica, "round {round}");
        maker.extended("INSERT INTO mine VALUES ($1)", &["7"]);
        assert_eq!(maker.value("SELECT x FROM mine"), "7");
        maker.run("DROP TABLE mine");
        maker.extended("CREATE TEMP VIEW seen AS SELECT 8 AS x", &[]);
        assert_eq!(reader.value(WHERE), replica, "round {round}");
        assert_eq!(maker.value("SELECT x FROM seen"), "8");
        maker.run("DROP VIEW seen");
    }
    // What is for everybody is looked up before reads go on.
    maker.run("CREATE TEMP TABLE mine (x int); CREATE TABLE everybodys (x int)");
    assert_eq!(reader.value(WHERE), primary);
}

#[test]
fn two_connections_of_one_tenant_agree() {
    let shard = Shard::with(&[&[]]);
    let proxy = shard.config().start();
    let door = proxy.door(&shard.database);
    let mut writer = door.wire();
    writer.run("CREATE TABLE t (x int)");
    let of_tenant = || Wire::log_in(&door, &[("options", "-c pgshunt.tenant=acme")]).expect("a session");
    let (mut one, mut other, mut stranger) = (of_tenant(), of_tenant(), door.wire());
    replicas_serve(&proxy, &shard);
    for wire in [&mut one, &mut other, &mut stranger] {
        reads_at(wire, &shard.replicas[0].port().to_string());
    }
    shard.replicas[0]
        .psql("postgres", "SELECT pg_wal_replay_pause()")
        .expect("paused");
    one.run("INSERT INTO t VALUES (1)");
    assert_eq!(other.value("SELECT count(*) FROM t"), "1");
    assert_eq!(
        stranger.value("SELECT count(*) FROM t"),
        "0",
        "it has written nothing, and may read what was"
    );
    shard.replicas[0]
        .psql("postgres", "SELECT pg_wal_replay_resume()")
        .expect("resumed");
    until("the replica to catch up", || {
        stranger.value("SELECT count(*) FROM t") == "1"
    });
}

/// Has 64 sessions read without pause while one replica after the other is killed, and comes back. `read` gets the session,
/// its number, and the round.
fn while_replicas_are_killed(
    shard: &mut Shard,
    proxy: &Proxy,
    read: impl Fn(&mut Wire, usize, usize) + Sync,
) {
    let door = proxy.door(&shard.database);
    door.wire()
        .run("CREATE TABLE t AS SELECT generate_series(1, 100) AS x");
    replicas_serve(proxy, shard);
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _done = Done(&done);
        for number in 0..64 {
            let (door, read, done, answered) = (&door, &read, &done, &answered);
            scope.spawn(move || {
                let mut wire = door.wire();
                for round in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    read(&mut wire, number, round);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let more = |count: usize| {
            let before = answered.load(Ordering::Relaxed);
            until("more answers", || {
                answered.load(Ordering::Relaxed) >= before + count
            });
        };
        more(250);
        for replica in &mut shard.replicas {
            replica.stop(Stop::Kill).expect("killed");
            more(250);
        }
        for replica in &mut shard.replicas {
            replica.start().expect("started");
            more(250);
        }
    });
    replicas_serve(proxy, shard);
    until("both to be replicas again", || {
        let shown = proxy.console().wire().rows("SHOW REPLICAS");
        shown.iter().filter(|row| row.contains("|replica|up|")).count() == 2
    });
}

#[test]
fn a_replica_that_is_killed_costs_nobody_anything() {
    let mut shard = Shard::with(&[&[], &[]]);
    let proxy = shard.config().rules(CATCHES_UP).pool("size = 10").start();
    while_replicas_are_killed(&mut shard, &proxy, |wire, _, _| {
        assert_eq!(wire.value("SELECT sum(x) FROM t"), "5050");
        let sum = wire.extended("SELECT sum(x) FROM t WHERE x > $1", &["50"]);
        assert!(sum.contains(&"D 3775".to_owned()), "{sum:?}");
    });
    let routes = proxy.console().wire().rows("SHOW ROUTES").join("\n");
    assert!(routes.contains("|replica|"), "{routes}");
    let reasons = proxy.console().wire().rows("SHOW REASONS").join("\n");
    assert!(reasons.contains("|only reads|"), "{reasons}");
}

#[test]
fn a_replica_that_is_killed_costs_programs_that_prepare_nothing() {
    let mut shard = Shard::with(&[&[], &[]]);
    let proxy = shard.config().rules(CATCHES_UP).pool("size = 10").start();
    let m = Messages::new;
    while_replicas_are_killed(&mut shard, &proxy, |wire, number, round| {
        // A name that stays, and texts that no server has seen.
        let (name, column) = ("s", format!("r{number}_{round}"));
        let sql = format!("SELECT sum(x) AS {column} FROM t WHERE x > $1");
        let described = [
            "1".to_owned(),
            "t [0, 1, 0, 0, 0, 23]".to_owned(),
            format!("T {column}:20/0"),
            "Z I".to_owned(),
        ];
        assert_eq!(
            wire.exchange(&m().parse(name, &sql).describe(b'S', name).sync()),
            described
        );
        for _ in 0..2 {
            let sum = wire.exchange(&m().run(name, &["50"]).sync());
            assert_eq!(sum, ["2", "D 3775", "C SELECT 1", "Z I"]);
        }
        // Given up and taken again in one unit, beside another that some server has.
        let again = format!("SELECT max(x) AS {column} FROM t WHERE x > $1");
        let unit = m()
            .close(b'S', name)
            .parse("o", "SELECT min(x) FROM t WHERE x > $1");
        let unit = unit
            .parse(name, &again)
            .run(name, &["50"])
            .run("o", &["50"])
            .close(b'S', "o")
            .sync();
        let both = [
            "3",
            "1",
            "1",
            "2",
            "D 100",
            "C SELECT 1",
            "2",
            "D 51",
            "C SELECT 1",
            "3",
            "Z I",
        ];
        assert_eq!(wire.exchange(&unit), both);
        assert_eq!(wire.exchange(&m().run(name, &["50"]).sync())[1], "D 100");
        assert_eq!(wire.exchange(&m().close(b'S', name).sync()), ["3", "Z I"]);
    });
    let mut console = proxy.console().wire();
    let routes = console.rows("SHOW ROUTES");
    let count = |target: &str| -> u64 {
        let row = routes
            .iter()
            .find_map(|row| row.split_once(&format!("|{target}|")));
        let count = row.and_then(|(_, rest)| rest.split('|').next());
        count.expect("a count").parse().expect("a number")
    };
    println!("{routes:?}");
    assert!(count("replica") > 0 && count("retry") > 0, "{routes:?}");
}

#[test]
fn a_result_half_sent_by_a_replica_that_dies_ends_with_an_error() {
    let mut shard = Shard::with(&[&[]]);
    let proxy = shard.config().rules(CATCHES_UP).start();
    let door = proxy.door(&shard.database);
    replicas_serve(&proxy, &shard);
    let mut wire = door.wire();
    reads_at(&mut wire, &shard.replicas[0].port().to_string());
    wire.send(&Messages::new().query("SELECT repeat('x', 1000), i FROM generate_series(0, 10000000) AS i"));
    let mut rows = 0;
    for _ in 0..1000 {
        let frame = wire.read();
        rows += usize::from(frame.kind == b'D');
    }
    shard.replicas[0].stop(Stop::Kill).expect("killed");
    // What is left of it comes in order, then an error; never an end that looks whole, nor one without a word.
    let mut error = None;
    while let Ok(Some(frame)) = wire.try_read() {
        assert_eq!(error, None, "something behind the error: {frame}");
        if frame.kind == b'D' {
            let row = frame.row();
            let (_, number) = row.split_once('|').expect("two fields");
            assert_eq!(number, rows.to_string());
            rows += 1;
        } else {
            error = Some(frame.to_string());
        }
    }
    let error = error.expect("an error");
    assert!(error.starts_with("E FATAL 08006"), "{error}");
    assert!(rows < 10_000_000);
    assert_eq!(door.wire().value("SELECT 1"), "1");
}

#[test]
fn replicas_serve_while_there_is_no_primary() {
    let mut shard = Shard::with(&[&[]]);
    let rules = "[split]\nmax_staleness = \"500ms\"\n";
    let proxy = shard.config().rules(rules).start();
    replicas_serve(&proxy, &shard);
    let mut wire = proxy.door(&shard.database).wire();
    let replica = shard.replicas[0].port().to_string();
    reads_at(&mut wire, &replica);
    shard.primary.stop(Stop::Kill).expect("killed");
    let mut console = proxy.console().wire();
    until("the primary to be known as down", || {
        console
            .rows("SHOW REPLICAS")
            .iter()
            .any(|row| row.contains("|primary|down|"))
    });
    std::thread::sleep(std::time::Duration::from_millis(600)); // longer than max_staleness: it is what is tested
    assert_eq!(wire.value(WHERE), replica);
    shard.primary.start().expect("started");
    until("a write", || wire.value("SELECT pg_is_in_recovery()") == "f");
}
