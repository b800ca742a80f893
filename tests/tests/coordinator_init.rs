//! `pgshunt coordinator init` gives a coordinator the shards' tables, and pgshunt keeps them as they are there.

use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::coordinated::Coordinated;
use pgshunt_tests::proxy::pgshunt;
use pgshunt_tests::{Messages, Proxy, Wire, until};

/// More tables than those of [`pgshunt_tests::parity`]: with types of their own, in a schema of their own.
const MORE: &str = "CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('sad', 'it''s ok'); \
    CREATE DOMAIN app.price AS numeric(10, 2); CREATE TYPE app.\"Pair\" AS (a int, b text); \
    CREATE TABLE app.visits (tenant_id bigint NOT NULL, id int, mood app.mood, price app.price, pair app.\"Pair\", \
        \"Odd name\" varchar(20) COLLATE \"C\", tags text[]); \
    CREATE TABLE secrets (tenant_id bigint, x int); ALTER TABLE secrets ENABLE ROW LEVEL SECURITY; \
    CREATE TABLE keyless (x int);";

const VISITS: &str = "INSERT INTO app.visits VALUES (1, 1, 'sad', 1.25, '(1,x)', 'b', '{a,b}'), (2, 2, 'it''s ok', 2.5, NULL, 'B', NULL), \
    (3, 3, 'sad', NULL, '(2,\"y z\")', 'a', '{}'), (4, 4, NULL, 4, NULL, NULL, '{c}')";

/// Runs a command of pgshunt's with the configuration of a running one: did it end well, and what it said.
fn command(proxy: &Proxy, words: &[&str]) -> (bool, String) {
    let output = pgshunt()
        .args(words)
        .arg("-c")
        .arg(proxy.folder().join("pgshunt.toml"))
        .env("PGSHUNT_CONTROL_PASSWORD", PASSWORD)
        .output()
        .expect("pgshunt");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.concat())
}

#[track_caller]
fn init(proxy: &Proxy) -> Vec<String> {
    let (is_well, said) = command(proxy, &["coordinator", "init"]);
    assert!(is_well, "{said}\n{}", proxy.log());
    let lines = said.lines().map(|line| line.replace("coordinator all: ", ""));
    lines.filter(|line| !line.starts_with("role ")).collect()
}

/// The same rows from both, and the coordinator gave them.
#[track_caller]
fn same(direct: &mut Wire, through: &mut Wire, text: &str) {
    assert_eq!(direct.rows(text), through.rows(text), "{text}");
    let route = through.value("SHOW pgshunt.last_route");
    assert!(route.starts_with("coordinator|all|"), "{text}: {route}");
}

#[test]
fn init_makes_the_tables_and_pgshunt_keeps_them() {
    let world = Coordinated::bare();
    world.whole.door().psql(MORE);
    world.sharded.on_all(MORE);
    let stranger = world.sharded.first.role("stranger");
    let proxy = world.config().start();
    let (mut direct, mut through) = (world.whole.door().wire(), proxy.door(&world.sharded.first).wire());
    let window = "select id, rank() over (order by amount nulls last, id) from orders order by 2 limit 20";
    assert_eq!(through.sqlstate(window), "0A000");
    let made = init(&proxy);
    for line in [
        "shard s0: foreign server",
        "shard s3: foreign server",
        "type app.mood",
        "type app.price",
        "app.visits: from all shards, by hash of tenant_id",
        "public.orders: from all shards, by hash of tenant_id",
        "public.kinds: from s0",
        "left out public.secrets: it has row security",
        "4 tables as on the shards",
    ] {
        assert!(made.iter().any(|made| made == line), "{line}\n{made:#?}");
    }
    assert!(!made.iter().any(|made| made.contains("keyless")), "{made:#?}");
    direct.run(VISITS);
    through.run(VISITS);
    // What it could not do before the tables were there, it can after the next look.
    until("the coordinator to be looked at", || {
        through.send(&Messages::new().query(window));
        through.until_ready().iter().any(|frame| frame.kind == b'D')
    });
    same(&mut direct, &mut through, window);
    let visits = "select *, rank() over (order by mood, price, \"Odd name\", id) from app.visits order by id";
    same(&mut direct, &mut through, visits);
    let again = init(&proxy);
    let quiet = [
        "left out public.secrets: it has row security",
        "nothing has changed",
        "public.secrets has row security, which would not be the client's there",
        "4 tables as on the shards",
    ];
    assert_eq!(again, quiet);
    // The shards' tables change, and the next statement sees it.
    for wire in [&mut direct, &mut through] {
        wire.run("ALTER TABLE orders ADD COLUMN done bool DEFAULT true");
        wire.run("BEGIN");
        wire.run("ALTER TABLE app.visits ALTER COLUMN price TYPE numeric(12, 3), DROP COLUMN tags");
        wire.run("CREATE TABLE more (tenant_id bigint, x int)");
        wire.run("COMMIT");
        wire.run("INSERT INTO more VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)");
    }
    same(
        &mut direct,
        &mut through,
        "select done, count(*) over (partition by done) from orders order by 2 limit 3",
    );
    same(&mut direct, &mut through, visits);
    same(
        &mut direct,
        &mut through,
        "select x, sum(x) over (order by x desc) from more order by x",
    );
    for wire in [&mut direct, &mut through] {
        wire.run("DROP TABLE more");
        wire.run("CREATE TABLE more (tenant_id bigint, y text)");
        wire.run("INSERT INTO more VALUES (1, 'a'), (2, 'b')");
    }
    same(
        &mut direct,
        &mut through,
        "select y, lag(y) over (order by y) from more order by y",
    );
    // So do rights.
    let mut other = proxy.door(&world.sharded.first).as_user(&stranger).wire();
    assert_eq!(other.sqlstate(window), "42501");
    through.run(&format!("GRANT SELECT ON orders TO {stranger}"));
    assert_eq!(other.rows(window), direct.rows(window));
    through.run(&format!("REVOKE SELECT ON orders FROM {stranger}"));
    assert_eq!(other.sqlstate(window), "42501");
    through.run(&format!("GRANT SELECT (id, amount) ON orders TO {stranger}"));
    assert_eq!(other.rows(window), direct.rows(window));
    assert_eq!(
        other.sqlstate("select note, rank() over (order by id) from orders"),
        "42501"
    );
    // A password stays with its owner.
    let seen = world
        .coordinator
        .door()
        .as_user(&stranger)
        .psql("SELECT umoptions FROM pg_user_mappings");
    assert!(!seen.contains(PASSWORD), "{seen}");
    let (_, said) = command(&proxy, &["check"]);
    assert!(
        said.contains("coordinator all: 5 tables as on the shards"),
        "{said}"
    );
}

