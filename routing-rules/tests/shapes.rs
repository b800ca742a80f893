//! The cache of readings is exact, and no text makes the reader panic.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use routing_rules::{
    Column, Context, Function, Guard, Key, KeyType, Lex, Named, NoKey, Placement, Reading, Shapes, Sharding,
    Shards, Table, TableKind, Tables, Values, cut,
};

fn sharding() -> Sharding {
    let shard = |key: i64| (Key::Integer(key), format!("s{key}").into());
    Sharding {
        column: "k".into(),
        key_type: KeyType::Integer,
        placement: Placement {
            entries: HashMap::new(),
            function: Function::List(BTreeMap::from([shard(1), shard(2)]), Some("s0".into())),
        },
        shards: ["s0", "s1", "s2"].map(Into::into).into(),
        columns: HashMap::new(),
        reference: vec![Named::parse("r")],
        home: HashMap::new(),
        functions: Vec::new(),
        catalog: None,
        no_key: NoKey::Scatter,
        guard: Guard::Off,
    }
}

fn tables() -> Tables {
    let mut tables = Tables::default();
    for name in ["t", "u"] {
        let column = |name: &str| Column {
            name: name.into(),
            type_oid: 20,
            has_own_collation: false,
            is_generated: false,
        };
        tables.add(Table {
            schema: "public".into(),
            name: name.into(),
            kind: TableKind::Table,
            columns: vec![column("k"), column("x")],
        });
    }
    tables
}

fn shards(reading: &Reading, text: &str, sharding: &Sharding) -> Option<Shards> {
    let pieces = cut(text.as_bytes(), Lex::default()).ok()?;
    let values = Values {
        pieces: &pieces,
        parameters: &[],
        only_keys: &reading.only_keys,
    };
    reading.shards(sharding, &values, None).ok()
}

/// All that is known of it, and nothing of the session.
fn context<'a>(sharding: &'a Sharding, tables: &'a Tables) -> Context<'a> {
    Context {
        sharding,
        tables: Some(tables),
        search_path: None,
        temporary: &[],
    }
}

#[test]
fn one_reading_serves_all_constants_of_a_shape() {
    let (sharding, tables) = (sharding(), tables());
    let context = context(&sharding, &tables);
    let mut shapes = Shapes::new(1 << 20);
    let one = |shard: &str| Some(Shards::One(shard.into()));
    let texts = [
        ("select * from t where k = 1 and x = 'a'", one("s1")),
        ("SELECT * FROM t WHERE k = 2 AND x = 'it''s' -- k = 1", one("s2")),
        ("select * from t where k = 7 and x = ''", one("s0")),
    ];
    for (text, expected) in texts {
        let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
        let reading = shapes.read(&pieces, &context);
        assert_eq!(shards(&reading, text, &sharding), expected, "{text}");
    }
    assert_eq!((shapes.counts().hits, shapes.counts().misses), (2, 1));
}

#[test]
fn constants_that_change_the_meaning_are_told_apart() {
    let (sharding, tables) = (sharding(), tables());
    let context = context(&sharding, &tables);
    let mut shapes = Shapes::new(1 << 20);
    // GROUP BY 1 is the key here, GROUP BY 2 is not.
    for text in [
        "select k, x, count(*) from t group by 1",
        "select k, x, count(*) from t group by 2",
    ] {
        let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
        assert_eq!(
            *shapes.read(&pieces, &context),
            Reading::new(&pieces, &context),
            "{text}"
        );
    }
    assert_eq!(shapes.counts().misses, 2);
    for (one, other) in [
        (
            "select * from t where k in (1, 2)",
            "select * from t where k in (1, 2, 3)",
        ),
        ("select 1", "select '1'"),
    ] {
        for text in [one, other] {
            let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
            assert_eq!(
                *shapes.read(&pieces, &context),
                Reading::new(&pieces, &context),
                "{text}"
            );
        }
    }
}

