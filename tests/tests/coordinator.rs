//! `deploy/postgres/coordinator.sql`: one PostgreSQL answers over the tables of three shards what one with all rows would.

use std::path::Path;
use std::process::Command;

use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::{Database, cluster};

const TABLES: &str = "CREATE TABLE orders (id int, tenant_id bigint NOT NULL, kind int, amount numeric, note text, PRIMARY KEY (tenant_id, id)); \
    CREATE TABLE items (tenant_id bigint NOT NULL, order_id int, qty int); \
    CREATE TABLE kinds (kind int PRIMARY KEY, name text); CREATE TABLE audit_log (n int); CREATE TABLE odd (x int)";

/// A database with all rows, three with a part of them each, and a coordinator.
struct World {
    whole: Database,
    shards: Vec<Database>,
    coordinator: Database,
}

const NAMES: [&str; 3] = ["s0", "s1", "eu west"];

fn fill(database: &Database, only: &str) {
    let mut wire = database.door().wire();
    wire.run(TABLES);
    wire.run("CREATE TABLE placed (k bigint) PARTITION BY HASH (k)");
    wire.run(&format!(
        "INSERT INTO orders SELECT n, n % 17, n % 4, n * 1.25, 'note ' || n % 9 FROM generate_series(1, 400) n \
         CROSS JOIN LATERAL (SELECT (n % 17)::bigint AS k) AS key WHERE {only}"
    ));
    wire.run(&format!(
        "INSERT INTO items SELECT n % 17, n, n % 7 FROM generate_series(1, 300) n \
         CROSS JOIN LATERAL (SELECT (n % 17)::bigint AS k) AS key WHERE {only}"
    ));
    wire.run("INSERT INTO kinds SELECT n, 'kind ' || n FROM generate_series(0, 3) n");
    wire.run("DROP TABLE placed");
}

impl World {
    fn new() -> World {
        let whole = cluster::database();
        fill(&whole, "true");
        let shards: Vec<Database> = NAMES.iter().map(|_| cluster::database()).collect();
        for (number, shard) in shards.iter().enumerate() {
            fill(
                shard,
                &format!("satisfies_hash_partition('placed'::regclass, 3, {number}, k)"),
            );
        }
        shards[1].door().psql("INSERT INTO audit_log VALUES (7)");
        let coordinator = cluster::database();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres/coordinator.sql");
        let door = coordinator.superuser();
        let made = Command::new("psql")
            .args([
                "-X",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
                "-p",
                &door.port.to_string(),
            ])
            .args(["-U", &door.user, "-d", &door.database, "-f"])
            .arg(file)
            .env("PGPASSWORD", &door.password)
            .output()
            .expect("psql");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut wire = door.wire();
        for (shard, name) in shards.iter().zip(NAMES) {
            for _ in 0..2 {
                wire.run(&format!(
                    "SELECT pgshunt.add_shard('{name}', '127.0.0.1', {}, '{}', '{}', '{PASSWORD}', '{}')",
                    shard.cluster.port, shard.name, shard.name, coordinator.name
                ));
            }
        }
        World {
            whole,
            shards,
            coordinator,
        }
    }

    fn unite(&self, is_hashed: bool) -> Vec<String> {
        self.coordinator.superuser().wire().rows(&format!(
            "SELECT * FROM pgshunt.unite('tenant_id', '{{s0,s1,eu west}}', {is_hashed}, reference => '{{kinds}}', \
             home => '{{\"audit_log\": \"s1\"}}')"
        ))
    }

    #[track_caller]
    fn same(&self, text: &str) {
        let expected = self.whole.door().wire().rows(text);
        let got = self.coordinator.door().wire().rows(text);
        assert_eq!(expected, got, "{text}");
    }
}

const STATEMENTS: [&str; 6] = [
    "SELECT count(*), sum(amount), count(DISTINCT note) FROM orders",
    "SELECT o.id, i.qty, k.name FROM orders o JOIN items i ON i.order_id = o.id JOIN kinds k USING (kind) ORDER BY 1, 2 LIMIT 40",
    "SELECT note, string_agg(id::text, ',' ORDER BY id), percentile_disc(0.5) WITHIN GROUP (ORDER BY amount) FROM orders GROUP BY 1 ORDER BY 1",
    "SELECT id, rank() OVER (ORDER BY amount DESC), avg(amount) OVER (PARTITION BY kind) FROM orders ORDER BY 2, 1 LIMIT 30",
    "WITH RECURSIVE r(n) AS (SELECT min(id) FROM orders UNION ALL SELECT n + 50 FROM r WHERE n < 300) SELECT n, (SELECT count(*) FROM items WHERE order_id < n) FROM r ORDER BY 1",
    "SELECT tenant_id, sum(qty) FROM items WHERE tenant_id = 5 GROUP BY 1",
];

#[test]
fn it_answers_what_shards_can_not_answer_together() {
    let world = World::new();
    let made = world.unite(true);
    assert_eq!(
        made,
        [
            "audit_log|on s1",
            "items|by hash of tenant_id",
            "kinds|reference",
            "odd|left out: no key, not on every shard, and neither reference nor home",
            "orders|by hash of tenant_id",
        ]
    );
    STATEMENTS.iter().for_each(|text| world.same(text));
    let mut wire = world.coordinator.door().wire();
    assert_eq!(wire.rows("SELECT n FROM audit_log"), ["7"]);
    let plan = wire.value("EXPLAIN (VERBOSE) SELECT * FROM orders WHERE tenant_id = 5");
    assert_eq!(
        plan.matches("Foreign Scan").count(),
        1,
        "one tenant, one shard:\n{plan}"
    );
    // Nobody writes here.
    for text in [
        "INSERT INTO orders VALUES (1, 1, 1, 1, '')",
        "DELETE FROM orders",
        "SELECT pgshunt.unite('tenant_id', '{s0}', true)",
    ] {
        assert_eq!(wire.sqlstate(text), "42501", "{text}");
    }
    assert_eq!(
        world
            .coordinator
            .superuser()
            .wire()
            .sqlstate("INSERT INTO orders VALUES (1, 1, 1, 1, '')"),
        "55000"
    );
}

#[test]
fn it_follows_the_shards_tables_and_tenants_that_moved() {
    let world = World::new();
    world.unite(true);
    for database in world.shards.iter().chain([&world.whole]) {
        database
            .door()
            .psql("ALTER TABLE orders ADD COLUMN done bool DEFAULT true; DROP TABLE odd");
    }
    world.unite(true);
    world.same("SELECT done, count(*) FROM orders GROUP BY 1");
    // A tenant with an entry of its own: no longer where the hash says.
    let move_rows =
        "WITH gone AS (DELETE FROM orders WHERE tenant_id = 5 RETURNING *) SELECT json_agg(gone) FROM gone";
    let at = world.shards.iter().position(|shard| {
        shard
            .door()
            .psql("SELECT count(*) > 0 FROM orders WHERE tenant_id = 5")
            == "t"
    });
    let at = at.expect("tenant 5 is somewhere");
    let rows = world.shards[at].door().psql(move_rows);
    world.shards[(at + 1) % 3].door().psql(&format!(
        "INSERT INTO orders SELECT * FROM json_populate_recordset(NULL::orders, '{rows}')"
    ));
    world.unite(false);
    STATEMENTS.iter().for_each(|text| world.same(text));
    world.same("SELECT count(*), sum(amount) FROM orders WHERE tenant_id = 5");
}
