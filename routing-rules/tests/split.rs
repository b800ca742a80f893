//! Rows of one statement split among shards: texts of an INSERT, and the data of a COPY whatever the pieces it comes in.

mod world;

use proptest::prelude::*;
use routing_rules::{
    CopyError, CopyOptions, CopySplitter, Format, Goes, InsertPart, Lex, Parameter, Reading, ShardReason,
    Values, cut, in_order,
};
use world::{context, sharding, tables};

fn split(text: &str, parameters: &[Parameter<'_>]) -> Option<Result<Vec<InsertPart>, ShardReason>> {
    let (sharding, tables) = (sharding(), tables());
    let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
    let reading = Reading::new(&pieces, &context(&sharding, &tables));
    assert_eq!(reading.refused, None, "{text}");
    let values = Values {
        pieces: &pieces,
        parameters,
        only_keys: &reading.only_keys,
    };
    reading.split_insert(&sharding, &values)
}

fn parts(text: &str) -> Vec<InsertPart> {
    split(text, &[]).expect("rows").expect("keys")
}

#[test]
fn an_insert_becomes_a_text_for_each_shard() {
    let parts = parts(
        "INSERT INTO orders (id, tenant_id) /* rows */ VALUES (1, 1), (2, 2) , (3, 1) -- last\n \
         ON CONFLICT (id, tenant_id) DO NOTHING RETURNING id;",
    );
    let texts: Vec<(&str, &str)> = parts.iter().map(|part| (&*part.shard, &*part.text)).collect();
    let head = "INSERT INTO orders (id, tenant_id) /* rows */ VALUES ";
    let tail = " ON CONFLICT (id, tenant_id) DO NOTHING RETURNING id;";
    let first = format!("{head}(1, 1), (3, 1){tail}");
    let second = format!("{head}(2, 2){tail}");
    assert_eq!(texts, [("s1", &*first), ("s2", &*second)]);
    assert_eq!(parts[0].rows, [0, 2]);
}

#[test]
fn parameters_are_numbered_anew_and_used_by_whom_they_belong_to() {
    let key = |text: &'static str| Parameter {
        type_oid: 20,
        format: Format::Text,
        bytes: Some(text.as_bytes()),
    };
    let parameters = [key("10"), key("1"), key("20"), key("2"), key("7")];
    let text =
        "insert into orders (id, tenant_id, amount) values ($1, $2, $5), ($3, $4, $5 + $1) returning id + $5";
    let parts = split(text, &parameters).expect("rows").expect("keys");
    assert_eq!(
        parts[0].text,
        "insert into orders (id, tenant_id, amount) values ($1, $2, $3) returning id + $3"
    );
    assert_eq!(parts[0].parameters, [1, 2, 5]);
    assert_eq!(
        parts[1].text,
        "insert into orders (id, tenant_id, amount) values ($1, $2, $3 + $4) returning id + $3"
    );
    assert_eq!(parts[1].parameters, [3, 4, 5, 1]);
}

#[test]
fn what_is_returned_is_brought_into_the_order_of_the_rows_if_every_row_came_back() {
    let parts = parts("INSERT INTO orders (tenant_id) VALUES (2), (1), (2), (1) RETURNING tenant_id");
    assert_eq!(
        in_order(&parts, &[2, 2]),
        Some(vec![(1, 0), (0, 0), (1, 1), (0, 1)])
    );
    assert_eq!(in_order(&parts, &[2, 1]), None);
    assert_eq!(in_order(&parts, &[4]), None);
}

