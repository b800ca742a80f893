//! The result cache: what is answered from it, in every protocol, and what makes an answer old.

use pgshunt::cli::demo::cluster::Plan;
use pgshunt_tests::cached::{EVERYTHING, FOLLOWED, LOGICAL, fill, hit, said};
use pgshunt_tests::shard::Shard;
use pgshunt_tests::{Messages, Proxy, Wire, cluster, until};

fn database_with_rows() -> pgshunt_tests::Database {
    let database = cluster::database();
    fill(&database);
    database
}

fn start(database: &pgshunt_tests::Database) -> Proxy {
    pgshunt_tests::Config::new(database).rules(EVERYTHING).start()
}

#[test]
fn what_was_asked_before_needs_no_server() {
    let database = database_with_rows();
    let proxy = start(&database);
    let mut wire = proxy.door(&database).wire();
    let sql = "SELECT v FROM t WHERE id = 3";
    assert_eq!(hit(&mut wire, sql), ["v3"]);
    let route = wire.rows("SHOW pgshunt.last_route");
    assert!(
        route[0].starts_with("cache|s0||read|hit|class all, ") && route[0].ends_with(" ms old"),
        "{route:?}"
    );
    // Another session, another protocol: the same answer, whole.
    let direct = database.door().wire().extended(sql, &[]);
    let mut other = proxy.door(&database).wire();
    assert_eq!(other.extended(sql, &[]), direct);
    assert_eq!(said(&mut other), "hit");
    assert_eq!(other.query(sql), database.door().wire().query(sql));
}

#[test]
fn prepared_statements_and_formats_are_answered_in_their_place() {
    let database = database_with_rows();
    let proxy = start(&database);
    let mut wires = [database.door().wire(), proxy.door(&database).wire()];
    let sql = "SELECT id, v FROM t WHERE id = $1";
    hit(&mut wires[1], "SELECT v FROM t WHERE id = 1");
    // int4 in binary, results in binary.
    let binary = |portal: &str| {
        let body = [
            portal.as_bytes(),
            b"\0s\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x05\0\x01\0\x01",
        ];
        body.concat()
    };
    let prepare = Messages::new()
        .parse_typed("s", sql, &[23])
        .describe(b'S', "s")
        .sync();
    let units = [
        Messages::new().bind("", "s", &["4"]).execute("", 0).sync(),
        Messages::new()
            .bind("", "s", &["4"])
            .describe(b'P', "")
            .execute("", 0)
            .sync(),
        Messages::new()
            .bind("p", "s", &["5"])
            .describe(b'P', "p")
            .execute("p", 0)
            .sync(),
        Messages::new()
            .raw(b'B', &binary(""))
            .describe(b'P', "")
            .execute("", 0)
            .sync(),
        // The unnamed statement is still there.
        Messages::new()
            .once("SELECT v FROM t WHERE id = 1", &[])
            .sync()
            .bind("", "", &[])
            .execute("", 0)
            .sync(),
        // Some of the rows only, two portals, a Flush: these are a server's.
        Messages::new().bind("", "s", &["4"]).execute("", 1).sync(),
        Messages::new()
            .bind("", "s", &["4"])
            .execute("", 0)
            .bind("", "s", &["5"])
            .execute("", 0)
            .sync(),
        Messages::new().query("SELECT id, v FROM t WHERE id = 4"),
        Messages::new().query("SELECT v FROM t WHERE id = 11"),
        Messages::new().once(sql, &["4"]).sync(),
    ];
    let mut hits = 0;
    for wire in &mut wires {
        wire.exchange(&prepare);
    }
    for round in 0..4 {
        for (place, unit) in units.iter().enumerate() {
            let told = wires.each_mut().map(|wire| wire.exchange(unit));
            assert_eq!(told[1], told[0], "round {round}, unit {place}");
            hits += usize::from(said(&mut wires[1]) == "hit");
        }
        // A pipeline of units.
        let mut all = Messages::new();
        for unit in &units {
            all.bytes.extend_from_slice(&unit.bytes);
            all.syncs += unit.syncs;
        }
        let told = wires.each_mut().map(|wire| wire.exchange(&all));
        assert_eq!(told[1], told[0], "round {round}");
    }
    assert!(hits >= 20, "{hits} hits");
}

