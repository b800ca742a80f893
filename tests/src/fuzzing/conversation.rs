//! A session between a client that sends anything and a server that answers well, or anything.

use std::sync::Arc;

use pgshunt::fault::Fault;
use pgshunt::metrics::Totals;
use pgshunt::protocol::session::ours::RouteRow;
use pgshunt::protocol::session::pipeline::Expect;
use pgshunt::protocol::session::prepared::{Schema, Statements};
use pgshunt::protocol::session::settings::Settings;
use pgshunt::protocol::session::{Afterwards, Backend, Desk, Heard, Next, Session, Sink};
use pgshunt::protocol::sqlstate;

use super::shape::{Choices, Owed, client_messages, reply, server_messages};

/// Any client against a server that answers what it owes, well or with an error.
pub fn client_side(data: &[u8]) {
    let (choices, content) = data.split_at(data.len() / 3);
    let mut choices = Choices(choices);
    let bytes = match choices.one_in(8) {
        true => content.to_vec(),
        false => client_messages(content),
    };
    let mut world = World::new(&mut choices);
    world.listen_to_client(&bytes, &mut choices);
}

/// Any server against a session that owes something of each kind.
pub fn server_side(data: &[u8]) {
    let (choices, content) = data.split_at(data.len() / 3);
    let mut choices = Choices(choices);
    let mut world = World::new(&mut choices);
    let question = client_messages(&choices.0[..choices.0.len().min(24)]);
    let (_, next) = world.client_step(&question);
    if next == Next::Server {
        world.lend();
        world.client_step(&question);
    }
    let bytes = match choices.one_in(8) {
        true => content.to_vec(),
        false => server_messages(content),
    };
    world.listen_to_server(&bytes, &mut choices);
}

/// Any client, answered well until the bytes for it are used up, then by anything.
pub fn both_sides(data: &[u8]) {
    let (choices, content) = data.split_at(data.len() / 3);
    let (asked, answered) = content.split_at(content.len() / 2);
    let mut choices = Choices(choices);
    let mut world = World::new(&mut choices);
    if world.listen_to_client(&client_messages(asked), &mut choices) && world.backend.is_some() {
        world.listen_to_server(&server_messages(answered), &mut choices);
    }
}

/// One client's session, the server it may hold, and what they share with others.
struct World {
    session: Session,
    backend: Option<Backend>,
    statements: Statements,
    totals: Totals,
    tokens: u64,
    message_max: usize,
    held_max: usize,
    /// All bytes either side has sent: nothing is stored that is not among them.
    heard_bytes: usize,
}

/// What pgshunt may add to one message: settings, the probe, an error of its own.
const ADDED_MAX: usize = 16 * 1024;

impl World {
    fn new(choices: &mut Choices<'_>) -> World {
        let mut settings = Settings::default();
        for (name, value) in [
            (&b"TimeZone"[..], &b"UTC"[..]),
            (b"app.x", b"1"),
            (b"role", b"ann"),
        ]
        .into_iter()
        .take(choices.below(4))
        {
            settings.set(name, value);
        }
        let mut world = World {
            session: Session::new(1, Arc::new(settings), Arc::default()),
            backend: None,
            statements: Statements::new(0, Schema::default()),
            totals: Totals::default(),
            tokens: 0,
            message_max: [300, 1 << 20][choices.below(2)],
            held_max: 1 + choices.below(3),
            heard_bytes: 0,
        };
        if choices.below(2) == 0 {
            world.lend();
        }
        world
    }

    fn lend(&mut self) {
        let mut backend = Backend::new(Arc::from(&b"app"[..]), Arc::default());
        self.session.attach(&mut backend, &mut Vec::new());
        self.backend = Some(backend);
    }