#[test]
fn the_cache_keeps_its_bound() {
    let (sharding, tables) = (sharding(), tables());
    let context = context(&sharding, &tables);
    let mut shapes = Shapes::new(64 << 10);
    for number in 0..2000 {
        let text = format!("select x as c{number} from t where k = 1");
        let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
        let reading = shapes.read(&pieces, &context);
        assert_eq!(shards(&reading, &text, &sharding), Some(Shards::One("s1".into())));
        assert!(shapes.bytes() <= 64 << 10, "{} bytes", shapes.bytes());
    }
    assert!(shapes.counts().evicted > 0);
}

/// Words that make statements now and then.
const SOUP: &str = "select from where and or not in = <> ( ( ) ) , . ; * t u r k x t.k u.k u.x a b as join left full right on using \
    group by order limit offset union all except intersect with recursive insert into values update set delete merge when matched \
    then returning exists any ( $1 1 '1' 2 null default case end having distinct over partition window lateral (select 1) :: int \
    bigint array [ ] for do nothing conflict - + copy stdin stdout to between is like cast count sum max rollup cube only";

fn soup() -> impl Strategy<Value = String> {
    let words: Vec<&'static str> = SOUP.split_ascii_whitespace().collect();
    prop::collection::vec(prop::sample::select(words), 0..40).prop_map(|words| words.join(" "))
}

/// Statements that parse, made of parts.
fn statement() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "1",
        "2",
        "$1",
        "'1'",
        "null",
        "k",
        "t.k",
        "u.k",
        "x",
        "(select k from u)",
        "1 + 1",
    ]);
    let column = prop::sample::select(vec!["k", "t.k", "u.k", "x", "t.x", "s.k"]);
    let term = (
        column,
        prop::sample::select(vec!["=", "<>", "in", "= any"]),
        value,
    )
        .prop_map(|(column, operator, value)| format!("{column} {operator} ({value})"));
    let condition = prop::collection::vec(
        (term, prop::sample::select(vec![" and ", " or ", " and not "])),
        1..5,
    )
    .prop_map(|terms| {
        terms
            .into_iter()
            .map(|(term, joint)| format!("{term}{joint}"))
            .collect::<String>()
            + "true"
    });
    let from = prop::sample::select(vec![
        "t",
        "t, u",
        "t join u on t.k = u.k",
        "t left join u using (k)",
        "t full join u on true",
        "(select * from t) s",
        "r",
        "(select k from t limit 1) s, u",
        "t join lateral (select * from u where u.k = t.k) s on true",
    ]);
    let head = prop::sample::select(vec![
        "select *",
        "select k, count(*)",
        "select distinct x",
        "select max(k) over (partition by k)",
    ]);
    let tail = prop::sample::select(vec![
        "",
        "group by k",
        "group by 1",
        "order by 1 limit 5",
        "union all select 1",
        "for update",
    ]);
    (head, from, condition, tail)
        .prop_map(|(head, from, condition, tail)| format!("{head} from {from} where {condition} {tail}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_text_makes_the_reader_panic(text in prop_oneof![soup(), statement(), "\\PC{0,60}"]) {
        let (sharding, tables) = (sharding(), tables());
        let context = context(&sharding, &tables);
        if let Ok(pieces) = cut(text.as_bytes(), Lex::default()) {
            let reading = Reading::new(&pieces, &context);
            let mut shapes = Shapes::new(1 << 16);
            shapes.read(&pieces, &context);
            prop_assert_eq!(&*shapes.read(&pieces, &context), &reading);
            let _ = shards(&reading, &text, &sharding);
        }
    }
}

