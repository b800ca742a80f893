//! The golden table of `cases/effects.txt`, and what must hold for every text.

mod table;

use proptest::prelude::*;
use routing_rules::{Control, Effects, Lex, Script, read};
use table::sql;

#[test]
fn the_table_holds() {
    let mut wrong = Vec::new();
    let mut rows = 0;
    for (number, line) in include_str!("../cases/effects.txt").lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        rows += 1;
        let mut fields = line.split(" | ");
        let (sql, lex) = sql(fields.next().unwrap_or(""));
        let expected: Vec<&str> = fields.collect();
        let script = read(&sql, lex);
        assert!(
            !Control::is_surely_none(&sql) || script.control == Control::None,
            "{line}"
        );
        let got = columns(&script);
        let got = &got[..if got[2].is_empty() { 2 } else { 3 }];
        if got != expected {
            wrong.push(format!("line {}: {line}\n  got {}", number + 1, got.join(" | ")));
        }
    }
    assert!(rows > 300, "{rows} rows");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Effects, control and settings as the table writes them.
fn columns(script: &Script) -> [String; 3] {
    let count = match script.statements {
        1 => String::new(),
        n => format!("({n}) "),
    };
    [
        format!("{count}{}", script.effects),
        control(&script.control),
        script.custom_settings.join(" "),
    ]
}

fn control(control: &Control) -> String {
    let flag = |on: bool, word: &'static str| if on { word } else { "" };
    match control {
        Control::None => "none".into(),
        Control::Begin {
            tag,
            read_only,
            read_write,
            repeatable_read,
            serializable,
        } => [
            if *tag == "BEGIN" { "begin" } else { "start" },
            flag(*read_only, " ro"),
            flag(*read_write, " rw"),
            flag(*repeatable_read, " repeatable"),
            flag(*serializable, " serializable"),
        ]
        .concat(),
        Control::Commit => "commit".into(),
        Control::Rollback => "rollback".into(),
        Control::Deallocate { name } => format!("deallocate {}", String::from_utf8_lossy(name)),
        Control::SetOurs { name, value, local } => {
            let local = flag(*local, "local ");
            match value {
                Some(value) => format!("set {local}{name} {value}"),
                None => format!("reset {local}{name}"),
            }
        }
        Control::ExplainRoute { at } => format!("explain route from {at}"),
        Control::ShowOurs { name } => format!("show {name}"),
    }
}

fn lexes() -> impl Strategy<Value = Lex> {
    any::<bool>().prop_map(|standard_conforming_strings| Lex {
        standard_conforming_strings,
    })
}

/// Pieces that make statements, and nonsense, when put in a row.
fn pieces() -> impl Strategy<Value = Vec<&'static str>> {
    let pieces = [
        "select",
        "insert",
        "into",
        "update",
        "set",
        "with",
        "as",
        "begin",
        "commit",
        "from",
        "t",
        "\"Q\"",
        "lower",
        "evil",
        "set_config",
        "pg_catalog",
        "(",
        ")",
        "(",
        ")",
        ",",
        ";",
        ".",
        "::",
        "[",
        "]",
        "=",
        "+",
        "'a.b'",
        "'it''s'",
        "E'\\''",
        "$$ evil(1) ; $$",
        "$1",
        "42",
        "do",
        "create",
        "function",
        "atomic",
        "end",
        "case",
        "explain",
        "analyze",
        "declare",
        "with",
        "hold",
        "distinct",
        "on",
        "operator",
        "values",
        "copy",
        "local",
        "app",
        "isolation",
        "level",
        "read",
        "only",
        "deallocate",
        "pgshunt",
        "true",
        "load",
        "u&\"x\"",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..24)
}

/// What may stand between two tokens.
fn gaps() -> impl Strategy<Value = Vec<&'static str>> {
    let gaps = [
        " ",
        "\t\n",
        "/* ; ' */",
        " /* /* $$ */ \" */ ",
        " -- ' ( ;\n",
        "\r\x0c",
    ];
    prop::collection::vec(prop::sample::select(gaps.to_vec()), 25)
}

