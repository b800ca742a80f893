//! A replica that dies before the client has heard anything: the unit runs at the primary as if it had begun there.

use std::sync::Arc;

use super::super::prepared::{Schema, Statements};
use super::super::reported::Reported;
use super::super::settings::Shared;
use super::super::{Afterwards, Backend, Desk, Session, Sink};
use super::notation::{messages, told};
use super::postgres::Postgres;
use crate::metrics::Totals;

/// A server.
struct Server {
    postgres: Postgres,
    backend: Backend,
}

/// One client, and what it has heard.
struct Stage {
    session: Session,
    statements: Statements,
    totals: Totals,
    tokens: u64,
    heard: Vec<u8>,
}

fn server() -> Server {
    Server {
        postgres: Postgres::default(),
        backend: Backend::new(Arc::from(&b"app"[..]), Reported::default()),
    }
}

impl Stage {
    fn new() -> Stage {
        Stage {
            session: Session::new(1, Shared::default(), Reported::default()),
            statements: Statements::new(0, Schema::default()),
            totals: Totals::default(),
            tokens: 0,
            heard: Vec::new(),
        }
    }

    fn with_desk<R>(&mut self, act: impl FnOnce(&mut Session, &mut Desk<'_>) -> R) -> R {
        let mut desk = Desk {
            statements: &mut self.statements,
            totals: &mut self.totals,
            tokens: &mut self.tokens,
            message_max: 1 << 20,
            held_max: 100,
        };
        act(&mut self.session, &mut desk)
    }

    /// Messages go to a server; its answer.
    fn send(&mut self, server: &mut Server, input: &[u8]) -> (usize, Vec<u8>) {
        let mut sink = Sink::default();
        let backend = &mut server.backend;
        let (used, _) =
            self.with_desk(|session, desk| session.on_client(input, Some(backend), desk, &mut sink));
        self.heard.extend_from_slice(&sink.back);
        (used, server.postgres.hear(sink.forward.bytes(input)))
    }

    /// An answer comes, as far as it does.
    fn hear(&mut self, server: &mut Server, answer: &[u8]) {
        let mut at = 0;
        loop {
            let mut sink = Sink::default();
            let (input, backend) = (&answer[at..], &mut server.backend);
            let (used, _) =
                self.with_desk(|session, desk| session.on_server(input, backend, desk, &mut sink));
            self.heard.extend_from_slice(sink.forward.bytes(input));
            at += used;
            if used == 0 {
                return;
            }
        }
    }

    /// All of it at a server.
    fn run(&mut self, server: &mut Server, text: &str) {
        self.session.attach(&mut server.backend, &mut Vec::new());
        let mut input = messages(text);
        while !input.is_empty() {
            let (used, answer) = self.send(server, &input);
            input.drain(..used);
            self.hear(server, &answer);
        }
        while self.afterwards(server) == Afterwards::Probe {}
    }

    /// What becomes of a server that owes nothing; a probe is answered.
    fn afterwards(&mut self, server: &mut Server) -> Afterwards {
        let (backend, mut probe) = (&mut server.backend, Vec::new());
        let afterwards = self.with_desk(|session, desk| session.afterwards(backend, desk, &mut probe));
        let answer = server.postgres.hear(&probe);
        self.hear(server, &answer);
        afterwards
    }
}

/// What a client hears of a unit, and of what comes after, if a replica dies after so many bytes of its answer. `None`: the
/// client had heard of it by then.
fn died_after(bytes: usize, history: &str, unit: &str, after: &str) -> Option<String> {
    let (mut stage, mut primary, mut replica) = (Stage::new(), server(), server());
    stage.run(&mut primary, history);
    stage.heard.clear();
    stage
        .session
        .attach_replica(&mut replica.backend, &mut Vec::new());
    let input = messages(unit);
    let (used, answer) = stage.send(&mut replica, &input);
    assert_eq!(used, input.len(), "a unit is sent whole");
    stage.hear(&mut replica, &answer[..bytes.min(answer.len())]);
    if !stage.session.is_unheard() {
        return None;
    }
    // What was kept for the client is thrown away.
    stage.heard.clear();
    stage.session.retract();
    stage.run(&mut primary, unit);
    stage.run(&mut primary, after);
    Some(told(&stage.heard))
}

#[test]
fn a_unit_begins_at_the_primary_as_if_it_had_begun_there() {
    let after = "B{a} E S B{b} E S B{} E S D{S|a} S";
    for history in [
        "S",
        "P{a|select 1} P{|select 7} S",
        "P{a|select 1} S C{S|a} S",
        "P{a|select 1} P{b|select 2} P{|select 7} S",
    ] {
        for unit in [
            "P{a|select 3} D{S|a} S",
            "P{b|select 4} B{b} E S",
            "C{S|a} S",
            "C{S|a} P{a|select 5} B{a} E C{S|b} S",
            "C{S|b} C{S|a} P{b|select 1} P{a|select 2} B{a} E S",
            "P{a|unparsable} B{a} E S",
            "C{S|a} P{a|unparsable} S",
            "P{b|select 6} P{|select 8} B{} E P{|select 9} B{} E S",
            "P{b|unparsable} P{|select 8} B{} E S",
            "P{|select 8} C{S|b} P{|unparsable} S",
            "C{S|} P{c|select 1} B{c} E S",
            "B{a} E S",
            "B{} E S",
        ] {
            let (mut stage, mut primary) = (Stage::new(), server());
            stage.run(&mut primary, history);
            stage.heard.clear();
            stage.run(&mut primary, unit);
            stage.run(&mut primary, after);
            let expected = told(&stage.heard);
            let mut tried = 0;
            for bytes in 0..1000 {
                let Some(heard) = died_after(bytes, history, unit, after) else {
                    break;
                };
                assert_eq!(heard, expected, "{history}; {unit}; died after {bytes} bytes");
                tried += 1;
            }
            assert!((1..1000).contains(&tried), "{history}; {unit}");
        }
    }
}
