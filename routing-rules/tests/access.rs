//! The golden table of `cases/access.txt`, and what must hold for every text: what may write is never called a read.

mod table;

use proptest::prelude::*;
use routing_rules::{Access, Kind, Lex, Why, access};
use table::{names, sql};

fn look(text: &str) -> Access {
    access(text.as_bytes(), Lex::default(), Some(&names()))
}

#[test]
fn the_table_holds() {
    let names = names();
    let mut wrong = Vec::new();
    let mut rows = 0;
    for (number, line) in include_str!("../cases/access.txt").lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        rows += 1;
        let fields: Vec<&str> = line.split(" | ").collect();
        let &[field, expected, reason] = &fields[..] else {
            panic!("line {}: {line}", number + 1);
        };
        let (text, lex) = sql(field);
        let (got, why) = match access(&text, lex, Some(&names)) {
            Access::Read => ("read", "-".to_owned()),
            Access::Write(why) => ("primary", why.to_string()),
        };
        if got != expected || !why.contains(reason) {
            wrong.push(format!("line {}: {line}\n  got {got} | {why}", number + 1));
        }
        assert!(!access(&text, lex, None).is_read(), "{line}");
    }
    assert!(rows > 300, "{rows} rows");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_names_nothing_is_proven() {
    let access = access(b"select 1", Lex::default(), None);
    assert_eq!(access, Access::Write(Why::NamesUnknown));
}

#[test]
fn a_volatile_equals_makes_every_text_unsafe() {
    let mut names = names();
    names.add(Kind::VolatileOperator, b"=");
    for text in [
        "select a in (1) from t",
        "select * from a join b using (c)",
        "select 1",
    ] {
        let access = access(text.as_bytes(), Lex::default(), Some(&names));
        assert_eq!(access, Access::Write(Why::Operator("=".into())), "{text}");
    }
}

#[test]
fn a_name_beyond_ascii_may_look_different_in_the_clients_encoding() {
    let mut names = names();
    names.add(Kind::PrimaryRelation, "maße".as_bytes());
    let latin1 = access(b"select * from ma\xdfe", Lex::default(), Some(&names));
    assert!(!latin1.is_read());
    assert!(access(b"select * from t", Lex::default(), Some(&names)).is_read());
}

#[test]
fn a_users_word_wins_over_the_catalog() {
    let mut names = names();
    names.add(Kind::SafeFunction, b"bump");
    names.add(Kind::VolatileFunction, b"random");
    assert!(access(b"select bump()", Lex::default(), Some(&names)).is_read());
    assert!(!access(b"select random()", Lex::default(), Some(&names)).is_read());
}

#[test]
fn deep_parentheses_are_for_the_primary() {
    let deep = |depth: usize| format!("select {}1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(look(&deep(60)).is_read());
    assert_eq!(look(&deep(64)), Access::Write(Why::Unclear));
    assert_eq!(look(&deep(100_000)), Access::Write(Why::Unclear));
}

/// Pieces of texts that read.
const HARMLESS: [&str; 36] = [
    "select", "(", ")", "from", "t", "where", "a", "=", "1", "'x'", ",", "lower", "(", ")", "total", "with",
    "w", "as", "values", "and", "order", "by", "limit", "case", "when", "then", "end", "::", "int", "[", "]",
    ".", "\"q\"", "for", "key", "$$ x $$",
];

/// Pieces any of which makes a text unfit for a replica, wherever it stands as a token of its own.
const HARMFUL: [&str; 15] = [
    "nextval",
    "bump",
    "\"bump\"",
    "v_bump",
    "@!",
    "pg_class",
    "pg_notify",
    "lo_unlink",
    "set_config",
    "U&\"x\"",
    "E'\\''",
    "\"V\"",
    "scratch",
    "/*",
    "information_schema",
];

fn gaps() -> impl Strategy<Value = Vec<&'static str>> {
    let gaps = [
        " ",
        "\t\n",
        "/* ; ' */",
        " /* /* $$ */ \" */ ",
        " -- ' ( ;\n",
        "\r\x0c",
    ];
    prop::collection::vec(prop::sample::select(gaps.to_vec()), 30)
}

fn joined<'a>(pieces: impl IntoIterator<Item = &'a str>, gaps: &[&str]) -> String {
    let gaps = gaps.iter().cycle();
    pieces
        .into_iter()
        .zip(gaps)
        .flat_map(|(piece, gap)| [*gap, piece])
        .collect()
}

