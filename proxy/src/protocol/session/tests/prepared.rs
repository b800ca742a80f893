//! Prepared statements of many clients on few servers.

use super::notation::{messages, told};
use super::world::World;

#[test]
fn a_statement_is_prepared_again_where_it_is_missing() {
    let mut world = World::new(2, 2);
    assert_eq!(world.say(0, "P{a|select 1} S"), "1 Z{I}");
    world.asked(0);
    // Another client holds the server that knows it.
    world.say(1, "Q{begin} Q{select 2}");
    assert_eq!(world.say(0, "B{a} E S"), "2 D{1} C{SELECT 1} Z{I}");
    assert_eq!(world.asked(0), "P{#|select 1} B{#} E S");
}

#[test]
fn an_equal_text_is_prepared_once_on_one_server() {
    let mut world = World::new(2, 1);
    world.say(0, "P{a|select 1} S");
    world.asked(0);
    assert_eq!(
        world.say(1, "P{b|select 1} B{b} E S"),
        "1 2 D{1} C{SELECT 1} Z{I}"
    );
    assert_eq!(world.asked(1), "B{#} E S");
}

#[test]
fn a_taken_name_is_refused_as_postgresql_refuses_it() {
    // pgbouncer#1118
    let mut world = World::new(1, 1);
    assert_eq!(
        world.say(0, "P{a|select 1} S P{a|select 1} S"),
        "1 Z{I} E{42P05} Z{I}"
    );
    assert_eq!(world.say(0, "B{a} E S"), "2 D{1} C{SELECT 1} Z{I}");
    assert_eq!(
        world.say(0, "C{S|a} P{a|select 2} B{a} E S"),
        "3 1 2 D{2} C{SELECT 1} Z{I}"
    );
}

#[test]
fn a_failed_parse_leaves_nothing_behind() {
    // pgcat#734, pg_doorman 3.10.0
    let mut world = World::new(2, 1);
    assert_eq!(world.say(0, "P{a|unparsable} S"), "E{42601} Z{I}");
    assert_eq!(world.say(0, "B{a} S"), "E{26000} Z{I}");
    assert_eq!(world.say(1, "P{a|unparsable} S"), "E{42601} Z{I}");
    assert_eq!(
        world.say(0, "P{a|select 1} B{a} E S"),
        "1 2 D{1} C{SELECT 1} Z{I}"
    );
}

#[test]
fn a_parse_that_was_skipped_leaves_nothing_behind() {
    // pg_doorman 3.3.4
    let mut world = World::new(2, 1);
    assert_eq!(world.say(0, "E{nobody} P{a|select 1} S"), "E{34000} Z{I}");
    assert_eq!(world.say(0, "B{a} S"), "E{26000} Z{I}");
    assert_eq!(
        world.say(1, "P{a|select 1} B{a} E S"),
        "1 2 D{1} C{SELECT 1} Z{I}"
    );
}

#[test]
fn a_close_that_was_skipped_closed_nothing() {
    let mut world = World::new(1, 1);
    assert_eq!(world.say(0, "P{a|select 1} S"), "1 Z{I}");
    assert_eq!(world.say(0, "E{nobody} C{S|a} P{a|select 2} S"), "E{34000} Z{I}");
    assert_eq!(world.say(0, "B{a} E S"), "2 D{1} C{SELECT 1} Z{I}");
}

#[test]
fn a_preparation_of_ours_that_was_skipped_is_made_again() {
    let mut world = World::new(2, 2);
    world.say(0, "P{a|select 1} S");
    world.say(1, "Q{begin} Q{select 2}");
    // Both units in one write: the second can't know yet that the first has failed.
    let heard = world.say(0, "E{nobody} B{a} E S B{a} E S");
    assert_eq!(heard, "E{34000} Z{I} 2 D{1} C{SELECT 1} Z{I}");
}

#[test]
fn nothing_used_in_the_current_batch_is_evicted() {
    // pg_doorman 3.4
    let mut world = World::new(1, 1);
    world.held_max = 1;
    world.say(0, "P{a|select 1} P{b|select 2} S");
    let heard = world.say(0, "B{a} B{b} B{a} E B{b} E S");
    assert_eq!(heard, "2 2 2 D{1} C{SELECT 1} 2 D{2} C{SELECT 1} Z{I}");
    // Once the batch has ended there is room again.
    world.say(0, "P{c|select 3} S");
    world.asked(0);
    assert_eq!(world.say(0, "B{a} E S"), "2 D{1} C{SELECT 1} Z{I}");
    assert!(
        world.asked(0).starts_with("C{S|#} P{#|select 1} B{#}"),
        "the oldest made room"
    );
}

#[test]
fn our_answers_take_their_turn_among_the_servers() {
    // pg_doorman 3.3.3
    let mut world = World::new(2, 1);
    world.say(1, "P{x|select 1} S");
    let heard = world.say(0, "P{|select 2} B{} E P{a|select 1} B{a} E C{S|a} D{P|} S");
    assert_eq!(heard, "1 2 D{2} C{SELECT 1} 1 2 D{1} C{SELECT 1} 3 T Z{I}");
}

