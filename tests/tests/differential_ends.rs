//! What ends a session, a portal or a statement, or only seems to, gets byte for byte the answers PostgreSQL gives.

use pgshunt_tests::differential::script::{b, e, p, q, s, same, same_on};
use pgshunt_tests::differential::{Message, Stage, Values};

#[test]
fn a_goodbye_right_behind_what_was_asked() {
    let goodbye = || Message::raw(b'X', b"");
    let mut stage = Stage::new();
    same_on(&mut stage, &[&[q("SELECT pg_sleep(0.02); SELECT 1"), goodbye()]]);
    same_on(
        &mut stage,
        &[&[
            p("", "SELECT generate_series(1, 20000)"),
            b("", ""),
            e(""),
            s(),
            q("SELECT 2"),
            goodbye(),
        ]],
    );
    same_on(
        &mut stage,
        &[&[q("SELECT 1/0"), e("none"), s(), goodbye(), q("SELECT 3")]],
    );
    same_on(
        &mut stage,
        &[&[q("BEGIN")], &[q("SELECT 4"), q("SELECT 1/0"), goodbye()]],
    );
}

#[test]
fn an_unknown_message_right_behind_what_was_asked() {
    let unknown = || Message::raw(b'y', b"");
    let mut stage = Stage::new();
    same_on(
        &mut stage,
        &[&[q("SELECT pg_sleep(0.02)"), unknown(), q("SELECT 1")]],
    );
    same_on(&mut stage, &[&[Message::raw(b'D', b"Xa\0"), unknown()]]);
    same_on(
        &mut stage,
        &[&[p("", "SELECT 2"), b("", ""), e(""), unknown(), s()]],
    );
}

#[test]
fn a_portal_that_a_copy_had_is_bound_again() {
    let sets = "SELECT set_config('work_mem', '8MB', true)";
    let mut stage = Stage::new();
    same_on(
        &mut stage,
        &[
            &[p("", "COPY t FROM STDIN"), b("", "")],
            &[q("SELECT 1")],
            &[p("a", sets), b("", "a"), e(""), s()],
        ],
    );
    same_on(
        &mut stage,
        &[&[
            p("", "COPY t FROM STDIN"),
            b("", ""),
            p("a", sets),
            b("", "a"),
            e(""),
            s(),
        ]],
    );
}

#[test]
fn a_deallocate_by_the_wrong_number_of_parameters() {
    let mut stage = Stage::new();
    same_on(
        &mut stage,
        &[
            &[Message::parse("a", "SELECT $1", &[23])],
            &[Message::parse("", "DEALLOCATE a", &[99999]), b("", "")],
            &[s(), b("", "a")],
            &[s()],
        ],
    );
}

#[test]
fn commands_and_nothing_where_strangers_used_sequences() {
    let mut stage = Stage::new();
    same_on(&mut stage, &[&[q("SELECT nextval('s'), lastval()")]]);
    same_on(
        &mut stage,
        &[
            &[q("begin transaction;")],
            &[q("SAVEPOINT two")],
            &[q("SET work_mem = '5MB'")],
            &[q("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")],
        ],
    );
    same_on(
        &mut stage,
        &[
            &[q("BEGIN ISOLATION LEVEL REPEATABLE READ")],
            &[
                Message::describe(b'P', "q"),
                s(),
                Message::close(b'S', ""),
                p("", " -- nothing"),
                s(),
            ],
        ],
    );
}

/// To discard a stranger's values in a failed transaction fails, and COMMIT does not.
#[test]
fn a_commit_behind_a_failure_in_one_write_where_strangers_used_sequences() {
    let mut stage = Stage::new();
    same_on(&mut stage, &[&[q("SELECT nextval('s'), lastval()")]]);
    for text in ["COMMIT", "end", "PREPARE TRANSACTION 'never'"] {
        same_on(
            &mut stage,
            &[
                &[q("begin transaction;")],
                &[
                    e("p"),
                    s(),
                    p("a", text),
                    b("q", "a"),
                    e("q"),
                    p("", "SELECT 1"),
                    b("", ""),
                    e(""),
                    s(),
                ],
            ],
        );
    }
}

/// The server skips them, and what is sent in front of them likewise.
#[test]
fn queries_behind_a_batch_that_fails_where_strangers_used_sequences() {
    let mut stage = Stage::new();
    same_on(&mut stage, &[&[q("SELECT nextval('s'), lastval()")]]);
    for text in ["SELECT lastval()", "INSERT INTO t (a) VALUES (1)"] {
        same_on(
            &mut stage,
            &[&[e("p"), q("SELECT 1"), q(text), q("SELECT 2"), s()]],
        );
        same_on(&mut stage, &[&[p("", "SELECT 1"), q("SELECT 1"), q(text), s()]]);
    }
}

