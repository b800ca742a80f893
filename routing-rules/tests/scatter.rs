//! The golden table of `cases/scatter.txt`: how several shards answer together.

mod world;

use routing_rules::{Lex, Plan, Reading, SortColumn, cut};
use world::{context, sharding, tables};

fn judge(text: &str) -> Vec<String> {
    let (sharding, tables) = (sharding(), tables());
    let context = context(&sharding, &tables);
    let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
    let reading = Reading::new(&pieces, &context);
    if let Some(reason) = &reading.refused {
        return vec![format!("refused: {reason}")];
    }
    match &reading.plan {
        None => vec!["one shard".into()],
        Some(Err(operator)) => vec![format!("no: {operator}")],
        Some(Ok(Plan::Concatenate)) => vec!["concatenate".into()],
        Some(Ok(Plan::Merge(merge))) => {
            let keys = merge.keys.iter().map(|key| {
                let column = match key.column {
                    SortColumn::Output(place) => place.to_string(),
                    SortColumn::Hidden(place) => format!("hidden {place}"),
                };
                let direction = if key.descending { " desc" } else { "" };
                let nulls = if key.nulls_first { " nulls first" } else { "" };
                format!("{column}{direction}{nulls} {:?}", key.text)
            });
            let count = |name: &str, count: Option<routing_rules::Count>| {
                count.map_or(String::new(), |count| format!("; {name} {count:?}"))
            };
            let keys: Vec<String> = keys.collect();
            vec![
                format!(
                    "merge by {}{}{}",
                    keys.join(", "),
                    count("limit", merge.limit),
                    count("offset", merge.offset)
                ),
                merge.shard.render(&pieces),
            ]
        }
        Some(Ok(Plan::Finish(finish))) => {
            let of = |name| finish.last(&pieces, &vec![name; finish.columns]);
            // Of stddev and variance, not all types can be put together.
            let last = of("T").or_else(|_| of("numeric"));
            let last = last.expect("types that can be put together");
            vec![
                finish.shard.render(&pieces),
                last,
                format!("{:?}", finish.parameters),
            ]
        }
    }
}

#[test]
fn the_table_holds() {
    let mut wrong = Vec::new();
    let table = include_str!("../cases/scatter.txt");
    for (number, line) in table.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (text, expected) = line
            .split_once(" | ")
            .unwrap_or_else(|| panic!("line {}: {line}", number + 1));
        let got = judge(text).join(" | ");
        if got != expected {
            wrong.push(format!("{text} | {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}
