//! What shards can't answer together goes to the coordinator, and comes back as one PostgreSQL with all the rows would give it;
//! nothing else does.

use pgshunt_tests::coordinated::Coordinated;
use pgshunt_tests::ways::{Way, frames, messages};
use pgshunt_tests::{Frame, Messages, Proxy, Wire};

/// Statements that need the rows of all shards in one place.
const BEYOND: [&str; 26] = [
    "select id, rank() over (order by amount desc nulls last, id) from orders order by 2, 1 limit 30",
    "select id, tenant_id, sum(amount) over (partition by kind order by id rows between 2 preceding and current row) from orders order by id",
    "select distinct on (kind) kind, id, note from orders order by kind, amount desc nulls last, id",
    "select o.id, i.id, i.qty from orders o join items i on i.order_id = o.id order by 1, 2 limit 40",
    "select o.id, k.name, i.qty from orders o join items i on i.order_id = o.id join kinds k on k.kind = o.kind order by 1, 3 limit 25",
    "select a.id, b.id from orders a join orders b on a.amount = b.amount and a.id < b.id order by 1, 2",
    "select o.id from orders o left join items i on i.order_id = o.id where i.id is null order by 1",
    "select o.id, i.id from orders o full join items i on i.order_id = o.id and i.qty > 300000000000 order by 1 nulls first, 2 nulls first limit 50",
    "select kind, ok, count(*), sum(amount) from orders group by grouping sets ((kind), (ok), ()) order by 1 nulls last, 2 nulls last, 3",
    "select kind, note, count(*) from orders group by rollup (kind, note) order by 1 nulls last, 2 nulls last, 3",
    "select kind, ok, grouping(kind, ok), count(*) from orders group by cube (kind, ok) order by 3, 1 nulls last, 2 nulls last",
    "with recursive r(n) as (select min(id) from orders union all select n + 25 from r where n < 300) \
     select n, (select count(*) from items where order_id < n) from r order by 1",
    "select id, amount from orders o where amount > (select avg(amount) from orders x where x.kind = o.kind) order by id",
    "select id from orders o where not exists (select 1 from items i where i.order_id = o.id and i.tenant_id <> o.tenant_id) order by 1",
    "select kind, array_agg(id order by amount desc nulls last, id) from orders group by kind order by kind",
    "select kind, string_agg(note, ', ' order by note, id) from orders where note is not null group by kind order by 1",
    "select percentile_cont(0.5) within group (order by amount), mode() within group (order by kind) from orders",
    "select kind, percentile_disc(0.9) within group (order by amount) from orders group by kind order by 1",
    "select count(*) from (select id from orders order by amount nulls last, id limit 20) x join items i on i.order_id = x.id",
    "select id, lag(amount) over w, lead(day) over w, ntile(4) over w from orders window w as (order by id) order by id limit 20",
    "select note from orders where kind = 1 intersect select note from orders where kind = 2 order by 1",
    "select order_id from items except select id from orders where ok order by 1 limit 30",
    "select round(corr(amount, small)::numeric, 9), round(regr_slope(amount, id)::numeric, 9) from orders where kind = 3 and amount is not null",
    "select json_agg(o order by o.id) from orders o where id < 9",
    "select d.day, count(o.id) from generate_series(date '2024-01-01', date '2024-01-10', interval '1 day') d(day) \
     left join orders o on o.day = d.day group by d.day order by 1",
    "select tenant_id, sum(c) over (order by tenant_id) from (select tenant_id, count(*) c from items group by tenant_id) x order by 1",
];

/// Rows as bytes, all else in words.
fn heard(wire: &mut Wire, messages: &Messages) -> (Vec<Vec<u8>>, Vec<String>) {
    let frames = frames(wire, messages);
    let (rows, others): (Vec<Frame>, Vec<Frame>) = frames.into_iter().partition(|frame| frame.kind == b'D');
    let rows = rows.into_iter().map(|frame| frame.body);
    (rows.collect(), others.iter().map(ToString::to_string).collect())
}