#[test]
fn arrays_go_to_each_shard_which_keeps_its_own_rows() {
    let made = parts(
        "INSERT INTO orders (id, tenant_id) SELECT * FROM UNNEST(('{7,8,9}')::int[], ('{1,2,1}'::int2[])::bigint[]) RETURNING id",
    );
    let head = "INSERT INTO orders (id, tenant_id) SELECT * FROM UNNEST(('{7,8,9}')::int[], ('{1,2,1}'::int2[])::bigint[])";
    assert_eq!(
        made[0].text.split_whitespace().collect::<Vec<_>>().join(" "),
        format!("{head} AS pgshunt_rows (c0, c1) WHERE c1 IN (E'1') RETURNING id")
    );
    let rows: Vec<_> = made.iter().map(|part| (&*part.shard, &part.rows[..])).collect();
    assert_eq!(rows, [("s1", &[0, 2][..]), ("s2", &[1])]);
    let named = parts(
        "insert into orders (tenant_id, id) select \"T\", i from unnest(ARRAY[1, 2]::bigint[], '{NULL}'::int[]) u(i, \"T\")\n\
         on conflict do nothing;"
            .replace("u(i, \"T\")", "u(\"T\", i)")
            .as_str(),
    );
    assert!(
        named[1].text.contains("u(\"T\", i)") && named[1].text.contains(" WHERE \"T\" IN (E'2') on conflict"),
        "{named:?}"
    );
    let array = |text: &'static str| Parameter {
        type_oid: 0,
        format: Format::Text,
        bytes: Some(text.as_bytes()),
    };
    let text = "INSERT INTO orders (id, tenant_id) SELECT * FROM unnest($1::int[], $2::bigint[])";
    let bound = split(text, &[array("{5,6}"), array("{3,1}")])
        .expect("rows")
        .expect("keys");
    assert_eq!((bound.len(), &bound[0].parameters[..]), (2, &[1, 2][..]));
    // A row too many has no key.
    assert!(split(text, &[array("{5,6,7}"), array("{3,1}")]).is_some());
}

#[test]
fn what_each_shard_would_run_whole_is_refused() {
    for text in [
        "INSERT INTO orders (tenant_id, id) VALUES (1, 2), (2, generate_series(1, 3))",
        "INSERT INTO orders (tenant_id, id) WITH x AS (SELECT 1) VALUES (1, 2), (2, 3)",
    ] {
        let split = split(text, &[]);
        assert!(!matches!(split, Some(Ok(_))), "{text}: {split:?}");
    }
    // Cut by ORDER BY or LIMIT, they are not rows of their own.
    let (sharding, tables) = (sharding(), tables());
    for text in [
        "INSERT INTO orders (tenant_id, id) VALUES (1, 2), (2, 3) LIMIT 1",
        "INSERT INTO orders (tenant_id, id) VALUES (1, 2), (2, 3) ORDER BY 1 OFFSET 1",
        "INSERT INTO orders (tenant_id, id) (VALUES (1, 2), (2, 3))",
    ] {
        let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
        let reading = Reading::new(&pieces, &context(&sharding, &tables));
        let values = Values {
            pieces: &pieces,
            parameters: &[],
            only_keys: &[],
        };
        assert!(
            !matches!(reading.split_insert(&sharding, &values), Some(Ok(_))),
            "{text}"
        );
    }
}

/// What every shard got: `*` for all, else its name.
type Sent = Vec<(String, Vec<u8>)>;

fn options(text: &str) -> Option<Result<CopyOptions, ShardReason>> {
    let (sharding, tables) = (sharding(), tables());
    let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
    let reading = Reading::new(&pieces, &context(&sharding, &tables));
    CopyOptions::of(&reading, &pieces)
}

/// The data of a COPY, in pieces that end at these places.
fn copy(text: &str, data: &[u8], cuts: &[usize], row_bytes_max: usize) -> Result<Sent, CopyError> {
    let sharding = sharding();
    let options = options(text).expect("a COPY").expect("known options");
    let mut splitter = CopySplitter::new(options, "UTF8", true, row_bytes_max).expect("an encoding");
    let mut sent: Sent = Vec::new();
    let mut sink = |to: Goes<'_>, bytes: &[u8]| {
        let name = match to {
            Goes::Every => "*".to_owned(),
            Goes::One(shard) => shard.to_owned(),
        };
        sent.push((name, bytes.to_vec()));
    };
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (data.len() + 1)).collect();
    ends.push(data.len());
    ends.sort_unstable();
    let mut from = 0;
    for end in ends {
        splitter.feed(&sharding, &data[from..end], &mut sink)?;
        from = end;
    }
    splitter.finish(&sharding, &mut sink)?;
    Ok(sent)
}

fn whole(text: &str, data: &[u8]) -> Result<Sent, CopyError> {
    copy(text, data, &[], 1 << 20)
}

fn sent(pairs: &[(&str, &str)]) -> Sent {
    pairs
        .iter()
        .map(|(shard, bytes)| (shard.to_string(), bytes.as_bytes().to_vec()))
        .collect()
}