    fn with_desk<T>(
        &mut self,
        step: impl FnOnce(&mut Session, Option<&mut Backend>, &mut Desk<'_>) -> T,
    ) -> T {
        let mut desk = Desk {
            statements: &mut self.statements,
            totals: &mut self.totals,
            tokens: &mut self.tokens,
            message_max: self.message_max,
            held_max: self.held_max,
        };
        step(&mut self.session, self.backend.as_mut(), &mut desk)
    }

    /// One `on_client`, held against its promises.
    fn client_step(&mut self, input: &[u8]) -> (usize, Next) {
        let mut sink = Sink::default();
        let (used, next) =
            self.with_desk(|session, backend, desk| session.on_client(input, backend, desk, &mut sink));
        assert!(used <= input.len(), "used more than there was");
        let written = sink.forward.bytes(input).len() + sink.back.len();
        let frames = input.len() / 5 + 1;
        assert!(
            written <= input.len() + frames * (ADDED_MAX + self.heard_bytes + input.len()),
            "{written} bytes out of {}",
            input.len()
        );
        let owes = self
            .backend
            .as_ref()
            .is_some_and(|backend| !backend.pipeline.is_empty());
        match next {
            Next::Server => assert!(self.backend.is_none(), "wants a server and has one"),
            Next::Drain => assert!(owes, "waits for answers nobody owes"),
            Next::More | Next::Ours(_) | Next::Terminate | Next::Fatal(_) => {}
        }
        if self.backend.is_none() {
            assert!(
                sink.forward.bytes(input).is_empty(),
                "bytes for a server nobody has"
            );
        }
        self.head_is_the_servers();
        (used, next)
    }

    /// Feeds a client's bytes in pieces and has the server answer. False once the session has ended.
    fn listen_to_client(&mut self, bytes: &[u8], choices: &mut Choices<'_>) -> bool {
        let (mut start, mut end) = (0, 0);
        while end < bytes.len() {
            let piece = 1 + choices.below(40);
            self.heard_bytes += piece;
            end = (end + piece).min(bytes.len());
            for turn in 0.. {
                assert!(turn < 1000, "no end of what the client asks for");
                let (used, next) = self.client_step(&bytes[start..end]);
                start += used;
                match next {
                    Next::More => break,
                    Next::Ours(_) => self.session.answer(RouteRow::default()),
                    Next::Server if choices.one_in(6) => {
                        let fault = Fault::error(sqlstate::CONNECTION_FAILURE, "no server");
                        self.session.refuse(&fault);
                    }
                    Next::Server => self.lend(),
                    Next::Drain => {
                        if !self.answer_all(choices) {
                            return false;
                        }
                    }
                    Next::Terminate | Next::Fatal(_) => return false,
                }
            }
            self.says_nothing_new(&bytes[start..end]);
            if choices.one_in(3) && self.backend.is_some() && !self.answer_all(choices) {
                return false;
            }
        }
        true
    }

    /// Bytes that wait for more of them lead to nothing when they are looked at again.
    fn says_nothing_new(&mut self, rest: &[u8]) {
        let mut sink = Sink::default();
        let (used, next) =
            self.with_desk(|session, backend, desk| session.on_client(rest, backend, desk, &mut sink));
        assert_eq!((used, next), (0, Next::More), "bytes that were not enough before");
        assert!(sink.back.is_empty() && sink.forward.bytes(rest).is_empty());
    }

    /// The server answers until it owes nothing. False once the session has ended.
    fn answer_all(&mut self, choices: &mut Choices<'_>) -> bool {
        let mut to_server = Vec::new();
        let mut steps = 0;
        while let Some(backend) = &mut self.backend {
            steps += 1;
            assert!(steps < 100_000, "the server answers without end");
            let Some(owed) = backend.pipeline.head().map(owed) else {
                match self.with_desk(|session, backend, desk| {
                    session.afterwards(backend.expect("just seen"), desk, &mut to_server)
                }) {
                    Afterwards::Probe => continue,
                    Afterwards::Release => self.backend = None,
                    Afterwards::InTransaction | Afterwards::Keep => {}
                }
                return true;
            };
            let status = *b"IITE".get(choices.below(4)).unwrap_or(&b'I');
            let answer = reply(owed, choices.below(8), status);
            let mut at = 0;
            while at < answer.len() {
                let (used, heard) = self.server_step(&answer[at..]);
                at += used;
                match heard {
                    Heard::Going | Heard::UnitEnded | Heard::Settled => {}
                    Heard::SettingsRefused => {
                        self.session.detach();
                        self.backend = None;
                        return true;
                    }
                    Heard::Ending => return false,
                    // CopyData out of nowhere, a transaction in odd states: the fake server is no PostgreSQL.
                    Heard::Elsewhere(_) | Heard::Broken(_) => return false,
                }
                if used == 0 {
                    return false;
                }
            }
        }
        true
    }

    /// One `on_server`, held against its promises.
    fn server_step(&mut self, input: &[u8]) -> (usize, Heard) {
        self.heard_bytes += input.len();
        let mut sink = Sink::default();
        let owed = self.backend.as_ref().map_or(0, |backend| backend.pipeline.len());
        let (used, heard) = self.with_desk(|session, backend, desk| {
            session.on_server(input, backend.expect("a server speaks"), desk, &mut sink)
        });
        assert!(used <= input.len(), "used more than there was");
        let written = sink.forward.bytes(input).len() + sink.back.len();
        let frames = input.len() / 5 + 1;
        assert!(
            written <= input.len() + frames * (ADDED_MAX + self.heard_bytes) + owed * 5,
            "{written} bytes out of {}",
            input.len()
        );
        if matches!(heard, Heard::Going | Heard::Settled) {
            self.head_is_the_servers();
        }
        (used, heard)
    }

    fn listen_to_server(&mut self, bytes: &[u8], choices: &mut Choices<'_>) {
        let (mut start, mut end) = (0, 0);
        while end < bytes.len() && self.backend.is_some() {
            end = (end + 1 + choices.below(40)).min(bytes.len());
            loop {
                let (used, heard) = self.server_step(&bytes[start..end]);
                start += used;
                match heard {
                    Heard::Going => break,
                    Heard::UnitEnded => {}
                    Heard::Settled if used > 0 => {}
                    Heard::Settled => panic!("settled by nothing"),
                    Heard::SettingsRefused | Heard::Elsewhere(_) | Heard::Ending | Heard::Broken(_) => return,
                }
            }
        }
        if let Some(backend) = &mut self.backend {
            let _ = self.session.wind_up(backend);
        }
    }

    /// What pgshunt itself has to say was said when its turn came: the queue's head is always the server's to answer.
    fn head_is_the_servers(&self) {
        let between_frames = self
            .backend
            .as_ref()
            .filter(|backend| backend.is_between_frames());
        let head = between_frames.and_then(|backend| backend.pipeline.head());
        assert!(
            !matches!(
                head,
                Some(
                    Expect::SayParsed(_)
                        | Expect::SayClosed(_)
                        | Expect::Forgets(..)
                        | Expect::Gone(_)
                        | Expect::HandedOver(..)
                        | Expect::EndedAll(_)
                        | Expect::CopyEnd
                )
            ),
            "{head:?} will wait for ever"
        );
    }
}

fn owed(expect: &Expect) -> Owed {
    match expect {
        Expect::Query | Expect::EarlySyncs { .. } | Expect::Own(_) => Owed::Query,
        Expect::FunctionCall => Owed::Function,
        Expect::Sync => Owed::Ready,
        Expect::Parse(_) | Expect::ParseUnnamed(..) | Expect::OwnParse(_) | Expect::Told(_) => Owed::Parse,
        Expect::Bind | Expect::Misbound(_) | Expect::OwnBind => Owed::Bind,
        Expect::DescribeStatement(_) | Expect::OwnDescribe(..) | Expect::Fails(_) => Owed::Statement,
        Expect::DescribePortal(_) => Owed::Portal,
        Expect::Execute | Expect::OwnExecute => Owed::Execute,
        Expect::Close | Expect::OwnClose(_) => Owed::Close,
        Expect::SayParsed(_)
        | Expect::SayClosed(_)
        | Expect::Forgets(..)
        | Expect::Gone(_)
        | Expect::HandedOver(..)
        | Expect::EndedAll(_)
        | Expect::CopyEnd => unreachable!("checked at each step"),
    }
}
