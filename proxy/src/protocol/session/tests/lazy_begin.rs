//! BEGIN is answered at once and reaches a server with the transaction's first statement.

use super::world::World;

#[test]
fn a_begin_by_simple_query_holds_no_server_until_something_runs() {
    let mut world = World::new(1, 1);
    assert_eq!(world.say(0, "Q{begin}"), "C{BEGIN} Z{T}");
    assert!(world.clients[0].server.is_none());
    assert_eq!(world.asked(0), "");
    assert_eq!(world.say(0, "Q{select 1}"), "T D{1} C{SELECT 1} Z{T}");
    assert_eq!(world.asked(0), "Q{begin} Q{select 1}");
    assert_eq!(world.say(0, "Q{commit}"), "C{COMMIT} Z{I}");
    assert!(world.clients[0].server.is_none());
}

#[test]
fn a_begin_by_the_extended_protocol_is_lazy_too() {
    let mut world = World::new(1, 1);
    assert_eq!(world.say(0, "P{|begin} B{} D{P|} E S"), "1 2 n C{BEGIN} Z{T}");
    assert_eq!(world.asked(0), "");
    assert_eq!(world.say(0, "P{|select 1} B{} E S"), "1 2 D{1} C{SELECT 1} Z{T}");
    assert_eq!(world.asked(0), "Q{begin} P{|select 1} B E S");
}

#[test]
fn a_transaction_in_which_nothing_ran_reaches_no_server() {
    let mut world = World::new(1, 1);
    assert_eq!(world.say(0, "Q{begin} Q{commit}"), "C{BEGIN} Z{T} C{COMMIT} Z{I}");
    assert_eq!(
        world.say(0, "Q{begin} Q{rollback}"),
        "C{BEGIN} Z{T} C{ROLLBACK} Z{I}"
    );
    assert_eq!(world.asked(0), "");
}

#[test]
fn a_begin_ends_the_unnamed_statement_wherever_it_is_answered() {
    let mut world = World::new(1, 1);
    assert_eq!(world.say(0, "P{|select 1} S"), "1 Z{I}");
    assert_eq!(world.say(0, "Q{begin} B{} E S"), "C{BEGIN} Z{T} E{26000} Z{E}");
}

#[test]
fn a_failed_first_statement_fails_the_transaction() {
    let mut world = World::new(1, 1);
    assert_eq!(
        world.say(0, "Q{begin} Q{select broken}"),
        "C{BEGIN} Z{T} E{22012} Z{E}"
    );
    assert_eq!(world.say(0, "Q{select 1}"), "E{25P02} Z{E}");
    assert_eq!(world.say(0, "Q{commit}"), "C{ROLLBACK} Z{I}");
}

#[test]
fn no_server_for_the_first_statement_leaves_the_transaction_begun() {
    let mut world = World::new(1, 0);
    assert_eq!(world.say(0, "Q{begin} Q{select 1}"), "C{BEGIN} Z{T}");
    assert_eq!(world.refuse(0), "E{08006} Z{T}");
}
