//! The golden table of `cases/keys.txt`: which shards a text is for.

use std::collections::{BTreeMap, HashMap};

use routing_rules::{
    Column, Context, Format, Function, Guard, Key, KeyType, Lex, Named, NoKey, Parameter, Placement, Reading,
    Sharding, Shards, Table, TableKind, Tables, Values, cut,
};

/// Tenant 1 is on s1, 2 on s2, 3 on s3, all others on s0.
fn sharding() -> Sharding {
    let shard = |key: i64| (Key::Integer(key), format!("s{key}").into());
    Sharding {
        column: "tenant_id".into(),
        key_type: KeyType::Integer,
        placement: Placement {
            entries: HashMap::new(),
            function: Function::List(BTreeMap::from([shard(1), shard(2), shard(3)]), Some("s0".into())),
        },
        shards: ["s0", "s1", "s2", "s3"].map(Into::into).into(),
        columns: HashMap::from([
            (Named::parse("tenants"), "id".into()),
            (Named::parse("declared"), "owner".into()),
            (Named::parse("v_declared"), "tenant_id".into()),
        ]),
        reference: vec![Named::parse("currency")],
        home: HashMap::from([
            (Named::parse("audit_log"), "s0".into()),
            (Named::parse("s2_log"), "s2".into()),
        ]),
        functions: vec![Named::parse("slug")],
        no_key: NoKey::Scatter,
        guard: Guard::Off,
    }
}

fn tables() -> Tables {
    const INT8: u32 = 20;
    const TEXT: u32 = 25;
    let mut tables = Tables::default();
    let mut add = |schema: &str, name: &str, kind: TableKind, columns: &[(&str, u32)]| {
        let columns = columns.iter().map(|&(name, type_oid)| Column {
            name: name.into(),
            type_oid,
            has_own_collation: false,
        });
        tables.add(Table {
            schema: schema.into(),
            name: name.into(),
            kind,
            columns: columns.collect(),
        });
    };
    let table = TableKind::Table;
    add("public", "tenants", table, &[("id", INT8), ("name", TEXT)]);
    let accounts = [("id", INT8), ("tenant_id", INT8), ("name", TEXT)];
    add("public", "accounts", table, &accounts);
    let orders = [
        ("id", INT8),
        ("tenant_id", INT8),
        ("account_id", INT8),
        ("amount", INT8),
        ("note", TEXT),
    ];
    add("public", "orders", table, &orders);
    add(
        "public",
        "items",
        table,
        &[("tenant_id", INT8), ("order_id", INT8), ("qty", INT8)],
    );
    add("public", "Mixed", table, &[("tenant_id", INT8), ("Name", TEXT)]);
    add("public", "currency", table, &[("code", TEXT), ("name", TEXT)]);
    add("public", "audit_log", table, &[("id", INT8), ("note", TEXT)]);
    add("public", "s2_log", table, &[("id", INT8)]);
    add("public", "keyless", table, &[("id", INT8)]);
    add("public", "texty", table, &[("tenant_id", TEXT)]);
    add("public", "v_orders", TableKind::View, &orders);
    add("public", "v_declared", TableKind::View, &orders);
    add("a", "dup", table, &[("tenant_id", INT8)]);
    add("b", "dup", table, &[("id", INT8)]);
    tables
}

/// What a row says is not as usual.
#[derive(Default)]
struct Row {
    parameters: Vec<(Vec<u8>, bool, u32, Format)>,
    tenant: Option<Key>,
    path: Vec<String>,
    temporary: Vec<Box<str>>,
    has_no_catalog: bool,
    refuses: bool,
    guards: bool,
}

