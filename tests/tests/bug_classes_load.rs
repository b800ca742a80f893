//! Bugs other poolers had that show under load or in what something costs: cancels amid a pooler's own statements, storms of
//! logins, servers closed all at once, large rows over TLS, the work of a login, very long statements.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgshunt_tests::certificates::Certificates;
use pgshunt_tests::sharded::{RULES, Sharded, TABLES};
use pgshunt_tests::{Config, Database, Messages, PATIENCE, Wire, cluster, programs, until, wire};

/// pgbouncer#298: a cancel came while the pooler's own SET ran, and stopped that.
#[test]
fn a_cancel_amid_our_own_statements_leaves_a_session_as_it_was() {
    let database = cluster::database();
    // Two sessions take turns on one server: each turn has pgshunt set what theirs differs in, and ask what was left behind.
    let proxy = Config::new(&database).threads(1).pool("size = 1").start();
    let door = proxy.door(&database);
    let (mut canceled, mut other) = (door.wire(), door.wire());
    other.run("SET work_mem = '7MB'");
    let key = (canceled.welcome.pid, canceled.welcome.cancel_secret.clone());
    let is_over = AtomicBool::new(false);
    let (mut done, mut stopped) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                wire::cancel(&door, key.0, &key.1);
            }
        });
        let _over = Over(&is_over);
        let mut set = String::new();
        for turn in 0..150 {
            let wanted = format!("{}MB", 10 + turn);
            canceled.send(&Messages::new().query(&format!("SET work_mem = '{wanted}'")));
            match &*outcome(&mut canceled) {
                "C SET" => set = wanted,
                why => assert_eq!(why, CANCELED, "of SET"),
            }
            assert_eq!(other.value("SHOW work_mem"), "7MB");
            canceled.send(&Messages::new().query("SHOW work_mem"));
            match outcome(&mut canceled) {
                shown if shown == CANCELED => stopped += 1,
                shown if set.is_empty() => assert_eq!(shown, "D 4MB"),
                shown => {
                    assert_eq!(shown, format!("D {set}"));
                    done += 1;
                }
            }
            assert_eq!(other.value("SELECT 'unharmed'"), "unharmed");
        }
    });
    assert!(done > 0, "all of its statements were stopped: {stopped}");
}

/// Says so when it ends, however it ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const CANCELED: &str = "E ERROR 57014 canceling statement due to user request";

/// The row of an answer, or what it says instead.
fn outcome(wire: &mut Wire) -> String {
    let mut seen = wire::transcript(&wire.until_ready());
    seen.retain(|line| !line.starts_with("T "));
    seen.swap_remove(0)
}

/// pgbouncer#384, #478: many who come at once had as many servers made, or none.
#[test]
fn a_storm_of_logins_makes_no_more_servers_than_there_are_places() {
    let database = cluster::database();
    let proxy = Config::new(&database).threads(1).pool("size = 5").start();
    let door = proxy.door(&database);
    let made = || {
        let role = &database.name;
        let servers = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
        database
            .superuser()
            .psql(&servers)
            .parse::<u32>()
            .expect("a number")
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut storm: Vec<Wire> = (0..25).map(|_| door.wire()).collect();
                for wire in &mut storm {
                    wire.send(&Messages::new().query("SELECT pg_sleep(0.01), 'served'"));
                }
                for wire in &mut storm {
                    assert_eq!(wire::transcript(&wire.until_ready())[1], "D |served");
                }
            });
        }
        scope.spawn(|| (0..20).for_each(|_| assert!(made() <= 5)));
    });
    assert!((1..=5).contains(&made()));
}

/// pg_doorman 3.3: all servers that were opened together were closed together.
#[test]
fn idle_servers_are_not_closed_all_at_once() {
    let database = cluster::database();
    let config = Config::new(&database).threads(1);
    let proxy = config.pool("size = 12\nserver_idle_timeout = \"5s\"").start();
    let door = proxy.door(&database);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| door.wire().run("SELECT pg_sleep(0.5)"));
        }
    });
    let mut looks = database.superuser().wire();
    let servers = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'",
        database.name
    );
    let mut count = || looks.value(&servers).parse::<u32>().expect("a number");
    assert_eq!(count(), 12);
    until("a server to be closed", || count() < 12);
    let first = Instant::now();
    until("all of them to be closed", || count() == 0);
    assert!(
        first.elapsed() > Duration::from_millis(500),
        "within {:?}",
        first.elapsed()
    );
}