#[test]
fn deep_texts_are_refused_and_long_ones_read() {
    let (sharding, tables) = (sharding(), tables());
    let context = context(&sharding, &tables);
    let with =
        |count: usize, first: &str, part: &str, last: &str| format!("{first}{}{last}", part.repeat(count));
    let ctes = (1..500)
        .map(|number| format!(", c{number} as (select * from c{})", number - 1))
        .collect::<String>();
    let texts = [
        with(100_000, "select ", "1 + ", "1"),
        with(490, "select * from t where k = 1 and x in (", "1 + ", "1)"),
        with(450, "select * from t where k = 1", " and x = 1", ""),
        with(450, "select * from t where k = 1", " or k = 1", ""),
        with(100_000, "select ", "(", "1"),
        with(10_000, "select ", "-", "1"),
        with(10_000, "select ", "not ", "true"),
        with(400, "select * from t", " join t a on true", ""),
        with(300, "select 1", " union select 1", ""),
        with(1000, "select 1", "::int", ""),
        with(1000, "select case ", "when true then 1 ", "end"),
        with(500, "select a", "[1]", ""),
        format!("with c0 as (select * from t where k = 1){ctes} select * from c499"),
        with(
            20,
            "with c0 as (select 1)",
            ", c as (select * from c0 a, c0 b)",
            " select * from c a, c b, c d",
        ),
        (1..20).fold("with c0 as (select * from t)".to_owned(), |text, number| {
            format!(
                "{text}, c{number} as (select a.* from c{0} a, c{0} b)",
                number - 1
            )
        }) + " select * from c19",
    ];
    for text in texts {
        if let Ok(pieces) = cut(text.as_bytes(), Lex::default()) {
            let started = Instant::now();
            let _ = Reading::new(&pieces, &context);
            assert!(
                started.elapsed().as_secs() < 5,
                "{}…",
                &text[..40.min(text.len())]
            );
        }
    }
    let rows = "(1, 2), ".repeat(20_000);
    let text = format!("insert into t (k, x) values {rows}(2, 2)");
    let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
    let reading = Reading::new(&pieces, &context);
    assert_eq!(reading.rows.as_ref().map(|rows| rows.rows.len()), Some(20_001));
}

/// Prints what a statement costs: `cargo test --release -p routing-rules --test shapes -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost_per_statement() {
    let (sharding, tables) = (sharding(), tables());
    let context = context(&sharding, &tables);
    let texts = [
        "select x from t where k = 1234",
        "update t set x = x + 17 where k = 1234 and x = 99",
        "insert into t (k, x) values (1, 2), (1, 3), (1, 4)",
        "select t.x, u.x from t join u on u.k = t.k join r on r.x = u.x where t.k = $1 and u.x between 3 and 9 order by 1 limit 10",
        "with s as (select k, sum(x) as total from t where k = 5 group by k) select s.*, rank() over (partition by k order by total) from s \
         where total > 100",
    ];
    const ROUNDS: u32 = 20_000;
    println!("microseconds per statement: cut, parse and read, cut and look up, place");
    for text in texts {
        let time = |work: &mut dyn FnMut()| {
            let best = (0..5).map(|_| {
                let started = Instant::now();
                for _ in 0..ROUNDS / 5 {
                    work();
                }
                started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS / 5)
            });
            best.fold(f64::INFINITY, f64::min)
        };
        let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
        let mut shapes = Shapes::new(1 << 20);
        let reading: Arc<Reading> = shapes.read(&pieces, &context);
        let values = Values {
            pieces: &pieces,
            parameters: &[],
            only_keys: &reading.only_keys,
        };
        let cut_only = time(&mut || drop(cut(text.as_bytes(), Lex::default())));
        let whole = time(&mut || drop(Reading::new(&pieces, &context)));
        let hit = time(&mut || {
            drop(cut(text.as_bytes(), Lex::default()).map(|pieces| shapes.read(&pieces, &context)))
        });
        let place = time(&mut || drop(reading.shards(&sharding, &values, None)));
        println!("{cut_only:6.2} {whole:6.2} {hit:6.2} {place:6.2}  {text:.60}");
    }
}
