//! Clients, servers and the bytes between them, moved as the data path moves them, but one step at a time.

use std::sync::Arc;

use super::super::prepared::{Schema, Statements};
use super::super::reported::Reported;
use super::super::settings::Settings;
use super::super::{Afterwards, Backend, Desk, Heard, Next, Session, Sink};
use super::notation::{asked, messages, told};
use super::postgres::Postgres;
use crate::fault::Fault;
use crate::metrics::Totals;
use crate::protocol::sqlstate;

/// A server and what is on its way from it.
pub(super) struct Server {
    pub(super) postgres: Postgres,
    pub(super) backend: Backend,
    pub(super) to_come: Vec<u8>,
    inbox: Vec<u8>,
}

/// A client and what it has heard.
pub(super) struct Client {
    pub(super) session: Session,
    pub(super) server: Option<Server>,
    pub(super) heard: Vec<u8>,
    pub(super) inbox: Vec<u8>,
    pub(super) waits: bool,
    pub(super) ended: bool,
}

/// All of them.
pub(super) struct World {
    pub(super) clients: Vec<Client>,
    pub(super) idle: Vec<Server>,
    pub(super) held_max: usize,
    pub(super) totals: Totals,
    statements: Statements,
    tokens: u64,
}

impl World {
    /// As many clients and servers, none of which knows anything.
    pub(super) fn new(clients: usize, servers: usize) -> World {
        let server = |_| Server {
            postgres: Postgres::default(),
            backend: Backend::new(Arc::from(&b"app"[..]), reported()),
            to_come: Vec::new(),
            inbox: Vec::new(),
        };
        World {
            clients: (0..clients).map(|_| client(&[])).collect(),
            idle: (0..servers).map(server).collect(),
            held_max: 100,
            totals: Totals::default(),
            statements: Statements::new(0, Schema::default()),
            tokens: 0,
        }
    }

    /// One client that logged in with settings, and one server.
    pub(super) fn with_settings(settings: &[(&str, &str)]) -> World {
        let mut world = World::new(0, 1);
        world.clients.push(client(settings));
        world
    }

    /// A client sends messages, every server answers all it can; what the client hears.
    pub(super) fn say(&mut self, who: usize, text: &str) -> String {
        self.send(who, &messages(text));
        self.settle();
        told(&std::mem::take(&mut self.clients[who].heard))
    }

    /// What the server a client holds, or else the last idle one, was sent since this was last asked.
    pub(super) fn asked(&mut self, who: usize) -> String {
        let held = self.clients[who].server.as_mut();
        let server = held.or(self.idle.last_mut()).expect("a server");
        asked(&std::mem::take(&mut server.postgres.heard))
    }

