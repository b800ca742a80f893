//! COPY FROM STDIN, whose data may come before or behind a Sync (pgbouncer#1023, rust-postgres#789).

use super::notation::{messages, told};
use super::world::World;

fn one() -> World {
    World::new(1, 1)
}

/// Nothing is owed and the server is free: the answers were counted right.
fn is_over(world: &World) -> bool {
    world.clients[0].server.is_none() && world.idle.iter().all(|server| server.backend.is_idle())
}

#[test]
fn a_copy_by_simple_query() {
    let mut world = one();
    assert_eq!(world.say(0, "Q{copy t from stdin}"), "G");
    assert_eq!(world.say(0, "d{row} d{row} c"), "C{COPY 1} Z{I}");
    assert!(is_over(&world));
}

#[test]
fn a_sync_before_the_data_does_not_count() {
    let mut world = one();
    let heard = world.say(0, "P{|copy t from stdin} B{} E S d{row} c S");
    assert_eq!(heard, "1 2 G C{COPY 1} Z{I}");
    assert!(is_over(&world));
}

#[test]
fn a_sync_before_the_data_does_not_count_whenever_it_comes() {
    let mut world = one();
    assert_eq!(world.say(0, "P{|copy t from stdin} B{} E H"), "1 2 G");
    assert_eq!(world.say(0, "S"), "");
    assert_eq!(world.say(0, "d{row} c S"), "C{COPY 1} Z{I}");
    assert!(is_over(&world));
}

#[test]
fn an_error_before_copy_mode_makes_both_syncs_count() {
    let mut world = one();
    let heard = world.say(0, "P{|copy t from stdin} B{nobody} E S d{row} c S");
    assert_eq!(heard, "1 E{26000} Z{I} Z{I}");
    assert!(is_over(&world));
}

#[test]
fn an_error_in_the_data_ends_the_copy_and_the_rest_is_skipped() {
    // pgbouncer#1470
    let mut world = one();
    let heard = world.say(0, "P{|copy t from stdin} B{} E S d{bad} d{row} c S Q{select 1}");
    assert_eq!(heard, "1 2 G E{22P04} Z{I} T D{1} C{SELECT 1} Z{I}");
    let heard = world.say(0, "Q{copy t from stdin} d{bad} d{row} c Q{select 1}");
    assert_eq!(heard, "G E{22P04} Z{I} T D{1} C{SELECT 1} Z{I}");
    assert!(is_over(&world));
}

#[test]
fn a_sync_held_back_before_the_bad_row_does_not_count_either() {
    let mut world = one();
    assert_eq!(world.say(0, "P{|copy t from stdin} B{} E H"), "1 2 G");
    assert_eq!(world.say(0, "S d{bad}"), "E{22P04}");
    assert_eq!(world.say(0, "c S"), "Z{I}");
    assert!(is_over(&world));
}

#[test]
fn a_client_may_give_up() {
    let mut world = one();
    assert_eq!(
        world.say(0, "P{|copy t from stdin} B{} E S d{row} f{why} S"),
        "1 2 G E{57014} Z{I}"
    );
    assert!(is_over(&world));
}

#[test]
fn any_other_message_ends_the_copy_and_its_sync_counts() {
    let mut world = one();
    let heard = world.say(0, "P{|copy t from stdin} B{} E S D{P|} S Q{select 1}");
    assert_eq!(heard, "1 2 G E{08P01} Z{I} T D{1} C{SELECT 1} Z{I}");
    assert!(is_over(&world));
}

#[test]
fn a_row_longer_than_any_buffer_passes_as_it_comes() {
    let mut world = one();
    world.say(0, "Q{copy t from stdin}");
    let row = messages("d{0123456789}");
    world.send(0, &row[..8]);
    assert!(world.clients[0].inbox.is_empty(), "nothing is kept back");
    world.send(0, &row[8..]);
    assert_eq!(world.say(0, "c"), "C{COPY 1} Z{I}");
}

#[test]
fn a_client_that_leaves_in_a_copy_ends_it() {
    let mut world = one();
    world.say(0, "P{|copy t from stdin} B{} E H d{row}");
    let client = &mut world.clients[0];
    let server = client.server.as_mut().expect("held");
    let words = client.session.wind_up(&mut server.backend).expect("a way out");
    assert_eq!(told(&server.postgres.hear(&words)), "E{57014} Z{I}");
}

/// Whether the Sync counts is not known: the server is closed.
#[test]
fn a_client_that_leaves_in_a_copy_behind_a_sync_leaves_no_way_out() {
    let mut world = one();
    world.say(0, "P{|copy t from stdin} B{} E S d{row}");
    let client = &mut world.clients[0];
    let server = client.server.as_mut().expect("held");
    assert_eq!(client.session.wind_up(&mut server.backend), None);
}
