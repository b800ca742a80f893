//! Rows of one INSERT or COPY split among four shards are the rows one PostgreSQL would have, each on its shard, or both refuse.
//! The shards are schemas of one database here.

use std::collections::HashMap;

use pgshunt_tests::differential::chance::{Chance, seed};
use pgshunt_tests::parity::statements;
use pgshunt_tests::{Messages, Wire, cluster};
use routing_rules::{
    Column, Context, CopyOptions, CopySplitter, Function, Goes, Guard, KeyType, Lex, NoKey, Placement,
    Reading, Sharding, Table, TableKind, Tables, Values, cut, in_order,
};

const SHARDS: [&str; 4] = ["s0", "s1", "s2", "s3"];

/// How many sets of data are made up. `PGSHUNT_PARITY=20000` makes more.
const SETS: usize = 300;

fn sharding(key_type: KeyType) -> Sharding {
    let shards: Vec<Box<str>> = SHARDS.map(Into::into).into();
    Sharding {
        column: "k".into(),
        key_type,
        placement: Placement {
            entries: HashMap::new(),
            function: Function::Hash(shards.clone()),
        },
        shards,
        columns: HashMap::new(),
        reference: Vec::new(),
        home: HashMap::new(),
        functions: Vec::new(),
        catalog: None,
        no_key: NoKey::Scatter,
        guard: Guard::Off,
    }
}

fn tables(key_oid: u32) -> Tables {
    let mut tables = Tables::default();
    let columns = [("a", 25), ("k", key_oid), ("b", 25)];
    let column = |(name, type_oid): (&str, u32)| Column {
        name: name.into(),
        type_oid,
        has_own_collation: false,
        is_generated: false,
    };
    tables.add(Table {
        schema: "public".into(),
        name: "t".into(),
        kind: TableKind::Table,
        columns: columns.map(column).into(),
    });
    tables
}

fn make_tables(wire: &mut Wire, key_type: &str) {
    for schema in SHARDS.iter().chain(&["whole"]) {
        wire.run(&format!("CREATE SCHEMA {schema}"));
        wire.run(&format!(
            "CREATE TABLE {schema}.t (a text, k {key_type} NOT NULL, b text)"
        ));
    }
    wire.run(&format!(
        "CREATE TABLE placed (k {key_type}) PARTITION BY HASH (k)"
    ));
}

/// All rows of these schemas' tables, sorted.
fn rows_of(wire: &mut Wire, schemas: &[&str]) -> Vec<String> {
    let mut rows = Vec::new();
    for schema in schemas {
        rows.extend(wire.rows(&format!("SELECT t::text FROM {schema}.t AS t")));
    }
    rows.sort();
    rows
}

fn misplaced(wire: &mut Wire) -> usize {
    let count = |(number, shard): (usize, &&str)| {
        wire.value(&format!(
            "SELECT count(*) FROM {shard}.t WHERE NOT satisfies_hash_partition('placed'::regclass, 4, {number}, k)"
        ))
        .parse::<usize>()
        .expect("a number")
    };
    SHARDS.iter().enumerate().map(count).sum()
}

/// A COPY of these data into one schema; the error, if it is refused.
fn copy(wire: &mut Wire, schema: &str, options: &str, data: &[u8]) -> Result<(), String> {
    wire.send(&Messages::new().query(&format!("COPY {schema}.t {options}")));
    let frame = wire.read();
    if frame.kind == b'E' {
        wire.until_ready();
        return Err(frame.to_string());
    }
    assert_eq!(frame.kind, b'G', "{frame}");
    wire.send(&Messages::new().copy_data(data).copy_done());
    let frames = wire.until_ready();
    match frames.iter().find(|frame| frame.kind == b'E') {
        Some(error) => Err(error.to_string()),
        None => Ok(()),
    }
}

/// The data for each shard.
fn split(
    sharding: &Sharding,
    tables: &Tables,
    options: &str,
    data: &[u8],
    chance: &mut Chance,
) -> Result<HashMap<String, Vec<u8>>, String> {
    let text = format!("COPY t {options}");
    let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
    let context = Context {
        sharding,
        tables: Some(tables),
        search_path: None,
        temporary: &[],
    };
    let reading = Reading::new(&pieces, &context);
    assert_eq!(reading.refused, None, "{text}");
    let options = CopyOptions::of(&reading, &pieces).expect("a COPY");
    let options = options.map_err(|reason| reason.to_string())?;
    let mut splitter = CopySplitter::new(options, "UTF8", true, 1 << 20).expect("an encoding");
    let mut parts: HashMap<String, Vec<u8>> = SHARDS.map(|shard| (shard.to_owned(), Vec::new())).into();
    let mut sink = |to: Goes<'_>, bytes: &[u8]| match to {
        Goes::Every => parts.values_mut().for_each(|part| part.extend_from_slice(bytes)),
        Goes::One(shard) => parts.get_mut(shard).expect("a shard").extend_from_slice(bytes),
    };
    let mut rest = data;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + chance.below(rest.len().min(40)));
        splitter
            .feed(sharding, piece, &mut sink)
            .map_err(|error| format!("{error} ({})", error.context))?;
        rest = after;
    }
    splitter
        .finish(sharding, &mut sink)
        .map_err(|error| format!("{error} ({})", error.context))?;
    Ok(parts)
}

