//! No answer of the cache is ever given to whom PostgreSQL would not have given it: sessions that differ in role, settings,
//! formats, tenants and databases ask the same through pgshunt and directly, again and again, and hear the same.

use pgshunt::cli::demo::cluster::Plan;
use pgshunt_tests::cached::EVERYTHING;
use pgshunt_tests::{Config, Database, Door, Messages, Wire, cluster};

/// What is asked: everything whose text form or meaning a setting, a role or a schema could change.
const QUESTIONS: [&str; 14] = [
    "SELECT at, day, span FROM t",
    "SELECT data FROM t",
    "SELECT f, d FROM t",
    "SELECT price FROM t",
    "SELECT name FROM t ORDER BY name",
    "SELECT to_char(at, 'TMDay HH24 TZ'), date_trunc('day', at) FROM t",
    "SELECT current_user, session_user, count(*) FROM t",
    "SELECT * FROM secured",
    "SELECT * FROM hidden",
    "SELECT n FROM shadowed",
    "SELECT xmlelement(name a, data)::text FROM t",
    "SELECT to_tsvector(name)::text FROM t",
    "SELECT 'a\\nb', name FROM t",
    "SELECT count(*) FROM via",
];

/// What a session says before it asks.
const SESSIONS: [&str; 22] = [
    "SELECT 1",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET DateStyle = 'German, DMY'",
    "SET IntervalStyle = 'iso_8601'",
    "SET extra_float_digits = 0",
    "SET extra_float_digits = -10",
    "SET bytea_output = 'escape'",
    "SET lc_monetary = 'C'",
    "SET search_path = one, public",
    "SET search_path = two, public",
    "SET client_encoding = 'LATIN1'",
    "SET xmlbinary = 'hex'",
    "SET default_text_search_config = 'german'",
    "SET standard_conforming_strings = off; SET escape_string_warning = off; SET backslash_quote = on",
    "SET ROLE {a}",
    "SET ROLE {b}",
    "SET SESSION AUTHORIZATION {a}",
    "SET ROLE {b}; SET app.tenant = '2'",
    "SET app.tenant = '1'",
    "SET pgshunt.tenant = 'acme'",
    "SET row_security = off",
    "SET quote_all_identifiers = on; SET array_nulls = off; SET transform_null_equals = on",
];

fn made(database: &Database) -> (String, String) {
    let (a, b) = (database.role("a"), database.role("b"));
    let mut wire = database.superuser().wire();
    for sql in [
        "CREATE TABLE t (at timestamptz, day date, span interval, data bytea, f float8, d float4, price money, name text)",
        "INSERT INTO t VALUES ('2024-02-03 04:05:06.789+00', '2024-02-03', '1 day 2 hours', '\\x00ff5c41', 0.1::float8 + 0.2, \
            1.1, 12.5, 'Häuser')",
        "CREATE TABLE secured (tenant text, v text)",
        "INSERT INTO secured VALUES ('1', 'one'), ('2', 'two')",
        "ALTER TABLE secured ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON secured USING (tenant = current_setting('app.tenant', true))",
        "CREATE TABLE hidden (n int)",
        "INSERT INTO hidden VALUES (42)",
        "CREATE SCHEMA one; CREATE TABLE one.shadowed (n int); INSERT INTO one.shadowed VALUES (1)",
        "CREATE SCHEMA two; CREATE TABLE two.shadowed (n int); INSERT INTO two.shadowed VALUES (2)",
        "CREATE TABLE public.shadowed (n int); INSERT INTO public.shadowed VALUES (0)",
        "CREATE VIEW via AS SELECT * FROM secured",
        "GRANT USAGE ON SCHEMA one, two TO PUBLIC",
        "GRANT SELECT ON t, secured, one.shadowed, two.shadowed, public.shadowed, via TO PUBLIC",
    ] {
        wire.run(sql);
    }
    wire.run(&format!("GRANT SELECT ON hidden TO {a}"));
    let owner = &database.name;
    wire.run(&format!("GRANT {a}, {b} TO {owner}"));
    (a, b)
}

