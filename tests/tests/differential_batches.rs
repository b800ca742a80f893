//! Scripted batches that change what the messages behind them mean get byte for byte the answers PostgreSQL gives.

use pgshunt_tests::differential::play::Values;
use pgshunt_tests::differential::script::{b, e, p, q, s, same_on};
use pgshunt_tests::differential::{Message, Stage};

/// What must be the first of its transaction, behind a Parse that needs no server, or behind none.
#[test]
fn what_must_be_first_of_its_transaction_behind_a_parse() {
    let mut stage = Stage::new();
    const LEVEL: &str = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE";
    let level = || [p("", LEVEL), b("", ""), e("")];
    let [parse, bind, execute] = level();
    let known: &[Message] = &[
        p("b", "SELECT 1 AS snapshot"),
        b("", "b"),
        e(""),
        Message::close(b'S', "b"),
        s(),
    ];
    let again = || p("a", "SELECT 1 AS snapshot");
    let shows = || q("SHOW transaction_isolation");
    same_on(
        &mut stage,
        &[
            known,
            &[again(), parse.clone(), bind.clone(), execute.clone(), s()],
            &[shows()],
        ],
    );
    same_on(
        &mut stage,
        &[
            known,
            &[q("BEGIN")],
            &[again(), s()],
            &[q(LEVEL)],
            &[q("ROLLBACK")],
        ],
    );
    same_on(
        &mut stage,
        &[
            known,
            &[q("BEGIN")],
            &[again(), parse.clone(), bind.clone(), execute.clone(), s()],
            &[q("ROLLBACK")],
        ],
    );
    same_on(
        &mut stage,
        &[
            known,
            &[q("BEGIN"), again(), s(), q(LEVEL), shows()],
            &[q("ROLLBACK")],
        ],
    );
    same_on(
        &mut stage,
        &[
            known,
            &[again(), q("BEGIN ISOLATION LEVEL SERIALIZABLE")],
            &[shows(), q("ROLLBACK")],
        ],
    );
    same_on(
        &mut stage,
        &[
            known,
            &[again(), s(), q("BEGIN"), q(LEVEL), shows(), q("ROLLBACK")],
        ],
    );
    same_on(
        &mut stage,
        &[
            known,
            &[again(), s(), q("BEGIN")],
            &[q(LEVEL)],
            &[shows(), q("ROLLBACK")],
        ],
    );
    same_on(
        &mut stage,
        &[
            known,
            &[
                q("BEGIN"),
                again(),
                s(),
                q("COMMIT"),
                q("BEGIN"),
                q(LEVEL),
                shows(),
                q("ROLLBACK"),
            ],
        ],
    );
    same_on(
        &mut stage,
        &[
            known,
            &[q("BEGIN READ ONLY"), again(), s()],
            &[q("SET TRANSACTION READ WRITE")],
            &[q("ROLLBACK")],
        ],
    );
    same_on(
        &mut stage,
        &[
            &[p("c", LEVEL), s()],
            known,
            &[q("BEGIN")],
            &[again(), s()],
            &[b("", "c"), e(""), s()],
            &[q("ROLLBACK")],
        ],
    );
    same_on(
        &mut stage,
        &[
            known,
            &[
                again(),
                p("", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
                b("", ""),
                e(""),
                s(),
            ],
            &[q("SHOW transaction_read_only")],
        ],
    );
}

#[test]
fn deallocate_all_in_the_middle_of_a_batch() {
    let mut stage = Stage::new();
    for text in ["DEALLOCATE ALL", "DISCARD ALL", "deallocate prepare all;"] {
        let all = || [p("", text), b("", ""), e("")];
        let [parse, bind, execute] = all();
        let before = &[p("a", "SELECT 1"), p("b", "SELECT 2"), s()][..];
        let one = |name| [b("", name), e(""), s()];
        same_on(
            &mut stage,
            &[
                before,
                &[
                    parse.clone(),
                    bind.clone(),
                    execute.clone(),
                    b("", "a"),
                    e(""),
                    s(),
                ],
                &one("b"),
            ],
        );
        same_on(
            &mut stage,
            &[
                before,
                &[
                    parse.clone(),
                    bind.clone(),
                    execute.clone(),
                    p("a", "SELECT 3"),
                    b("", "a"),
                    e(""),
                    s(),
                ],
                &one("a"),
                &one("b"),
            ],
        );
        same_on(
            &mut stage,
            &[
                before,
                &[
                    parse.clone(),
                    bind.clone(),
                    execute.clone(),
                    p("b", "SELECT 2"),
                    b("", "b"),
                    e(""),
                    s(),
                    b("", "b"),
                    e(""),
                    s(),
                ],
                &one("b"),
                &one("a"),
            ],
        );
        same_on(
            &mut stage,
            &[
                before,
                &[
                    b("", "a"),
                    e(""),
                    parse.clone(),
                    bind.clone(),
                    execute.clone(),
                    p("a", "SELECT 3"),
                    s(),
                ],
                &one("a"),
                &one("b"),
            ],
        );
        same_on(
            &mut stage,
            &[
                before,
                &[
                    e("nobody"),
                    parse.clone(),
                    bind.clone(),
                    execute.clone(),
                    p("a", "SELECT 3"),
                    s(),
                ],
                &one("a"),
                &one("b"),
            ],
        );
        same_on(
            &mut stage,
            &[
                before,
                &[parse, bind, execute, p("a", "SELECT 3"), e("nobody"), s()],
                &one("a"),
                &one("b"),
                &[
                    q("BEGIN"),
                    q("SELECT 1/0"),
                    p("", text),
                    b("", ""),
                    e(""),
                    s(),
                    q("ROLLBACK"),
                ],
                &one("a"),
            ],
        );
        same_on(
            &mut stage,
            &[
                before,
                &[p("all", text), s()],
                &[
                    b("all", "all"),
                    b("", "a"),
                    e(""),
                    e("all"),
                    p("a", "SELECT 4"),
                    s(),
                ],
                &one("a"),
                &one("all"),
            ],
        );
    }
}

#[test]
fn execute_by_the_extended_protocol_of_a_name_prepared_by_protocol() {
    let mut stage = Stage::new();
    let run = |text| [p("", text), b("", ""), e(""), s()];
    same_on(
        &mut stage,
        &[
            &[p("a", "SELECT 1"), p("b", "SELECT $1::int"), s()],
            &run("EXECUTE a"),
            &run("EXECUTE b (3)"),
            &[b("", "a"), e(""), s()],
            &[
                p("", "EXECUTE a"),
                b("", ""),
                e(""),
                p("", "EXECUTE b (4)"),
                b("", ""),
                e(""),
                s(),
            ],
            &run("PREPARE a AS SELECT 2"),
            &[p("c", "EXECUTE a"), s()],
            &[b("", "c"), e(""), s(), b("", "c"), e(""), s()],
            &run("DEALLOCATE ALL"),
            &run("EXECUTE a"),
        ],
    );
    same_on(
        &mut stage,
        &[
            &[p("a", "SELECT 1"), p("", "EXECUTE a"), b("", ""), e(""), s()],
            &run("DEALLOCATE a"),
            &run("EXECUTE a"),
            &[b("", "a"), e(""), s()],
        ],
    );
}

#[test]
fn a_failed_transaction_on_a_server_that_lacks_the_statement() {
    let mut stage = Stage::new();
    let two = |count| Values {
        values: vec![Some(b"3".to_vec()); count],
        ..Values::default()
    };
    let fails = &[q("BEGIN"), q("SELECT 1/0")][..];
    let bind = |name, count| Message::bind("", name, &two(count));
    let texts = [
        "SELECT $1::int, $2::int",
        "INSERT INTO t VALUES ($1, $2)",
        "SELECT '$3', $2::int -- $4",
        "SET work_mem = '4MB'",
        "",
        "ROLLBACK",
    ];
    for text in texts {
        for count in 0..4 {
            same_on(
                &mut stage,
                &[
                    &[p("a", text), s()],
                    fails,
                    &[bind("a", count), e(""), s()],
                    &[q("ROLLBACK")],
                    &[bind("a", 2), e(""), s()],
                    fails,
                    &[bind("a", count), e(""), s(), bind("a", count), e(""), s()],
                    &[q("ROLLBACK")],
                ],
            );
        }
        same_on(
            &mut stage,
            &[
                &[p("a", text), s()],
                fails,
                &[Message::describe(b'S', "a"), s()],
                &[q("ROLLBACK"), p("", text), s(), q("BEGIN")],
            ],
        );
    }
    let mut formats = two(2);
    formats.formats = vec![0, 1, 0];
    same_on(
        &mut stage,
        &[
            &[p("a", "SELECT $1::int, $2::int"), s()],
            fails,
            &[Message::bind("", "a", &formats), s()],
            &[q("ROLLBACK")],
        ],
    );
}

#[test]
fn a_sync_in_the_middle_of_copy_data() {
    let mut stage = Stage::new();
    let data = |data: &[u8]| Message::raw(b'd', data);
    let (done, fail) = (|| Message::raw(b'c', b""), || Message::raw(b'f', b"no more\0"));
    let begin = &[
        p("", "COPY t (a, b) FROM STDIN (FORMAT csv)"),
        b("", ""),
        e(""),
        Message::flush(),
    ][..];
    let one = || q("SELECT 1");
    let (right, wrong) = (|| data(b"80,right\n"), || data(b"not a number\n"));
    same_on(
        &mut stage,
        &[begin, &[right(), s(), data(b"81,more\n"), done(), s()], &[one()]],
    );
    same_on(&mut stage, &[begin, &[right(), s(), fail(), s()], &[one()]]);
    same_on(&mut stage, &[begin, &[s(), s(), fail(), s()], &[one()]]);
    same_on(
        &mut stage,
        &[begin, &[right(), s(), wrong(), s(), done(), s()], &[one()]],
    );
    same_on(
        &mut stage,
        &[begin, &[wrong(), s(), right(), done(), s()], &[one()]],
    );
    same_on(
        &mut stage,
        &[begin, &[wrong(), s(), right(), s(), fail(), s()], &[one()]],
    );
    same_on(&mut stage, &[begin, &[wrong(), s(), fail(), s()], &[one()]]);
    same_on(
        &mut stage,
        &[begin, &[wrong()], &[s(), right()], &[done(), s()], &[one()]],
    );
    same_on(
        &mut stage,
        &[begin, &[right(), s()], &[right()], &[done(), s()], &[one()]],
    );
}

#[test]
fn an_error_speaks_of_a_statement_by_the_clients_name_though_all_are_deallocated_behind_it() {
    let mut stage = Stage::new();
    same_on(
        &mut stage,
        &[
            &[
                Message::parse("a", "DEALLOCATE ALL", &[23]),
                p("b", "DEALLOCATE ALL"),
                s(),
            ],
            &[b("", "b"), b("p", "a"), e(""), s()],
            &[b("p", "a"), b("", "b"), e(""), s()],
        ],
    );
}

#[test]
fn a_sync_amid_copy_data_all_in_one_batch() {
    let mut stage = Stage::new();
    let data = |data: &[u8]| Message::raw(b'd', data);
    let (right, wrong) = (|| data(b"80\tright\n"), || data(b"not a number\n"));
    let done = || Message::raw(b'c', b"");
    let begin = || vec![p("", "COPY t (a, b) FROM STDIN"), b("", ""), e("")];
    for rest in [
        vec![wrong(), s()],
        vec![wrong(), s(), right(), s(), done(), s()],
        vec![right(), s(), wrong(), s(), done(), s()],
        vec![Message::flush(), wrong(), s(), right(), s(), done(), s()],
        vec![s(), wrong(), s(), s()],
    ] {
        let batch: Vec<Message> = begin().into_iter().chain(rest).collect();
        same_on(&mut stage, &[&batch, &[q("SELECT 1")]]);
    }
}

/// On servers where others have used sequences, and somebody has asked for that.
#[test]
fn a_level_of_isolation_behind_other_words_where_strangers_used_sequences() {
    let mut stage = Stage::new();
    for words in ["RESET search_path;", ""] {
        same_on(&mut stage, &[&[q("SELECT nextval('s'), lastval()")]]);
        let text = format!(
            "{words} START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE; SET LOCAL work_mem = '5MB'"
        );
        same_on(
            &mut stage,
            &[
                &[q("START TRANSACTION ISOLATION LEVEL SERIALIZABLE")],
                &[q(&text)],
                &[q("SELECT lastval()")],
            ],
        );
    }
}

#[test]
fn a_name_deallocated_behind_a_parse_that_fails() {
    let mut stage = Stage::new();
    same_on(
        &mut stage,
        &[
            &[p("b", "SELECT 2"), s()],
            &[p("b", "SELECT 1"), p("", "DEALLOCATE PREPARE b"), b("q", ""), s()],
            &[b("p", "b"), s()],
        ],
    );
}

#[test]
fn execute_of_a_name_behind_an_error_in_a_transaction() {
    let mut stage = Stage::new();
    same_on(
        &mut stage,
        &[
            &[p("a", "SELECT $1"), s()],
            &[
                q("BEGIN"),
                p("", "EXECUTE a (1)"),
                b("", ""),
                Message::describe(b'P', ""),
                e(""),
                e(""),
                Message::describe(b'S', "a"),
                Message::flush(),
                s(),
            ],
        ],
    );
}

#[test]
fn execute_of_a_name_right_behind_another_unit() {
    let mut stage = Stage::new();
    same_on(
        &mut stage,
        &[
            &[p("a", "SELECT $1"), s()],
            &[
                e("nothing"),
                s(),
                p("", "EXECUTE a (1)"),
                Message::describe(b'S', ""),
                b("", ""),
                e(""),
                s(),
            ],
        ],
    );
}

#[test]
fn a_rollback_parsed_in_a_failed_transaction_where_strangers_used_sequences() {
    let mut stage = Stage::new();
    same_on(&mut stage, &[&[q("SELECT nextval('s'), lastval()")]]);
    same_on(
        &mut stage,
        &[
            &[q("BEGIN READ ONLY")],
            &[e("q"), s()],
            &[Message::close(b'P', ""), p("", "ROLLBACK AND CHAIN"), s()],
        ],
    );
}
