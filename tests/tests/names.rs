//! What a real catalog says of a database's names, and where texts that use them may run.

use pgshunt::catalog::names::{NAMES_QUERY, read};
use pgshunt_tests::{Database, cluster};
use routing_rules::{Access, Lex, Names, access};

/// The names as the catalog has them now.
fn names(database: &Database) -> Names {
    let rows = database.door().wire().rows(NAMES_QUERY);
    let columns = |row: &String| row.split('|').map(|value| Some(value.into())).collect();
    let rows: Vec<Vec<Option<Vec<u8>>>> = rows.iter().map(columns).collect();
    read(&rows).expect("an answer in the form expected")
}

/// Makes what is asked for, then checks texts: `read`, or a part of the reason why not.
#[track_caller]
fn judged(schema: &[&str], texts: &[(&str, &str)]) {
    let database = cluster::database();
    for statement in schema {
        database.superuser().psql(statement);
    }
    let names = names(&database);
    let mut wrong = Vec::new();
    for (text, expected) in texts {
        let got = match access(text.as_bytes(), Lex::default(), Some(&names)) {
            Access::Read => "read".to_owned(),
            Access::Write(why) => why.to_string(),
        };
        if !got.contains(expected) {
            wrong.push(format!("{text}\n  expected {expected}, got {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const FUNCTIONS: [&str; 5] = [
    "CREATE TABLE t (a int)",
    "CREATE FUNCTION total() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT sum(a) FROM t'",
    "CREATE FUNCTION bump() RETURNS int VOLATILE LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING 1'",
    "CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
    "CREATE FUNCTION twice(text) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1'",
];

#[test]
fn functions_by_their_volatility() {
    judged(
        &FUNCTIONS,
        &[
            ("SELECT total()", "read"),
            ("SELECT public.total() FROM t", "read"),
            ("SELECT bump()", "bump is volatile"),
            ("SELECT twice(1)", "twice is volatile"),
            ("SELECT nobody()", "nobody is not known"),
            ("SELECT * FROM t", "read"),
        ],
    );
}

#[test]
fn views_by_what_they_reach() {
    let views = [
        "CREATE SEQUENCE s",
        "CREATE VIEW v_total AS SELECT total()",
        "CREATE VIEW v_bump AS SELECT bump()",
        "CREATE VIEW v_over AS SELECT * FROM v_bump",
        "CREATE VIEW v_deep AS SELECT 1 WHERE EXISTS (SELECT 1 FROM (SELECT * FROM v_over) x)",
        "CREATE VIEW v_next AS SELECT nextval('s')",
        "CREATE VIEW v_random AS SELECT random(), now()",
        "CREATE VIEW v_where AS SELECT a FROM t WHERE a > bump()",
        "CREATE VIEW v_from AS SELECT * FROM bump() b",
        "CREATE VIEW v_xid AS SELECT txid_current()",
        "CREATE VIEW v_lock AS SELECT * FROM t FOR UPDATE",
        "CREATE VIEW v_sequence AS SELECT last_value FROM s",
        "CREATE VIEW v_activity AS SELECT pid FROM pg_stat_activity",
        "CREATE VIEW \"V Mixed\" AS SELECT bump()",
        "CREATE MATERIALIZED VIEW m AS SELECT bump() AS b",
        "CREATE VIEW v_m AS SELECT * FROM m",
    ];
    judged(
        &[&FUNCTIONS[..], &views].concat(),
        &[
            ("SELECT * FROM v_total", "read"),
            ("SELECT * FROM v_random", "read"),
            ("SELECT * FROM m", "read"),
            ("SELECT * FROM v_m", "read"),
            ("SELECT * FROM v_bump", "v_bump runs"),
            ("SELECT * FROM V_OVER", "v_over runs"),
            ("SELECT * FROM public.v_deep", "v_deep runs"),
            ("SELECT * FROM v_next", "v_next runs"),
            ("SELECT * FROM v_where", "v_where runs"),
            ("SELECT * FROM v_from", "v_from runs"),
            ("SELECT * FROM v_xid", "v_xid runs"),
            ("SELECT * FROM v_lock", "v_lock runs"),
            ("SELECT * FROM s", "s runs"),
            ("SELECT * FROM v_sequence", "v_sequence runs"),
            ("SELECT * FROM v_activity", "v_activity runs"),
            ("SELECT * FROM \"V Mixed\"", "V Mixed runs"),
        ],
    );
}

#[test]
fn relations_replicas_do_not_have() {
    judged(
        &[
            "CREATE UNLOGGED TABLE scratch (a int)",
            "CREATE VIEW v_scratch AS SELECT * FROM scratch",
            "CREATE TABLE parent (a int)",
            "CREATE UNLOGGED TABLE child () INHERITS (parent)",
            "CREATE TABLE plain (a int, b serial)",
        ],
        &[
            ("SELECT * FROM scratch", "scratch runs"),
            ("SELECT * FROM v_scratch", "v_scratch runs"),
            ("SELECT * FROM parent", "parent runs"),
            ("SELECT * FROM child", "child runs"),
            ("SELECT * FROM plain", "read"),
            ("SELECT * FROM plain_b_seq", "plain_b_seq runs"),
        ],
    );
}

#[test]
fn operators_aggregates_types_and_casts() {
    let made = [
        "CREATE FUNCTION minus(int, int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1'",
        "CREATE OPERATOR -!- (FUNCTION = minus, LEFTARG = int, RIGHTARG = int)",
        "CREATE OPERATOR -@- (FUNCTION = int4mi, LEFTARG = int, RIGHTARG = int)",
        "CREATE VIEW v_operator AS SELECT 1 -!- 2",
        "CREATE AGGREGATE gather (int) (SFUNC = minus, STYPE = int)",
        "CREATE AGGREGATE add (int) (SFUNC = int4pl, STYPE = int)",
        "CREATE VIEW v_aggregate AS SELECT gather(a) FROM t",
        "CREATE DOMAIN checked AS int CHECK (VALUE > bump())",
        "CREATE DOMAIN over_checked AS checked",
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
        "CREATE VIEW v_cast AS SELECT a::checked FROM t",
        "CREATE FUNCTION of_checked(checked) RETURNS int STABLE LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE pair AS (a int, b checked)",
        "CREATE TYPE mood AS ENUM ('fine')",
        "CREATE FUNCTION to_mood(int) RETURNS mood VOLATILE LANGUAGE sql AS $$SELECT 'fine'::mood$$",
        "CREATE CAST (int AS mood) WITH FUNCTION to_mood(int)",
        "CREATE TYPE colour AS ENUM ('red')",
        "CREATE SEQUENCE s",
        "CREATE FUNCTION by_default(int DEFAULT nextval('s')) RETURNS int STABLE LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION atomic() RETURNS bigint STABLE LANGUAGE sql BEGIN ATOMIC SELECT nextval('s'); END",
        "CREATE FUNCTION atomic_read() RETURNS bigint STABLE LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM t; END",
    ];
    judged(
        &[&FUNCTIONS[..], &made].concat(),
        &[
            ("SELECT 1 -!- 2", "operator -!- runs"),
            ("SELECT 1 -@- 2", "read"),
            ("SELECT * FROM v_operator", "v_operator runs"),
            ("SELECT gather(a) FROM t", "gather is volatile"),
            ("SELECT add(a) FROM t", "read"),
            ("SELECT * FROM v_aggregate", "v_aggregate runs"),
            ("SELECT 1::checked", "checked runs"),
            ("SELECT 1::over_checked", "over_checked runs"),
            ("SELECT 1::positive", "read"),
            ("SELECT * FROM v_cast", "v_cast runs"),
            ("SELECT of_checked(1)", "of_checked is volatile"),
            ("SELECT '(1,2)'::pair", "pair runs"),
            ("SELECT 1::mood", "mood runs"),
            ("SELECT 'red'::colour", "read"),
            ("SELECT by_default()", "by_default is volatile"),
            ("SELECT atomic()", "atomic is volatile"),
            ("SELECT atomic_read()", "read"),
        ],
    );
}

#[test]
fn an_operator_words_stand_for_taints_its_type() {
    let made = [
        "CREATE TYPE mood AS ENUM ('fine', 'bad')",
        "CREATE FUNCTION alike(mood, text) RETURNS bool VOLATILE LANGUAGE sql AS 'SELECT true'",
        "CREATE OPERATOR = (FUNCTION = alike, LEFTARG = mood, RIGHTARG = text)",
        "CREATE TABLE days (mood mood)",
        "CREATE TABLE weeks (moods mood[])",
    ];
    judged(
        &[&FUNCTIONS[..], &made].concat(),
        &[
            ("SELECT * FROM t WHERE a IN (1)", "read"),
            ("SELECT * FROM t WHERE a = 1", "read"),
            ("SELECT * FROM days", "days runs"),
            ("SELECT * FROM weeks", "weeks runs"),
            ("SELECT 'fine'::mood", "mood runs"),
        ],
    );
    let made = [
        "CREATE FUNCTION alike(int, text) RETURNS bool VOLATILE LANGUAGE sql AS 'SELECT true'",
        "CREATE OPERATOR = (FUNCTION = alike, LEFTARG = int, RIGHTARG = text)",
    ];
    judged(&made, &[("SELECT 1 IN ('x'::text)", "operator = runs")]);
}

#[test]
fn policies_that_write() {
    let made = [
        "CREATE TABLE guarded (a int)",
        "CREATE POLICY p ON guarded USING (a > bump())",
        "CREATE TABLE guarded_on (a int)",
        "CREATE POLICY p ON guarded_on USING (a > bump())",
        "ALTER TABLE guarded_on ENABLE ROW LEVEL SECURITY",
        "CREATE TABLE guarded_well (a int)",
        "CREATE POLICY p ON guarded_well USING (a > total())",
        "CREATE POLICY q ON guarded_well FOR INSERT WITH CHECK (a > bump())",
        "ALTER TABLE guarded_well ENABLE ROW LEVEL SECURITY",
        "CREATE VIEW v_guarded AS SELECT * FROM guarded_on",
    ];
    judged(
        &[&FUNCTIONS[..], &made].concat(),
        &[
            ("SELECT * FROM guarded", "read"),
            ("SELECT * FROM guarded_on", "guarded_on runs"),
            ("SELECT * FROM guarded_well", "read"),
            ("SELECT * FROM v_guarded", "v_guarded runs"),
        ],
    );
}