fn last_route(wire: &mut Wire) -> String {
    wire.value("SHOW pgshunt.last_route")
}

fn door(world: &Coordinated, proxy: &Proxy) -> Wire {
    proxy.door(&world.sharded.first).wire()
}

#[test]
fn what_shards_can_not_answer_the_coordinator_does() {
    let world = Coordinated::by_hand();
    let proxy = world.config().start();
    let (mut direct, mut through) = (world.whole.door().wire(), door(&world, &proxy));
    let mut gone_beyond = 0;
    for text in BEYOND {
        for way in Way::ALL {
            let messages = messages(way, text);
            let (expected, got) = (heard(&mut direct, &messages), heard(&mut through, &messages));
            assert_eq!(expected, got, "{way:?} {text}");
            gone_beyond += usize::from(last_route(&mut through).starts_with("coordinator|all|"));
        }
    }
    assert!(
        gone_beyond >= 3 * (BEYOND.len() - 4),
        "only {gone_beyond} went to the coordinator"
    );
    through.run(BEYOND[0]);
    let port = world.coordinator.cluster.port;
    assert_eq!(
        last_route(&mut through),
        format!(
            "coordinator|all|127.0.0.1:{port}|read|off|a window that is not partitioned by the key needs the rows of all shards in one place"
        )
    );
    through.run("SELECT count(*) FROM orders");
    assert!(last_route(&mut through).starts_with("shards|"));
    through.run("SELECT count(*) FROM orders WHERE tenant_id = 3");
    assert!(last_route(&mut through).starts_with("primary|s"));
}

/// SQLSTATE and message of the error one query ends with, and its detail.
#[track_caller]
fn refused(wire: &mut Wire, sql: &str) -> (String, String, String) {
    wire.send(&Messages::new().query(sql));
    let frames = wire.until_ready();
    let error = frames.iter().find(|frame| frame.kind == b'E');
    let error = error.unwrap_or_else(|| panic!("{sql} succeeded: {frames:?}"));
    (error.sqlstate(), error.field(b'M'), error.field(b'D'))
}

const WINDOW: &str = "select id, rank() over (order by amount, id) from orders order by 1 limit 3";

#[test]
fn nothing_goes_there_that_might_do_more_than_read() {
    let world = Coordinated::by_hand();
    let on_all = |sql: &str| {
        world.sharded.on_all(sql);
        world.coordinator.superuser().psql(sql);
    };
    on_all(
        "CREATE FUNCTION public.anything() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'; \
         CREATE FUNCTION public.known() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'",
    );
    let proxy = world
        .config_with("functions = [\"anything\", \"known\"]\n")
        .start();
    let mut wire = door(&world, &proxy);
    for (text, why) in [
        (
            "select id, rank() over (order by id) from orders where anything() = 1",
            "function anything is volatile or needs the primary",
        ),
        (
            "select id, rank() over (order by id), ctid from orders",
            "system columns, as ctid and tableoid, belong to their server",
        ),
        (
            "select id, rank() over (order by id) from orders, pg_class",
            "pg_class belongs to the server it runs on",
        ),
    ] {
        let (code, message, detail) = refused(&mut wire, text);
        assert_eq!(code, "0A000", "{text}");
        assert!(
            message.starts_with("this statement has no place on the shards: "),
            "{message}"
        );
        assert_eq!(
            detail,
            format!("The coordinator can't answer it either: {why}."),
            "{text}"
        );
    }
    for text in [
        "with x as (select id, rank() over (order by id) r from orders) delete from orders o using x where x.id = o.id and x.r = 1",
        "select id, rank() over (order by id) from orders for update",
        "insert into orders (id, tenant_id) select i.id, o.tenant_id from items i join orders o on o.id = i.order_id",
        "update orders set amount = (select max(amount) from orders)",
        "select id, rank() over (order by id) into temp x from orders",
    ] {
        let (code, ..) = refused(&mut wire, text);
        assert_eq!(code, "0A000", "{text}");
    }
    wire.run("select id, rank() over (order by id) from orders where known() = 1");
    assert!(last_route(&mut wire).starts_with("coordinator|"));
    assert_eq!(
        world.coordinator.superuser().psql("SELECT count(*) FROM orders"),
        "300"
    );
}

