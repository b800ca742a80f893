//! Cursors over the rows of several shards: what is fetched is what one PostgreSQL with the same rows gives.

use pgshunt_tests::beside::{Beside, said};
use pgshunt_tests::{Messages, Wire};

#[test]
fn a_cursor_gives_its_rows_a_few_at_a_time() {
    Beside::new().assert_same(&[
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT id, tenant_id FROM orders ORDER BY id, tenant_id",
        "FETCH c",
        "FETCH 3 FROM c",
        "MOVE 2 IN c",
        "INSERT INTO orders (id, tenant_id) VALUES (9, 1), (9, 2), (9, 3)",
        "FETCH FORWARD 1 FROM c",
        "FETCH ALL FROM c",
        "FETCH c",
        "CLOSE c",
        "FETCH c",
        "ROLLBACK",
        "BEGIN; DECLARE \"C c\" CURSOR WITHOUT HOLD FOR SELECT tenant_id, sum(amount) FROM orders GROUP BY 1 ORDER BY 1; \
            FETCH ALL \"C c\"; COMMIT",
        "DECLARE c CURSOR FOR SELECT count(*) FROM orders; FETCH 2 c; SELECT 1",
        "DECLARE c CURSOR FOR SELECT count(*) FROM orders",
        "FETCH c",
        "BEGIN",
        "ROLLBACK",
    ]);
}

#[test]
fn a_cursor_moves_both_ways() {
    Beside::new().assert_same(&[
        "BEGIN",
        "DECLARE s SCROLL CURSOR FOR SELECT id, tenant_id FROM orders ORDER BY tenant_id DESC, id LIMIT 7",
        "FETCH LAST s",
        "FETCH PRIOR s",
        "FETCH BACKWARD 2 s",
        "FETCH 0 s",
        "FETCH ABSOLUTE 2 s",
        "FETCH RELATIVE -1 s",
        "FETCH RELATIVE 10 s",
        "FETCH BACKWARD ALL s",
        "FETCH FIRST s",
        "MOVE ABSOLUTE 100 s",
        "MOVE BACKWARD ALL s",
        "FETCH -1 s",
        "DECLARE n NO SCROLL CURSOR FOR SELECT id FROM items, orders USING (tenant_id) ORDER BY id LIMIT 5",
        "SAVEPOINT a",
        "FETCH 2 n",
        "FETCH BACKWARD 1 n",
        "ROLLBACK TO a",
        "DECLARE s CURSOR FOR SELECT count(*) FROM orders",
        "ROLLBACK TO a",
        "DECLARE t CURSOR FOR SELECT count(*) FROM orders",
        "RELEASE a",
        "SAVEPOINT b",
        "DECLARE u CURSOR FOR SELECT count(*) FROM orders",
        "ROLLBACK TO b",
        "FETCH t",
        "CLOSE ALL",
        "FETCH u",
        "ROLLBACK",
    ]);
}

#[test]
fn cursors_of_one_shard_and_of_several_live_together() {
    Beside::new().assert_same(&[
        "BEGIN",
        "DECLARE one CURSOR FOR SELECT id FROM orders WHERE tenant_id = 2 ORDER BY id",
        "FETCH one",
        "DECLARE all_of_them CURSOR FOR SELECT tenant_id FROM orders WHERE id = 1 ORDER BY 1",
        "FETCH 2 FROM all_of_them",
        "FETCH one",
        "DECLARE three CURSOR FOR SELECT id FROM orders WHERE tenant_id = 3 ORDER BY id",
        "FETCH ALL FROM three",
        "FETCH ALL FROM all_of_them",
        "CLOSE one",
        "FETCH one",
        "COMMIT",
    ]);
}