/// One question in one of several ways of asking.
fn ask(wire: &mut Wire, sql: &str, way: usize) -> Vec<String> {
    let binary = [&b"\0\0"[..], &[0, 0, 0, 0, 0, 1, 0, 1]].concat();
    match way {
        0 => wire.query(sql),
        1 => wire.extended(sql, &[]),
        2 => wire.exchange(
            &Messages::new()
                .parse("", sql)
                .raw(b'B', &binary)
                .describe(b'P', "")
                .execute("", 0)
                .sync(),
        ),
        _ => wire.exchange(
            &Messages::new()
                .parse("", sql)
                .bind("", "", &[])
                .execute("", 0)
                .sync(),
        ),
    }
}

#[test]
fn whoever_asks_hears_what_postgresql_would_have_said() {
    // A server of its own: roles that come and go elsewhere on it make all answers old.
    let node = cluster::private(&Plan::default());
    let database = cluster::Cluster::of(&node).database();
    let (a, b) = made(&database);
    let proxy = Config::new(&database).rules(EVERYTHING).pool("size = 4").start();
    let users = [
        database.name.clone(),
        a.clone(),
        b.clone(),
        database.superuser().user,
    ];
    let mut pairs = Vec::new();
    for user in &users {
        for said in SESSIONS {
            let said = said.replace("{a}", &a).replace("{b}", &b);
            let doors = [database.door(), proxy.door(&database)];
            let wires = doors.map(|door| {
                let mut wire = Door {
                    user: user.clone(),
                    ..door
                }
                .wire();
                // What is refused to this role is refused on both sides.
                wire.query(&said);
                wire
            });
            pairs.push((format!("{user}: {said}"), wires));
        }
    }
    let mut hits = 0;
    let mut asked = 0;
    for round in 0..6 {
        for (place, question) in QUESTIONS.iter().enumerate() {
            // Another order and another way each time.
            let way = (round + place) % 4;
            let turn = (round * 31 + place * 7) % pairs.len();
            pairs.rotate_left(turn);
            for (who, [direct, through]) in &mut pairs {
                let expected = ask(direct, question, way);
                assert_eq!(ask(through, question, way), expected, "{who}: {question} ({way})");
                asked += 1;
            }
        }
    }
    let shown = proxy.console().wire().rows("SHOW CACHE");
    for row in &shown {
        let fields: Vec<&str> = row.split('|').collect();
        if fields[1] == "all" {
            hits = fields[3].parse().expect("a number");
        }
    }
    assert!(
        hits > asked / 3,
        "{hits} of {asked} were answered from the cache: {shown:#?}"
    );
}

#[test]
fn databases_are_strangers_to_each_other() {
    let (one, other) = (
        pgshunt_tests::cluster::database(),
        pgshunt_tests::cluster::database(),
    );
    let second = format!(
        "[[database]]\nname = \"{}\"\ncontrol = \"postgres://postgres@/postgres\"\nrules = \"rules.toml\"\n\
         [[database.shard]]\nservers = [\"127.0.0.1:{}\"]\n",
        other.name, other.cluster.port
    );
    let proxy = Config::new(&one).rules(EVERYTHING).section(&second).start();
    for (database, value) in [(&one, 1), (&other, 2)] {
        let mut wire = database.superuser().wire();
        wire.run(&format!(
            "CREATE TABLE t AS SELECT {value} AS n; GRANT SELECT ON t TO PUBLIC"
        ));
    }
    let doors = [&one, &other].map(|database| Door {
        user: database.superuser().user,
        ..proxy.door(database)
    });
    let mut wires = doors.map(|door| door.wire());
    for _ in 0..50 {
        assert_eq!(wires[0].value("SELECT n FROM t"), "1");
        assert_eq!(wires[1].value("SELECT n FROM t"), "2");
    }
}
