//! Per-tenant invalidation: a write of one tenant makes that tenant's answers old, and nobody is given what was before a write.

use std::time::Duration;

use pgshunt_tests::cached::{LOGICAL, hit, said};
use pgshunt_tests::shard::Shard;
use pgshunt_tests::{Config, Database, Messages, Wire, cluster, until};

/// Everything is kept for a minute; rows are tenants' by `tenant_id`, those of `tenants` by `id`.
const RULES: &str = "[cache]\ntenant_column = \"tenant_id\"\ntenant_columns = [\"tenants.id\"]\n\
    [[cache.class]]\nname = \"all\"\ntables = [\"*\"]\nttl = \"1min\"\n";

/// The same, and nobody listens to the primary's stream.
fn unfollowed() -> String {
    RULES.replace("[cache]\n", "[cache]\nelsewhere = \"ttl\"\n")
}

fn fill(database: &Database) {
    let mut direct = database.door().wire();
    for sql in [
        "CREATE TABLE tenants (id int PRIMARY KEY, name text)",
        "CREATE TABLE sale (tenant_id int, id int, amount int, PRIMARY KEY (tenant_id, id))",
        "CREATE TABLE part (tenant_id int, id int, amount int) PARTITION BY HASH (tenant_id)",
        "CREATE TABLE part_0 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "CREATE TABLE line (tenant_id int, sale int, n int, PRIMARY KEY (tenant_id, sale, n), \
            FOREIGN KEY (tenant_id, sale) REFERENCES sale ON DELETE CASCADE ON UPDATE CASCADE)",
        "CREATE TABLE plain (id int, n int)",
        "CREATE FUNCTION stamps() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.amount := NEW.amount + 1; RETURN NEW; END'",
        "CREATE TABLE stamped (tenant_id int, id int, amount int)",
        "CREATE TRIGGER stamps BEFORE INSERT OR UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION stamps()",
        "CREATE FUNCTION moves() RETURNS trigger LANGUAGE plpgsql AS \
            'BEGIN NEW.tenant_id := NEW.tenant_id % 3; RETURN NEW; END'",
        "CREATE TABLE moved (tenant_id int, id int, amount int)",
        "CREATE TRIGGER moves BEFORE INSERT OR UPDATE ON moved FOR EACH ROW EXECUTE FUNCTION moves()",
        "CREATE VIEW totals AS SELECT tenant_id, sum(amount) AS sum FROM sale GROUP BY 1",
        "INSERT INTO tenants SELECT n, 'tenant ' || n FROM generate_series(0, 5) AS n",
        "INSERT INTO plain SELECT n, n FROM generate_series(0, 5) AS n",
    ] {
        direct.run(sql);
    }
    for table in ["sale", "part", "stamped", "moved"] {
        direct.run(&format!(
            "INSERT INTO {table} SELECT t, n, n FROM generate_series(0, 5) AS t, generate_series(1, 5) AS n"
        ));
    }
}

/// What one tenant asks.
fn sums(tenant: u32) -> String {
    format!("SELECT count(*), sum(amount) FROM sale WHERE tenant_id = {tenant}")
}

#[test]
fn a_write_of_one_tenant_leaves_the_next_ones_answers() {
    // A server of its own: roles that come and go elsewhere on it make all answers old.
    let node = cluster::private(&Default::default());
    let database = cluster::Cluster::of(&node).database();
    fill(&database);
    let proxy = Config::new(&database).rules(&unfollowed()).start();
    let (mut reader, mut writer) = (proxy.door(&database).wire(), proxy.door(&database).wire());
    let is_left = |reader: &mut Wire, write: &str| {
        reader.rows(&sums(2));
        assert_eq!(said(reader), "hit", "{write}");
    };
    for write in [
        "UPDATE sale SET amount = amount + 1 WHERE tenant_id = 1",
        "INSERT INTO sale VALUES (1, 100, 7)",
        "INSERT INTO sale VALUES (1, 100, 8) ON CONFLICT (tenant_id, id) DO UPDATE SET amount = 8",
        "DELETE FROM sale WHERE tenant_id = 1 AND id = 100",
        "BEGIN; UPDATE sale SET amount = 0 WHERE id = 2 AND tenant_id = 1; COMMIT",
    ] {
        hit(&mut reader, &sums(2));
        let before = hit(&mut reader, &sums(1));
        writer.run(write);
        assert_ne!(reader.rows(&sums(1)), before, "{write}");
        is_left(&mut reader, write);
    }
    // The key is a parameter, whether the statement has a name or not.
    let write = "UPDATE sale SET amount = amount + 1 WHERE tenant_id = $1 AND id = 1";
    writer.exchange(&Messages::new().parse("s", write).sync());
    for round in 0..4 {
        hit(&mut reader, &sums(2));
        let before = hit(&mut reader, &sums(1));
        match round % 2 {
            0 => drop(writer.extended(write, &["1"])),
            _ => drop(writer.exchange(&Messages::new().bind("", "s", &["1"]).execute("", 0).sync())),
        }
        assert_ne!(reader.rows(&sums(1)), before);
        is_left(&mut reader, write);
    }
    // So is the reader's.
    let read = "SELECT sum(amount) FROM sale WHERE tenant_id = $1";
    let mut tell = |tenant: &str| (reader.extended(read, &[tenant]), said(&mut reader));
    until("both to be kept", || tell("1").1 == "hit" && tell("2").1 == "hit");
    let before = tell("1").0;
    writer.run("UPDATE sale SET amount = amount + 1 WHERE tenant_id = 1");
    assert_eq!(tell("2").1, "hit");
    assert_ne!(tell("1").0, before);
    // Whoever reads all tenants reads this one.
    let all = "SELECT sum(amount) FROM sale";
    let before = hit(&mut reader, all);
    writer.run("UPDATE sale SET amount = amount + 1 WHERE tenant_id = 1");
    assert_ne!(reader.rows(all), before);
}