    /// All answers come, until nothing moves.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let Some(who) = (0..self.clients.len()).find(|&who| self.can_move(who)) else {
                return;
            };
            self.hear(who, usize::MAX);
        }
        panic!("no end of it");
    }

    /// Has a client's server something to say, or can a waiting client have one?
    pub(super) fn can_move(&self, who: usize) -> bool {
        let client = &self.clients[who];
        client.waits && !self.idle.is_empty() || client.server.as_ref().is_some_and(|s| !s.to_come.is_empty())
    }

    /// A client's bytes come.
    pub(super) fn send(&mut self, who: usize, bytes: &[u8]) {
        self.clients[who].inbox.extend_from_slice(bytes);
        self.hear_client(who);
    }

    /// So many bytes of its server's answer come; or the server it waits for.
    pub(super) fn hear(&mut self, who: usize, most: usize) {
        if self.clients[who].waits {
            return self.hear_client(who);
        }
        let Some(server) = &mut self.clients[who].server else {
            return;
        };
        let count = server.to_come.len().min(most);
        server.inbox.extend(server.to_come.drain(..count));
        self.hear_server(who);
    }

    fn hear_client(&mut self, who: usize) {
        for _ in 0..10_000 {
            if self.clients[who].ended {
                return;
            }
            match self.client_step(who) {
                Next::More | Next::Drain => {
                    let server = &self.clients[who].server;
                    if server.as_ref().is_some_and(|s| s.backend.pipeline.is_empty()) {
                        self.afterwards(who);
                    }
                    return;
                }
                Next::Server => {
                    assert!(self.clients[who].server.is_none(), "it has one");
                    self.clients[who].waits = self.idle.is_empty();
                    let Some(mut server) = self.idle.pop() else {
                        return;
                    };
                    let client = &mut self.clients[who];
                    client.session.attach(&mut server.backend, &mut client.heard);
                    client.server = Some(server);
                }
                Next::Ours(asks) => panic!("client {who} asks for {asks:?}"),
                Next::Terminate | Next::Fatal(_) => self.clients[who].ended = true,
            }
        }
        panic!("no end of what client {who} asks for");
    }

    fn client_step(&mut self, who: usize) -> Next {
        let client = &mut self.clients[who];
        let mut sink = Sink::default();
        let mut desk = Desk {
            statements: &mut self.statements,
            totals: &mut self.totals,
            tokens: &mut self.tokens,
            message_max: 1 << 20,
            held_max: self.held_max,
        };
        let backend = client.server.as_mut().map(|server| &mut server.backend);
        let (used, next) = client
            .session
            .on_client(&client.inbox, backend, &mut desk, &mut sink);
        let forward = sink.forward.bytes(&client.inbox);
        match &mut client.server {
            Some(server) => server.to_come.extend(server.postgres.hear(forward)),
            None => assert!(forward.is_empty(), "bytes for a server nobody has"),
        }
        client.heard.extend_from_slice(&sink.back);
        client.inbox.drain(..used);
        next
    }

    /// To the end of what is whole: what is left of it wakes nobody.
    fn hear_server(&mut self, who: usize) {
        while self.hear_unit(who)
            && let Some(server) = &self.clients[who].server
            && !server.inbox.is_empty()
        {}
    }

    /// Up to where something ends; false if nothing did.
    fn hear_unit(&mut self, who: usize) -> bool {
        let client = &mut self.clients[who];
        let server = client.server.as_mut().expect("a server speaks");
        let mut sink = Sink::default();
        let mut desk = Desk {
            statements: &mut self.statements,
            totals: &mut self.totals,
            tokens: &mut self.tokens,
            message_max: 1 << 20,
            held_max: self.held_max,
        };
        let session = &mut client.session;
        let (used, heard) = session.on_server(&server.inbox, &mut server.backend, &mut desk, &mut sink);
        client.heard.extend_from_slice(sink.forward.bytes(&server.inbox));
        server.to_come.extend(server.postgres.hear(&sink.back));
        server.inbox.drain(..used);
        let more = matches!(heard, Heard::UnitEnded | Heard::Settled);
        match heard {
            Heard::Going => {}
            Heard::UnitEnded => self.hear_client(who),
            Heard::Settled => {
                self.afterwards(who);
                self.hear_client(who);
            }
            Heard::SettingsRefused => {
                client.session.detach();
                client.server = None;
                self.hear_client(who);
            }
            Heard::Ending => client.ended = true,
            Heard::Elsewhere(_) => unreachable!("it is on no replica"),
            Heard::Broken(why) => panic!("client {who}: {why}, after {}", asked(&server.postgres.heard)),
        }
        more
    }

    fn afterwards(&mut self, who: usize) {
        let client = &mut self.clients[who];
        let Some(server) = &mut client.server else { return };
        let mut desk = Desk {
            statements: &mut self.statements,
            totals: &mut self.totals,
            tokens: &mut self.tokens,
            message_max: 1 << 20,
            held_max: self.held_max,
        };
        let mut to_server = Vec::new();
        match client
            .session
            .afterwards(&mut server.backend, &mut desk, &mut to_server)
        {
            Afterwards::Probe => server.to_come.extend(server.postgres.hear(&to_server)),
            Afterwards::InTransaction | Afterwards::Keep => {}
            Afterwards::Release => {
                assert!(server.backend.is_idle() && server.to_come.is_empty());
                self.idle.extend(client.server.take());
            }
        }
    }

    /// No server can be had.
    pub(super) fn refuse(&mut self, who: usize) -> String {
        let fault = Fault::error(sqlstate::CONNECTION_FAILURE, "no server");
        self.clients[who].session.refuse(&fault);
        self.clients[who].waits = false;
        self.hear_client(who);
        told(&std::mem::take(&mut self.clients[who].heard))
    }
}

/// What every server reports at first.
fn reported() -> Reported {
    Arc::new(Settings::collect([(b"TimeZone".to_vec(), b"default".to_vec())]))
}

fn client(settings: &[(&str, &str)]) -> Client {
    let settings = settings
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    Client {
        session: Session::new(1, Arc::new(Settings::collect(settings)), reported()),
        server: None,
        heard: Vec::new(),
        inbox: Vec::new(),
        waits: false,
        ended: false,
    }
}