#[test]
fn a_portal_that_began_a_transaction_is_there_to_its_end() {
    let begin = [
        p("", "BEGIN READ ONLY"),
        b("p", ""),
        Message::describe(b'P', "p"),
        e("p"),
        s(),
    ];
    same(&[
        &begin,
        &[Message::describe(b'P', "p"), s()],
        &[q("COMMIT")],
        &[Message::describe(b'P', "p"), s()],
    ]);
}

/// PostgreSQL looks at how many values there are before it looks at the transaction.
#[test]
fn a_bind_with_too_many_values_behind_a_close_in_a_failed_transaction() {
    let mut stage = Stage::new();
    let values = Values {
        values: vec![Some(b"7".to_vec()), Some(b"8".to_vec())],
        ..Values::default()
    };
    same_on(&mut stage, &[&[q("SELECT nextval('s'), lastval()")]]);
    for name in ["", "n"] {
        let begins = [
            p("n", "SELECT $1::int"),
            p("", "BEGIN"),
            b("p", ""),
            Message::execute("p", 1),
            Message::execute("p", 1),
            p("", "SELECT boom($1::int)"),
            s(),
        ];
        let binds = [Message::close(b'P', ""), Message::bind("", name, &values), s()];
        same_on(&mut stage, &[&begins, &binds, &binds[1..], &[q("ROLLBACK")]]);
    }
}

/// PostgreSQL ends the session and names the type of the message, whatever pgshunt makes of it.
#[test]
fn another_message_where_a_copy_reads_its_data() {
    let data = || Message::raw(b'd', b"80\tright\n");
    let copy = || vec![p("", "COPY t (a, b) FROM STDIN"), b("", ""), e("")];
    let asked = || vec![q("COPY t (a, b) FROM STDIN")];
    let fails = || vec![p("", "COPY t (none) FROM STDIN"), b("", ""), e("")];
    let behind: [&dyn Fn() -> Vec<Message>; 8] = [
        &|| vec![Message::close(b'S', "a")],
        &|| vec![Message::close(b'S', "none"), s()],
        &|| vec![p("c", "SELECT 1"), s()],
        &|| vec![b("", "a"), e("")],
        &|| vec![Message::describe(b'S', "b"), s()],
        &|| vec![Message::describe(b'S', "none"), s()],
        &|| vec![e(""), s()],
        &|| vec![q("SELECT 1")],
    ];
    let mut stage = Stage::new();
    let before = || vec![p("a", "SELECT 1"), p("b", "SELECT 2"), s()];
    for behind in behind {
        for begin in [copy(), asked(), fails()] {
            let whole: Vec<Message> = begin.iter().cloned().chain(behind()).collect();
            same_on(&mut stage, &[&before(), &whole, &[s()]]);
            let amid: Vec<Message> = begin.iter().cloned().chain([data()]).chain(behind()).collect();
            same_on(&mut stage, &[&before(), &amid, &[s()]]);
            let ended: Vec<Message> = begin
                .iter()
                .cloned()
                .chain([data(), Message::raw(b'c', b"")])
                .chain(behind())
                .collect();
            same_on(&mut stage, &[&before(), &ended, &[s()]]);
            same_on(
                &mut stage,
                &[&before(), &begin, &[Message::flush()], &behind(), &[s()]],
            );
        }
    }
}

/// The last that the server answers before it may be the end of the unit in front of it, so that nothing is owed.
#[test]
fn an_unknown_message_behind_what_is_almost_answered() {
    let mut stage = Stage::new();
    for text in ["COPY t (a, b) FROM STDIN; SELECT 'behind'", "SELECT 1"] {
        let done = Message::raw(b'c', b"");
        for turns in [
            &[&[q(text)][..], &[done, s()], &[Message::raw(b'y', b"")]][..],
            &[&[q(text), s(), Message::raw(b'y', b"")]],
            &[&[q(text), s()], &[Message::raw(b'y', b""), s()]],
        ] {
            same_on(&mut stage, turns);
        }
    }
}

