//! Generated and scripted messages get byte for byte the answers PostgreSQL gives, whoever else uses the servers.

use pgshunt_tests::differential::script::{b, e, p, q, s, same};
use pgshunt_tests::differential::{Message, Stage, author, rehearse, shrink};

/// How many plays, from which seed on: `PGSHUNT_PLAYS` and `PGSHUNT_SEED` say otherwise.
fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(number) => number
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
        Err(_) => otherwise,
    }
}

const STAGES: u64 = 3;

/// Plays on some stages at once, each with seeds of its own: more than there are processors, as plays wait a lot; and
/// the more the longer it takes, as a stage is not built in a moment.
fn rehearse_all(plays: u64, first: u64) {
    let count = number("PGSHUNT_STAGES", if plays < 5000 { STAGES } else { 2 * STAGES });
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        let stages = (0..count).map(|n| {
            scope.spawn(move || {
                let seeds = (0..plays)
                    .filter(|seed| seed % count == n)
                    .map(|seed| first + seed);
                let mut stage = Stage::new();
                (rehearse(&mut stage, seeds), stage.known)
            })
        });
        let stages: Vec<_> = stages.collect();
        let (mut performed, mut known) = (0, 0);
        for stage in stages {
            let (of_stage, known_of_stage) = stage.join().expect("no difference");
            performed += of_stage;
            known += known_of_stage;
        }
        let took = began.elapsed();
        println!(
            "{performed} plays without a difference, but for {known} that are known to differ, in {took:?}"
        );
    });
}

#[test]
fn generated_plays() {
    rehearse_all(number("PGSHUNT_PLAYS", 500), number("PGSHUNT_SEED", 1));
}

#[test]
#[ignore = "takes an hour"]
fn a_hundred_thousand_generated_plays() {
    rehearse_all(
        number("PGSHUNT_PLAYS", 100_000),
        number("PGSHUNT_SEED", 1_000_000),
    );
}

/// Every difference of the given seeds, and no end at the first: for whoever looks for them. `PGSHUNT_FEW=1`: plays of few texts.
#[test]
#[ignore = "for looking into differences by hand"]
fn survey() {
    let (first, plays) = (number("PGSHUNT_SEED", 1), number("PGSHUNT_PLAYS", 200));
    std::thread::scope(|scope| {
        for n in 0..STAGES {
            scope.spawn(move || {
                let mut stage = Stage::new();
                for seed in (first..first + plays).filter(|seed| seed % STAGES == n) {
                    let play = match number("PGSHUNT_FEW", 0) {
                        0 => author::play(seed),
                        _ => author::play_of_few(seed),
                    };
                    if let Some(difference) = stage.perform(&play) {
                        println!("== seed {seed}, as it was:\n{play}\n{difference}");
                        if number("PGSHUNT_SHRINK", 1) == 0 {
                            continue;
                        }
                        let (smaller, difference) = shrink(&mut stage, play, difference);
                        println!("== seed {seed}, made smaller:\n{smaller}\n{difference}");
                    }
                }
            });
        }
    });
}

/// A batch that fails at once.
fn failing() -> [Message; 2] {
    [e("nobody"), s()]
}

#[test]
fn a_malformed_flush_is_an_error_and_settings_go_ahead_of_it() {
    same(&[
        &[q("SET work_mem = '5MB'")],
        &[Message::raw(b'H', b"more")],
        &[s()],
        &[q("SHOW work_mem")],
    ]);
    same(&[&[Message::raw(b'H', b"more"), s(), q("SHOW work_mem")]]);
}

#[test]
fn a_malformed_query_does_not_end_the_unnamed_statement() {
    same(&[
        &[p("", "SELECT 1"), s()],
        &[Message::raw(b'Q', b"no end")],
        &[b("", ""), e(""), s()],
    ]);
}

#[test]
fn a_taken_name_is_refused_after_the_text_is_read() {
    same(&[
        &[p("a", "SELECT 1"), s()],
        &[p("a", "SELECT * FROM nowhere"), s()],
        &[p("a", "SELECT 2"), s()],
    ]);
}

