//! pgshunt killed with SIGKILL while it commits on three shards, or one of their servers: what a client was told holds, every shard
//! has the transaction or none, and nothing stays prepared.

use std::process::Command;
use std::time::Duration;

use pgshunt::cli::demo::cluster::Stop;
use pgshunt_tests::differential::Chance;
use pgshunt_tests::span::{NAMES, World};
use pgshunt_tests::{Config, Messages, Proxy, until};

const RULES: &str = "[sharding]\ncolumn = \"k\"\ntype = \"bigint\"\nfunction = \"list\"\nothers = \"s0\"\n\
    [sharding.list]\ns1 = [\"1\"]\neu_west = [\"2\"]\n";

/// A row that is slow makes its shard wait where it prepares, or where it commits with the decision.
const TABLE: &str = "CREATE TABLE w (k bigint, n int, slow bool, PRIMARY KEY (k, n)); GRANT ALL ON w TO app; \
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); RETURN NULL; END'; \
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON w DEFERRABLE INITIALLY DEFERRED \
    FOR EACH ROW WHEN (NEW.slow) EXECUTE FUNCTION wait()";

/// How many deaths at random moments. `PGSHUNT_ROUNDS=200` makes more.
fn rounds() -> usize {
    let wanted = std::env::var("PGSHUNT_ROUNDS").ok();
    wanted.and_then(|count| count.parse().ok()).unwrap_or(6)
}

fn config(world: &World) -> Config {
    let first = &world.shards[0];
    let config = Config::new(first)
        .control(&format!("postgres://pgshunt@/{}", first.name))
        .rules(RULES)
        .shard(&format!("name = \"{}\"\ndbname = \"{}\"", NAMES[0], first.name));
    let others = world.shards.iter().zip(NAMES).skip(1);
    others.fold(config, |config, (database, name)| {
        config.section(&format!(
            "[[database.shard]]\nname = \"{name}\"\nservers = [\"127.0.0.1:{}\"]\ndbname = \"{}\"\n",
            database.cluster.port, database.name
        ))
    })
}

fn kill(mut proxy: Proxy) {
    let killed = Command::new("kill")
        .args(["-9", &proxy.pid().to_string()])
        .status();
    assert!(killed.expect("kill").success());
    proxy.ended();
}

fn places(world: &World, n: usize) -> Vec<usize> {
    let is_there = |at: &usize| {
        let sql = format!("SELECT count(*) FROM w WHERE n = {n}");
        world.shards[*at].superuser().psql(&sql) == "1"
    };
    (0..NAMES.len()).filter(is_there).collect()
}

/// Writes on all shards through pgshunt, asks for COMMIT, kills pgshunt when `moment` returns; was COMMIT answered?
fn round(world: &World, proxy: Proxy, n: usize, slow: Option<usize>, moment: impl FnOnce()) -> bool {
    let mut client = proxy.door(&world.shards[0]).as_user("app").wire();
    client.run("BEGIN");
    for key in 0..NAMES.len() {
        client.run(&format!(
            "INSERT INTO w VALUES ({key}, {n}, {})",
            slow == Some(key)
        ));
    }
    client.send(&Messages::new().query("COMMIT"));
    moment();
    kill(proxy);
    let heard = client.until_end_or_ready();
    heard.iter().any(|frame| frame.to_string().contains("COMMIT"))
}

/// The next pgshunt recovers.
fn judge(world: &World, n: usize, was_told: bool) -> (Proxy, bool) {
    let proxy = config(world).start();
    until("nothing to be prepared any more", || {
        world.count("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()") == 0
    });
    // A COMMIT on its way when pgshunt died goes on to its end.
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'app' AND xact_start IS NOT NULL";
    until("what was open to end", || world.count(open) == 0);
    let places = places(world, n);
    assert!(places.is_empty() || places == [0, 1, 2], "{n}: on {places:?}");
    assert!(!was_told || !places.is_empty(), "{n}: COMMIT was answered");
    (proxy, !places.is_empty())
}

#[test]
fn killed_while_a_shard_prepares_or_decides() {
    let world = World::new("50");
    for shard in &world.shards {
        shard.superuser().psql(TABLE);
    }
    let mut proxy = config(&world).start();
    for (at, name) in NAMES.iter().enumerate() {
        let working = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        let mut watcher = world.shards[at].superuser().wire();
        let was_told = round(&world, proxy, at, Some(at), || {
            until("the shard to be at it", || watcher.value(working) == "1");
        });
        assert!(!was_told);
        let is_committed;
        (proxy, is_committed) = judge(&world, at, was_told);
        // The last shard is the anchor: its COMMIT goes on without pgshunt, and it is the decision.
        assert_eq!(is_committed, at == 2, "{name}");
    }
}

#[test]
fn killed_at_any_moment() {
    let seed = std::env::var("PGSHUNT_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("PGSHUNT_SEED={seed}");
    let mut chance = Chance::new(seed);
    let world = World::new("50");
    for shard in &world.shards {
        shard.superuser().psql(TABLE);
    }
    let mut proxy = config(&world).start();
    let (mut committed, mut told) = (0, 0);
    for n in 0..rounds() {
        let wait = Duration::from_micros(chance.below(12_000) as u64);
        let was_told = round(&world, proxy, n, None, || std::thread::sleep(wait));
        let is_committed;
        (proxy, is_committed) = judge(&world, n, was_told);
        committed += usize::from(is_committed);
        told += usize::from(was_told);
    }
    println!("{committed} of {} committed, {told} clients were told", rounds());
}

/// pgshunt lives on, and ends what it has begun when the server is back.
#[test]
fn a_server_is_killed_at_any_moment() {
    let seed = std::env::var("PGSHUNT_SEED").ok();
    let mut chance = Chance::new(seed.and_then(|seed| seed.parse().ok()).unwrap_or(2));
    let mut world = World::new("50");
    for shard in &world.shards {
        shard.superuser().psql(TABLE);
    }
    let proxy = config(&world).start();
    let (mut committed, mut told) = (0, 0);
    // A server takes its time to come back.
    let count = rounds() / 2;
    for n in 0..count {
        let mut client = proxy.door(&world.shards[0]).as_user("app").wire();
        client.run("BEGIN");
        for key in 0..NAMES.len() {
            client.run(&format!("INSERT INTO w VALUES ({key}, {n}, false)"));
        }
        client.send(&Messages::new().query("COMMIT"));
        std::thread::sleep(Duration::from_micros(chance.below(12_000) as u64));
        let node = &mut world.nodes[n % 2];
        node.stop(Stop::Immediate).expect("stopped");
        let heard = client.until_end_or_ready();
        node.start().expect("started");
        let was_told = heard.iter().any(|frame| frame.to_string() == "C COMMIT");
        let prepared = "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()";
        until("nothing to be prepared any more", || world.count(prepared) == 0);
        let places = places(&world, n);
        assert!(
            places.is_empty() || places == [0, 1, 2],
            "{n}: on {places:?}, heard {heard:?}"
        );
        assert!(!was_told || !places.is_empty(), "{n}: COMMIT was answered");
        let sql = "SELECT count(*) FROM w";
        until("all shards to be there again", || {
            client_of(&proxy, &world).query(sql)[0].starts_with('T')
        });
        committed += usize::from(!places.is_empty());
        told += usize::from(was_told);
    }
    println!("{committed} of {count} committed, {told} clients were told");
}

fn client_of(proxy: &Proxy, world: &World) -> pgshunt_tests::Wire {
    proxy.door(&world.shards[0]).as_user("app").wire()
}