/// What a stranger left is discarded only where that can't fail in place of what the client asks.
#[test]
fn a_bind_with_too_few_values_behind_a_query_that_fails_where_strangers_used_sequences() {
    let mut stage = Stage::new();
    same_on(&mut stage, &[&[q("SELECT nextval('s'), lastval()")]]);
    let update = || p("b", "UPDATE t SET b = $2 WHERE a = $1");
    let few = || [p("c", "COMMIT"), b("", "b"), e(""), s()];
    for fails in ["SELECT 1/0", "SELECT 1"] {
        let mut behind = vec![q(fails)];
        behind.extend(few());
        same_on(
            &mut stage,
            &[&[update(), s()], &[q("BEGIN")], &behind, &[q("ROLLBACK")]],
        );
        same_on(
            &mut stage,
            &[
                &[update(), s()],
                &[q("BEGIN")],
                &[q("SELECT 1/0")],
                &behind,
                &[s()],
            ],
        );
        same_on(
            &mut stage,
            &[
                &[q("BEGIN")],
                &[q(fails), p("", "INSERT INTO t VALUE"), s()],
                &[s()],
            ],
        );
    }
}

/// PostgreSQL reads the new text before it looks at the name, in a failed transaction too.
#[test]
fn a_parse_by_a_name_that_is_taken_on_servers_that_lack_it() {
    let mut stage = Stage::new();
    for text in ["SELECT $1 +", "SELECT 2", "COMMIT"] {
        for failed in [true, false] {
            let fails = if failed { "SELECT 1/0" } else { "SELECT 1" };
            same_on(
                &mut stage,
                &[
                    &[p("a", "SELECT boom(1)"), s()],
                    &[q("BEGIN")],
                    &[q(fails)],
                    &[p("a", text), s()],
                    &[q("ROLLBACK")],
                    &[p("a", text), s(), b("", "a"), e(""), s()],
                ],
            );
        }
    }
}

/// Behind an error nothing is closed.
#[test]
fn names_that_a_query_speaks_of_behind_a_close_that_is_skipped() {
    let mut stage = Stage::new();
    let fails = || {
        vec![
            p("b", "SELECT $1::text"),
            b("", "b"),
            Message::close(b'S', "b"),
            s(),
        ]
    };
    for text in ["DEALLOCATE PREPARE b; COMMIT", "EXECUTE b ('x')", "DEALLOCATE b"] {
        let mut batch = fails();
        batch.extend([q(text), q("SELECT 1")]);
        same_on(&mut stage, &[&batch, &[b("", "b"), s()]]);
    }
}

#[test]
fn an_error_speaks_of_a_statement_by_the_clients_name_though_it_is_closed_behind_it() {
    let mut stage = Stage::new();
    let prepare = || Message::parse("a", "PREPARE a AS SELECT 'by SQL'", &[23]);
    let close = || Message::close(b'S', "a");
    for batch in [
        vec![prepare(), b("", "a"), close(), s()],
        vec![p("", "SELECT 1"), prepare(), b("", "a"), e(""), close(), s()],
    ] {
        same_on(
            &mut stage,
            &[&batch, &[b("", "a"), s()], &[close(), s()], &[b("", "a"), s()]],
        );
    }
}

/// A DEALLOCATE that is bound and not executed leaves the name taken.
#[test]
fn a_parse_by_a_name_that_a_bound_deallocate_speaks_of() {
    let mut stage = Stage::new();
    let before = &[p("", "DEALLOCATE a")][..];
    let bound = || vec![p("a", "SELECT 1"), b("q", "")];
    let mut batch = bound();
    batch.extend([p("a", "SELECT 2"), s()]);
    same_on(&mut stage, &[before, &batch]);
    for text in ["SELECT 2", "SELECT $1 +"] {
        let mut batch = bound();
        batch.extend([e("q"), p("a", text), s()]);
        let use_it = &[b("", "a"), e(""), s()][..];
        same_on(&mut stage, &[before, &batch, use_it, use_it]);
    }
}

#[test]
fn a_statement_that_speaks_of_another_where_sql_prepares_as_well() {
    let mut stage = Stage::new();
    let prepares = || Message::parse("a", "PREPARE q AS SELECT 'by SQL'", &[23]);
    let executes = || p("b", "EXECUTE a");
    let of_b = || vec![b("", "b"), e(""), s()];
    let mut batch = vec![prepares(), executes()];
    batch.extend(of_b());
    same_on(&mut stage, &[&batch, &of_b()]);
    same_on(
        &mut stage,
        &[&[prepares(), s()], &[executes(), s()], &of_b(), &of_b()],
    );
}

/// That it ends all statements is so when it is executed.
#[test]
fn an_error_speaks_of_a_statement_by_the_clients_name_though_it_ends_all() {
    let mut stage = Stage::new();
    let ends_all = &[Message::parse("a", "DEALLOCATE ALL", &[99999]), s()][..];
    let bound = &[b("", "a"), s()][..];
    same_on(&mut stage, &[ends_all, &[q("EXECUTE a")], bound, bound]);
    same_on(
        &mut stage,
        &[
            ends_all,
            &[p("b", "SELECT 1"), s()],
            &[q("EXECUTE b")],
            &[q("DEALLOCATE ALL; SELECT 1/0")],
            &[b("", "b"), s()],
            bound,
        ],
    );
}

