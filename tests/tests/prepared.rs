//! Prepared statements follow their client over all servers: names, errors and results as on one PostgreSQL connection.

use pgshunt_tests::{Config, Database, Messages, Proxy, Wire, cluster, same};

/// One worker, so that every client meets every server.
fn proxy(database: &Database, size: usize, held: usize) -> Proxy {
    let config = Config::new(database).threads(1);
    let config = config.pool(&format!("size = {size}"));
    config.pool(&format!("max_prepared_statements = {held}")).start()
}

/// Runs a script directly and through pgshunt while another client prepares the same names on the same server.
#[track_caller]
fn same_with_a_rival(script: impl Fn(&mut Wire) -> Vec<String>) {
    let database = cluster::database();
    database.door().psql("CREATE TABLE t AS SELECT 1 AS a");
    let proxy = proxy(&database, 1, 2);
    let door = proxy.door(&database);
    let mut rival = door.wire();
    for name in ["s", "s1", "s2", "s3", ""] {
        rival.exchange(
            &Messages::new()
                .parse(name, &format!("SELECT 'rival {name}'"))
                .sync(),
        );
    }
    same(&database.door(), &door, &script);
    let seen = rival.exchange(&Messages::new().run("s", &[]).sync());
    assert!(seen.contains(&"D rival s".to_owned()), "{seen:?}");
    same(&database.door(), &door, &script);
}

fn m() -> Messages {
    Messages::new()
}

#[test]
fn parse_once_run_often() {
    same_with_a_rival(|wire| {
        let mut seen = wire.exchange(&m().parse("s", "SELECT a + $1 FROM t").describe(b'S', "s").sync());
        for n in ["1", "2", "3"] {
            seen.extend(wire.exchange(&m().run("s", &[n]).sync()));
            seen.extend(wire.exchange(&m().bind("", "s", &[n]).describe(b'P', "").execute("", 0).sync()));
        }
        seen
    });
}

#[test]
fn names_that_exist_and_names_that_do_not() {
    same_with_a_rival(|wire| {
        let mut seen = wire.exchange(&m().run("nobody", &[]).sync());
        seen.extend(wire.exchange(&m().describe(b'S', "nobody").sync()));
        seen.extend(wire.exchange(&m().close(b'S', "nobody").sync()));
        seen.extend(wire.exchange(&m().parse("s", "SELECT 1").sync()));
        seen.extend(wire.exchange(&m().parse("s", "SELECT 2").sync()));
        seen.extend(wire.exchange(&m().run("s", &[]).sync()));
        seen.extend(wire.exchange(&m().close(b'S', "s").sync()));
        seen.extend(wire.exchange(&m().run("s", &[]).sync()));
        seen.extend(wire.exchange(&m().parse("s", "SELECT 'new'").run("s", &[]).sync()));
        seen
    });
}

#[test]
fn statements_that_cannot_be_parsed_do_not_exist() {
    same_with_a_rival(|wire| {
        let mut seen = wire.exchange(&m().parse("s", "SELEC 1").sync());
        seen.extend(wire.exchange(&m().run("s", &[]).sync()));
        seen.extend(wire.exchange(&m().parse("s", "SELECT no_such_column FROM t").sync()));
        seen.extend(wire.exchange(&m().parse("s", "SELECT 3").run("s", &[]).sync()));
        seen.extend(wire.exchange(&m().parse("s2", "SELECT 1; SELECT 2").sync()));
        seen.extend(wire.exchange(&m().parse("s2", "").describe(b'S', "s2").run("s2", &[]).sync()));
        seen
    });
}

#[test]
fn pipelines_with_an_error_inside() {
    same_with_a_rival(|wire| {
        let batch = m()
            .parse("s1", "SELECT 1")
            .run("s1", &[])
            .parse("s2", "SELECT 1/0")
            .run("s2", &[])
            .parse("s3", "SELECT 3")
            .run("s3", &[])
            .sync()
            .run("s1", &[])
            .sync()
            .run("s3", &[])
            .sync()
            .run("s2", &[])
            .close(b'S', "s1")
            .sync()
            .run("s1", &[])
            .sync();
        wire.exchange(&batch)
    });
}

