//! The golden table of `cases/cache.txt`: whose answer may be kept, and what makes it old.

mod table;

use routing_rules::cache::{Catalog, Class, Found, NotCached, Relations, Rules, Touches, admit, effect};
use routing_rules::{Kind, Lex, Names};
use table::sql;

fn relation(oid: u32, name: &str, kind: u8) -> Found {
    Found::Relation {
        oid,
        name: name.into(),
        kind,
        is_permanent: name != "scratch",
        has_row_security: name == "secret",
        reads: match name {
            "totals" => Some((vec![20_001], vec![])),
            "recent" => Some((vec![20_001], vec![1299])),
            _ => None,
        },
    }
}

fn function(oid: u32, name: &str, is_volatile: bool) -> Found {
    Found::Function {
        oid,
        name: name.into(),
        is_volatile,
        is_builtin: oid < 16384,
    }
}

fn trigger(table: u32, body: &str) -> Found {
    Found::Trigger {
        table,
        function: b"f".to_vec(),
        body: Some(body.into()),
        is_builtin: false,
        is_before: true,
    }
}

fn catalog() -> Catalog {
    let mut names = Names::default();
    for (kind, name) in [
        (Kind::SafeFunction, "own"),
        (Kind::SafeFunction, "fixed"),
        (Kind::VolatileFunction, "bump"),
        (Kind::PrimaryRelation, "scratch"),
    ] {
        names.add(kind, name.as_bytes());
    }
    let mut rows = vec![
        Found::Inherits {
            parent: 20_001,
            child: 20_002,
        },
        Found::Cascades {
            parent: 20_001,
            child: 20_003,
        },
        trigger(20_007, "BEGIN INSERT INTO log VALUES (1); RETURN NEW; END"),
        trigger(20_008, "BEGIN NEW.at := now(); RETURN NEW; END"),
        function(20_100, "own", false),
        function(20_101, "bump", true),
        function(1299, "now", false),
        function(1598, "random", true),
        function(2649, "clock_timestamp", true),
        function(3432, "gen_random_uuid", true),
        function(1386, "age", false),
        function(2077, "current_setting", false),
        function(1770, "to_char", false),
        function(1217, "date_trunc", false),
    ];
    let tables = [
        "orders", "orders_1", "items", "config", "secret", "scratch", "audited", "stamped", "Mixed", "mv",
        "totals", "recent",
    ];
    for (place, name) in tables.into_iter().enumerate() {
        let kind = match name {
            "totals" | "recent" => b'v',
            "mv" => b'm',
            _ => b'r',
        };
        rows.push(relation(20_001 + place as u32, name, kind));
    }
    Catalog {
        names,
        relations: Relations::new(&rows, |_| false),
        tenants: None,
    }
}

fn rules() -> Rules {
    let class = |name: &str, tables: &str| Class {
        name: name.into(),
        tables: tables.split(' ').map(str::to_owned).collect(),
        ttl: std::time::Duration::from_secs(1),
        stale: Default::default(),
        refresh_ahead: Default::default(),
        statements: Vec::new(),
    };
    Rules {
        classes: vec![
            class("a", "orders totals items"),
            class("b", "config mv Mixed secret scratch recent"),
        ],
        ..Rules::default()
    }
}

fn text(names: &[routing_rules::cache::Name]) -> String {
    let names: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name)).collect();
    names.join(" ")
}

#[test]
fn the_table_holds() {
    let (catalog, rules) = (catalog(), rules());
    let mut wrong = Vec::new();
    let mut rows = 0;
    for (number, line) in include_str!("../cases/cache.txt").lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        rows += 1;
        let fields: Vec<&str> = line.split(" | ").collect();
        let &[field, expected, tables] = &fields[..] else {
            panic!("line {}: {line}", number + 1);
        };
        let (sql, lex) = sql(field);
        let got = if expected == ">" {
            match effect(&sql, lex, Some(&catalog)).touches {
                Touches::Nothing => "nothing".to_owned(),
                Touches::Anything => "anything".to_owned(),
                Touches::Tables(names) => text(&names),
            }
        } else {
            match admit(&sql, lex, &catalog, &rules) {
                Ok(kept) => format!("{} | {}", rules.classes[kept.class].name, text(&kept.reads)),
                Err(why) => why.to_string(),
            }
        };
        let is_right = match (expected, tables) {
            (">", tables) => got == tables,
            (why, "-") => got.contains(why),
            (class, tables) => got == format!("{class} | {tables}"),
        };
        if !is_right {
            wrong.push(format!("line {}: {line}\n  got {got}", number + 1));
        }
    }
    assert!(rows >= 100, "{rows} rows");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_a_catalog_every_write_may_change_anything() {
    let touches = |sql: &str| effect(sql.as_bytes(), Lex::default(), None).touches;
    assert_eq!(touches("update t set a = 1"), Touches::Anything);
    assert_eq!(touches("select 1"), Touches::Anything);
    assert_eq!(touches("commit"), Touches::Nothing);
}

#[test]
fn the_first_class_that_takes_all_tables_wins() {
    let mut rules = rules();
    rules.classes[0].tables = vec!["*".into()];
    let kept = admit(
        b"select * from orders, config",
        Lex::default(),
        &catalog(),
        &rules,
    );
    assert_eq!(kept.map(|kept| kept.class), Ok(0));
    rules.classes.clear();
    let none = admit(b"select * from orders", Lex::default(), &catalog(), &rules);
    assert!(matches!(none, Err(NotCached::NoClass(_))));
}