/// The rows of the table that say what, in plain spelling.
fn rows(wanted: &'static str) -> Vec<&'static str> {
    let rows = include_str!("../cases/access.txt").lines().filter_map(|line| {
        let mut fields = line.split(" | ");
        let text = fields.next()?;
        let is_plain =
            !text.contains(['\\', '#', '$', '{', '\'', '"']) && !text.contains("--") && !text.contains("/*");
        (fields.next()? == wanted && is_plain).then_some(text)
    });
    rows.collect()
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..200), off in any::<bool>()) {
        access(&text, Lex { standard_conforming_strings: !off }, Some(&names()));
    }

    #[test]
    fn no_odd_text_makes_it_panic(text in r#"select ([a-z]{1,3}|[(){}\[\];:.,'"$\\/*&=-]|U&|E'|\$\$|--|/\*|\n| |copy |\PC){0,40}"#) {
        access(text.as_bytes(), Lex::default(), Some(&names()));
    }

    #[test]
    fn comments_between_tokens_change_nothing(
        pieces in prop::collection::vec(prop::sample::select([&HARMLESS[..], &HARMFUL[..13], &["update", "into", "share", "no", "copy", "to", "stdout", "insert"]].concat()), 0..25),
        gaps in gaps(),
    ) {
        let plain = joined(pieces.iter().copied(), &[" "]);
        let spaced = joined(pieces.iter().copied(), &gaps);
        prop_assert_eq!(look(&format!("select {plain}")), look(&format!("select {spaced}")));
    }

    #[test]
    fn comments_make_no_read_of_a_row_for_the_primary(row in prop::sample::select(rows("primary")), gaps in gaps()) {
        let spaced = joined(row.split_ascii_whitespace(), &gaps);
        prop_assert!(!look(&spaced).is_read(), "{}", spaced);
    }

    #[test]
    fn one_harmful_token_is_enough(
        pieces in prop::collection::vec(prop::sample::select(HARMLESS.to_vec()), 0..25),
        harm in prop::sample::select(HARMFUL.to_vec()),
        at in any::<prop::sample::Index>(),
    ) {
        let mut pieces = pieces;
        pieces.insert(at.index(pieces.len() + 1), harm);
        let text = joined(["select"].into_iter().chain(pieces), &[" "]);
        prop_assert!(!look(&text).is_read(), "{}", text);
    }

    #[test]
    fn a_row_that_reads_does_not_survive_a_harmful_token(
        row in prop::sample::select(rows("read")),
        harm in prop::sample::select(HARMFUL.to_vec()),
        at in any::<prop::sample::Index>(),
    ) {
        let mut words: Vec<&str> = row.split_ascii_whitespace().collect();
        prop_assume!(!words.is_empty());
        let at = at.index(words.len());
        words[at] = harm;
        let text = words.join(" ");
        prop_assert!(!look(&text).is_read(), "{}", text);
    }

    #[test]
    fn case_changes_nothing(row in prop::sample::select([rows("read"), rows("primary")].concat())) {
        prop_assert_eq!(look(row).is_read(), look(&row.to_ascii_uppercase()).is_read());
    }

    #[test]
    fn two_texts_read_only_if_both_do(a in prop::sample::select([rows("read"), rows("primary")].concat()), b in prop::sample::select([rows("read"), rows("primary")].concat())) {
        let (one, two, both) = (look(a), look(b), look(&format!("{a};{b}")));
        let is_empty = |access: &Access| *access == Access::Write(Why::Empty);
        prop_assume!(!is_empty(&one) && !is_empty(&two));
        prop_assert_eq!(both.is_read(), one.is_read() && two.is_read());
    }
}

/// `cargo test --release -p routing-rules -- --ignored --nocapture judging` prints the time per statement.
#[test]
#[ignore = "timing"]
fn judging_takes_a_microsecond() {
    let names = names();
    for text in [
        "SELECT abalance FROM pgbench_accounts WHERE aid = 123456;",
        "UPDATE pgbench_accounts SET abalance = abalance + -1234 WHERE aid = 123456;",
        "SELECT date_trunc('month', ordered_at), sum(amount) FROM fact_order WHERE tenant_id = $1 GROUP BY 1 ORDER BY 1",
    ] {
        let rounds = 200;
        let nanoseconds = (0..2000)
            .map(|_| {
                let start = std::time::Instant::now();
                for _ in 0..rounds {
                    std::hint::black_box(access(
                        std::hint::black_box(text.as_bytes()),
                        Lex::default(),
                        Some(&names),
                    ));
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
