//! Keys are placed as PostgreSQL itself places them: `satisfies_hash_partition` on random values of every key type.

use std::collections::HashMap;

use pgshunt_tests::{Wire, cluster};
use routing_rules::{Format, Function, Key, KeyType, Placement};

/// How many values of each type.
const VALUES: usize = 3000;
/// PostgreSQL allows any modulus; a prime and a power of two show different bits of the hash.
const MODULI: [usize; 3] = [4, 7, 4096];

fn placement(modulus: usize) -> Placement {
    Placement {
        entries: HashMap::new(),
        function: Function::Hash(
            (0..modulus)
                .map(|remainder| remainder.to_string().into())
                .collect(),
        ),
    }
}

/// Values of a type as hexadecimal text, their binary form, and their remainder by PostgreSQL.
fn samples(wire: &mut Wire, sql_type: &str, value: &str, modulus: usize) -> Vec<String> {
    let send = match sql_type {
        "smallint" => "int2send",
        "integer" => "int4send",
        "bigint" => "int8send",
        "uuid" => "uuid_send",
        "varchar(80)" => "varcharsend",
        "char(40)" => "bpcharsend",
        _ => "textsend",
    };
    wire.rows(&format!(
        "SELECT encode(convert_to(v::text, 'UTF8'), 'hex'), encode({send}(v), 'hex'), \
         (SELECT r FROM generate_series(0, {modulus} - 1) r WHERE satisfies_hash_partition('p'::regclass, {modulus}, r, v)) \
         FROM (SELECT ({value})::{sql_type} AS v FROM generate_series(1, {count}) AS g(n)) AS samples",
        count = if modulus > 100 { 200 } else { VALUES },
    ))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().collect();
    let pair = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hexadecimal");
    digits.chunks(2).map(pair).collect()
}

#[test]
fn keys_are_where_postgresql_would_put_them() {
    let text = "left(CASE n % 3 WHEN 0 THEN md5(random()::text) || md5(n::text) WHEN 1 THEN repeat(chr(200 + n % 9000), n % 20) \
                || random()::text ELSE repeat('x ', n % 40) END, n % 41)";
    let types = [
        ("uuid", "gen_random_uuid()", KeyType::Uuid),
        ("smallint", "trunc(random() * 65535) - 32768", KeyType::Integer),
        (
            "integer",
            "trunc(random() * 4294967295) - 2147483648",
            KeyType::Integer,
        ),
        (
            "bigint",
            "(random() - 0.5) * 18446744073709000000 / 2 ^ (n % 60)",
            KeyType::Integer,
        ),
        ("text", text, KeyType::Text),
        ("varchar(80)", text, KeyType::Text),
        ("char(40)", text, KeyType::Char),
    ];
    let database = cluster::database();
    let mut wire = database.superuser().wire();
    for (sql_type, value, kind) in types {
        wire.query("DROP TABLE IF EXISTS p");
        wire.query(&format!("CREATE TABLE p (k {sql_type}) PARTITION BY HASH (k)"));
        for modulus in MODULI {
            let placement = placement(modulus);
            let rows = samples(&mut wire, sql_type, value, modulus);
            assert!(rows.len() >= 200, "{sql_type}: {rows:?}");
            for row in rows {
                let fields: Vec<&str> = row.split('|').collect();
                let key = kind.read(0, Format::Text, Some(&bytes(fields[0])));
                let key = key.expect("PostgreSQL wrote it");
                assert_eq!(
                    kind.read(0, Format::Binary, Some(&bytes(fields[1]))),
                    Ok(key.clone()),
                    "{row}"
                );
                assert_eq!(
                    placement.shard(&key),
                    Ok(fields[2]),
                    "{sql_type} {key} modulo {modulus}"
                );
            }
        }
    }
}

#[test]
fn what_is_read_as_a_key_is_what_postgresql_reads() {
    let database = cluster::database();
    let mut wire = database.superuser().wire();
    let cases = [
        (KeyType::Uuid, "uuid", "{A0EEBC99-9C0B4EF8-BB6D6BB9BD380A11}"),
        (KeyType::Uuid, "uuid", "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11"),
        (KeyType::Integer, "bigint", " \t-42 \n"),
        (KeyType::Integer, "bigint", "+007"),
        (KeyType::Char, "char(9)", "ab  "),
    ];
    for (kind, sql_type, text) in cases {
        let rows = wire.rows(&format!("SELECT '{text}'::{sql_type}"));
        let Ok(key) = kind.read_text(text) else {
            panic!("{text} is not read");
        };
        assert_eq!(kind.read_text(&rows[0]), Ok(key.clone()), "{text}");
        if kind != KeyType::Char {
            assert_eq!(key.to_string(), rows[0]);
        }
    }
    let refused = ["1.0", "", "1 2", "9223372036854775808"];
    for text in refused {
        assert!(KeyType::Integer.read_text(text).is_err(), "{text}");
    }
    let _: Key = KeyType::Text.read_text("any").expect("text");
}