#[test]
fn drivers_declare_with_parameters_and_describe() {
    let world = Beside::new();
    let (mut direct, mut through) = world.wires();
    let of_amount = |format: u16| {
        let mut bind = b"\0\0\0\0\0\0\0\x01".to_vec();
        bind.extend_from_slice(&format.to_be_bytes());
        bind
    };
    let script = [
        Messages::new().query("BEGIN"),
        Messages::new()
            .once("DECLARE c CURSOR FOR SELECT tenant_id, amount FROM orders WHERE amount = $1::numeric ORDER BY 1", &["10"])
            .sync(),
        // As psycopg does to learn its columns.
        Messages::new().describe(b'P', "c").sync(),
        Messages::new().parse("f", "FETCH FORWARD 2 FROM c").describe(b'S', "f").sync(),
        Messages::new().bind("", "f", &[]).describe(b'P', "").execute("", 0).sync(),
        Messages::new().bind("", "f", &[]).execute("", 0).sync(),
        Messages::new().once("CLOSE c", &[]).sync(),
        Messages::new().query("DECLARE b BINARY CURSOR FOR SELECT tenant_id FROM orders ORDER BY 1 LIMIT 2"),
        Messages::new().query("FETCH 1 FROM b"),
        Messages::new()
            .parse("", "FETCH 1 FROM b")
            .raw(b'B', &of_amount(1))
            .execute("", 0)
            .sync(),
        Messages::new().query("COMMIT"),
    ];
    for messages in &script {
        let (expected, got) = (said(&mut direct, messages), said(&mut through, messages));
        assert_eq!(got, expected);
    }
}

/// All forms of FETCH and MOVE, in a row that looks random, on cursors that may go back and on one that may not. PostgreSQL sorts
/// these queries' rows, so that a cursor declared without a word may go back there too.
#[test]
fn fetch_and_move_in_all_forms() {
    const FORMS: [&str; 34] = [
        "NEXT",
        "PRIOR",
        "FIRST",
        "LAST",
        "ABSOLUTE 0",
        "ABSOLUTE 1",
        "ABSOLUTE 3",
        "ABSOLUTE 7",
        "ABSOLUTE 30",
        "ABSOLUTE -1",
        "ABSOLUTE -4",
        "ABSOLUTE -30",
        "RELATIVE 0",
        "RELATIVE 1",
        "RELATIVE 3",
        "RELATIVE -1",
        "RELATIVE -3",
        "RELATIVE 30",
        "3",
        "-2",
        "0",
        "ALL",
        "FORWARD",
        "FORWARD 0",
        "FORWARD 4",
        "FORWARD -1",
        "FORWARD ALL",
        "BACKWARD",
        "BACKWARD 0",
        "BACKWARD 2",
        "BACKWARD -2",
        "BACKWARD ALL",
        "+2",
        "BACKWARD 30",
    ];
    let world = Beside::new();
    let (mut direct, mut through) = world.wires();
    let mut chosen = 20_261_129_u64;
    let mut choose = |count: usize| {
        chosen = chosen
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(chosen >> 33).expect("64 bits") % count
    };
    let both = |text: &str, direct: &mut Wire, through: &mut Wire, so_far: &[String]| {
        let messages = Messages::new().query(text);
        let (expected, got) = (said(direct, &messages), said(through, &messages));
        assert_eq!(got, expected, "{text} behind {so_far:#?}");
        got
    };
    for query in [
        "SELECT id, tenant_id FROM orders ORDER BY id, tenant_id",
        "SELECT id, note, tenant_id FROM orders ORDER BY id * interval '1 day' DESC, tenant_id OFFSET 1",
        "SELECT id, tenant_id FROM orders ORDER BY id DESC, tenant_id LIMIT 6 OFFSET 2",
        "SELECT tenant_id, sum(amount) FROM orders GROUP BY 1 ORDER BY 1",
        "SELECT id FROM orders WHERE id > 100 ORDER BY 1",
    ] {
        for word in ["SCROLL", "NO SCROLL", ""] {
            both("BEGIN", &mut direct, &mut through, &[]);
            let mut so_far = vec![format!("DECLARE c {word} CURSOR FOR {query}")];
            both(&so_far[0].clone(), &mut direct, &mut through, &[]);
            let mut broken = 0;
            for _ in 0..60 {
                // A query that PostgreSQL does not sort may not be gone back in there.
                let form = match word {
                    "" if query.contains("sum(") => ["NEXT", "2", "RELATIVE 1"][choose(3)],
                    _ => FORMS[choose(FORMS.len())],
                };
                let verb = ["FETCH", "MOVE"][choose(2)];
                let text = format!("{verb} {form} {} c", ["FROM", "IN"][choose(2)]);
                both("SAVEPOINT s", &mut direct, &mut through, &so_far);
                let answer = both(&text, &mut direct, &mut through, &so_far);
                so_far.push(text);
                if answer.last().is_some_and(|last| last == "Z E") {
                    both("ROLLBACK TO s", &mut direct, &mut through, &so_far);
                    broken += 1;
                    if broken % 3 == 0 {
                        both("CLOSE c", &mut direct, &mut through, &so_far);
                        so_far = vec![so_far[0].clone()];
                        both(&so_far[0].clone(), &mut direct, &mut through, &so_far);
                    }
                }
                both("RELEASE s", &mut direct, &mut through, &so_far);
            }
            both("ROLLBACK", &mut direct, &mut through, &so_far);
        }
    }
}

