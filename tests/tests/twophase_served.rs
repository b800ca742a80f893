//! What `pgshunt check`, the console and a running pgshunt know and do about transactions that span shards.

use std::fs;
use std::process::Output;

use pgshunt::twophase::Commit;
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::span::{NAMES, World, block_on, participants};
use pgshunt_tests::{Config, Database, proxy, until};

fn shard(database: &Database, name: &str) -> String {
    format!(
        "[[database.shard]]\nname = \"{name}\"\nservers = [\"127.0.0.1:{}\"]\ndbname = \"{}\"\n",
        database.cluster.port, database.name
    )
}

const RULES: &str = "[sharding]\ncolumn = \"n\"\ntype = \"integer\"\n";

fn check(world: &World) -> Output {
    let folder = std::env::temp_dir().join(proxy_name("check"));
    fs::create_dir_all(&folder).expect("a folder");
    let mut text =
        "[listen]\nclients = [\"127.0.0.1:1\"]\n[[database]]\nname = \"app\"\nrules = \"rules.toml\"\n\
                    control = \"postgres://pgshunt@/app\"\n"
            .to_owned();
    for (database, name) in world.shards.iter().zip(NAMES) {
        text += &shard(database, name);
    }
    fs::write(folder.join("pgshunt.toml"), text).expect("a file");
    fs::write(folder.join("rules.toml"), RULES).expect("a file");
    let checked = proxy::pgshunt()
        .args(["check", "-c"])
        .arg(folder.join("pgshunt.toml"))
        .env("PGSHUNT_CONTROL_PASSWORD", PASSWORD)
        .output();
    fs::remove_dir_all(&folder).expect("removed");
    checked.expect("pgshunt")
}

fn proxy_name(prefix: &str) -> String {
    pgshunt_tests::cluster::unique(prefix)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn check_says_what_keeps_transactions_from_spanning_shards() {
    let world = World::new("0");
    let checked = check(&world);
    assert!(!checked.status.success());
    let lines = said(&checked);
    for name in NAMES {
        assert!(
            lines.contains(&format!("two-phase app/{name}: max_prepared_transactions is 0")),
            "{lines}"
        );
    }
}

#[test]
fn check_names_roles_that_pgshunt_could_not_act_for() {
    let world = World::new("20");
    let lines = said(&check(&world));
    for name in NAMES {
        assert!(
            lines.contains(&format!("two-phase app/{name}: transactions may span this shard")),
            "{lines}"
        );
    }
    let late = world.shards[0].role("late");
    let checked = check(&world);
    let lines = said(&checked);
    assert!(!checked.status.success());
    assert!(
        lines.contains(&format!(
            "two-phase app/s0: role pgshunt may not end what these roles prepared: {late};"
        )),
        "{lines}"
    );
    world.shards[2].superuser().psql("DROP FUNCTION pgshunt.decide");
    let lines = said(&check(&world));
    assert!(
        lines.contains("two-phase app/eu_west: pgshunt.decide is not there"),
        "{lines}"
    );
}

#[test]
fn a_running_pgshunt_ends_what_another_left_behind_and_shows_it_until_then() {
    let world = World::new("20");
    // The first is decided and nobody has heard; nobody has decided about the second, whose coordinator is gone; the third one's is
    // alive: its transaction on the anchor is open.
    let alive = block_on(async {
        let doors = world.doors();
        let mut alive = Vec::new();
        for (n, rounds) in [(1, 2), (2, 1), (3, 1)] {
            if n == 3 {
                // A coordinator is known to be gone where nobody's transaction is as old as what it prepared, by more than
                // servers tell apart.
                let quiet =
                    "SELECT count(*) FROM pg_prepared_xacts WHERE prepared > now() - interval '300 ms'";
                until("what was prepared to be older than the third", || {
                    world.count(quiet) == 0
                });
            }
            let mut servers = world.written(n).await;
            let mut commit = Commit::new(participants(&mut servers)).expect("transactions");
            for _ in 0..rounds {
                commit.round(&doors, &world.buffers).await;
            }
            if n == 3 {
                alive = servers;
            }
        }
        alive
    });
    let somebody = &world.shards[1];
    somebody.superuser().psql(
        "CREATE TABLE other (a int); BEGIN; INSERT INTO other VALUES (1); PREPARE TRANSACTION 'somebody''s own'",
    );
    let first = &world.shards[0];
    let mut config = Config::new(first)
        .control(&format!("postgres://pgshunt@/{}", first.name))
        .rules(RULES)
        .shard(&format!("name = \"{}\"\ndbname = \"{}\"", NAMES[0], first.name));
    for (database, name) in world.shards.iter().zip(NAMES).skip(1) {
        config = config.section(&shard(database, name));
    }
    let proxy = config.console("watchers = [\"app\"]").start();
    until("the decided one to be committed everywhere", || {
        world.places(1) == [0, 1, 2]
    });
    let mut console = proxy.console().as_user("app").wire();
    let mut rows = Vec::new();
    until("a look", || {
        rows = console.rows("SHOW TRANSACTIONS");
        // Until the second is ended too.
        rows.len() == 2
    });
    let ours = rows.iter().find(|row| row.contains("|pgshunt_")).expect("ours");
    assert!(
        ours.contains("|prepared|") && ours.contains("|s0,s1|app|"),
        "{ours}"
    );
    let others = rows
        .iter()
        .find(|row| row.contains("somebody's own"))
        .expect("others");
    assert!(
        others.contains("|foreign|") && others.contains("|s1|postgres|"),
        "{others}"
    );
    drop(alive);
    until("the abandoned ones to be rolled back", || {
        world.count("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()") == 1
    });
    assert!(world.places(2).is_empty() && world.places(3).is_empty());
    assert!(proxy.log().contains("a transaction left behind was ended"));
    assert_eq!(
        somebody
            .superuser()
            .psql("SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'somebody''s own'"),
        "1",
        "what others prepared is theirs"
    );
    somebody.superuser().psql("ROLLBACK PREPARED 'somebody''s own'");
}