/// pgbouncer#87, odyssey#526: 40 MB in one row took 20 s over TLS and 0.7 s without.
#[test]
fn a_large_row_over_tls_takes_hardly_longer() {
    let database = cluster::database();
    let files = Certificates::new(&[]);
    let proxy = Config::new(&database)
        .section(&files.towards_clients("prefer"))
        .start();
    let door = proxy.door(&database);
    let takes = |sslmode: &str| {
        let mut psql = door.program("psql");
        psql.env("PGSSLMODE", sslmode).stdout(Stdio::piped());
        psql.args(["-XAtc", "SELECT repeat('0123456789', 4000000)"]);
        let began = Instant::now();
        let output = psql.output().expect("psql");
        let took = began.elapsed();
        assert!(output.status.success(), "{sslmode}");
        assert_eq!(output.stdout.len(), 40_000_001, "{sslmode}");
        took
    };
    let (plain, encrypted) = (takes("disable"), takes("require"));
    assert!(
        encrypted < plain * 5 + Duration::from_secs(1),
        "{plain:?}, {encrypted:?}"
    );
}

/// pgbouncer#844, #1335: the derivation of a key from a password, some milliseconds of each login, was done by the pooler.
#[test]
fn a_login_costs_us_no_derivation_of_a_key() {
    let database = cluster::database();
    let proxy = Config::new(&database).start();
    let door = proxy.door(&database);
    drop(door.wire());
    let took = |database: &Database| {
        let (before, began) = (programs::cpu_seconds(proxy.pid()), Instant::now());
        proxy.door(database).wire().run("SELECT 1");
        (programs::cpu_seconds(proxy.pid()) - before, began.elapsed())
    };
    let (plain, _) = took(&database);
    // A client has to do 250 times as much with this one; so would whoever does it for the client.
    let costly = verifier(&door.password, 1_000_000);
    let alter = format!("ALTER ROLE \"{}\" PASSWORD '{costly}'", database.name);
    database.superuser().psql(&alter);
    let (ours, client) = took(&database);
    assert!(client < PATIENCE);
    assert!(
        ours < plain + 0.1,
        "{ours} s of processor time, {plain} s before, the client {client:?}"
    );
}

/// pgdog#854, #1061, #1261: to read a list of ten megabytes took 336 s, and what was read took gigabytes for good.
#[test]
fn a_list_of_ten_megabytes_finds_its_shard_and_leaves_nothing_behind() {
    let sharded = Sharded::databases(2);
    sharded.on_all(TABLES);
    let rules = RULES
        .lines()
        .filter(|line| !line.starts_with("s2") && !line.starts_with("s3"));
    let proxy = sharded
        .config(&rules.collect::<Vec<_>>().join("\n"))
        .threads(1)
        .start();
    let mut client = proxy.door(&sharded.first).wire();
    client.run("INSERT INTO orders (tenant_id, id) VALUES (1, 7), (1, 8)");
    client.run("INSERT INTO orders (tenant_id, id) VALUES (2, 7)");
    let numbers: Vec<String> = (1..=1_300_000).map(|number| number.to_string()).collect();
    let list = numbers.join(",");
    assert!(list.len() > 9_000_000);
    client.set_patience(PATIENCE * 4);
    let before = programs::cpu_seconds(proxy.pid());
    let one = format!("SELECT id FROM orders WHERE tenant_id = 1 AND id IN ({list})");
    assert_eq!(client.rows(&one).len(), 2);
    let all = format!("SELECT count(*) FROM orders WHERE id IN ({list})");
    assert_eq!(client.value(&all), "3");
    let took = programs::cpu_seconds(proxy.pid()) - before;
    assert!(took < 20.0, "{took} s of processor time");
    assert_eq!(client.value("SELECT count(*) FROM orders"), "3");
    until("its memory to be given back", || {
        programs::resident_bytes(proxy.pid()) < 200 << 20
    });
}

/// What PostgreSQL keeps of a password, derived in so many steps.
fn verifier(password: &str, steps: u32) -> String {
    let script = "
import base64, hashlib, hmac, sys
salt, steps = b'0123456789abcdef', int(sys.argv[2])
salted = hashlib.pbkdf2_hmac('sha256', sys.argv[1].encode(), salt, steps)
key = lambda name: hmac.digest(salted, name, 'sha256')
text = lambda data: base64.b64encode(data).decode()
stored = hashlib.sha256(key(b'Client Key')).digest()
print(f'SCRAM-SHA-256${steps}:{text(salt)}${text(stored)}:{text(key(b\"Server Key\"))}')";
    let mut python = std::process::Command::new("python3");
    let output = python.args(["-c", script, password, &steps.to_string()]).output();
    let output = output.expect("python3");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}