fn row(words: &str) -> Row {
    let mut row = Row::default();
    for word in words.split(' ').filter(|word| *word != "-") {
        match word.split_once('=') {
            Some(("tenant", value)) => row.tenant = Some(Key::Integer(value.parse().expect("a number"))),
            Some(("path", value)) => row.path = value.split(',').map(str::to_owned).collect(),
            Some(("temp", value)) => row.temporary.push(value.into()),
            Some(("no_key", "refuse")) => row.refuses = true,
            Some((name, "NULL")) if name.starts_with('$') => {
                row.parameters.push((Vec::new(), true, 0, Format::Text))
            }
            Some((name, value)) if name.starts_with('$') => {
                let (value, oid) = value.split_once(':').unwrap_or((value, "0"));
                let oid = oid.parse().expect("an OID");
                let parameter = match value.strip_prefix("int8!") {
                    Some(number) => (
                        number.parse::<i64>().expect("a number").to_be_bytes().to_vec(),
                        false,
                        oid,
                        Format::Binary,
                    ),
                    None => (value.as_bytes().to_vec(), false, oid, Format::Text),
                };
                row.parameters.push(parameter);
            }
            None if word == "no_catalog" => row.has_no_catalog = true,
            None if word == "guard" => row.guards = true,
            _ => panic!("what is {word}?"),
        }
    }
    row
}

fn shown(shards: &Shards) -> String {
    match shards {
        Shards::Any => "any".into(),
        Shards::Home => "home".into(),
        Shards::One(shard) => shard.to_string(),
        Shards::Some(shards) => shards.join(","),
        Shards::All => "all".into(),
    }
}

fn judge(text: &str, words: &str) -> String {
    let row = row(words);
    let mut sharding = sharding();
    if row.refuses {
        sharding.no_key = NoKey::Refuse;
    }
    let tables = tables();
    let path: Vec<&str> = row.path.iter().map(String::as_str).collect();
    let context = Context {
        sharding: &sharding,
        tables: (!row.has_no_catalog).then_some(&tables),
        search_path: (!path.is_empty()).then_some(&path),
        temporary: &row.temporary,
    };
    let pieces = match cut(text.as_bytes(), Lex::default()) {
        Ok(pieces) => pieces,
        Err(unread) => return format!("unread: {unread}"),
    };
    let reading = Reading::new(&pieces, &context);
    let parameters: Vec<Parameter<'_>> = row
        .parameters
        .iter()
        .map(|(bytes, is_null, type_oid, format)| Parameter {
            type_oid: *type_oid,
            format: *format,
            bytes: (!is_null).then_some(&bytes[..]),
        })
        .collect();
    let values = Values {
        pieces: &pieces,
        parameters: &parameters,
        only_keys: &reading.only_keys,
    };
    if row.guards {
        let tenant = row.tenant.expect("a tenant to guard");
        return match reading.guard(&sharding, &values, &tenant) {
            Ok(()) => "passes".into(),
            Err(reason) => format!("refused: {reason}"),
        };
    }
    let shards = match reading.shards(&sharding, &values, row.tenant.as_ref()) {
        Ok(shards) => shards,
        Err(reason) => return format!("refused: {reason}"),
    };
    let is_several = matches!(shards, Shards::All | Shards::Some(_));
    match (reading.row_shards(&sharding, &values), &reading.whole) {
        (Some(Ok(rows)), _) if is_several => format!("rows {}", rows.join(",")),
        (Some(Err(reason)), _) => format!("refused: {reason}"),
        (_, Some(operator)) if is_several => format!("{} but {operator}", shown(&shards)),
        (_, _) => shown(&shards),
    }
}

#[test]
fn the_table_holds() {
    let mut wrong = Vec::new();
    for (number, line) in include_str!("../cases/keys.txt").lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split(" | ").collect();
        let &[text, facts, expected] = &fields[..] else {
            panic!("line {}: {line}", number + 1);
        };
        let got = judge(text, facts);
        let holds = match expected.strip_suffix('…') {
            Some(start) => got.starts_with(start),
            None => got == expected,
        };
        if !holds {
            wrong.push(format!(
                "line {}: {text} | {facts}\n  expected {expected}\n  got      {got}",
                number + 1
            ));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}