#[test]
fn a_tenants_guard_stands_before_it() {
    let world = Coordinated::by_hand();
    let proxy = world.config_with("guard = \"enforce\"\n").start();
    let mut wire = door(&world, &proxy);
    wire.run(WINDOW);
    assert!(last_route(&mut wire).starts_with("coordinator|"));
    wire.run("SET pgshunt.tenant = '3'");
    let (code, message, _) = refused(&mut wire, WINDOW);
    assert_eq!(code, "42501", "{message}");
    let own = "select id, rank() over (order by amount, id) from orders where tenant_id = 3 order by 1";
    wire.run(own);
    assert!(
        last_route(&mut wire).starts_with("primary|"),
        "{}",
        last_route(&mut wire)
    );
    wire.run("SET pgshunt.tenant = ''");
    wire.run(WINDOW);
    let (code, ..) = refused(
        &mut wire,
        "select id, rank() over (order by id) from orders where tenant_id = null",
    );
    assert_eq!(code, "23502");
}

#[test]
fn a_transaction_is_there_or_on_shards() {
    let world = Coordinated::by_hand();
    let proxy = world.config().start();
    let mut wire = door(&world, &proxy);
    let expected = world.whole.door().wire().rows(WINDOW);
    // First there, then what any one shard could answer as well.
    wire.run("BEGIN");
    assert_eq!(wire.rows(WINDOW), expected);
    wire.run("SAVEPOINT a");
    assert_eq!(
        wire.value("SELECT count(*) FROM orders WHERE tenant_id = 3"),
        "28"
    );
    wire.run("SET LOCAL TimeZone = 'Asia/Tokyo'");
    let (code, _, detail) = refused(&mut wire, "DELETE FROM orders WHERE tenant_id = 3");
    assert_eq!(code, "0A000");
    assert_eq!(
        detail,
        "The coordinator only reads: DELETE is not proven to only read."
    );
    assert_eq!(wire.sqlstate("SELECT 1"), "25P02");
    wire.run("ROLLBACK TO a");
    assert_eq!(wire.rows(WINDOW), expected);
    wire.run("COMMIT");
    // What has only read there may go on to write on a shard.
    wire.run("BEGIN");
    assert_eq!(wire.rows(WINDOW), expected);
    wire.run("UPDATE orders SET note = 'new' WHERE tenant_id = 3 AND id = 2");
    let (code, _, detail) = refused(&mut wire, WINDOW);
    assert_eq!(code, "0A000");
    assert_eq!(
        detail,
        "The coordinator could answer it, but its transaction is on the shards already."
    );
    wire.run("ROLLBACK");
    // On several shards already.
    wire.run("BEGIN");
    wire.run("SELECT count(*) FROM orders");
    assert_eq!(wire.sqlstate(WINDOW), "0A000");
    wire.run("ROLLBACK");
    for begin in [
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
    ] {
        wire.run(begin);
        let (code, _, detail) = refused(&mut wire, WINDOW);
        assert_eq!(code, "0A000");
        assert!(detail.contains("each shard has snapshots of its own"), "{detail}");
        wire.run("ROLLBACK");
    }
    wire.run("BEGIN READ ONLY");
    assert_eq!(wire.rows(WINDOW), expected);
    wire.run("COMMIT");
    // What is committed on the shards is seen there at once.
    for turn in 0..20 {
        wire.run(&format!(
            "UPDATE orders SET note = 'turn {turn}' WHERE tenant_id = 3 AND id = 2"
        ));
        let seen = "select note, count(*) over () from orders o where id = 2 and exists (select 1 from items where order_id > o.id)";
        assert_eq!(wire.value(seen), format!("turn {turn}|1"));
        assert!(last_route(&mut wire).starts_with("coordinator|"));
    }
}

