//! What an operator sees of shards: check, tenant, route, the console.

use std::process::Output;

use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::proxy::pgshunt;
use pgshunt_tests::sharded::{RULES, Sharded};
use pgshunt_tests::{Messages, Proxy};

/// Runs `pgshunt` with the configuration of a running one.
fn run(proxy: &Proxy, arguments: &[&str]) -> Output {
    let mut command = pgshunt();
    command.env("PGSHUNT_CONTROL_PASSWORD", PASSWORD);
    let (verb, rest) = arguments.split_at(if arguments[0] == "tenant" { 2 } else { 1 });
    let file = proxy.folder().join("pgshunt.toml");
    command.args(verb).arg("-c").arg(file).args(rest);
    command.output().expect("pgshunt")
}

fn text(output: &Output) -> String {
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    out + &err
}

#[test]
fn the_tools_know_the_shards() {
    let sharded = Sharded::databases(4).filled();
    let proxy = sharded.config(RULES).start();
    let told = text(&run(&proxy, &["tenant", "where", "2"]));
    assert!(told.contains("shard    s2") && told.contains("listed"), "{told}");
    assert!(!run(&proxy, &["tenant", "where", "x"]).status.success());
    let told = text(&run(&proxy, &["tenant", "list"]));
    assert!(
        told.contains("1  s1") && told.contains("all others on s0"),
        "{told}"
    );
    let route = |sql: &str| text(&run(&proxy, &["route", sql]));
    let told = route("SELECT * FROM orders WHERE tenant_id = 3");
    assert!(told.contains("shard    s3") && told.contains("keys"), "{told}");
    let told = route("SELECT * FROM orders");
    assert!(
        told.contains("target   shards") && told.contains("s0, s1, s2, s3"),
        "{told}"
    );
    let told = text(&run(&proxy, &["route", "--tenant", "1", "SELECT * FROM orders"]));
    assert!(
        told.contains("shard    s1") && told.contains("pgshunt.tenant"),
        "{told}"
    );
    let mut console = proxy.console().wire();
    let tenants = console.rows("SHOW TENANTS");
    assert_eq!(tenants.len(), 4, "{tenants:?}");
    assert!(tenants[1].ends_with("|2|s2|list|NULL"), "{tenants:?}");
}

#[test]
fn rows_on_a_wrong_shard_are_counted() {
    let sharded = Sharded::databases(4).filled();
    let proxy = sharded.config(RULES).start();
    let right = run(&proxy, &["tenant", "verify"]);
    assert!(right.status.success(), "{}", text(&right));
    sharded
        .shard(3)
        .psql("INSERT INTO orders VALUES (77, 2, 1, 1, 'lost'), (78, 2, 1, 1, 'lost')");
    let wrong = run(&proxy, &["tenant", "verify"]);
    let told = text(&wrong);
    assert!(!wrong.status.success());
    assert!(
        told.contains("shard s3: 2 of ") && told.contains("tenant 2 belong on s2"),
        "{told}"
    );
}

#[test]
fn check_compares_the_shards() {
    let sharded = Sharded::databases(2).filled();
    let rules = RULES.replace("s2 = [\"2\"]\ns3 = [\"3\"]\n", "");
    let proxy = sharded.config(&rules).start();
    let told = text(&run(&proxy, &["check"]));
    assert!(told.contains("shards    the same 7 tables on 2 shards"), "{told}");
    assert!(
        told.contains("public.keyless is neither keyed nor reference"),
        "{told}"
    );
    sharded
        .shard(1)
        .psql("ALTER TABLE orders ADD COLUMN extra int; DROP TABLE items");
    let output = run(&proxy, &["check"]);
    let told = text(&output);
    assert!(!output.status.success());
    assert!(
        told.contains("s1: public.orders has other columns than on s0"),
        "{told}"
    );
    assert!(told.contains("s1: public.items is on s0 only"), "{told}");
}

/// `PARTITION BY HASH` in PostgreSQL itself says where each key belongs.
fn keys_by_hash(type_name: &str, oid: u32, keys: &[(&str, Vec<u8>)]) {
    let sharded = Sharded::databases(4);
    sharded.on_all(&format!("CREATE TABLE kept (tenant_id {type_name}, note text)"));
    let door = sharded.shard(0);
    door.psql(&format!(
        "CREATE TABLE placed (k {type_name}) PARTITION BY HASH (k)"
    ));
    for (key, _) in keys {
        let place = (0..4).find(|remainder| {
            let question = format!(
                "SELECT satisfies_hash_partition('placed'::regclass, 4, {remainder}, '{key}'::{type_name})"
            );
            door.psql(&question) == "t"
        });
        let shard = sharded.shard(place.expect("a remainder"));
        shard.psql(&format!("INSERT INTO kept VALUES ('{key}', 'of {key}')"));
    }
    let rules = format!("[sharding]\ncolumn = \"tenant_id\"\ntype = \"{type_name}\"\nmodulus = 4\n");
    let proxy = sharded.config(&rules).start();
    let mut wire = proxy.door(&sharded.first).wire();
    let sql = "SELECT note FROM kept WHERE tenant_id = $1";
    for (key, binary) in keys {
        let expected = format!("D of {key}");
        assert_eq!(
            wire.value(&format!("SELECT note FROM kept WHERE tenant_id = '{key}'")),
            format!("of {key}")
        );
        let mut bind = b"\0\0\0\x01\0\x01\0\x01".to_vec();
        bind.extend((binary.len() as u32).to_be_bytes());
        bind.extend_from_slice(binary);
        bind.extend([0, 0]);
        for types in [&[oid][..], &[]] {
            let as_text = Messages::new()
                .parse_typed("", sql, types)
                .bind("", "", &[key])
                .execute("", 0)
                .sync();
            let as_binary = Messages::new()
                .parse_typed("", sql, types)
                .raw(b'B', &bind)
                .execute("", 0)
                .sync();
            for messages in [as_text, as_binary] {
                let answer = wire.exchange(&messages);
                assert!(
                    answer.contains(&expected),
                    "{type_name} {key} {types:?}: {answer:?}"
                );
            }
        }
    }
}

#[test]
fn keys_of_every_type_in_text_and_binary() {
    let uuid = |text: &str| -> Vec<u8> {
        let digits = text.replace('-', "");
        (0..16)
            .map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).expect("hex"))
            .collect()
    };
    let uuids = [
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "00000000-0000-0000-0000-000000000001",
        "ffffffff-0000-4000-8000-123456789abc",
    ];
    keys_by_hash("uuid", 2950, &uuids.map(|text| (text, uuid(text))));
    let numbers = ["1", "2", "-3", "32000"];
    keys_by_hash(
        "smallint",
        21,
        &numbers.map(|text| (text, text.parse::<i16>().expect("small").to_be_bytes().to_vec())),
    );
    keys_by_hash(
        "integer",
        23,
        &numbers.map(|text| (text, text.parse::<i32>().expect("number").to_be_bytes().to_vec())),
    );
    keys_by_hash(
        "bigint",
        20,
        &numbers.map(|text| (text, text.parse::<i64>().expect("number").to_be_bytes().to_vec())),
    );
    let words = ["acme", "Größe", "", "a b"];
    keys_by_hash("text", 25, &words.map(|text| (text, text.as_bytes().to_vec())));
    keys_by_hash(
        "varchar",
        1043,
        &words.map(|text| (text, text.as_bytes().to_vec())),
    );
}