#[test]
fn a_write_through_pgshunt_is_seen_by_the_next_read_of_whoever() {
    let database = database_with_rows();
    let mut direct = database.door().wire();
    for sql in [
        "CREATE TABLE parted (k int, n int) PARTITION BY LIST (k)",
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1)",
        "INSERT INTO parted VALUES (1, 0)",
        "CREATE TABLE child (id int REFERENCES t ON DELETE CASCADE)",
        "INSERT INTO child SELECT n FROM generate_series(1, 10) AS n",
        "CREATE VIEW v AS SELECT count(*) AS n FROM child",
        "CREATE TABLE logged (n int)",
        "CREATE FUNCTION logs() RETURNS trigger LANGUAGE plpgsql AS \
            'BEGIN INSERT INTO logged VALUES (NEW.n); RETURN NEW; END'",
        "CREATE TABLE noisy (n int)",
        "CREATE TRIGGER noisy AFTER INSERT ON noisy FOR EACH ROW EXECUTE FUNCTION logs()",
        "CREATE FUNCTION writes() RETURNS void LANGUAGE sql AS 'INSERT INTO logged VALUES (0)'",
        "CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM t",
    ] {
        direct.run(sql);
    }
    let proxy = start(&database);
    let mut reader = proxy.door(&database).wire();
    let mut writer = proxy.door(&database).wire();
    let writes = [
        (
            "SELECT v FROM t WHERE id = 1",
            "UPDATE t SET v = v || 'x' WHERE id = 1",
        ),
        ("SELECT n FROM parted", "UPDATE parted_1 SET n = n + 1"),
        ("SELECT n FROM parted_1", "UPDATE parted SET n = n + 1"),
        (
            "SELECT n FROM v",
            "DELETE FROM t WHERE id = (SELECT max(id) FROM t)",
        ),
        ("SELECT count(*) FROM logged", "INSERT INTO noisy VALUES (1)"),
        ("SELECT count(*) FROM logged", "SELECT writes()"),
        (
            "SELECT count(*) FROM logged",
            "DO 'BEGIN INSERT INTO logged VALUES (1); END'",
        ),
        (
            "SELECT count(*) FROM logged",
            "WITH i AS (INSERT INTO logged VALUES (1) RETURNING *) SELECT * FROM i",
        ),
        (
            "SELECT v FROM t WHERE id = 1",
            "BEGIN; UPDATE t SET v = v || 'y'; COMMIT",
        ),
        (
            "SELECT * FROM mv",
            "DELETE FROM t WHERE id = (SELECT max(id) FROM t); REFRESH MATERIALIZED VIEW mv",
        ),
        (
            "SELECT count(*) FROM t",
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS c int; INSERT INTO t VALUES (100 + (SELECT count(*) FROM t))",
        ),
        ("SELECT count(*) FROM logged", "TRUNCATE logged"),
    ];
    for (read, write) in writes {
        let before = hit(&mut reader, read);
        writer.run(write);
        let after = reader.rows(read);
        assert_eq!(after, database.door().wire().rows(read), "{write}");
        assert_ne!(after, before, "{write}");
    }
    // In a transaction: with its end, not before.
    let read = "SELECT v FROM t WHERE id = 1";
    for (begin, end, changes) in [("BEGIN", "COMMIT", true), ("BEGIN", "ROLLBACK", false)] {
        let before = hit(&mut reader, read);
        writer.run(begin);
        writer.run("UPDATE t SET v = v || 'z' WHERE id = 1");
        assert_eq!(reader.rows(read), before);
        writer.run(end);
        assert_eq!(reader.rows(read) != before, changes, "{end}");
    }
    // By the extended protocol, by COPY, and by a statement prepared in SQL.
    let before = hit(&mut reader, read);
    writer.extended("UPDATE t SET v = $1 WHERE id = 1", &["new"]);
    assert_ne!(reader.rows(read), before);
    let read = "SELECT count(*) FROM t";
    let before = hit(&mut reader, read);
    writer.send(&Messages::new().query("COPY t (id) FROM STDIN"));
    writer.until(b'G');
    writer.exchange(&Messages::new().raw(b'd', b"1000\n").raw(b'c', b""));
    let mut told = writer.until_ready();
    told.clear();
    assert_ne!(reader.rows(read), before, "COPY");
    writer.run("PREPARE p AS DELETE FROM t WHERE id = 1000");
    let before = hit(&mut reader, read);
    writer.run("EXECUTE p");
    assert_ne!(reader.rows(read), before, "EXECUTE");
}