#[test]
fn a_tenants_write_from_elsewhere_is_the_tenants_too() {
    let shard = Shard::made(LOGICAL, &[]);
    let database = &shard.database;
    fill(database);
    let mut direct = database.door().wire();
    let proxy = shard.config().rules(RULES).start();
    let mut reader = proxy.door(database).wire();
    for write in [
        "INSERT INTO sale VALUES (1, 100, 7)",
        "UPDATE sale SET amount = amount + 1 WHERE tenant_id = 1",
        "DELETE FROM sale WHERE tenant_id = 1 AND id = 100",
    ] {
        // Once what was heard of before has settled.
        until("the next one's answer to be left", || {
            hit(&mut reader, &sums(2));
            let before = hit(&mut reader, &sums(1));
            direct.run(write);
            direct.run("INSERT INTO sale VALUES (1, 100, 7) ON CONFLICT DO NOTHING");
            until("the write to be heard of", || {
                reader.rows(&sums(1)) != before || write.starts_with("INSERT")
            });
            std::thread::sleep(Duration::from_millis(300));
            reader.rows(&sums(2));
            said(&mut reader) == "hit"
        });
    }
    // A row that changes hands is both ones'.
    let before = [1, 2].map(|tenant| hit(&mut reader, &sums(tenant)));
    direct.run("UPDATE sale SET tenant_id = 2, id = 500 WHERE tenant_id = 1 AND id = 1");
    until("both to hear of it", || {
        [1, 2].map(|tenant| reader.rows(&sums(tenant))) != before
            && reader.rows(&sums(1)) == direct.rows(&sums(1))
            && reader.rows(&sums(2)) == direct.rows(&sums(2))
    });
}

/// What is asked and written, with `{t}` and `{u}` two tenants and `{n}` a small number.
const READS: &[&str] = &[
    "SELECT count(*), sum(amount) FROM sale WHERE tenant_id = {t}",
    "SELECT count(*), sum(amount) FROM sale WHERE tenant_id IN ({t}, {u})",
    "SELECT sum(amount) FROM sale",
    "SELECT count(*), sum(amount) FROM part WHERE tenant_id = {t}",
    "SELECT count(*), sum(amount) FROM part_0 WHERE tenant_id = {t}",
    "SELECT count(*), sum(amount) FROM stamped WHERE tenant_id = {t}",
    "SELECT count(*), sum(amount) FROM moved WHERE tenant_id = {t}",
    "SELECT name FROM tenants WHERE id = {t}",
    "SELECT name, sum(amount) FROM tenants LEFT JOIN sale ON tenant_id = tenants.id WHERE tenants.id = {t} GROUP BY 1",
    "SELECT count(*), sum(l.n) FROM sale s JOIN line l ON l.tenant_id = s.tenant_id AND l.sale = s.id WHERE s.tenant_id = {t}",
    "SELECT sum(amount), (SELECT sum(n) FROM plain) FROM sale WHERE tenant_id = {t}",
    "SELECT count(*) FROM line WHERE tenant_id = {t}",
    "SELECT sum FROM totals WHERE tenant_id = {t}",
    "SELECT tenant_id, sum(amount) FROM sale WHERE tenant_id = {t} OR tenant_id = {u} AND id = {n} GROUP BY 1 ORDER BY 1",
    "SELECT count(*) FROM sale s WHERE tenant_id = {t} AND EXISTS (SELECT FROM part WHERE part.tenant_id = s.tenant_id AND id = {n})",
    "SELECT count(*) FROM sale s WHERE tenant_id = {t} AND EXISTS (SELECT FROM part WHERE tenant_id = {u} AND id = s.id)",
];