#[test]
fn cursors_end_with_their_savepoint_and_their_names_are_free_again() {
    Beside::new().assert_same(&[
        "BEGIN",
        "DECLARE c NO SCROLL CURSOR FOR SELECT id, tenant_id FROM orders ORDER BY 1, 2",
        "FETCH 2 c",
        "SAVEPOINT a",
        "FETCH 2 c",
        "CLOSE c",
        "DECLARE c NO SCROLL CURSOR FOR SELECT tenant_id FROM orders ORDER BY 1",
        "FETCH 3 c",
        "ROLLBACK TO a",
        "FETCH c",
        "ROLLBACK TO a",
        "DECLARE c NO SCROLL CURSOR FOR SELECT tenant_id FROM orders ORDER BY 1",
        "SELECT 1 / 0",
        "ROLLBACK TO a",
        "DECLARE c NO SCROLL CURSOR FOR SELECT 10 / (id - 2), tenant_id FROM orders ORDER BY tenant_id, id",
        "SAVEPOINT b",
        "FETCH 1 c",
        "FETCH 4 c",
        "ROLLBACK TO b",
        "FETCH 1 c",
        "ROLLBACK TO b",
        "CLOSE c",
        "DECLARE c CURSOR FOR SELECT count(*) FROM orders",
        "DECLARE d CURSOR FOR SELECT id FROM orders WHERE tenant_id = 3 ORDER BY 1",
        "DECLARE e CURSOR FOR SELECT id FROM orders WHERE tenant_id = 2 ORDER BY 1",
        "DECLARE \"all\" NO SCROLL CURSOR FOR SELECT id FROM orders ORDER BY 1",
        "FETCH \"all\"",
        "CLOSE \"all\"",
        "FETCH c",
        "FETCH e",
        "CLOSE ALL",
        "SAVEPOINT c",
        "FETCH c",
        "ROLLBACK TO c",
        "FETCH d",
        "ROLLBACK TO c",
        "FETCH e",
        "ROLLBACK TO c",
        "DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY 1, tenant_id",
        "COMMIT",
        "FETCH c",
    ]);
}

#[test]
fn what_a_cursor_can_not_do_is_refused() {
    let world = Beside::with("", |config| config.pool("merge_memory = 65536"));
    let (_, mut through) = world.wires();
    for (text, sqlstate) in [
        ("DECLARE c CURSOR FOR SELECT id FROM orders FOR UPDATE", "0A000"),
        (
            "DECLARE c CURSOR FOR SELECT a.id FROM orders a JOIN orders b ON b.id = a.id",
            "0A000",
        ),
        (
            "DECLARE c CURSOR FOR SELECT repeat('x', 20000) FROM orders ORDER BY id * interval '1 day'",
            "53200",
        ),
        (
            "DECLARE c SCROLL CURSOR FOR SELECT repeat('x', 20000) FROM orders; FETCH ALL c",
            "53200",
        ),
        (
            "DECLARE c CURSOR FOR SELECT count(*) FROM orders; FETCH \"pgshunt cursor 1\"",
            "34000",
        ),
        (
            "DECLARE c CURSOR FOR SELECT date '2024-01-01' + id::int FROM orders ORDER BY 1; FETCH c; \
                SET DateStyle = 'German'; FETCH ALL c",
            "0A000",
        ),
    ] {
        through.run("BEGIN");
        through.run("SELECT count(*) FROM orders");
        assert_eq!(through.sqlstate(text), sqlstate, "{text}");
        through.run("ROLLBACK");
    }
}