#[test]
fn a_parse_answered_by_us_comes_before_the_error_behind_it() {
    let mut world = World::new(2, 1);
    world.say(1, "P{x|select 1} S");
    assert_eq!(
        world.say(0, "P{|select 2} P{a|select 1} E{nobody} S"),
        "1 1 E{34000} Z{I}"
    );
    assert_eq!(world.say(0, "B{a} E S"), "2 D{1} C{SELECT 1} Z{I}");
}

#[test]
fn in_a_failed_transaction_a_parse_fails_though_the_server_knows_the_text() {
    let mut world = World::new(2, 1);
    world.say(1, "P{x|select 1} S");
    world.say(0, "Q{begin} Q{select broken}");
    assert_eq!(world.say(0, "P{a|select 1} S"), "E{25P02} Z{E}");
    // The end of the transaction and a Parse in one write.
    assert_eq!(
        world.say(0, "Q{rollback} P{a|select 1} B{a} E S"),
        "C{ROLLBACK} Z{I} 1 2 D{1} C{SELECT 1} Z{I}"
    );
    assert_eq!(world.say(1, "B{x} E S"), "2 D{1} C{SELECT 1} Z{I}");
}

#[test]
fn two_unnamed_statements_in_one_batch_are_two() {
    // pgcat#875
    let mut world = World::new(1, 1);
    let heard = world.say(0, "P{|select 1} B{} E P{|select 2} B{} E S");
    assert_eq!(heard, "1 2 D{1} C{SELECT 1} 1 2 D{2} C{SELECT 1} Z{I}");
}

#[test]
fn an_unnamed_statement_is_its_clients_alone() {
    let mut world = World::new(2, 1);
    world.say(0, "P{|select 1} S");
    // One that has none must not run another's.
    assert_eq!(world.say(1, "B{} E S"), "E{26000} Z{I}");
    world.say(1, "P{|select 2} S");
    assert_eq!(world.say(0, "B{} E S"), "2 D{1} C{SELECT 1} Z{I}");
    assert_eq!(world.say(1, "D{S|} B{} E S"), "t T 2 D{2} C{SELECT 1} Z{I}");
}

#[test]
fn an_unnamed_statement_outlives_a_query_of_ours() {
    let mut world = World::new(1, 1);
    // SET is followed by a probe, a simple query, which ends the server's unnamed statement.
    assert_eq!(world.say(0, "P{|set work_mem = 1} B{} E S"), "1 2 C{SET} Z{I}");
    assert_eq!(world.say(0, "B{} E S"), "2 C{SET} Z{I}");
}

#[test]
fn a_skipped_unnamed_parse_leaves_the_one_before_and_a_failed_one_leaves_none() {
    let mut world = World::new(1, 1);
    world.say(0, "P{|select 1} S");
    assert_eq!(world.say(0, "E{nobody} P{|select 2} S"), "E{34000} Z{I}");
    assert_eq!(world.say(0, "B{} E S"), "2 D{1} C{SELECT 1} Z{I}");
    assert_eq!(
        world.say(0, "P{|unparsable} S B{} S"),
        "E{42601} Z{I} E{26000} Z{I}"
    );
}

#[test]
fn a_name_of_ours_reaches_no_other_clients_statement() {
    let mut world = World::new(2, 1);
    world.say(0, "P{a|select 1} S");
    for text in ["B{pgshunt:1} E S", "D{S|pgshunt:1} S"] {
        assert_eq!(world.say(1, text), "E{26000} Z{I}", "{text}");
    }
}

#[test]
fn deallocate_and_discard_are_heard_of() {
    let mut world = World::new(1, 1);
    assert_eq!(
        world.say(0, "P{a|select 1} S Q{deallocate a}"),
        "1 Z{I} C{DEALLOCATE} Z{I}"
    );
    assert_eq!(world.say(0, "B{a} S"), "E{26000} Z{I}");
    for all in ["Q{deallocate all}", "Q{discard all}"] {
        world.say(0, "P{a|select 1} S");
        // The statement that comes next is not mistaken for the one that is gone.
        let heard = world.say(0, &format!("{all} P{{a|select 2}} B{{a}} E S {all}"));
        assert!(heard.contains("1 2 D{2} C{SELECT 1} Z{I}"), "{heard}");
        assert_eq!(world.say(0, "B{a} S"), "E{26000} Z{I}");
    }
}

#[test]
fn more_is_asked_for_while_a_statement_streams() {
    let mut world = World::new(1, 1);
    world.send(0, &messages("P{a|select 1} B{a} E S"));
    for _ in 0..100 {
        world.hear(0, 1);
        world.send(0, &[]);
    }
    world.settle();
    assert_eq!(told(&world.clients[0].heard), "1 2 D{1} C{SELECT 1} Z{I}");
}
