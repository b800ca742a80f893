//! Settings follow their client from server to server.

use super::notation::messages;
use super::world::World;

#[test]
fn settings_go_ahead_of_the_clients_bytes() {
    let mut world = World::with_settings(&[("timezone", "west")]);
    let heard = world.say(0, "Q{show timezone}");
    assert_eq!(heard, "S{TimeZone=west} T D{west} C{SHOW} Z{I}");
    let asked = world.asked(0);
    assert_eq!(
        asked,
        "Q{SELECT pg_catalog.set_config(E'timezone',E'west',false)} Q{show timezone}"
    );
}

#[test]
fn settings_go_ahead_of_the_begin_that_was_answered_before() {
    // Behind it, a ROLLBACK would take them back.
    let mut world = World::with_settings(&[("timezone", "west")]);
    world.say(0, "Q{begin} Q{select 1}");
    assert!(world.asked(0).ends_with("false)} Q{begin} Q{select 1}"));
    assert_eq!(world.say(0, "Q{rollback}"), "C{ROLLBACK} Z{I}");
    assert_eq!(world.say(0, "Q{show timezone}"), "T D{west} C{SHOW} Z{I}");
}

#[test]
fn what_one_client_sets_no_other_sees() {
    let mut world = World::new(2, 1);
    assert_eq!(
        world.say(0, "Q{set timezone = 'west'}"),
        "C{SET} S{TimeZone=west} Z{I}"
    );
    assert_eq!(world.say(1, "Q{show timezone}"), "T D{default} C{SHOW} Z{I}");
    assert_eq!(
        world.say(0, "P{|show timezone} B{} E S"),
        "1 2 D{west} C{SHOW} Z{I}"
    );
}

#[test]
fn a_setting_that_was_rolled_back_is_gone() {
    let mut world = World::new(1, 2);
    world.say(0, "Q{begin} Q{set timezone = 'west'} Q{rollback}");
    assert!(world.say(0, "Q{show timezone}").contains("D{default}"));
    // In an implicit transaction too.
    world.say(0, "P{|set timezone = 'west'} B{} E E{nobody} S");
    assert!(world.say(0, "Q{show timezone}").contains("D{default}"));
}

#[test]
fn refused_settings_are_the_clients_error_and_its_session_goes_on() {
    let mut world = World::with_settings(&[("role", "ghost")]);
    assert_eq!(world.say(0, "P{|select 1} B{} E S"), "E{22023} Z{I}");
    assert!(world.idle.is_empty(), "the server is closed, not given back");
}

#[test]
fn a_client_that_waits_for_its_settings_keeps_the_server_they_are_made_on() {
    // Given back, it might go to somebody with other settings, and all begins again.
    let mut world = World::with_settings(&[("role", "ann")]);
    world.send(0, &messages("Q{show role}"));
    assert!(world.clients[0].server.is_some());
    assert_eq!(world.say(0, ""), "T D{ann} C{SHOW} Z{I}");
    assert_eq!(world.totals.probe_count, 0);
}

#[test]
fn a_probe_follows_what_may_have_changed_the_session_and_only_that() {
    let mut world = World::new(1, 1);
    world.say(
        0,
        "Q{select 1} Q{begin} Q{select 1} Q{commit} P{|select 2} B{} E S",
    );
    assert_eq!(world.totals.probe_count, 0);
    world.say(
        0,
        "Q{begin} Q{set timezone = 'west'} Q{set timezone = 'east'} Q{commit}",
    );
    assert_eq!(world.totals.probe_count, 1, "one at the end of the transaction");
    world.say(0, "P{|set timezone = 'west'} B{} E S");
    assert_eq!(world.totals.probe_count, 2);
}

#[test]
fn what_comes_while_a_probe_runs_waits_for_its_outcome() {
    let mut world = World::new(2, 1);
    world.send(0, &messages("Q{set timezone = 'west'} Q{show timezone}"));
    world.settle();
    assert!(world.say(0, "Q{show timezone}").contains("D{west}"));
    assert!(world.say(1, "Q{show timezone}").contains("D{default}"));
}

#[test]
fn a_listening_client_keeps_its_server_and_loses_it_with_discard_all() {
    let mut world = World::new(1, 1);
    world.say(0, "Q{listen c}");
    assert!(world.clients[0].server.is_some());
    world.say(0, "Q{discard all}");
    assert!(world.clients[0].server.is_none());
}
