//! `pgshunt setup`: a control role with the least rights, made once, the same again, and good for passthrough.

use std::process::Output;

use pgshunt::cli::demo::cluster::{Node, Plan, Scratch};
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::{Cluster, Config, Database, Door, cluster, proxy};

fn server() -> (Node, Database) {
    let node = cluster::private(&Plan {
        name: "pg",
        settings: &[],
        hba: &[],
    });
    let database = Cluster::of(&node).database();
    (node, database)
}

fn setup(databases: &[&Database]) -> Output {
    let mut setup = proxy::pgshunt();
    setup.arg("setup").env("PGPASSWORD", PASSWORD);
    for database in databases {
        let dsn = format!(
            "postgres://postgres@127.0.0.1:{}/{}",
            database.cluster.port, database.name
        );
        setup.args(["--to", &dsn]);
    }
    setup
        .env("PGSHUNT_CONTROL_PASSWORD", PASSWORD)
        .output()
        .expect("pgshunt")
}

fn said(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn in_front_of(database: &Database) -> Config {
    Config::new(database).control(&format!("postgres://pgshunt@/{}", database.name))
}

#[test]
fn the_role_it_makes_is_enough_and_no_more() {
    let (_node, database) = server();
    for _ in 0..2 {
        let said = said(&setup(&[&database]));
        assert!(
            said.contains(&format!("control = \"postgres://pgshunt@/{}\"", database.name)),
            "{said}"
        );
        assert!(!said.contains("more rights"), "{said}");
    }
    let proxy = in_front_of(&database).start();
    let door = proxy.door(&database);
    assert_eq!(door.wire().value("SELECT current_user"), database.name);
    let wrong = |door: Door| Door {
        password: "wrong".into(),
        ..door
    };
    assert!(wrong(door.clone()).refusal().contains(" 28P01 "));
    let superuser = door.as_user("postgres");
    assert!(
        superuser.refusal().contains(" 28P01 "),
        "superusers log in at PostgreSQL itself"
    );
    // Expired is expired by the function too (CVE-2025-2291).
    let expired = database.role("expired");
    database
        .superuser()
        .psql(&format!("ALTER ROLE {expired} VALID UNTIL 'yesterday'"));
    assert!(door.as_user(&expired).refusal().contains(" 28P01 "));
    let control = database.door().as_user("pgshunt");
    let mut control = control.wire();
    assert_eq!(control.sqlstate("SELECT * FROM pg_authid"), "42501");
    assert_eq!(control.sqlstate("CREATE ROLE other"), "42501");
    assert_eq!(
        control.value("SELECT count(*) > 0 FROM pg_stat_replication RIGHT JOIN (SELECT) AS one ON true"),
        "t"
    );
    // Nobody else may ask.
    let mut anybody = database.door().wire();
    assert_eq!(
        anybody.sqlstate("SELECT pgshunt.verifier_of('postgres')"),
        "42501"
    );
    // Nothing of a session can change what the function looks at.
    control.run("CREATE TEMP TABLE pg_authid (rolname name, rolpassword text, rolcanlogin bool, rolsuper bool, rolvaliduntil timestamptz)");
    control.run(&format!(
        "INSERT INTO pg_temp.pg_authid VALUES ('{}', 'forged', true, false, NULL)",
        database.name
    ));
    control.run("SET search_path = pg_temp, pg_catalog");
    let seen = control.value(&format!(
        "SELECT verifier FROM pgshunt.verifier_of('{}')",
        database.name
    ));
    assert!(seen.starts_with("SCRAM-SHA-256$"), "{seen}");
}

#[test]
fn verifiers_become_equal_on_all_shards() {
    let ((_first_node, first), (_second_node, second)) = (server(), server());
    for database in [&first, &second] {
        database
            .superuser()
            .psql("CREATE ROLE shared LOGIN PASSWORD 'pw'");
    }
    first.superuser().psql("CREATE ROLE lonely LOGIN PASSWORD 'pw'");
    let verifier = |database: &Database| {
        database
            .superuser()
            .psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'shared'")
    };
    assert_ne!(verifier(&first), verifier(&second));
    let once = said(&setup(&[&first, &second]));
    assert!(once.contains("lonely"), "{once}");
    assert_eq!(verifier(&first), verifier(&second));
    // The control role's own is made equal as well.
    let twice = said(&setup(&[&first, &second]));
    assert!(twice.contains("verifier"), "{twice}");
    let door = Door {
        password: "pw".into(),
        ..second.door().as_user("shared")
    };
    door.wire();
    for output in [once, twice] {
        assert!(!output.contains("SCRAM-SHA-256$"), "{output}");
    }
}

#[test]
fn several_setups_at_once_on_one_cluster_all_succeed() {
    let ((node, one), (_other_node, far)) = (server(), server());
    let another = Cluster::of(&node).database();
    far.superuser().psql("CREATE ROLE shared LOGIN PASSWORD 'pw'");
    one.superuser().psql("CREATE ROLE shared LOGIN PASSWORD 'pw'");
    for round in 0..5 {
        // So that there is something to be made each time, and a verifier to be copied.
        for database in [&one, &another] {
            let superuser = database.superuser();
            superuser.psql("DROP SCHEMA IF EXISTS pgshunt CASCADE");
        }
        far.superuser()
            .psql(&format!("ALTER ROLE shared PASSWORD 'pw {round}'"));
        std::thread::scope(|scope| {
            for databases in [[&far, &one], [&far, &another], [&far, &one], [&far, &another]] {
                scope.spawn(move || said(&setup(&databases)));
            }
        });
    }
}

/// `check` compares them, as the control role may read them, and names the roles.
#[test]
fn check_says_which_verifiers_differ() {
    let app = || {
        let node = cluster::private(&Plan::default());
        let cluster = Cluster::of(&node);
        let superuser = cluster.superuser();
        superuser.psql("CREATE ROLE shared LOGIN PASSWORD 'pw'");
        superuser.psql("CREATE DATABASE app");
        let name = "app".into();
        (node, Database { cluster, name })
    };
    let ((_first_node, first), (_second_node, second)) = (app(), app());
    // Each alone: the function is on both, the verifiers stay as they are.
    said(&setup(&[&first]));
    said(&setup(&[&second]));
    let scratch = Scratch::new("check").expect("a folder");
    let file = scratch.path().join("pgshunt.toml");
    let password: String = PASSWORD.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let text = format!(
        "[[database]]\nname = \"app\"\ncontrol = \"postgres://pgshunt:{password}@/app\"\n\
         [[database.shard]]\nservers = [\"127.0.0.1:{}\", \"127.0.0.1:{}\"]\n",
        first.cluster.port, second.cluster.port
    );
    std::fs::write(&file, text).expect("written");
    let check = || {
        let check = proxy::pgshunt().arg("check").arg("-c").arg(&file).output();
        let check = check.expect("pgshunt");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&check.stdout),
            String::from_utf8_lossy(&check.stderr)
        );
        assert!(!said.contains("SCRAM-SHA-256$"), "{said}");
        (check.status.code(), said)
    };
    let (code, differ) = check();
    assert_eq!(code, Some(1), "{differ}");
    assert!(differ.contains("role shared has another verifier"), "{differ}");
    said(&setup(&[&first, &second]));
    second.superuser().psql("CREATE ROLE lonely LOGIN PASSWORD 'pw'");
    let (code, one_more) = check();
    assert_eq!(code, Some(1), "{one_more}");
    assert!(!one_more.contains("role shared"), "{one_more}");
    assert!(one_more.contains("role lonely can log in here"), "{one_more}");
    second.superuser().psql("DROP ROLE lonely");
    let (code, equal) = check();
    assert_eq!(code, Some(0), "{equal}");
    assert!(equal.contains("the same on 2 servers"), "{equal}");
}