#[test]
fn a_skipped_close_or_query_leaves_the_unnamed_statement() {
    let [fails, sync] = failing();
    same(&[
        &[
            p("", "SELECT 1"),
            fails.clone(),
            Message::close(b'S', ""),
            sync.clone(),
        ],
        &[b("", ""), e(""), s()],
        &[p("", "SELECT 2"), s()],
        &[fails, q("SELECT 3"), sync],
        &[b("", ""), e(""), s()],
    ]);
}

#[test]
fn an_error_speaks_of_a_statement_by_the_clients_name_though_it_is_closed_behind_it() {
    same(&[
        &[p("b", "SELECT $1::int"), s()],
        &[b("", "b"), Message::close(b'S', "b"), s()],
        &[b("", "b"), s()],
    ]);
}

#[test]
fn a_text_that_looks_like_a_name_of_ours_is_left_as_it_is() {
    let names = (1..40)
        .map(|n| q(&format!("SELECT 'pgshunt:{n}'::int")))
        .collect::<Vec<_>>();
    same(&[&[p("a", "SELECT 1"), b("", "a"), e(""), s()], &names]);
}

#[test]
fn what_waits_behind_a_query_in_a_failed_batch_does_not_wait_for_ever() {
    same(&[
        &[p("a", "SELECT 1"), s()],
        &[b("", "b"), q("EXECUTE a (1)"), Message::close(b'S', "b"), s()],
    ]);
}

#[test]
fn sql_speaks_of_protocol_statements_behind_a_batch_that_failed() {
    let [fails, sync] = failing();
    same(&[
        &[p("a", "SELECT 1"), s()],
        &[fails.clone(), sync.clone(), q("EXECUTE a")],
        &[fails, sync, q("PREPARE a AS SELECT 2")],
        &[q("SELECT 1; DEALLOCATE a")],
        &[b("", "a"), e(""), s()],
    ]);
}

#[test]
fn sql_prepare_by_the_extended_protocol() {
    same(&[
        &[p("a", "PREPARE c AS SELECT 1"), s()],
        &[b("p", "a"), e("p")],
        &[s()],
        &[q("EXECUTE c")],
    ]);
}

#[test]
fn deallocate_in_an_open_batch() {
    let [fails, sync] = failing();
    same(&[
        &[p("a", "SELECT 1"), p("b", "SELECT 2"), s()],
        &[b("", "a"), e(""), q("DEALLOCATE a"), s()],
        &[b("", "a"), e(""), s()],
        &[fails, q("DEALLOCATE b"), sync],
        &[b("", "b"), e(""), s()],
    ]);
}

#[test]
fn deallocate_by_the_extended_protocol() {
    same(&[
        &[p("a", "SELECT 1"), p("b", "SELECT 2"), s()],
        &[p("", "DEALLOCATE a"), b("", ""), e(""), s()],
        &[b("", "a"), e(""), s()],
        &[
            p("", "SELECT 3"),
            b("", ""),
            e(""),
            p("", "DEALLOCATE b"),
            b("", ""),
            e(""),
            b("", "b"),
            s(),
        ],
        &[b("", "b"), e(""), s()],
        &[p("b", "SELECT 4"), b("", "b"), e(""), s()],
    ]);
}

#[test]
fn deallocate_that_is_skipped_or_fails() {
    let [fails, sync] = failing();
    same(&[
        &[p("a", "SELECT 1"), s()],
        &[fails, p("", "DEALLOCATE a"), b("", ""), e(""), sync],
        &[b("", "a"), e(""), s()],
        &[q("BEGIN; SELECT 1/0")],
        &[p("", "DEALLOCATE a"), b("", ""), e(""), s()],
        &[q("ROLLBACK")],
        &[b("", "a"), e(""), s()],
    ]);
}