const WRITES: &[&str] = &[
    "UPDATE sale SET amount = amount + {n} WHERE tenant_id = {t}",
    "UPDATE sale SET amount = amount + 1 WHERE id = {n}",
    "UPDATE sale SET tenant_id = {u}, id = id + 10 WHERE tenant_id = {t} AND id = {n} \
        AND NOT EXISTS (SELECT FROM sale o WHERE o.tenant_id = {u} AND o.id = {n} + 10)",
    "INSERT INTO sale VALUES ({t}, {n}, 1) ON CONFLICT (tenant_id, id) DO UPDATE SET amount = sale.amount + 1",
    "INSERT INTO sale VALUES ({t}, {n}, 1), ({u}, {n} + 10, 1) ON CONFLICT DO NOTHING",
    "DELETE FROM sale WHERE tenant_id = {t} AND id = {n} + 10",
    "INSERT INTO line SELECT tenant_id, id, {n} FROM sale WHERE tenant_id = {t} AND id = {n} ON CONFLICT DO NOTHING",
    "DELETE FROM line WHERE tenant_id = {t} AND n = {n}",
    "INSERT INTO part VALUES ({t}, {n}, {n})",
    "UPDATE part SET tenant_id = {u} WHERE tenant_id = {t} AND id = {n}",
    "DELETE FROM part_0 WHERE tenant_id = {t} AND id = {n}",
    "INSERT INTO part_1 SELECT * FROM part_1 WHERE tenant_id = {t} AND id = {n} LIMIT 1",
    "INSERT INTO stamped VALUES ({t}, {n}, {n})",
    "UPDATE stamped SET amount = {n} WHERE tenant_id = {t}",
    "INSERT INTO moved VALUES ({t}, {n}, {n})",
    "UPDATE moved SET amount = {n} WHERE tenant_id = {t}",
    "UPDATE tenants SET name = name || '.' WHERE id = {t}",
    "UPDATE plain SET n = n + 1 WHERE id = {t}",
    "WITH d AS (DELETE FROM sale WHERE tenant_id = {t} AND id = {n} + 10 RETURNING *) INSERT INTO part SELECT * FROM d",
    "MERGE INTO sale USING part p ON sale.tenant_id = p.tenant_id AND sale.id = p.id AND p.tenant_id = {t} AND p.amount = {n} \
        WHEN MATCHED THEN UPDATE SET amount = sale.amount + 1",
    "BEGIN; UPDATE sale SET amount = 0 WHERE tenant_id = {t}; UPDATE part SET amount = 1 WHERE tenant_id = {u}; COMMIT",
    "DELETE FROM moved WHERE id = {n}",
];

/// Reads and writes by chance, each read compared with PostgreSQL's own answer.
#[test]
fn nobody_is_given_what_was_before_a_write() {
    let node = cluster::private(&Default::default());
    let database = cluster::Cluster::of(&node).database();
    fill(&database);
    let proxy = Config::new(&database).rules(&unfollowed()).start();
    let mut wires = [proxy.door(&database).wire(), proxy.door(&database).wire()];
    let mut direct = database.door().wire();
    hit(&mut wires[0], &sums(1));
    let mut state = std::env::var("PGSHUNT_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("PGSHUNT_SEED={state}");
    let mut pick = |below: usize| {
        state = u64::wrapping_mul(state, 6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..3000 {
        let is_write = pick(4) == 0;
        let list = if is_write { WRITES } else { READS };
        let template = list[pick(list.len())];
        let values = [pick(4), pick(4), pick(5) + 1].map(|value| value.to_string());
        let (mut sql, mut bound) = (template.to_owned(), Vec::new());
        let by_parameters = pick(2) == 0 && !template.starts_with("BEGIN");
        for (place, value) in ["{t}", "{u}", "{n}"].into_iter().zip(&values) {
            if by_parameters && template.contains(place) {
                bound.push(&**value);
                sql = sql.replace(place, &format!("${}", bound.len()));
            } else {
                sql = sql.replace(place, value);
            }
        }
        let ask = |wire: &mut Wire| match by_parameters {
            true => wire.extended(&sql, &bound),
            false => wire.query(&sql),
        };
        let told = ask(&mut wires[pick(2)]);
        // What a constraint forbids is no matter.
        if !is_write {
            assert_eq!(told, ask(&mut direct), "round {round}: {sql} {bound:?}");
        }
    }
    let shown = proxy.console().wire().rows("SHOW CACHE");
    let row = shown.iter().find(|row| row.split('|').nth(1) == Some("all"));
    let hits: Option<u64> = row.and_then(|row| row.split('|').nth(3)?.parse().ok());
    assert!(hits > Some(200), "{shown:#?}");
}