#[test]
fn settings_cursors_and_prepared_statements_are_the_sessions_there_too() {
    let world = Coordinated::by_hand();
    let proxy = world.config().start();
    let mut wire = door(&world, &proxy);
    wire.run("SET TimeZone = 'Asia/Tokyo'");
    wire.run("SET DateStyle = 'German'");
    let day = "select day, day::timestamptz, rank() over (order by day, id) from orders order by 3 limit 1";
    assert_eq!(wire.value(day), "01.01.2024|01.01.2024 00:00:00 JST|1");
    assert!(last_route(&mut wire).starts_with("coordinator|"));
    wire.send(
        &Messages::new()
            .parse(
                "w",
                "select id, rank() over (order by id) r from orders where kind = $1 order by id limit $2",
            )
            .sync(),
    );
    wire.until_ready();
    for _ in 0..2 {
        wire.run("SELECT count(*) FROM orders");
        let rows = wire.exchange(&Messages::new().bind("", "w", &["2", "2"]).execute("", 0).sync());
        assert_eq!(rows, ["2", "D 2|1", "D 12|2", "C SELECT 2", "Z I"]);
    }
    wire.run("COPY (select id, rank() over (order by id desc) from orders order by 2 limit 2) TO STDOUT");
    assert!(last_route(&mut wire).starts_with("coordinator|"));
}

#[test]
fn it_says_where_a_statement_went_or_would_go() {
    let world = Coordinated::by_hand();
    let proxy = world.config().start();
    let mut wire = door(&world, &proxy);
    wire.run(WINDOW);
    let told = wire.value(&format!("EXPLAIN (ROUTE) {WINDOW}"));
    let reason = "a window that is not partitioned by the key needs the rows of all shards in one place";
    assert!(told.starts_with("coordinator|all|"), "{told}");
    assert!(told.ends_with(reason), "{told}");
    let told = wire.value("EXPLAIN (ROUTE) SELECT rank() OVER (ORDER BY id), ctid FROM orders");
    assert!(told.starts_with("pgshunt|"), "{told}");
    wire.run("SET pgshunt.trace = 'notice'");
    wire.send(&Messages::new().query(WINDOW));
    let frames = wire.until_ready();
    let notice = frames.iter().find(|frame| frame.kind == b'N').expect("a notice");
    assert!(
        notice
            .field(b'M')
            .starts_with("pgshunt: target=coordinator shard=all server="),
        "{notice}"
    );
    let offline = |sql: &str| {
        let config = proxy.folder().join("pgshunt.toml");
        let output = pgshunt_tests::proxy::pgshunt()
            .arg("route")
            .arg("-c")
            .arg(config)
            .arg(sql)
            .output();
        String::from_utf8_lossy(&output.expect("pgshunt").stdout).into_owned()
    };
    let told = offline(WINDOW);
    assert!(told.starts_with("target   coordinator\nshard    all\n"), "{told}");
    let told = offline(&format!("{WINDOW} FOR UPDATE"));
    assert!(told.starts_with("target   pgshunt\n"), "{told}");
    let mut console = proxy.console().wire();
    let rows = console.rows("SHOW ROUTES");
    let own = rows
        .iter()
        .find(|row| row.contains("|coordinator|"))
        .expect("a row");
    assert!(own.contains("|coordinator|2|"), "{own}");
    let rows = console.rows("SHOW REASONS");
    assert!(
        rows.iter()
            .any(|row| row.ends_with("|shards can't answer it together|2")),
        "{rows:?}"
    );
    let servers = console.rows("SHOW SERVERS");
    assert!(
        servers
            .iter()
            .any(|row| row.contains(&world.coordinator.cluster.port.to_string()))
    );
}

