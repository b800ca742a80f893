//! Reads planned over four shards give what one PostgreSQL with all the rows gives, byte for byte, or are refused. The shards
//! are schemas of one database here: only the plans are tested, and PostgreSQL answers all of them.

use std::cmp::Ordering;
use std::collections::HashMap;

use pgshunt_tests::parity::{self, Tally, WRITTEN, statement};
use pgshunt_tests::{Wire, cluster};
use routing_rules::{
    Column, Context, Function, Guard, KeyType, Lex, Merge, Named, NoKey, Parameter, Pieces, Placement, Plan,
    Reading, Sharding, Shards, SortColumn, Table, TableKind, Tables, Values, cut,
};

const SHARDS: [&str; 4] = ["s0", "s1", "s2", "s3"];
/// How many statements are made up, beside the ones written down. `PGSHUNT_PARITY=20000` makes more.
const STATEMENTS: usize = 400;

fn sharding() -> Sharding {
    let shards: Vec<Box<str>> = SHARDS.map(Into::into).into();
    Sharding {
        column: "tenant_id".into(),
        key_type: KeyType::Integer,
        placement: Placement {
            entries: HashMap::new(),
            function: Function::Hash(shards.clone()),
        },
        shards,
        columns: HashMap::new(),
        reference: vec![Named::parse("kinds")],
        home: HashMap::new(),
        functions: Vec::new(),
        catalog: None,
        no_key: NoKey::Scatter,
        guard: Guard::Off,
    }
}

/// A column: its name, its type, and the type's OID.
type ColumnOf = (&'static str, &'static str, u32);

const COLUMNS: [(&str, &[ColumnOf]); 3] = [
    (
        "orders",
        &[
            ("id", "int", 23),
            ("tenant_id", "bigint", 20),
            ("kind", "int", 23),
            ("amount", "numeric", 1700),
            ("small", "smallint", 21),
            ("ratio", "float8", 701),
            ("note", "text", 25),
            ("day", "date", 1082),
            ("ok", "bool", 16),
        ],
    ),
    (
        "items",
        &[
            ("id", "int", 23),
            ("tenant_id", "bigint", 20),
            ("order_id", "int", 23),
            ("qty", "bigint", 20),
        ],
    ),
    ("kinds", &[("kind", "int", 23), ("name", "text", 25)]),
];

fn tables() -> Tables {
    let mut tables = Tables::default();
    for (name, columns) in COLUMNS {
        let column = |&(name, _, type_oid): &(&str, &str, u32)| Column {
            name: name.into(),
            type_oid,
            has_own_collation: false,
            is_generated: false,
        };
        tables.add(Table {
            schema: "public".into(),
            name: name.into(),
            kind: TableKind::Table,
            columns: columns.iter().map(column).collect(),
        });
    }
    tables
}

/// The same rows in schema `whole` and, by PostgreSQL's own placement, in the shards.
fn fill(wire: &mut Wire) {
    for schema in SHARDS.iter().chain(&["whole"]) {
        wire.query(&format!("CREATE SCHEMA {schema}"));
        for (table, columns) in COLUMNS {
            let columns: Vec<String> = columns
                .iter()
                .map(|(name, kind, _)| format!("{name} {kind}"))
                .collect();
            wire.query(&format!("CREATE TABLE {schema}.{table} ({})", columns.join(", ")));
        }
    }
    wire.run("SELECT setseed(0.5)");
    wire.query(
        "INSERT INTO whole.orders SELECT n, 1 + n % 11, CASE WHEN n % 7 > 0 THEN n % 5 END, CASE WHEN n % 13 > 0 THEN \
         round((random() * 1000)::numeric, n % 4) END, n % 30 - 15, (n % 16) / 8.0, CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN \
         'Ab' || n % 3 ELSE 'a ' || chr(97 + n % 5) END, date '2024-01-01' + n % 90, n % 3 = 0 FROM generate_series(1, 300) n",
    );
    wire.query("INSERT INTO whole.items SELECT n, 1 + n % 11, n % 300, n::bigint * 1000000007 FROM generate_series(1, 500) n");
    wire.query("INSERT INTO whole.kinds SELECT n, 'kind ' || n FROM generate_series(0, 5) n");
    wire.query("CREATE TABLE placed (k bigint) PARTITION BY HASH (k)");
    for (number, shard) in SHARDS.iter().enumerate() {
        for table in ["orders", "items"] {
            wire.query(&format!(
                "INSERT INTO {shard}.{table} SELECT * FROM whole.{table} WHERE satisfies_hash_partition('placed'::regclass, 4, {number}, tenant_id)"
            ));
        }
        wire.query(&format!("INSERT INTO {shard}.kinds SELECT * FROM whole.kinds"));
    }
}

/// What became of a statement.
enum Outcome {
    Rows(Vec<String>),
    Refused(String),
}