#[test]
fn rows_go_with_their_ends_to_their_shards() {
    let text = "COPY items FROM STDIN";
    let rows = whole(text, b"1\ta\n2\tb\\\nc\n\\x33\td\n1\te").expect("rows");
    assert_eq!(
        rows,
        sent(&[
            ("s1", "1\ta\n"),
            ("s2", "2\tb\\\nc\n"),
            ("s3", "\\x33\td\n"),
            ("s1", "1\te")
        ])
    );
    let csv = "COPY items (qty, tenant_id) FROM STDIN WITH (FORMAT csv, HEADER, QUOTE '''')";
    let rows = whole(csv, b"qty,key\r\n'a\nb','1'\r\n'c''d',2\r\n").expect("rows");
    assert_eq!(
        rows,
        sent(&[
            ("*", "qty,key\r\n"),
            ("s1", "'a\nb','1'\r\n"),
            ("s2", "'c''d',2\r\n")
        ])
    );
    let ended = whole(text, b"1\ta\n\\.\n2\tb\n").expect("rows");
    assert_eq!(ended, sent(&[("s1", "1\ta\n")]));
}

#[test]
fn options_are_read_in_both_spellings() {
    for (text, data) in [
        ("COPY items FROM STDIN (DELIMITER '|', NULL '')", "1|x\n"),
        ("COPY items FROM STDIN DELIMITERS '|' NULL AS ''", "1|x\n"),
        (
            "COPY items FROM STDIN WITH CSV QUOTE AS '#' ESCAPE AS '!'",
            "#1#,#!#\n#\n",
        ),
        (
            "COPY items FROM STDIN (FORMAT 'csv', HEADER false, FORCE_NOT_NULL (tenant_id, qty)) WHERE qty > 0",
            "1,2\n",
        ),
        (
            "COPY items FROM STDIN CSV FORCE NOT NULL qty FORCE NULL order_id",
            "1,2\n",
        ),
        (
            "COPY items FROM STDIN (ENCODING 'latin1', DELIMITER E'\\x01')",
            "1\u{1}2\n",
        ),
    ] {
        let rows = whole(text, data.as_bytes());
        assert_eq!(rows, Ok(sent(&[("s1", data)])), "{text}");
    }
    for text in [
        "COPY items FROM STDIN (FORMAT csv, ON_ERROR ignore)",
        "COPY items FROM STDIN (SOMETHING new)",
        "COPY items FROM STDIN (FORMAT parquet)",
        "COPY items FROM STDIN (FORMAT csv, FORMAT text)",
    ] {
        assert!(matches!(options(text), Some(Err(_))), "{text}");
    }
    let sjis = options("COPY items FROM STDIN (ENCODING 'SJIS')")
        .expect("a COPY")
        .expect("options");
    assert!(CopySplitter::new(sjis, "UTF8", true, 100).is_err());
}

#[test]
fn what_has_no_shard_is_refused_with_its_line() {
    let text = "COPY items FROM STDIN";
    let csv = "COPY items FROM STDIN CSV HEADER";
    for (text, data, state, context) in [
        (
            text,
            "1\ta\n\\N\tb\n",
            "23502",
            "COPY items, line 2, column tenant_id: null input",
        ),
        (
            text,
            "1\ta\nx\tb\n",
            "22P02",
            "COPY items, line 2, column tenant_id",
        ),
        (text, "1\ta\r\n2\n", "22P04", "COPY items, line 2"),
        (
            "COPY items (qty, tenant_id) FROM STDIN",
            "1\t1\n2\n",
            "22P04",
            "COPY items, line 2",
        ),
        (
            csv,
            "a,b\n1,\"x\ny\"\n,2\n",
            "23502",
            "COPY items, line 4, column tenant_id: null input",
        ),
        (csv, "a,b\n1,\"x\n", "", ""),
        (csv, "a,b\n\"1,x\n", "22P04", "COPY items, line 3"),
        (text, "\\.x\n", "22P04", "COPY items, line 1"),
    ] {
        match whole(text, data.as_bytes()) {
            Ok(_) => assert_eq!(state, "", "{text} {data}"),
            Err(error) => assert_eq!(
                (error.sqlstate(), &*error.context),
                (state, context),
                "{text} {data}: {error}"
            ),
        }
    }
    let long = copy(text, "1\taaaaaaaaaaaaaaaaaaaa\n".as_bytes(), &[5], 16).expect_err("too long");
    assert_eq!((long.sqlstate(), &*long.context), ("54000", "COPY items, line 1"));
}