#[test]
fn a_session_reads_its_own_writes_and_none_of_its_open_transaction_is_kept() {
    let database = database_with_rows();
    let proxy = start(&database);
    let mut wire = proxy.door(&database).wire();
    let mut other = proxy.door(&database).wire();
    let read = "SELECT v FROM t WHERE id = 2";
    hit(&mut wire, read);
    wire.run("BEGIN");
    assert_eq!(
        (wire.rows(read), said(&mut wire).as_str()),
        (vec!["v2".to_owned()], "hit")
    );
    wire.run("UPDATE t SET v = 'mine' WHERE id = 2");
    assert_eq!(wire.rows(read), ["mine"]);
    assert_eq!(other.rows(read), ["v2"]);
    wire.run("ROLLBACK");
    assert_eq!(wire.rows(read), ["v2"]);
    // A snapshot of its own is not the cache's.
    wire.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    wire.rows(read);
    assert!(said(&mut wire).contains("snapshot"), "{}", said(&mut wire));
    wire.run("COMMIT");
    wire.run("SET pgshunt.cache = 'off'");
    wire.rows(read);
    assert_eq!(said(&mut wire), "pgshunt.cache is off");
    wire.run("SET pgshunt.cache = 'refresh'");
    wire.rows(read);
    assert_eq!(said(&mut wire), "miss");
    wire.run("SET pgshunt.cache = 'ttl:1ms'");
    std::thread::sleep(std::time::Duration::from_millis(2));
    wire.rows(read);
    assert_eq!(said(&mut wire), "miss");
    wire.run("RESET pgshunt.cache");
    hit(&mut wire, read);
    wire.run("SET pgshunt.consistency = 'strong'");
    wire.rows(read);
    assert_eq!(said(&mut wire), "the consistency is strong");
}

#[test]
fn five_hundred_clients_on_a_cold_key_ask_once() {
    // A server of its own: roles that come and go elsewhere on it make all answers old.
    let node = cluster::private(&Plan::default());
    let database = cluster::Cluster::of(&node).database();
    fill(&database);
    let mut direct = database.superuser().wire();
    direct.run("CREATE TABLE big AS SELECT n FROM generate_series(1, 300000) AS n");
    direct.run("GRANT SELECT ON big TO PUBLIC; ANALYZE big");
    let proxy = pgshunt_tests::Config::new(&database)
        .rules(EVERYTHING)
        .limit("max_client_conn = 1000")
        .start();
    hit(&mut proxy.door(&database).wire(), "SELECT v FROM t WHERE id = 1");
    let mut wires: Vec<Wire> = (0..500).map(|_| proxy.door(&database).wire()).collect();
    let sql = "SELECT count(DISTINCT n % 100000) FROM big";
    for wire in &mut wires {
        wire.send(&Messages::new().query(sql));
    }
    for wire in &mut wires {
        let frames = wire.until_ready();
        let row = frames.iter().find(|frame| frame.kind == b'D');
        assert_eq!(row.map(|row| row.row()).as_deref(), Some("100000"));
    }
    // Counters arrive within a second of the server's being idle.
    let mut scans = String::new();
    until("the scan to be counted", || {
        direct.run("SELECT pg_stat_clear_snapshot()");
        scans = direct.value("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'big'");
        scans != "0" && !scans.is_empty()
    });
    // ANALYZE is no scan; what a parallel worker does counts for itself.
    let asked = proxy.console().wire().rows("SHOW CACHE");
    let misses: Vec<&str> = asked
        .iter()
        .filter(|row| row.split('|').nth(1) == Some("all"))
        .filter_map(|row| row.split('|').nth(4))
        .collect();
    assert_eq!(misses, ["2"], "{asked:?}");
}

#[test]
fn a_write_from_elsewhere_is_heard_of() {
    let shard = Shard::made(LOGICAL, &[]);
    let database = &shard.database;
    let mut direct = database.door().wire();
    direct.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    direct.run("INSERT INTO t VALUES (1, 'a')");
    direct.run("CREATE TABLE other (id int)");
    let proxy = shard.config().rules(FOLLOWED).start();
    let mut wire = proxy.door(database).wire();
    let read = "SELECT v FROM t WHERE id = 1";
    assert_eq!(hit(&mut wire, read), ["a"]);
    for round in 0..20 {
        hit(&mut wire, read);
        let new = format!("b{round}");
        direct.run(&format!("UPDATE t SET v = '{new}'"));
        let written = std::time::Instant::now();
        until("the write to be heard of", || wire.rows(read) == [new.as_str()]);
        let took = written.elapsed();
        assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    }
    // What nobody reads makes nothing old, once the last write is heard of to its end.
    until("an answer to stay", || {
        hit(&mut wire, read);
        direct.run("INSERT INTO other VALUES (1)");
        std::thread::sleep(std::time::Duration::from_millis(300));
        wire.rows(read);
        said(&mut wire) == "hit"
    });
    // Neither is the whole cache made old by a table that is emptied, nor by one that has a new file.
    until("an answer to outlive TRUNCATE of another table", || {
        hit(&mut wire, read);
        direct.run("TRUNCATE other");
        direct.run("VACUUM FULL t");
        // Longer than rights are looked at.
        std::thread::sleep(std::time::Duration::from_millis(1200));
        wire.rows(read);
        said(&mut wire) == "hit"
    });
    direct.run("TRUNCATE t");
    until("TRUNCATE to be heard of", || wire.rows(read).is_empty());
    // The stream is cut: nothing is answered from the cache until there is another.
    direct.run("INSERT INTO t VALUES (1, 'c')");
    until("it to be heard of", || wire.rows(read) == ["c"]);
    hit(&mut wire, read);
    let mut superuser = database.superuser().wire();
    superuser.run("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name LIKE 'pgshunt_cache%'");
    direct.run("UPDATE t SET v = 'd'");
    until("the write behind the cut", || wire.rows(read) == ["d"]);
    assert_eq!(hit(&mut wire, read), ["d"]);
}