#[test]
fn more_statements_than_a_server_keeps() {
    same_with_a_rival(|wire| {
        let mut seen = Vec::new();
        for n in 0..7 {
            seen.extend(wire.exchange(&m().parse(&format!("n{n}"), &format!("SELECT {n} + $1")).sync()));
        }
        for n in [0, 6, 3, 0, 1, 2, 5, 4] {
            seen.extend(wire.exchange(&m().run(&format!("n{n}"), &["10"]).sync()));
        }
        // All of them in one batch: more than a server may keep, none may be given up before its Bind.
        let all = (0..7).fold(m(), |batch, n| batch.run(&format!("n{n}"), &["20"]));
        seen.extend(wire.exchange(&all.sync()));
        seen
    });
}

#[test]
fn deallocate_and_discard() {
    same_with_a_rival(|wire| {
        let mut seen = wire.exchange(&m().parse("s", "SELECT 1").parse("s2", "SELECT 2").sync());
        seen.extend(wire.query("DEALLOCATE s"));
        seen.extend(wire.exchange(&m().run("s", &[]).sync()));
        seen.extend(wire.exchange(&m().run("s2", &[]).sync()));
        seen.extend(wire.query("DEALLOCATE s"));
        seen.extend(wire.query("DEALLOCATE PREPARE s2"));
        seen.extend(wire.exchange(&m().run("s2", &[]).sync()));
        seen.extend(wire.exchange(&m().parse("s", "SELECT 'again'").run("s", &[]).sync()));
        seen.extend(wire.query("DEALLOCATE ALL"));
        seen.extend(wire.exchange(&m().run("s", &[]).sync()));
        seen.extend(wire.exchange(&m().parse("s", "SELECT 'third'").run("s", &[]).sync()));
        seen.extend(wire.query("DISCARD ALL"));
        seen.extend(wire.exchange(&m().run("s", &[]).sync()));
        seen
    });
}

#[test]
fn sql_knows_what_the_protocol_prepared() {
    same_with_a_rival(|wire| {
        let mut seen = wire.exchange(&m().parse("s", "SELECT 'by protocol'").sync());
        seen.extend(wire.query("EXECUTE s"));
        seen.extend(wire.query("PREPARE p AS SELECT 'by SQL'"));
        seen.extend(wire.exchange(&m().run("p", &[]).sync()));
        seen.extend(wire.query("PREPARE s AS SELECT 1"));
        seen.extend(wire.exchange(&m().parse("p", "SELECT 1").sync()));
        seen.extend(wire.query("DEALLOCATE p"));
        seen
    });
}

#[test]
fn sql_by_protocol_knows_what_the_protocol_prepared() {
    same_with_a_rival(|wire| {
        let mut seen = wire.query("SET work_mem = '5MB'");
        seen.extend(wire.exchange(&m().parse("s", "SELECT 'by protocol'").sync()));
        seen.extend(wire.exchange(&m().parse("s1", "EXECUTE s").describe(b'S', "s1").sync()));
        seen.extend(wire.exchange(&m().run("s1", &[]).sync()));
        seen.extend(wire.exchange(&m().parse("s2", "SELECT 'another'").sync()));
        seen.extend(wire.exchange(&m().parse("", "EXECUTE s2").describe(b'S', "").run("", &[]).sync()));
        seen.extend(wire.query("DEALLOCATE s; DEALLOCATE s2"));
        seen.extend(wire.exchange(&m().run("s1", &[]).sync()));
        seen
    });
}

/// asyncpg prepares with Flush and sends its first Sync behind the Execute of another statement.
#[test]
fn sql_knows_what_the_same_batch_prepared() {
    same_with_a_rival(|wire| {
        wire.send(&m().parse("s", "SELECT 'by protocol'").describe(b'S', "s").flush());
        let mut seen = pgshunt_tests::wire::transcript(&wire.until(b'T'));
        wire.send(&m().parse("s1", "EXECUTE s").describe(b'S', "s1").flush());
        seen.extend(pgshunt_tests::wire::transcript(&wire.until(b'T')));
        seen.extend(wire.exchange(&m().run("s1", &[]).sync()));
        seen.extend(wire.exchange(&m().run("s1", &[]).sync()));
        seen.extend(wire.query("DEALLOCATE s"));
        seen
    });
}

/// What an EXECUTE finds does not depend on settings or a BEGIN that go ahead of it.
#[test]
fn sql_knows_what_the_protocol_prepared_behind_settings() {
    same_with_a_rival(|wire| {
        let mut seen = wire.exchange(&m().parse("s", "SELECT 'by protocol'").sync());
        seen.extend(wire.query("SET work_mem = '6MB'"));
        seen.extend(wire.query("BEGIN"));
        seen.extend(wire.query("EXECUTE s"));
        seen.extend(wire.query("COMMIT"));
        seen.extend(wire.query("DEALLOCATE s"));
        seen
    });
}