/// Both ways; says whether the rows came in.
fn compare(
    wire: &mut Wire,
    sharding: &Sharding,
    tables: &Tables,
    options: &str,
    data: &[u8],
    chance: &mut Chance,
) -> bool {
    let shown = || format!("COPY t {options}: {}", data.escape_ascii());
    wire.run("BEGIN");
    let expected = copy(wire, "whole", options, data).map(|()| rows_of(wire, &["whole"]));
    wire.run("ROLLBACK");
    wire.run("BEGIN");
    let got = split(sharding, tables, options, data, chance).and_then(|parts| {
        for shard in SHARDS {
            copy(wire, shard, options, &parts[shard])?;
        }
        assert_eq!(misplaced(wire), 0, "{}", shown());
        Ok(rows_of(wire, &SHARDS))
    });
    wire.run("ROLLBACK");
    match (&expected, &got) {
        (Ok(expected), Ok(got)) => assert_eq!(expected, got, "{}", shown()),
        (Err(_), Err(_)) => {}
        (Ok(rows), Err(why)) => panic!("{}\nPostgreSQL has {rows:?}, we say {why}", shown()),
        (Err(why), Ok(rows)) => panic!("{}\nPostgreSQL says {why}, we have {rows:?}", shown()),
    }
    expected.is_ok()
}

const OPTIONS: [&str; 12] = [
    "FROM STDIN",
    "(k, a) FROM STDIN",
    "FROM STDIN (DELIMITER '|', NULL 'x', HEADER)",
    "FROM STDIN (FORMAT csv)",
    "FROM STDIN (FORMAT csv, HEADER true, DELIMITER ';')",
    "(b, a, k) FROM STDIN CSV QUOTE '#' ESCAPE '!'",
    "FROM STDIN (FORMAT csv, ESCAPE '\\')",
    "FROM STDIN (FORMAT csv, NULL 'x', FORCE_NULL (k, a))",
    "FROM STDIN (FORMAT csv, NULL '7', FORCE_NOT_NULL (k))",
    "FROM STDIN CSV NULL '' FORCE NOT NULL a, k",
    "FROM STDIN (FORMAT csv, QUOTE '''', DELIMITER '|')",
    "(a, k) FROM STDIN WITH DELIMITER ','",
];

/// A line of some fields, mostly such as they should be.
fn line(options: &str, keys: &[&str], chance: &mut Chance) -> String {
    let delimiter = [";", "|", ","]
        .into_iter()
        .find(|mark| options.contains(&format!("'{mark}'")));
    let is_csv = options.contains("csv") || options.contains("CSV");
    let delimiter = delimiter.unwrap_or(if is_csv { "," } else { "\t" });
    let quote = ["'#'", "''''"].into_iter().find(|quote| options.contains(quote));
    let quote = match quote {
        Some("'#'") => "#",
        Some(_) => "'",
        None => "\"",
    };
    let (count, key) = match options.as_bytes() {
        [b'(', b'k', ..] => (2, 0),
        [b'(', b'b', ..] => (3, 2),
        [b'(', ..] => (2, 1),
        _ => (3, 1),
    };
    let pieces = [
        "", "x", "y z", "é", "\\\\", "\\n", "\\x41", "\\101", "\\N", "'", "#", "!", "7", "\\t", ".", "\\;",
    ];
    let field = |at: usize, chance: &mut Chance| {
        let mut text = String::new();
        if at == key && !chance.one_in(12) {
            text.push_str(chance.pick(keys));
        } else {
            (0..chance.below(4)).for_each(|_| text.push_str(chance.pick(&pieces)));
        }
        match is_csv && chance.one_in(3) {
            true => {
                let inner = text.replace(quote, &format!("{quote}{quote}"));
                let inner = if chance.one_in(4) && at != key {
                    format!("{inner}\n{delimiter}")
                } else {
                    inner
                };
                format!("{quote}{inner}{quote}")
            }
            false => text,
        }
    };
    let count = if chance.one_in(40) { count - 1 } else { count };
    let fields: Vec<String> = (0..count).map(|at| field(at, chance)).collect();
    fields.join(delimiter)
}

fn data(options: &str, keys: &[&str], chance: &mut Chance) -> Vec<u8> {
    let end = chance.pick(&["\n", "\n", "\r\n", "\r"]);
    let mut data = String::new();
    for at in 0..1 + chance.below(8) {
        if at > 0 {
            data.push_str(if chance.one_in(60) { "\n" } else { end });
        }
        data.push_str(&line(options, keys, chance));
    }
    let is_ended = !chance.one_in(4);
    if is_ended {
        data.push_str(end);
    }
    // Behind data on its line, versions of PostgreSQL differ, and we refuse it.
    if is_ended && chance.one_in(10) {
        data.push_str("\\.");
        data.push_str(end);
    }
    data.into_bytes()
}