/// A binary row.
fn tuple(fields: &[Option<&[u8]>]) -> Vec<u8> {
    let mut out = (fields.len() as i16).to_be_bytes().to_vec();
    for field in fields {
        match field {
            None => out.extend((-1_i32).to_be_bytes()),
            Some(bytes) => {
                out.extend((bytes.len() as i32).to_be_bytes());
                out.extend_from_slice(bytes);
            }
        }
    }
    out
}

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

#[test]
fn binary_tuples_go_to_their_shards_and_header_and_trailer_to_all() {
    let text = "COPY items FROM STDIN BINARY";
    let (one, two) = (1_i64.to_be_bytes(), 2_i64.to_be_bytes());
    let rows = [
        tuple(&[Some(&one), None, Some(b"x")]),
        tuple(&[Some(&two), None, None]),
    ];
    let data = [HEADER, &rows[0], &rows[1], &[0xff, 0xff]].concat();
    let expected: Sent = vec![
        ("*".into(), HEADER.to_vec()),
        ("s1".into(), rows[0].clone()),
        ("s2".into(), rows[1].clone()),
        ("*".into(), vec![0xff, 0xff]),
    ];
    for cut in 0..data.len() {
        assert_eq!(copy(text, &data, &[cut], 1 << 20), Ok(expected.clone()), "{cut}");
    }
    let after = [&data[..], b"x"].concat();
    assert_eq!(whole(text, &after).expect_err("data behind").sqlstate(), "22P04");
    let null = [HEADER, &tuple(&[None, None, None])].concat();
    let null = whole(text, &null).expect_err("no key");
    assert_eq!(null.context, "COPY items, line 1, column tenant_id: null input");
    let huge = [HEADER, &[0, 3, 0x7f, 0xff, 0xff, 0xff]].concat();
    assert_eq!(whole(text, &huge).expect_err("too long").sqlstate(), "54000");
    for end in 1..data.len() - 2 {
        let cut = whole(text, &data[..end]);
        assert!(cut.is_err() || end >= HEADER.len(), "{end}: {cut:?}");
    }
}

const TEXTS: [&str; 6] = [
    "COPY items FROM STDIN",
    "COPY items (qty, tenant_id) FROM STDIN (DELIMITER ',')",
    "COPY items FROM STDIN CSV",
    "COPY items (qty, tenant_id) FROM STDIN (FORMAT csv, HEADER, ESCAPE '\\')",
    "COPY items FROM STDIN BINARY",
    "COPY items FROM STDIN (FORMAT csv, QUOTE '''', FORCE_NULL (tenant_id), NULL 'x')",
];

fn data() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "1", "2", "\t", ",", "\n", "\r\n", "\r", "\\", "\\.", "\"", "'", "\\N", "x", "\\x31", "\0", "é",
    ];
    let lively = prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..60)
        .prop_map(|pieces| pieces.concat().into_bytes());
    let binary = prop::collection::vec(any::<u8>(), 0..80).prop_map(|bytes| [HEADER, &bytes[..]].concat());
    let any = prop::collection::vec(any::<u8>(), 0..80);
    prop_oneof![4 => lively, 2 => binary, 1 => any]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Wherever the data are cut, the same rows go to the same shards, or the same is refused.
    #[test]
    fn pieces_do_not_matter(which in 0..TEXTS.len(), data in data(), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        let one = copy(TEXTS[which], &data, &[], 64);
        let many = copy(TEXTS[which], &data, &cuts, 64);
        match (&one, &many) {
            (Err(one), Err(many)) if one.sqlstate() == "54000" || many.sqlstate() == "54000" => {}
            _ => prop_assert_eq!(&one, &many),
        }
        if let Ok(sent) = &one {
            let bytes: Vec<u8> = sent.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            prop_assert!(data.starts_with(&bytes), "nothing is changed or put in another order");
        }
    }
}