#[test]
fn the_unnamed_statement_lives_until_the_next() {
    same_with_a_rival(|wire| {
        let mut seen = wire.exchange(&m().parse("", "SELECT 'unnamed ' || $1").sync());
        seen.extend(wire.exchange(&m().run("", &["a"]).sync()));
        seen.extend(wire.exchange(&m().run("", &["b"]).sync()));
        seen.extend(wire.query("SELECT 'a simple query ends it'"));
        seen.extend(wire.exchange(&m().run("", &["c"]).sync()));
        seen.extend(wire.exchange(&m().parse("", "SELECT 1").close(b'S', "").sync()));
        seen.extend(wire.exchange(&m().run("", &[]).sync()));
        seen
    });
}

#[test]
fn the_unnamed_statement_on_another_server() {
    let database = cluster::database();
    let proxy = proxy(&database, 2, 10);
    let door = proxy.door(&database);
    let (mut a, mut b) = (door.wire(), door.wire());
    a.exchange(&m().parse("", "SELECT 'mine'").sync());
    b.exchange(&m().parse("", "SELECT 'theirs'").sync());
    b.run("BEGIN");
    b.run("SELECT txid_current()");
    let seen = a.exchange(&m().run("", &[]).sync());
    assert!(seen.contains(&"D mine".to_owned()), "{seen:?}");
    b.run("COMMIT");
}

#[test]
fn a_changed_table_is_the_same_error() {
    let database = cluster::database();
    let proxy = proxy(&database, 1, 10);
    for door in [database.door(), proxy.door(&database)] {
        door.psql("DROP TABLE IF EXISTS changing; CREATE TABLE changing (a int)");
        let mut wire = door.wire();
        wire.exchange(&m().parse("s", "SELECT * FROM changing").run("s", &[]).sync());
        door.psql("ALTER TABLE changing ADD b text");
        let seen = wire.exchange(&m().run("s", &[]).sync());
        assert_eq!(
            seen,
            [
                "2",
                "E ERROR 0A000 cached plan must not change result type",
                "Z I"
            ][usize::from(seen.len() == 2)..]
        );
        let seen = wire.exchange(
            &m().close(b'S', "s")
                .parse("s", "SELECT * FROM changing")
                .run("s", &[])
                .sync(),
        );
        assert_eq!(seen, ["3", "1", "2", "C SELECT 0", "Z I"]);
    }
}

/// As on the server it was prepared on, also on one that has never seen it.
#[test]
fn a_changed_result_is_the_same_error_on_another_server() {
    let database = cluster::database();
    let direct = database.door();
    direct.psql("CREATE TABLE changing (a int); CREATE TABLE gone (a int)");
    let proxy = proxy(&database, 2, 10);
    let through = proxy.door(&database);
    let script = |wire: &mut Wire, elsewhere: &mut dyn FnMut(&mut Wire)| {
        let mut seen = Vec::new();
        for (name, text) in [
            ("s", "SELECT * FROM changing"),
            ("g", "SELECT a FROM gone"),
            ("o", "SELECT 1 AS one"),
        ] {
            seen.extend(wire.exchange(&m().parse(name, text).describe(b'S', name).run(name, &[]).sync()));
        }
        elsewhere(wire);
        // Its own server or another one: the same.
        for _ in 0..2 {
            seen.extend(wire.exchange(&m().run("s", &[]).sync()));
            seen.extend(wire.exchange(&m().run("o", &[]).sync()));
        }
        seen.extend(wire.exchange(&m().run("g", &[]).sync()));
        seen.extend(wire.query("BEGIN"));
        seen.extend(wire.exchange(&m().run("s", &[]).sync()));
        seen.extend(wire.query("SELECT 1"));
        seen.extend(wire.query("ROLLBACK"));
        seen.extend(
            wire.exchange(
                &m().close(b'S', "s")
                    .parse("s", "SELECT * FROM changing")
                    .run("s", &[])
                    .sync(),
            ),
        );
        seen
    };
    let alter = "ALTER TABLE changing ADD b text; DROP TABLE gone";
    let mut moved = false;
    let mut rivals = [through.wire(), through.wire()];
    let seen = script(&mut through.wire(), &mut |wire| {
        let own = wire.server_pid();
        through.psql(alter);
        // There are two servers: one of the rivals gets its, and keeps it.
        let theirs = rivals.each_mut().map(|rival| {
            rival.run("BEGIN");
            rival.server_pid()
        });
        for (rival, pid) in rivals.iter_mut().zip(theirs) {
            match pid == own {
                true => moved = true,
                false => rival.run("COMMIT"),
            }
        }
    });
    assert!(moved, "another one has its server");
    through.psql("ALTER TABLE changing DROP b; CREATE TABLE gone (a int)");
    let expected = script(&mut direct.wire(), &mut |_| {
        direct.psql(alter);
    });
    let stale = "E ERROR 0A000 cached plan must not change result type";
    assert_eq!(
        expected.iter().filter(|line| *line == stale).count(),
        3,
        "{expected:#?}"
    );
    assert_eq!(seen, expected);
}

