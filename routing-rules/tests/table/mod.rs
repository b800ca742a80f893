//! How golden tables write SQL, and the database they speak of.

#![allow(dead_code, reason = "not every table needs all")]

use routing_rules::{Kind, Lex, Names};

/// The SQL of a row, its escapes resolved.
pub fn sql(field: &str) -> (Vec<u8>, Lex) {
    let (field, off) = match field.strip_prefix("{off} ") {
        Some(rest) => (rest, true),
        None => (field, false),
    };
    let mut out = Vec::new();
    let mut bytes = field.bytes();
    while let Some(byte) = bytes.next() {
        let resolved = match byte {
            b'\\' => match bytes.next().expect("an escape has a letter") {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 0x0b,
                b'0' => 0,
                b'x' => {
                    let digits = [
                        bytes.next().expect("two digits"),
                        bytes.next().expect("two digits"),
                    ];
                    u8::from_str_radix(str::from_utf8(&digits).expect("ASCII"), 16).expect("hexadecimal")
                }
                b'\\' => b'\\',
                other => panic!("what is \\{}?", char::from(other)),
            },
            byte => byte,
        };
        out.push(resolved);
    }
    (
        out,
        Lex {
            standard_conforming_strings: !off,
        },
    )
}

/// The database of the tables.
pub fn names() -> Names {
    let mut names = Names::default();
    let kinds: [(Kind, &[&str]); 4] = [
        (Kind::SafeFunction, &["total", "is_open", "Mixed", "f2"]),
        (Kind::VolatileFunction, &["bump", "vol", "Odd", "lower_all"]),
        (
            Kind::PrimaryRelation,
            &[
                "v_bump",
                "V",
                "scratch",
                "checked",
                "scratch_with_a_long_name_that_is_cut_by_postgresql_at_63_bytes_",
            ],
        ),
        (Kind::VolatileOperator, &["@!", "+@", "<=>"]),
    ];
    for (kind, list) in kinds {
        list.iter().for_each(|name| names.add(kind, name.as_bytes()));
    }
    names
}