#[test]
fn what_somebody_else_has_made_stays() {
    let world = Coordinated::bare();
    let superuser = world.coordinator.superuser();
    superuser.psql(
        "CREATE TABLE orders (x int); INSERT INTO orders VALUES (7); CREATE VIEW own AS SELECT 1 AS one",
    );
    let proxy = world.config().start();
    let (is_well, said) = command(&proxy, &["coordinator", "init"]);
    assert!(!is_well, "{said}");
    assert!(
        said.contains("left out public.orders: there is another one of that name"),
        "{said}"
    );
    assert_eq!(superuser.psql("SELECT x FROM orders"), "7");
    superuser.psql("DROP TABLE orders");
    init(&proxy);
    superuser.psql("CREATE VIEW mine AS SELECT count(*) AS c FROM orders");
    assert_eq!(superuser.psql("SELECT c FROM mine"), "300");
    // A table that a view stands on can't be made anew: it is not read any more, the view stays, all others go on.
    let mut wire = proxy.door(&world.sharded.first).wire();
    wire.run("ALTER TABLE orders ADD COLUMN more int");
    let items = "select id, rank() over (order by qty, id) from items order by 2 limit 1";
    until("the coordinator to be looked at", || {
        wire.send(&Messages::new().query(items));
        wire.until_ready().iter().any(|frame| frame.kind == b'D')
    });
    assert_eq!(
        wire.sqlstate("select id, rank() over (order by id) from orders"),
        "0A000"
    );
    assert_eq!(superuser.psql("SELECT c FROM mine"), "300");
    assert_eq!(superuser.psql("SELECT one FROM own"), "1");
}

#[test]
fn what_can_not_be_done_is_said() {
    let world = Coordinated::bare();
    let proxy = world.config().start();
    let config = proxy.folder().join("pgshunt.toml");
    let text = std::fs::read_to_string(&config).expect("a file");
    let with = |more: &str| {
        let text = text.replace(
            "[[database.coordinator]]\n",
            &format!("[[database.coordinator]]\n{more}\n"),
        );
        std::fs::write(proxy.folder().join("other.toml"), text).expect("a file");
        let output = pgshunt()
            .args(["coordinator", "init", "-c"])
            .arg(proxy.folder().join("other.toml"))
            .env("PGSHUNT_CONTROL_PASSWORD", PASSWORD)
            .output()
            .expect("pgshunt");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = with("kind = \"citus\"");
    assert_eq!(
        said,
        "coordinator all is a Citus coordinator, which makes its tables itself\n"
    );
    let stranger = world.sharded.first.role("reader");
    let said = with(&format!("reader = \"postgres://{stranger}:x@/\""));
    assert!(
        said.contains(&format!("role {stranger} may not read all tables of shard s0")),
        "{said}"
    );
    assert!(
        said.contains(&format!("GRANT pg_read_all_data TO {stranger}")),
        "{said}"
    );
    let said = with("reader = \"postgres://nobody_at_all@/\"");
    assert!(
        said.contains("role nobody_at_all may not log in to shard s0"),
        "{said}"
    );
    // Texts that sort otherwise would be merged in the wrong order.
    let superuser = world.coordinator.superuser();
    let other = format!("{}_c", world.coordinator.name);
    superuser.psql(&format!(
        "CREATE DATABASE {other} LOCALE 'POSIX' TEMPLATE template0"
    ));
    let text = text.replace(
        &format!("dbname = \"{}\"", world.coordinator.name),
        &format!("dbname = \"{other}\""),
    );
    std::fs::write(&config, text).expect("a file");
    let (is_well, said) = command(&proxy, &["coordinator", "init"]);
    superuser.psql(&format!("DROP DATABASE {other} WITH (FORCE)"));
    assert!(
        !is_well && said.contains("it sorts text otherwise than the shards"),
        "{said}"
    );
}
