//! Programs that were written for one PostgreSQL, on a database of four shards: psql, pg_dump, SQLAlchemy and Django. What they
//! print is the same as at one server; only what is over all tenants may be refused.
//!
//! They need `tests/drivers/setup.sh`, as `tests/run.sh` does it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgshunt_tests::sharded::{RULES, Sharded};
use pgshunt_tests::{Door, cluster};

#[test]
fn sqlalchemy_over_psycopg() {
    as_on_one_server("SQLAlchemy", "tenants_sqlalchemy.py", "psycopg");
}

#[test]
fn sqlalchemy_over_psycopg_2() {
    as_on_one_server("SQLAlchemy", "tenants_sqlalchemy.py", "psycopg2");
}

#[test]
fn django() {
    as_on_one_server("Django", "tenants_django.py", "0");
}

#[test]
fn django_with_server_side_binding() {
    as_on_one_server("Django", "tenants_django.py", "1");
}

const HASH: &str = "[sharding]\ncolumn = \"tenant_id\"\ntype = \"bigint\"\nmodulus = 4\nreference = [\"currency\"]\n[sharding.home]\n\
    django_migrations = \"s0\"\ndjango_content_type = \"s0\"\n";

#[track_caller]
fn as_on_one_server(name: &str, program: &str, argument: &str) {
    let whole = cluster::database();
    let sharded = Sharded::databases(4).set_up();
    let proxy = sharded.config(HASH).pool("size = 5").start();
    let directly = lines(program, argument, &whole.door());
    let through = lines(program, argument, &proxy.door(&sharded.first));
    let is_refused = |line: &str| line.starts_with("wide_") && line.contains(" 0A000 ");
    let pairs: Vec<_> = directly.iter().zip(&through).collect();
    let differ: Vec<_> = pairs
        .iter()
        .filter(|(direct, through)| direct != through && !is_refused(through))
        .collect();
    assert!(
        differ.is_empty(),
        "{name}, one PostgreSQL and four shards: {differ:#?}"
    );
    assert_eq!(directly.len(), through.len(), "{name}: a line is missing");
    let refused: Vec<_> = through.iter().filter(|line| is_refused(line)).collect();
    println!(
        "{name} {argument}: {} behaviours, {} of them refused: {refused:#?}",
        pairs.len(),
        refused.len()
    );
    assert!(pairs.len() > 45, "{name} ended early: {directly:#?}");
}

#[track_caller]
fn lines(program: &str, argument: &str, door: &Door) -> Vec<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let default = || here.join("../target/drivers");
    let drivers = std::env::var_os("PGSHUNT_TEST_DRIVERS").map_or_else(default, PathBuf::from);
    let mut python = Command::new(drivers.join("behaviours-python/bin/python"));
    python
        .arg("-B")
        .arg(here.join("drivers/behaviours").join(program))
        .arg(argument);
    python
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", door.port.to_string())
        .env("PGUSER", &door.user)
        .env("PGPASSWORD", &door.password)
        .env("PGDATABASE", &door.database)
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    let output = python.output().expect("Python: run tests/drivers/setup.sh");
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{program}: {}\n{said}\n{errors}",
        output.status
    );
    said.lines()
        .map(|line| line.replace(&door.database, "DATABASE"))
        .collect()
}

#[test]
fn psql_describes_tables() {
    let sharded = Sharded::databases(4).filled();
    sharded.on_all("CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2'; COMMENT ON TABLE orders IS 'all';\
        CREATE VIEW notes AS SELECT note FROM orders; CREATE SEQUENCE counter; CREATE INDEX by_amount ON orders (amount)");
    let proxy = sharded.config(RULES).start();
    let (direct, through) = (sharded.first.door(), proxy.door(&sharded.first));
    for command in [
        "\\d",
        "\\dt",
        "\\dt+ currency",
        "\\d orders",
        "\\d+ orders",
        "\\d+ notes",
        "\\df",
        "\\df+ twice",
        "\\di",
        "\\ds",
        "\\dv",
        "\\dn+",
        "\\du",
        "\\l postgres",
        "\\dp",
        "\\dx",
        "\\dT",
        "\\sf twice",
        "\\sv notes",
        "\\d nowhere",
        "\\dd",
        "\\dconfig work_mem",
        "\\conninfo",
    ] {
        let shown = |door: &Door| {
            let mut psql = door.program("psql");
            let output = psql.args(["-X", "-c", command]).output().expect("psql");
            let text =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            text.concat().replace(&door.port.to_string(), "PORT")
        };
        assert_eq!(
            shown(&direct),
            shown(&through),
            "{command}: left: the first shard itself, right: through pgshunt"
        );
    }
}

#[test]
fn pg_dump_of_one_shard() {
    let sharded = Sharded::databases(4).filled();
    let proxy = sharded.config(RULES).start();
    for number in [0, 1, 3] {
        let dump = |door: &Door, options: &str, form: &str| {
            let mut dump = door.program("pg_dump");
            let output = dump
                .env("PGOPTIONS", options)
                .args(["--format", form])
                .output()
                .expect("pg_dump");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}");
            // Newer ones put a key of their own into each dump.
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines()
                .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
                .collect::<Vec<_>>()
                .join("\n")
        };
        let options = format!("-c pgshunt.target=shard:s{number}");
        let own = dump(&sharded.shard(number), "", "plain");
        assert!(
            own.contains(&format!("of {}", if number == 0 { 5 } else { number })),
            "{own}"
        );
        assert_eq!(
            own,
            dump(&proxy.door(&sharded.first), &options, "plain"),
            "s{number}"
        );
    }
}