#[test]
fn a_begin_with_parameter_types_is_no_plain_begin() {
    let begin = Message::parse("", "BEGIN", &[23]);
    same(&[
        &[begin, b("", ""), e(""), s()],
        &[Message::parse("a", "BEGIN", &[23]), s()],
        &[b("", "a"), e(""), s()],
    ]);
}

#[test]
fn an_unknown_message_in_the_middle_of_a_copy() {
    same(&[
        &[q("COPY t (a, b) FROM STDIN")],
        &[Message::raw(b'p', b"password\0")],
    ]);
}

#[test]
fn a_skipped_close_of_the_unnamed_statement_and_a_bind_right_behind() {
    same(&[
        &[p("", "SELECT pg_advisory_unlock_all()"), s()],
        &[e("nobody"), Message::close(b'S', ""), s(), b("", ""), e(""), s()],
    ]);
}

#[test]
fn a_sync_before_or_behind_data_that_fails() {
    let data = |data: &[u8]| Message::raw(b'd', data);
    let done = || Message::raw(b'c', b"");
    let copy = || [p("", "COPY t (a, b) FROM STDIN (FORMAT csv)"), b("", ""), e("")];
    let [parse, bind, execute] = copy();
    same(&[
        &[parse, bind, execute, data(b"not a number\n"), s()],
        &[q("SELECT 1")],
    ]);
    let [parse, bind, execute] = copy();
    same(&[
        &[parse, bind, execute, s(), data(b"nothing,\n"), done(), s()],
        &[q("SELECT 1")],
    ]);
    let begins = q("COPY t (a, b) FROM STDIN (FORMAT csv)");
    same(&[&[begins.clone(), data(b"words,\n"), s()], &[q("SELECT 1")]]);
    same(&[&[begins, s(), data(b"70,\n"), done()], &[q("SELECT 1")]]);
}

/// All of a COPY in one batch: the server says nothing between its data and the Sync.
#[test]
fn a_copy_in_one_batch() {
    let data = |data: &[u8]| Message::raw(b'd', data);
    let done = || Message::raw(b'c', b"");
    let copy = || [p("", "COPY t (a, b) FROM STDIN (FORMAT csv)"), b("", ""), e("")];
    let [parse, bind, execute] = copy();
    same(&[
        &[parse, bind, execute, data(b"70,x\n"), done(), s()],
        &[q("SELECT 1")],
    ]);
    let [parse, bind, execute] = copy();
    same(&[
        &[
            parse,
            bind,
            execute,
            Message::raw(b'H', b""),
            data(b""),
            data(b"71,x\n"),
            done(),
            s(),
        ],
        &[q("SELECT 1")],
    ]);
}

#[test]
fn a_skipped_close_of_the_unnamed_statement_and_a_query_right_behind() {
    same(&[
        &[
            p("", "SELECT 1"),
            Message::describe(b'S', "nobody"),
            Message::close(b'S', ""),
            s(),
            q("ROLLBACK TO nowhere"),
        ],
        &[b("", ""), s()],
    ]);
}

#[test]
fn a_name_taken_by_sql_right_before() {
    same(&[
        &[p("a", "SET TRANSACTION READ ONLY"), s()],
        &[
            q("PREPARE q AS SELECT 1 AS a; EXECUTE q; DEALLOCATE q"),
            p("a", "SELECT 1"),
            s(),
        ],
    ]);
}

#[test]
fn a_name_taken_by_sql_in_this_transaction() {
    same(&[
        &[q("BEGIN")],
        &[q("PREPARE a AS SELECT 1")],
        &[p("a", "SELECT 2"), s()],
        &[q("ROLLBACK")],
        &[b("", "a"), e(""), s()],
    ]);
}

#[test]
fn an_error_speaks_of_a_statement_by_the_clients_name_though_it_is_deallocated_behind_it() {
    let two = Message::parse("a", "SELECT $1::int", &[23]);
    same(&[
        &[two, s()],
        &[b("", "a"), p("", "DEALLOCATE a"), b("", ""), e(""), s()],
        &[b("", "a"), s()],
    ]);
}