/// A server is told of names in no failed transaction.
#[test]
fn a_text_that_ends_a_failed_transaction_and_speaks_of_a_name_then() {
    let mut stage = Stage::new();
    let prepares = &[Message::parse("a", "SELECT $1::int + 1", &[]), s()][..];
    for text in [
        "COMMIT; EXECUTE a (1)",
        "ROLLBACK WORK; EXECUTE a (1); SELECT 1/0",
        "ABORT; PREPARE a AS SELECT 2",
        "END; DEALLOCATE a; EXECUTE a (1)",
        "COMMIT; SELEC 1; EXECUTE a (1)",
        "COMMIT AND CHAIN; SELECT 1",
        "EXECUTE a (1); COMMIT",
    ] {
        same_on(
            &mut stage,
            &[
                prepares,
                &[q("BEGIN; SET TIME ZONE 'America/Lima'")],
                &[q("SELECT 1/0")],
                &[q(text)],
                &[q("SHOW TimeZone")],
                &[q("ROLLBACK")],
                &[b("", "a"), s()],
                &[q("SHOW TimeZone")],
            ],
        );
    }
}

#[test]
fn a_deallocate_ends_a_statement_when_it_is_executed() {
    let mut stage = Stage::new();
    let ends = &[p("a", "SELECT 1"), p("", "DEALLOCATE a"), s()][..];
    let use_it = &[b("", "a"), e(""), s()][..];
    let bind = || b("q", "");
    let misbind = || {
        let values = Values {
            values: vec![Some(b"1".to_vec())],
            ..Values::default()
        };
        Message::bind("q", "", &values)
    };
    let close = &[Message::close(b'S', "a"), s()][..];
    for turns in [
        // Bound, and not executed.
        &[ends, &[bind(), s()], use_it][..],
        &[ends, &[bind(), s()], &[q("EXECUTE a")], use_it],
        // Bound in vain.
        &[ends, &[misbind(), s()], close, &[q("DEALLOCATE a")], use_it],
        &[ends, &[misbind(), s(), e("q"), s()], close, &[q("DEALLOCATE a")]],
        // Bound and executed, together or not.
        &[ends, &[bind(), e("q"), e("q"), s()], use_it],
        &[
            &[q("BEGIN")],
            ends,
            &[bind(), s()],
            use_it,
            &[e("q"), s()],
            use_it,
            &[q("COMMIT")],
            use_it,
        ],
        &[
            &[q("BEGIN")],
            ends,
            &[bind(), s(), e("q"), s(), b("", "a"), s()],
            use_it,
        ],
        // Its transaction is over by then.
        &[ends, &[bind(), s()], &[e("q"), s()], use_it],
        // Something else is in its place by then.
        &[ends, &[bind(), b("q", "a"), e("q"), s()], &[q("BEGIN")], use_it],
    ] {
        same_on(&mut stage, turns);
    }
}

/// What a PREPARE prepares has parameters, and it has none itself.
#[test]
fn a_wrong_number_of_values_for_a_prepare_in_a_failed_transaction() {
    let mut stage = Stage::new();
    // What it leaves in the server is looked up behind it, and the unnamed statement is gone there.
    let prepares = &[p("", "PREPARE q (int) AS SELECT $1 + 1"), b("", ""), e(""), s()][..];
    let values = Values {
        values: vec![Some(b"1".to_vec())],
        ..Values::default()
    };
    let extended = |text| [p("a", text), b("", "a"), e(""), s()];
    same_on(
        &mut stage,
        &[
            prepares,
            &extended("BEGIN"),
            &[b("", "nothing"), s()],
            &[Message::bind("", "", &values), s()],
            &[b("", ""), s()],
        ],
    );
}

/// A name of one letter stands in many words.
#[test]
fn an_error_speaks_of_a_statement_by_the_clients_name_though_words_behind_it_have_its_letters() {
    let mut stage = Stage::new();
    same_on(
        &mut stage,
        &[
            &[
                Message::parse("a", "PREPARE a AS SELECT 'by SQL'", &[23]),
                b("", "a"),
                p("", "PREPARE q AS SELECT 1; EXECUTE q; DEALLOCATE q"),
                s(),
            ],
            &[b("", "a"), s()],
        ],
    );
}