#[test]
fn made_up_lines_are_split_as_postgresql_reads_them() {
    let mut chance = Chance::new(seed(1));
    for (key_type, oid, kind, keys) in [
        (
            "bigint",
            20,
            KeyType::Integer,
            &["1", "2", "3", "-4", " 5", "+6", "7", "\\x38", "9000000000"][..],
        ),
        (
            "text",
            25,
            KeyType::Text,
            &["a", "bé", "c d", "\\\\e", "\\x66g", "h\\ti", "7", "jkl", "m'n"][..],
        ),
    ] {
        let database = cluster::database();
        let mut wire = database.superuser().wire();
        make_tables(&mut wire, key_type);
        let (sharding, tables) = (sharding(kind), tables(oid));
        let (mut taken, sets) = (0, statements(SETS));
        for _ in 0..sets {
            let options = chance.pick(&OPTIONS);
            let data = data(options, keys, &mut chance);
            taken += usize::from(compare(
                &mut wire,
                &sharding,
                &tables,
                options,
                &data,
                &mut chance,
            ));
        }
        println!("{key_type}: {taken} of {sets} were taken by both");
        assert!(taken * 4 > sets, "{key_type}: only {taken} were data at all");
    }
}

/// What comes out of one server goes into four.
#[test]
fn what_copy_to_writes_is_split_in_every_format() {
    let database = cluster::database();
    let mut wire = database.superuser().wire();
    make_tables(&mut wire, "bigint");
    wire.run(
        "INSERT INTO whole.t SELECT CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN E'a\\n\"b\\\\' || n ELSE repeat('é', n % 90) END, \
         n * 7919 - 500000, CASE WHEN n % 3 > 0 THEN E'\\r\\t,;' || n END FROM generate_series(1, 3000) n",
    );
    let (sharding, tables) = (sharding(KeyType::Integer), tables(20));
    let mut chance = Chance::new(seed(1));
    for format in [
        "(FORMAT text)",
        "(FORMAT csv, HEADER)",
        "(FORMAT csv, FORCE_QUOTE *, QUOTE '|')",
        "(FORMAT binary)",
    ] {
        wire.send(&Messages::new().query(&format!("COPY whole.t TO STDOUT {format}")));
        let frames = wire.until_ready();
        let data: Vec<u8> = frames
            .iter()
            .filter(|frame| frame.kind == b'd')
            .flat_map(|frame| frame.body.clone())
            .collect();
        let options = format!("FROM STDIN {}", format.replace(", FORCE_QUOTE *", ""));
        let parts = split(&sharding, &tables, &options, &data, &mut chance).expect("rows with keys");
        wire.run("BEGIN");
        for shard in SHARDS {
            copy(&mut wire, shard, &options, &parts[shard]).expect("rows");
        }
        assert_eq!(misplaced(&mut wire), 0, "{format}");
        assert_eq!(
            rows_of(&mut wire, &["whole"]),
            rows_of(&mut wire, &SHARDS),
            "{format}"
        );
        wire.run("ROLLBACK");
    }
}

#[test]
fn rows_of_an_insert_are_split_and_come_back_in_order() {
    let database = cluster::database();
    let mut wire = database.superuser().wire();
    make_tables(&mut wire, "bigint");
    let (sharding, tables) = (sharding(KeyType::Integer), tables(20));
    let context = Context {
        sharding: &sharding,
        tables: Some(&tables),
        search_path: None,
        temporary: &[],
    };
    let mut chance = Chance::new(seed(1));
    for round in 0..40 {
        let rows: Vec<String> = (0..2 + chance.below(12))
            .map(|row| {
                let key = chance.below(50) as i64 - 25;
                format!("('r{row}', {key}, upper('x,(') || '{round}')")
            })
            .collect();
        let text = format!(
            "INSERT INTO t VALUES {} RETURNING a, k, b || '!' AS c",
            rows.join(" , ")
        );
        wire.run("BEGIN; SET LOCAL search_path = whole");
        let expected = wire.rows(&text);
        wire.run("ROLLBACK");
        let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
        let reading = Reading::new(&pieces, &context);
        let values = Values {
            pieces: &pieces,
            parameters: &[],
            only_keys: &[],
        };
        let parts = reading
            .split_insert(&sharding, &values)
            .expect("rows")
            .expect("keys");
        let mut answers = Vec::new();
        for part in &parts {
            wire.run(&format!("BEGIN; SET LOCAL search_path = {}, public", part.shard));
            answers.push(wire.rows(&part.text));
            assert_eq!(misplaced(&mut wire), 0, "{}", part.text);
            wire.run("ROLLBACK");
        }
        let counts: Vec<usize> = answers.iter().map(Vec::len).collect();
        let order = in_order(&parts, &counts).expect("as many as went in");
        let got: Vec<&String> = order.iter().map(|&(part, at)| &answers[part][at]).collect();
        assert_eq!(expected.iter().collect::<Vec<_>>(), got, "{text}");
    }
}