#[test]
fn a_coordinator_that_differs_from_the_shards_is_not_asked() {
    let world = Coordinated::by_hand();
    let proxy = world.config().start();
    let mut wire = door(&world, &proxy);
    wire.run(WINDOW);
    wire.run("ALTER TABLE orders ADD COLUMN done bool DEFAULT true");
    let text = "select done, rank() over (order by id) from orders order by 2 limit 1";
    let (code, _, detail) = refused(&mut wire, text);
    assert_eq!(code, "0A000");
    assert_eq!(
        detail,
        "The coordinator can't answer it either: table orders has other columns there than on the shards."
    );
    wire.run("BEGIN");
    wire.run("CREATE TABLE more (tenant_id bigint, x int)");
    wire.run("COMMIT");
    let (_, _, detail) = refused(&mut wire, "select x, rank() over (order by x) from more");
    assert_eq!(
        detail,
        "The coordinator can't answer it either: table more is not there."
    );
    world.unite();
    // Done past pgshunt, it is seen with the next look.
    pgshunt_tests::until("the coordinator to be looked at", || {
        wire.send(&Messages::new().query(text));
        wire.until_ready().iter().any(|frame| frame.kind == b'D')
    });
    wire.run("ALTER TABLE orders ENABLE ROW LEVEL SECURITY");
    let (_, _, detail) = refused(&mut wire, WINDOW);
    assert!(detail.contains("has row security"), "{detail}");
}

#[test]
fn one_that_is_down_takes_nothing_else_with_it() {
    let world = Coordinated::by_hand();
    let dead = pgshunt::cli::demo::cluster::free_port();
    let proxy = world.config_at(dead, "").start();
    let mut wire = door(&world, &proxy);
    let (code, message, detail) = refused(&mut wire, WINDOW);
    assert_eq!(code, "0A000", "{message}");
    assert_eq!(
        detail,
        "The coordinator can't answer it either: its tables could not be looked up."
    );
    wire.run("SELECT count(*) FROM orders");
    wire.run("UPDATE orders SET note = 'x' WHERE tenant_id = 3");
    drop(proxy);
    // It goes away later.
    let proxy = world.config().start();
    let mut wire = door(&world, &proxy);
    wire.run(WINDOW);
    let superuser = world.coordinator.cluster.superuser();
    superuser.psql(&format!(
        "ALTER DATABASE {} ALLOW_CONNECTIONS false",
        world.coordinator.name
    ));
    superuser.psql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
        world.coordinator.name
    ));
    pgshunt_tests::until("the coordinator's servers to be gone", || {
        world.coordinator.servers() == 0
    });
    let (code, message, detail) = refused(&mut wire, WINDOW);
    assert!(
        code == "55000" && message.starts_with("coordinator all: ")
            || detail.contains("could not be looked up"),
        "{code} {message} {detail}"
    );
    wire.run("SELECT count(*) FROM orders");
    superuser.psql(&format!(
        "ALTER DATABASE {} ALLOW_CONNECTIONS true",
        world.coordinator.name
    ));
    pgshunt_tests::until("the coordinator to be back", || {
        wire.send(&Messages::new().query(WINDOW));
        wire.until_ready().iter().any(|frame| frame.kind == b'D')
    });
}

#[test]
fn who_may_not_read_a_table_may_not_read_it_there() {
    let world = Coordinated::by_hand();
    let stranger = world.sharded.first.role("stranger");
    world
        .coordinator
        .superuser()
        .psql(&format!("GRANT SELECT ON items TO {stranger}"));
    let proxy = world.config().start();
    let mut wire = proxy.door(&world.sharded.first).as_user(&stranger).wire();
    let (code, message, _) = refused(&mut wire, WINDOW);
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("42501", "permission denied for table orders")
    );
}