fn joined(pieces: &[&str], gaps: &[&str]) -> String {
    let mut text = String::new();
    for (piece, gap) in pieces.iter().zip(gaps) {
        text.push_str(gap);
        text.push_str(piece);
    }
    text
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..200), lex in lexes()) {
        read(&text, lex);
    }

    #[test]
    fn no_odd_text_makes_it_panic(text in r#"([a-z]{1,3}|[(){}\[\];:.,'"$\\/*&=-]|U&|E'|\$\$|--|/\*|\n| |set |do |\PC){0,40}"#, lex in lexes()) {
        read(text.as_bytes(), lex);
    }

    #[test]
    fn cutting_a_text_anywhere_does_no_harm(pieces in pieces(), at in any::<prop::sample::Index>(), lex in lexes()) {
        let text = pieces.join(" ");
        read(&text.as_bytes()[..at.index(text.len() + 1)], lex);
    }

    #[test]
    fn white_space_and_comments_change_nothing(pieces in pieces(), gaps in gaps()) {
        let plain = read(joined(&pieces, &[" "; 25]).as_bytes(), Lex::default());
        let spaced = read(joined(&pieces, &gaps).as_bytes(), Lex::default());
        prop_assert_eq!(columns(&plain), columns(&spaced));
        prop_assert_eq!(plain.control, spaced.control);
    }

    #[test]
    fn case_changes_nothing(pieces in pieces()) {
        let pieces: Vec<&str> = pieces.into_iter().filter(|piece| !piece.contains(['\'', '"', '$'])).collect();
        let lower = pieces.join(" ");
        let plain = read(lower.as_bytes(), Lex::default());
        let upper = read(lower.to_ascii_uppercase().as_bytes(), Lex::default());
        prop_assert_eq!(columns(&plain), columns(&upper));
    }

    #[test]
    fn a_text_that_begins_as_a_query_controls_nothing(pieces in pieces(), lex in lexes()) {
        let text = format!("\n SELECT{}", pieces.join(" "));
        prop_assert!(Control::is_surely_none(text.as_bytes()));
        prop_assert_eq!(read(text.as_bytes(), lex).control, Control::None);
    }

    #[test]
    fn a_second_statement_takes_nothing_back(pieces in pieces()) {
        let text = pieces.join(" ");
        let alone = read(text.as_bytes(), Lex::default()).effects;
        let both = read(format!("select 1; {text}").as_bytes(), Lex::default()).effects;
        prop_assert!(both.contains(alone), "{alone} in {both}");
    }
}

#[test]
fn long_texts_take_time_in_proportion() {
    let deep = "select ".to_owned() + &"(".repeat(100_000);
    assert!(
        read(deep.as_bytes(), Lex::default())
            .effects
            .contains(Effects::PROBE)
    );
    for piece in [
        "set_config(",
        "set a.b=1;",
        "do 'set x.y=''",
        "$a$",
        "/*",
        "$a",
        "select $q$ $q$;",
        "''",
        "lower(",
    ] {
        read(piece.repeat(100_000).as_bytes(), Lex::default());
    }
    let names: String = (0..1000).map(|n| format!("set a.b{n} = 1;")).collect();
    let script = read(names.as_bytes(), Lex::default());
    assert_eq!((script.statements, script.custom_settings.len()), (1000, 64));
    assert!(script.effects.contains(Effects::COMPUTED_SETTING));
}

/// `cargo test --release -p routing-rules -- --ignored --nocapture reading` prints the time per statement.
#[test]
#[ignore = "timing"]
fn reading_takes_a_microsecond() {
    let insert =
        "INSERT INTO t (a, b, c) VALUES ".to_owned() + &vec!["($1, 'some text', now())"; 100].join(", ");
    for text in [
        "BEGIN;",
        "SELECT abalance FROM pgbench_accounts WHERE aid = 123456;",
        "UPDATE pgbench_accounts SET abalance = abalance + -1234 WHERE aid = 123456;",
        "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 123456, -1234, CURRENT_TIMESTAMP);",
        "SELECT date_trunc('month', ordered_at), sum(amount) FROM fact_order WHERE tenant_id = $1 GROUP BY 1 ORDER BY 1",
        &insert,
    ] {
        // The best of many short runs: what else the machine does does not count.
        let rounds = 200;
        let nanoseconds = (0..2000)
            .map(|_| {
                let start = std::time::Instant::now();
                for _ in 0..rounds {
                    std::hint::black_box(read(std::hint::black_box(text.as_bytes()), Lex::default()));
                }
                start.elapsed().as_nanos() as usize / rounds
            })
            .min()
            .unwrap_or(0);
        println!("{nanoseconds:6} ns  {:5} bytes  {:.60}", text.len(), text);
        assert!(
            cfg!(debug_assertions) || nanoseconds < 1000 + 10 * text.len(),
            "{text}"
        );
    }
}