fn answer(wire: &mut Wire, text: &str, sharding: &Sharding, tables: &Tables) -> Outcome {
    let context = Context {
        sharding,
        tables: Some(tables),
        search_path: None,
        temporary: &[],
    };
    let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
    let reading = Reading::new(&pieces, &context);
    let parameters: [Parameter<'_>; 0] = [];
    let values = Values {
        pieces: &pieces,
        parameters: &parameters,
        only_keys: &reading.only_keys,
    };
    let shards: Vec<String> = match reading.spread(sharding, &values, None) {
        Err(reason) => return Outcome::Refused(reason.to_string()),
        Ok(Shards::Any | Shards::Home) => vec!["s2".into()],
        Ok(Shards::One(shard)) => vec![shard.into()],
        Ok(Shards::Some(shards)) => shards.into_iter().map(Into::into).collect(),
        Ok(Shards::All) => SHARDS.map(Into::into).into(),
    };
    if shards.len() == 1 {
        return Outcome::Rows(on(wire, &shards[0], text));
    }
    match reading.plan.as_ref() {
        Some(Ok(Plan::Concatenate)) | None => {
            Outcome::Rows(shards.iter().flat_map(|shard| on(wire, shard, text)).collect())
        }
        Some(Ok(Plan::Merge(merge))) => {
            let text = merge.shard.render(&pieces);
            let rows = shards.iter().flat_map(|shard| on(wire, shard, &text)).collect();
            Outcome::Rows(merged(merge, rows, &pieces))
        }
        Some(Ok(Plan::Finish(finish))) => {
            let text = finish.shard.render(&pieces);
            wire.query("DROP TABLE IF EXISTS partial");
            for (number, shard) in shards.iter().enumerate() {
                let head = if number == 0 {
                    "CREATE TEMP TABLE partial AS"
                } else {
                    "INSERT INTO partial"
                };
                on(wire, shard, &format!("{head} {text}"));
            }
            let types = wire.rows(
                "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'partial'::regclass AND attnum > 0 ORDER BY attnum",
            );
            let types: Vec<&str> = types.iter().map(String::as_str).collect();
            let Ok(mut last) = finish.last(&pieces, &types) else {
                return Outcome::Refused("types that can't be put together".into());
            };
            for place in (0..finish.columns).rev() {
                last = last.replace(
                    &format!("${}::", place + 1),
                    &format!("(SELECT array_agg(pgshunt_{place} ORDER BY ctid) FROM partial)::"),
                );
            }
            Outcome::Rows(wire.rows(&last))
        }
        Some(Err(operator)) => panic!("{text}: {operator} was not refused"),
    }
}

fn on(wire: &mut Wire, schema: &str, text: &str) -> Vec<String> {
    wire.run(&format!("SET search_path = {schema}"));
    wire.rows(text)
}

/// Rows sorted by the keys, cut, and without hidden columns. NULL is empty in these rows, and no text is.
fn merged(merge: &Merge, rows: Vec<String>, pieces: &Pieces<'_>) -> Vec<String> {
    let mut rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.split('|').map(str::to_owned).collect())
        .collect();
    let at = |row: &Vec<String>, column: SortColumn| match column {
        SortColumn::Output(place) => row[place].clone(),
        SortColumn::Hidden(place) => row[row.len() - merge.hidden + place].clone(),
    };
    rows.sort_by(|a, b| {
        for key in &merge.keys {
            let (a, b) = (at(a, key.column), at(b, key.column));
            let order = match (is_null(&a), is_null(&b)) {
                (true, true) => Ordering::Equal,
                (true, false) if key.nulls_first => Ordering::Less,
                (true, false) => Ordering::Greater,
                (false, true) if key.nulls_first => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => {
                    let order = match (a.parse::<f64>(), b.parse::<f64>()) {
                        (Ok(a), Ok(b)) => a.total_cmp(&b),
                        _ => a.cmp(&b),
                    };
                    if key.descending { order.reverse() } else { order }
                }
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    });
    let count = |count: Option<routing_rules::Count>| {
        count.map(|count| count.literal(pieces).expect("a constant") as usize)
    };
    let rows = rows
        .into_iter()
        .skip(count(merge.offset).unwrap_or(0))
        .take(count(merge.limit).unwrap_or(usize::MAX));
    rows.map(|row| row[..row.len() - merge.hidden].join("|"))
        .collect()
}

fn is_null(value: &str) -> bool {
    value.is_empty() || value == "NULL"
}

#[test]
fn four_shards_answer_as_one_server_or_not_at_all() {
    let database = cluster::database();
    let mut wire = database.superuser().wire();
    wire.run("SET client_min_messages = error");
    fill(&mut wire);
    let (sharding, tables) = (sharding(), tables());
    let count = parity::statements(STATEMENTS);
    let mut seed = 20_26;
    let made_up = std::iter::repeat_with(|| statement(&mut seed)).take(count);
    let mut tally = Tally::default();
    for text in WRITTEN.iter().map(|text| (*text).to_owned()).chain(made_up) {
        let got = match answer(&mut wire, &text, &sharding, &tables) {
            Outcome::Rows(rows) => rows,
            Outcome::Refused(reason) => {
                tally.refuse(reason);
                continue;
            }
        };
        let expected = on(&mut wire, "whole", &text);
        let is_sorted = parity::is_sorted(&text);
        let sorted = |rows: &[String]| {
            let mut rows = rows.to_vec();
            if !is_sorted {
                rows.sort();
            }
            rows
        };
        tally.answer(sorted(&got) == sorted(&expected), || {
            format!("{text}\n  expected {expected:?}\n  got      {got:?}")
        });
    }
    tally.judge(count);
}