#[test]
fn print_shows_the_sql_and_connects_to_nothing() {
    let (_node, database) = server();
    let printed = proxy::pgshunt()
        .args(["setup", "--print"])
        .output()
        .expect("pgshunt");
    let sql = said(&printed);
    assert!(
        sql.contains("CREATE OR REPLACE FUNCTION pgshunt.verifier_of"),
        "{sql}"
    );
    for _ in 0..2 {
        database.superuser().psql(&sql);
    }
    let has = database
        .superuser()
        .psql("SELECT has_function_privilege('pgshunt', 'pgshunt.verifier_of(text)', 'EXECUTE')");
    assert_eq!(has, "t");
}

#[test]
fn who_may_not_is_told_so() {
    let database = cluster::database();
    let dsn = format!(
        "postgres://{0}@127.0.0.1:{1}/{0}",
        database.name, database.cluster.port
    );
    let output = proxy::pgshunt()
        .args(["setup", "--to", &dsn])
        .env("PGPASSWORD", PASSWORD)
        .output()
        .expect("pgshunt");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    // Which right is the first to be missing depends on whether another test's setup has made the role.
    assert!(errors.contains("ERROR 42501"), "{errors}");
    let wrong = proxy::pgshunt().args(["setup", "--to", "mysql://x"]).output();
    assert_eq!(wrong.expect("pgshunt").status.code(), Some(2));
}