/// What a server may not be asked in a failed transaction is known from before.
#[test]
fn a_describe_in_a_failed_transaction_on_another_server() {
    let database = cluster::database();
    database.door().psql("CREATE TABLE t (a int, b text)");
    let proxy = proxy(&database, 2, 10);
    let (direct, through) = (database.door(), proxy.door(&database));
    let script = |wire: &mut Wire, elsewhere: &mut dyn FnMut(&mut Wire)| {
        let mut seen = Vec::new();
        for (name, text) in [
            ("i", "INSERT INTO t VALUES ($1, $2)"),
            ("r", "SELECT a FROM t"),
            ("e", "ROLLBACK"),
        ] {
            seen.extend(wire.exchange(&m().parse(name, text).describe(b'S', name).sync()));
        }
        elsewhere(wire);
        wire.run("BEGIN");
        seen.extend(wire.query("SELECT 1/0"));
        for name in ["i", "r", "i", "e"] {
            seen.extend(wire.exchange(&m().describe(b'S', name).sync()));
        }
        seen.extend(wire.exchange(&m().run("e", &[]).sync()));
        seen
    };
    let mut rivals = [through.wire(), through.wire()];
    let seen = script(&mut through.wire(), &mut |wire| {
        let own = wire.server_pid();
        for rival in &mut rivals {
            rival.run("BEGIN");
            if rival.server_pid() != own {
                rival.run("COMMIT");
            }
        }
    });
    assert_eq!(seen, script(&mut direct.wire(), &mut |_| ()));
}

#[test]
fn portals_live_as_long_as_their_transaction() {
    same_with_a_rival(|wire| {
        let sql = "SELECT n FROM generate_series(1, 5) AS n";
        let mut seen = wire.query("BEGIN");
        seen.extend(wire.exchange(&m().parse("s", sql).bind("p", "s", &[]).execute("p", 2).sync()));
        seen.extend(wire.exchange(&m().execute("p", 2).sync()));
        seen.extend(wire.exchange(&m().describe(b'P', "p").close(b'P', "p").sync()));
        seen.extend(wire.exchange(&m().execute("p", 2).sync()));
        seen.extend(wire.query("ROLLBACK"));
        seen.extend(wire.exchange(&m().bind("p", "s", &[]).sync()));
        seen.extend(wire.exchange(&m().execute("p", 0).sync()));
        seen.extend(wire.exchange(&m().bind("p", "s", &[]).execute("p", 2).execute("p", 0).sync()));
        seen
    });
}

#[test]
fn flush_brings_answers_before_sync() {
    same_with_a_rival(|wire| {
        wire.send(&m().parse("s", "SELECT 1").describe(b'S', "s").flush());
        let mut seen = pgshunt_tests::wire::transcript(&wire.until(b'T'));
        wire.send(&m().bind("", "s", &[]).execute("", 0).flush());
        seen.extend(pgshunt_tests::wire::transcript(&wire.until(b'C')));
        seen.extend(wire.exchange(&m().sync()));
        seen.extend(wire.exchange(&m().sync().sync()));
        seen
    });
}

#[test]
fn ten_thousand_pipelined_statements() {
    let database = cluster::database();
    let proxy = proxy(&database, 1, 10);
    let mut wire = proxy.door(&database).wire();
    wire.exchange(&m().parse("s", "SELECT $1::int").sync());
    let batch = (0..10_000).fold(m(), |batch, n| batch.run("s", &[&n.to_string()]));
    let mut writer = wire.writer();
    let bytes = batch.sync().bytes;
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &bytes).expect("sent"));
    let rows = wire
        .until_ready()
        .into_iter()
        .filter(|frame| frame.kind == b'D')
        .count();
    writing.join().expect("sent");
    assert_eq!(rows, 10_000);
}
