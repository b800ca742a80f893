//! Many messages before the first answer, and answers in pieces.

use super::notation::{messages, told};
use super::world::World;

#[test]
fn a_query_and_a_batch_in_one_write_are_two_answers() {
    // pgbouncer#52: a server may go only when every ReadyForQuery owed has come.
    let mut world = World::new(1, 1);
    let heard = world.say(0, "Q{select 1} P{|select 2} B{} E S");
    assert_eq!(heard, "T D{1} C{SELECT 1} Z{I} 1 2 D{2} C{SELECT 1} Z{I}");
    assert!(world.clients[0].server.is_none());
}

#[test]
fn an_error_skips_its_own_batch_and_no_other() {
    let mut world = World::new(1, 1);
    let heard = world.say(
        0,
        "P{|select broken} B{} E P{|select 1} B{} E S P{|select 2} B{} E S",
    );
    assert_eq!(heard, "1 2 E{22012} Z{I} 1 2 D{2} C{SELECT 1} Z{I}");
}

#[test]
fn what_comes_after_an_error_was_heard_is_skipped_up_to_its_sync() {
    let mut world = World::new(1, 1);
    assert_eq!(world.say(0, "E{nobody} H"), "E{34000}");
    assert_eq!(
        world.say(0, "P{a|select 1} B{a} E Q{select 2} F C{S|a} d{x} c"),
        ""
    );
    assert_eq!(world.say(0, "S"), "Z{I}");
    assert_eq!(world.say(0, "B{a} S"), "E{26000} Z{I}");
}

#[test]
fn a_server_stays_until_the_sync_though_all_is_answered() {
    let mut world = World::new(2, 1);
    assert_eq!(world.say(0, "P{|select 1} B{} E H"), "1 2 D{1} C{SELECT 1}");
    // Half a message: nothing is owed, and yet the implicit transaction is open.
    let next = messages("P{|select 2}");
    world.send(0, &next[..7]);
    assert!(world.clients[0].server.is_some());
    assert_eq!(world.say(1, "Q{select 3}"), "");
    world.send(0, &next[7..]);
    assert_eq!(world.say(0, "B{} E S"), "1 2 D{2} C{SELECT 1} Z{I}");
    world.settle();
    assert_eq!(told(&world.clients[1].heard), "T D{3} C{SELECT 1} Z{I}");
}

#[test]
fn a_client_that_leaves_in_an_open_batch_owes_a_sync() {
    let mut world = World::new(1, 1);
    world.say(0, "P{|select 1} B{} E H");
    let client = &mut world.clients[0];
    let backend = &mut client.server.as_mut().expect("held").backend;
    assert_eq!(client.session.wind_up(backend), Some(messages("S")));
}

#[test]
fn a_client_that_leaves_in_a_message_leaves_nothing_to_mend() {
    // pg_doorman 3.6.5: the frame's boundary is known, so the server is closed instead of kept for ever.
    let mut world = World::new(1, 1);
    world.say(0, "Q{begin} Q{select 1}");
    world.send(0, &messages("Q{copy t from stdin} d{a long row}")[..34]);
    world.settle();
    let client = &mut world.clients[0];
    let backend = &mut client.server.as_mut().expect("held").backend;
    assert_eq!(client.session.wind_up(backend), None);
}

#[test]
fn a_syncs_answer_needs_no_server() {
    let mut world = World::new(1, 0);
    assert_eq!(world.say(0, "S S"), "Z{I} Z{I}");
}

#[test]
fn a_refused_batch_is_refused_once_and_skipped_up_to_its_sync() {
    let mut world = World::new(1, 0);
    assert_eq!(world.say(0, "P{|select 1} B{} E Q{select 2} S Q{begin}"), "");
    assert_eq!(world.refuse(0), "E{08006} Z{I} C{BEGIN} Z{T}");
}

#[test]
fn a_function_call_is_passed_and_answered() {
    // pg_doorman#268: an F that is swallowed hangs every driver with large objects.
    let mut world = World::new(1, 1);
    assert_eq!(world.say(0, "F"), "V Z{I}");
    assert!(world.asked(0).starts_with("F Q{SELECT 's'"));
}

#[test]
fn an_unknown_message_ends_the_session() {
    let mut world = World::new(1, 1);
    world.send(0, b"y\0\0\0\x04");
    assert!(world.clients[0].ended);
}

#[test]
fn what_a_client_hears_does_not_depend_on_where_its_bytes_are_cut() {
    let script = "Q{begin} P{a|select 1} B{a} D{P|} E C{S|a} S P{a|select 2} D{S|a} B{a} E S Q{commit} \
        P{|copy t from stdin} B{} E S d{row} c S Q{copy t to stdout} F E{nobody} P{b|select 3} S Q{select 4}";
    let whole = World::new(1, 1).say(0, script);
    for step in 1..8 {
        let mut world = World::new(1, 1);
        for piece in messages(script).chunks(step) {
            world.send(0, piece);
            for _ in 0..40 {
                world.hear(0, step);
            }
        }
        world.settle();
        assert_eq!(told(&world.clients[0].heard), whole, "pieces of {step}");
    }
}

#[test]
fn an_answer_of_ours_never_lands_in_the_middle_of_the_servers() {
    let mut world = World::new(1, 1);
    assert_eq!(world.say(0, "P{a|select 1} S"), "1 Z{I}");
    world.send(0, &messages("D{S|a} H"));
    // The ParameterDescription and half of the RowDescription that answers last.
    world.hear(0, 10);
    world.send(0, &messages("C{S|a} S"));
    world.settle();
    assert_eq!(told(&world.clients[0].heard), "t T 3 Z{I}");
}
