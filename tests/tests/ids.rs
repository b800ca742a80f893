//! `deploy/postgres/ids.sql`: ids of two shards are never the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use pgshunt_tests::{Database, cluster};

fn apply(database: &Database, shard: &str) -> Output {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres/ids.sql");
    let door = database.door();
    Command::new("psql")
        .args(["-X", "-q", "-h", "127.0.0.1", "-p", &door.port.to_string()])
        .args([
            "-U",
            &door.user,
            "-d",
            &door.database,
            "-v",
            &format!("shard={shard}"),
            "-f",
        ])
        .arg(file)
        .env("PGPASSWORD", &door.password)
        .output()
        .expect("psql")
}

#[test]
fn shards_make_ids_of_their_own() {
    let shards = [cluster::database(), cluster::database()];
    let mut seen = BTreeSet::new();
    for (shard, number) in shards.iter().zip([3_u64, 1023]) {
        for _ in 0..2 {
            let applied = apply(shard, &number.to_string());
            assert!(
                applied.status.success(),
                "{}",
                String::from_utf8_lossy(&applied.stderr)
            );
        }
        let mut wire = shard.door().wire();
        wire.run("CREATE TABLE orders (id bigint DEFAULT shard_id() PRIMARY KEY, n int)");
        wire.run("CREATE TABLE old (id serial PRIMARY KEY, n int)");
        wire.run("INSERT INTO old (n) SELECT n FROM generate_series(1, 100) n");
        let first: u64 = wire
            .value("SELECT shard_sequence('old_id_seq', 5000)")
            .parse()
            .expect("a number");
        assert!(first > 5000 && first % 1024 == number, "{first}");
        for table in ["orders", "old"] {
            let made = wire.rows(&format!(
                "INSERT INTO {table} (n) SELECT n FROM generate_series(1, 500) n RETURNING id || ' ' || shard_of(id)"
            ));
            for row in made {
                let (id, own) = row.split_once(' ').expect("two numbers");
                assert_eq!(own.parse(), Ok(number), "{row}");
                assert!(seen.insert((table, id.to_owned())), "{table} {id} twice");
            }
        }
    }
}

#[test]
fn what_is_no_shard_is_refused() {
    let database = cluster::database();
    for number in ["1024", "-1", "one"] {
        let applied = apply(&database, number);
        assert!(!applied.status.success(), "{number}");
    }
    assert_eq!(
        database
            .door()
            .wire()
            .value("SELECT to_regclass('shard_id_seq') IS NULL"),
        "t"
    );
}
