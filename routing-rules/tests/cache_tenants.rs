//! The golden table of `cases/cache_tenants.txt`: whose rows a text reads or writes, where the cache's rules say which column
//! tells.

mod table;

use std::collections::HashMap;

use routing_rules::cache::{
    Catalog, Class, Columns, Found, Owned, Relations, Rules, Tenants, Touches, admit, effect,
};
use routing_rules::{Column, Format, Named, Names, Parameter, Table, TableKind, Tables};
use table::sql;

/// Name, kind, columns: `!` is in front of one that is generated.
const RELATIONS: &[(&str, u8, &str)] = &[
    ("orders", b'p', "id tenant_id amount"),
    ("orders_1", b'r', "id tenant_id amount"),
    ("lines", b'r', "tenant_id id order_id"),
    ("tenants", b'r', "id name"),
    ("products", b'r', "id name"),
    ("notes", b'r', "tenant_id order_id"),
    ("made", b'r', "id !tenant_id"),
    ("stamped", b'r', "id tenant_id at"),
    ("moved", b'r', "id tenant_id"),
    ("odd", b'p', "id tenant_id key"),
    ("odd_1", b'r', "id tenant_id key"),
    ("totals", b'v', "tenant_id sum"),
];

fn oid(name: &str) -> u32 {
    let place = RELATIONS.iter().position(|(own, ..)| *own == name);
    20_001 + place.expect("a relation") as u32
}

fn trigger(table: &str, body: &str) -> Found {
    Found::Trigger {
        table: oid(table),
        function: b"f".to_vec(),
        body: Some(body.into()),
        is_builtin: false,
        is_before: true,
    }
}

fn catalog() -> Catalog {
    let inherits = |parent, child| Found::Inherits {
        parent: oid(parent),
        child: oid(child),
    };
    let mut rows = vec![
        inherits("orders", "orders_1"),
        inherits("odd", "odd_1"),
        Found::Cascades {
            parent: oid("lines"),
            child: oid("notes"),
        },
        trigger("stamped", "BEGIN NEW.at := now(); RETURN NEW; END"),
        trigger("moved", "BEGIN NEW.tenant_id := 7; RETURN NEW; END"),
    ];
    let mut tables = Tables::default();
    for (name, kind, columns) in RELATIONS {
        rows.push(Found::Relation {
            oid: oid(name),
            name: name.as_bytes().to_vec(),
            kind: *kind,
            is_permanent: true,
            has_row_security: false,
            reads: (*name == "totals").then(|| (vec![oid("orders")], vec![])),
        });
        let column = |word: &str| {
            let name = word.trim_start_matches('!');
            Column {
                name: name.into(),
                type_oid: if name == "name" { 25 } else { 23 },
                has_own_collation: false,
                is_generated: false,
            }
        };
        for word in columns.split(' ').filter(|word| word.starts_with('!')) {
            rows.push(Found::Generated {
                table: oid(name),
                column: word[1..].into(),
            });
        }
        tables.add(Table {
            schema: "public".into(),
            name: (*name).into(),
            kind: if *kind == b'v' {
                TableKind::View
            } else {
                TableKind::Table
            },
            columns: columns.split(' ').map(column).collect(),
        });
    }
    let others = [("tenants", "id"), ("odd", "key")];
    let columns = Columns {
        column: "tenant_id".into(),
        others: HashMap::from(others.map(|(table, column)| (Named::parse(table), column.into()))),
    };
    Catalog {
        names: Names::default(),
        relations: Relations::new(&rows, |_| false),
        tenants: Tenants::new(&columns, tables),
    }
}

/// `orders orders_1[5,6]`: tables of which all rows matter, and those of which these tenants' do. `$1` is 5, `$2` is 6.
fn shown(catalog: &Catalog, text: &[u8], all: &[routing_rules::cache::Name], owned: &[Owned]) -> String {
    let tenants = catalog.tenants.as_ref().expect("tenants");
    let parameter = |bytes| Parameter {
        type_oid: 0,
        format: Format::Text,
        bytes: Some(bytes),
    };
    let parameters = [parameter(&b"5"[..]), parameter(b"6")];
    let mut words: Vec<String> = all
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    for (one, buckets) in Owned::whose(owned, text, &parameters) {
        let keys = buckets.map(|buckets| {
            let keys = (0..20).map(|key: i32| key.to_string());
            let keys = keys.filter(|key| {
                tenants
                    .bucket(key)
                    .is_some_and(|bucket| buckets.contains(&bucket))
            });
            keys.collect::<Vec<_>>().join(",")
        });
        for table in &one.tables {
            let table = String::from_utf8_lossy(table);
            words.push(format!("{table}[{}]", keys.as_deref().unwrap_or("?")));
        }
    }
    words.join(" ")
}

#[test]
fn the_table_holds() {
    let catalog = catalog();
    let rules = Rules {
        classes: vec![Class {
            name: "all".into(),
            tables: vec!["*".into()],
            ttl: std::time::Duration::from_secs(1),
            stale: Default::default(),
            refresh_ahead: Default::default(),
            statements: Vec::new(),
        }],
        ..Rules::default()
    };
    let mut wrong = Vec::new();
    for (number, line) in include_str!("../cases/cache_tenants.txt").lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split(" | ").collect();
        let &[field, direction, expected] = &fields[..] else {
            panic!("line {}: {line}", number + 1);
        };
        let (sql, lex) = sql(field);
        let got = match direction {
            ">" => {
                let effect = effect(&sql, lex, Some(&catalog));
                match effect.touches {
                    Touches::Nothing => "nothing".to_owned(),
                    Touches::Anything => "anything".to_owned(),
                    Touches::Tables(names) => shown(&catalog, &sql, &names, &effect.owned),
                }
            }
            _ => match admit(&sql, lex, &catalog, &rules) {
                Ok(kept) => shown(&catalog, &sql, &kept.reads, &kept.owned),
                Err(why) => why.to_string(),
            },
        };
        if got != expected {
            wrong.push(format!("line {}: {line}\n  got {got}", number + 1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