#[test]
fn without_a_stream_nothing_is_answered() {
    let database = database_with_rows();
    let proxy = pgshunt_tests::Config::new(&database).rules(FOLLOWED).start();
    let mut wire = proxy.door(&database).wire();
    until("the cache to step aside", || {
        wire.rows("SELECT v FROM t WHERE id = 1");
        said(&mut wire) == "writes from elsewhere are not heard of in time"
    });
    assert!(proxy.log().contains("the cache steps aside"), "{}", proxy.log());
}

/// Roles and rights: nobody is given what PostgreSQL would not give.
#[test]
fn a_right_taken_away_is_gone_at_once_or_within_two_seconds() {
    let database = database_with_rows();
    let role = database.role("reader");
    let grant = format!("GRANT SELECT ON t TO {role}");
    let revoke = format!("REVOKE SELECT ON t FROM {role}");
    let mut direct = database.door().wire();
    direct.run(&grant);
    let proxy = start(&database);
    let mut owner = proxy.door(&database).wire();
    let door = pgshunt_tests::Door {
        user: role.clone(),
        ..proxy.door(&database)
    };
    let mut reader = door.wire();
    let read = "SELECT v FROM t WHERE id = 1";
    hit(&mut owner, read);
    hit(&mut reader, read);
    owner.run(&revoke);
    assert_eq!(reader.sqlstate(read), "42501");
    assert_eq!(owner.rows(read), ["v1"]);
    owner.run(&grant);
    hit(&mut reader, read);
    direct.run(&revoke);
    let revoked = std::time::Instant::now();
    until("the right to be gone", || reader.query(read)[0].starts_with("E "));
    assert!(revoked.elapsed() < std::time::Duration::from_secs(2));
    // Row security made elsewhere, and by a superuser's ALTER ROLE.
    direct.run(&grant);
    hit(&mut reader, read);
    direct.run("ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    let secured = std::time::Instant::now();
    until("row security to hold", || reader.rows(read).is_empty());
    assert!(secured.elapsed() < std::time::Duration::from_secs(2));
    assert_eq!(owner.rows(read), ["v1"]);
    until("the reason", || {
        owner.rows(read);
        said(&mut owner) == "t: it has row security"
    });
}

#[test]
fn a_cache_is_filled_shown_and_emptied_from_the_command_line() {
    let database = database_with_rows();
    let sql = "SELECT v FROM t WHERE id = 7";
    let rules = format!("{EVERYTHING}statements = [\"{sql}\"]\n");
    let proxy = pgshunt_tests::Config::new(&database).rules(&rules).start();
    let mut wire = proxy.door(&database).wire();
    // Until the tables are known, nothing can be kept.
    hit(&mut wire, "SELECT v FROM t WHERE id = 1");
    let file = proxy.folder().join("pgshunt.toml");
    let cache = |what: &[&str], user: &str| {
        let mut command = pgshunt_tests::proxy::pgshunt();
        command
            .arg("cache")
            .args(what)
            .arg("-c")
            .arg(&file)
            .args(["-U", user]);
        command.env("PGPASSWORD", &proxy.door(&database).password);
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{what:?}: {output:?}");
        said
    };
    let role = database.door().user;
    let told = cache(&["warm", "--tenant", "acme"], &role);
    assert!(told.contains("all for tenant acme: 1 row in "), "{told}");
    let door = proxy.door(&database);
    let mut tenant = Wire::log_in(&door, &[("pgshunt.tenant", "acme")]).expect("logged in");
    assert_eq!(tenant.rows(sql), ["v7"]);
    assert_eq!(said(&mut tenant), "hit");
    let superuser = database.superuser().user;
    assert!(cache(&["stats"], &superuser).contains("all"));
    cache(&["clear"], &superuser);
    tenant.rows(sql);
    assert_eq!(said(&mut tenant), "miss");
}
