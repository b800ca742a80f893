//! The golden table of `cases/route.txt`: where a text goes under all circumstances, and why.

mod table;

use std::time::Duration;

use routing_rules::{Consistency, Facts, Names, Reads, Rules, Target, Transaction, Wanted, access, route};
use table::{names, sql};

/// Rules and facts as usual, but for what a row says. The facts' access is put in later.
struct Row {
    rules: Rules,
    transaction: Transaction,
    wanted: Wanted,
    consistency: Option<Consistency>,
    has_replicas: bool,
    is_pinned: bool,
    batch_is_open: bool,
}

fn row(words: &str) -> Row {
    let mut row = Row {
        rules: Rules::default(),
        transaction: Transaction::None,
        wanted: Wanted::Auto,
        consistency: None,
        has_replicas: true,
        is_pinned: false,
        batch_is_open: false,
    };
    for word in words.split(' ').filter(|word| *word != "-") {
        match word.split_once('=') {
            Some(("reads", "primary")) => row.rules.reads = Reads::Primary,
            Some(("rule", value)) => row.rules.consistency = consistency(value),
            Some(("consistency", value)) => row.consistency = Some(consistency(value)),
            Some(("staleness", value)) => row.rules.max_staleness = milliseconds(value),
            Some(("begin", "read_only")) => row.transaction = Transaction::ReadOnly,
            Some(("begin", "read_write")) => row.transaction = Transaction::ReadWrite,
            Some(("begin", "serializable")) => row.transaction = Transaction::Serializable,
            Some(("target", "primary")) => row.wanted = Wanted::Primary,
            Some(("target", "replica")) => row.wanted = Wanted::Replica,
            None if word == "alone" => row.has_replicas = false,
            None if word == "pinned" => row.is_pinned = true,
            None if word == "flushed" => row.batch_is_open = true,
            _ => panic!("what is {word}?"),
        }
    }
    row
}

fn consistency(value: &str) -> Consistency {
    match value {
        "session" => Consistency::Session,
        "eventual" => Consistency::Eventual,
        "strong" => Consistency::Strong,
        bound => Consistency::Bounded(milliseconds(bound)),
    }
}

fn milliseconds(value: &str) -> Duration {
    Duration::from_millis(value.parse().expect("a number"))
}

fn target(target: Target) -> String {
    match target {
        Target::Primary => "primary".into(),
        Target::Replica(freshness) => {
            let own = if freshness.has_own_writes { "own " } else { "" };
            format!("replica {own}{}", freshness.within.as_millis())
        }
    }
}

#[test]
fn the_table_holds() {
    let names = names();
    let mut wrong = Vec::new();
    for (number, line) in include_str!("../cases/route.txt").lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split(" | ").collect();
        let &[text, facts, expected, because] = &fields[..] else {
            panic!("line {}: {line}", number + 1);
        };
        let (text, lex) = sql(text);
        let row = row(facts);
        let access = access(&text, lex, Some(&names));
        let facts = Facts {
            access: &access,
            transaction: row.transaction,
            wanted: row.wanted,
            consistency: row.consistency,
            has_replicas: row.has_replicas,
            is_pinned: row.is_pinned,
            batch_is_open: row.batch_is_open,
        };
        let got = route(&row.rules, &facts);
        if target(got.target) != expected || got.to_string() != because {
            wrong.push(format!(
                "line {}: {line}\n  got {} | {got}",
                number + 1,
                target(got.target)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_users_word_on_functions_is_put_over_the_catalogs() {
    let rules = Rules {
        functions: vec![("bump".into(), true), ("total".into(), false)],
        ..Rules::default()
    };
    let mut names: Names = names();
    rules.correct(&mut names);
    assert_eq!(names.look_up(b"bump").is_safe_function, Some(true));
    assert_eq!(names.look_up(b"total").is_safe_function, Some(false));
}
