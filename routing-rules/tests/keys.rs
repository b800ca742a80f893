//! The golden table of `cases/keys.txt`: which shards a text is for.

mod world;

use routing_rules::{Context, Format, Key, Lex, NoKey, Parameter, Reading, Shards, Values, cut};
use world::{context, sharding, tables};

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
        tables: (!row.has_no_catalog).then_some(&tables),
        search_path: (!path.is_empty()).then_some(&path),
        temporary: &row.temporary,
        ..context(&sharding, &tables)
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
