//! The gathering server: what plays one PostgreSQL towards a session whose statement is for several shards.
//!
//! It speaks the protocol over a pipe (`line`), and holds one server of each shard that takes part (`part`), borrowed from the
//! shard's own pool (`join`). `run` finds the shards of a statement; `rows` brings their rows together, `merged` in order,
//! `finished` where PostgreSQL makes one answer of partial ones, `copied` for COPY; `block` keeps transactions and settings the
//! same everywhere; `wait` hears all of them. How rows compare and what arrays look like is `protocol::merge`.
//!
//! To the session it is a server like any other, lent for as long as any other would be.

mod block;
mod commit;
mod copied;
mod course;
mod cursors;
mod finished;
mod forms;
mod held;
mod inserted;
mod join;
mod line;
mod merged;
mod moves;
mod part;
mod rows;
mod run;
mod schema;
mod source;
mod statement;
mod terms;
mod texts;
mod wait;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use block::Block;
pub(super) use course::{Course, Seat};
use cursors::Cursor;
use line::{Line, PIPE_BYTES, Said};
use part::Part;
use rows::Kept;
use statement::{Bound, Statement};
pub(super) use terms::{Site, Terms};

use crate::fault::Fault;
use crate::net::stream::Stream;
use crate::pool::Pool;
use crate::pool::lease::Lease;
use crate::protocol::message::{Named, Parse, cstr, query_text};
use crate::protocol::session::Backend;
use crate::protocol::session::reported::Reported;
use crate::protocol::{reply, sqlstate};
use crate::server::hail::Hail;
use crate::server::held::Server;

/// The server.
struct Gather {
    terms: Terms,
    line: Line,
    hail: Arc<Hail>,
    /// Servers in hand, by the place of their shard among the terms'.
    parts: Vec<Option<Part>>,
    /// The client's transaction.
    block: Option<Block>,
    /// `I`, `T` or `E`.
    status: u8,
    /// Blocks are open on shards for a transaction nobody has begun: it ends with the unit.
    is_implicit: bool,
    /// A shard was lost in the middle of the transaction.
    is_doomed: bool,
    /// Texts that have set something for the session, for shards that come later.
    sets: Vec<Vec<u8>>,
    /// The shards asked last write floating point exactly.
    floats_are_exact: bool,
    /// Cursors over one shard's rows, and the shards they are on.
    cursors: HashMap<String, usize>,
    /// Cursors over several shards.
    held_cursors: HashMap<String, Cursor>,
    /// So many cursors and portals have had rows that come as they are asked for.
    sources: u64,
    statements: HashMap<Box<[u8]>, Rc<Statement>>,
    portals: HashMap<Box<[u8]>, Portal>,
    /// What is reported to the session.
    reported: Reported,
    /// A message of the unit has failed: nothing is done up to Sync.
    skips: bool,
    /// The client has asked for a cancel of what runs, and the shards have been.
    wants_cancel: bool,
    deadline: Option<Instant>,
    /// Positions in errors are those of the statement's text.
    keeps_position: bool,
    /// Characters that stand before the statement in the client's text.
    before: usize,
    /// The shard where it last locked something that others meet at.
    met: Option<usize>,
    /// The last notice passed on.
    notice: Vec<u8>,
    turn: usize,
    /// Where rows go, if not to the session.
    kept: Option<Kept>,
}

/// A bound statement.
struct Portal {
    statement: Rc<Statement>,
    bound: Rc<Bound>,
    /// It was run, and its rows wait.
    kept: Option<Kept>,
    is_done: bool,
    /// Its rows could not be fetched to their end.
    is_broken: bool,
}

impl Portal {
    /// The number of what its rows come from, if they come as they are asked for.
    fn source(&self) -> Option<u64> {
        Some(self.kept.as_ref()?.source.as_ref()?.id)
    }
}

/// Why a message could not be done.
#[derive(Debug)]
enum Halt {
    /// With this ErrorResponse.
    Failed(Vec<u8>),
    /// The session is gone.
    Gone,
}

impl Halt {
    fn of(fault: &Fault) -> Halt {
        let mut bytes = Vec::new();
        fault.write(&mut bytes);
        Halt::Failed(bytes)
    }

    fn refused(what: impl Into<String>) -> Halt {
        Halt::of(&Fault::error(sqlstate::FEATURE_NOT_SUPPORTED, what))
    }
}

/// What the gathering server takes over from the session's transaction.
pub(super) struct Begun {
    /// The place of the shard it is on.
    pub at: usize,
    /// The server it is on.
    pub lease: Lease,
    /// What has been said in it that a server must hear before it can take part, in order: savepoints and their ends, settings,
    /// cursors.
    pub said: Vec<Vec<u8>>,
    /// It may have notified others.
    pub notifies: bool,
}

/// Lends a gathering server.
pub(super) fn lend(own: &Rc<Pool>, terms: Terms, begun: Option<Begun>, reported: &Reported) -> Lease {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let hail = Arc::new(Hail::default());
    let mut backend = Backend::new(own.plan.key.user.as_bytes().into(), reported.clone());
    backend.settings = terms.settings.clone();
    let target = own.any_target();
    let mut parts: Vec<Option<Part>> = Vec::new();
    parts.resize_with(terms.shards.len(), || None);
    let mut gather = Gather {
        terms,
        line: Line::new(theirs),
        hail: hail.clone(),
        parts,
        block: None,
        status: b'I',
        is_implicit: false,
        is_doomed: false,
        sets: Vec::new(),
        floats_are_exact: true,
        cursors: HashMap::new(),
        held_cursors: HashMap::new(),
        sources: 0,
        statements: HashMap::new(),
        portals: HashMap::new(),
        reported: reported.clone(),
        skips: false,
        wants_cancel: false,
        deadline: None,
        keeps_position: false,
        before: 0,
        met: None,
        notice: Vec::new(),
        turn: 0,
        kept: None,
    };
    if let Some(begun) = begun {
        backend.status = b'T';
        gather.take_over(begun);
    }
    tokio::task::spawn_local(gather.serve());
    let id = own.plan.ledger.next_id();
    Lease::played(
        own.clone(),
        Server::played(id, target, Stream::Within(ours), backend, hail),
    )
}

impl Gather {
    /// Serves the session until it gives the server back.
    async fn serve(mut self) {
        while let Some(said) = self.line.frame().await {
            if said.kind == b'X' {
                break;
            }
            self.hail.begin();
            self.wants_cancel = false;
            match self.hear(said).await {
                Ok(()) => {}
                Err(Halt::Failed(error)) => {
                    self.fail(&error).await;
                    self.skips = true;
                }
                Err(Halt::Gone) => {
                    self.cancel_all();
                    self.drain().await;
                    break;
                }
            }
        }
        for part in self.parts.into_iter().flatten() {
            let buffers = self.terms.worker.buffers.clone();
            tokio::task::spawn_local(async move { part.release(&buffers).await });
        }
    }

    async fn hear(&mut self, said: Said) -> Result<(), Halt> {
        let body = &said.body[..];
        self.before = 0;
        match said.kind {
            b'S' => return self.sync().await,
            b'H' | b'd' | b'c' | b'f' => return Ok(()),
            // As a PostgreSQL does, up to the Sync.
            _ if self.skips => return Ok(()),
            b'Q' => return self.query(body).await,
            b'P' => self.parse(body).await?,
            b'B' => self.bind(body).await?,
            b'D' => self.describe(body).await?,
            b'E' => self.execute(body).await?,
            b'C' => self.close(body).await?,
            _ => {
                let text = "this kind of message can't be answered by several shards";
                return Err(Halt::refused(text));
            }
        }
        self.line.press().await
    }

    /// A statement has failed: no shard works on, and the transaction is a failed one.
    async fn fail(&mut self, error: &[u8]) {
        self.kept = None;
        self.drain().await;
        self.line.out.extend_from_slice(error);
        if self.has_begun() {
            self.status = b'E';
        } else {
            self.roll_back().await;
        }
    }

    async fn sync(&mut self) -> Result<(), Halt> {
        let was_skipping = std::mem::take(&mut self.skips);
        if !was_skipping
            && self.block.is_none()
            && let Err(halt) = self.end_implicit().await
        {
            match halt {
                Halt::Failed(error) => self.fail(&error).await,
                Halt::Gone => return Err(Halt::Gone),
            }
        }
        if self.block.is_none() {
            self.portals.clear();
        }
        self.ready();
        self.line.flush().await
    }

    fn ready(&mut self) {
        if self.block.is_none() && self.has_kept_cursors() {
            self.let_go_of_idle();
        }
        reply::ready_for_query(&mut self.line.out, self.status);
    }

    async fn query(&mut self, body: &[u8]) -> Result<(), Halt> {
        // A simple query ends the unnamed statement and portal.
        self.statements.remove(&b""[..]);
        let text = query_text(body).unwrap_or_default();
        match self.run_query(text).await {
            Ok(tag) => self.line.out.extend_from_slice(&tag),
            Err(Halt::Failed(error)) => self.fail(&error).await,
            Err(Halt::Gone) => return Err(Halt::Gone),
        }
        if self.block.is_none() {
            self.portals.clear();
        }
        self.ready();
        self.line.flush().await
    }

    async fn run_query(&mut self, text: &[u8]) -> Result<Vec<u8>, Halt> {
        self.end_portal(b"").await?;
        match self.statements_of(text)? {
            several if several.len() > 1 => self.run_each(text, &several).await,
            _ => self.run_text(text).await,
        }
    }

    /// A portal is no more.
    async fn end_portal(&mut self, name: &[u8]) -> Result<(), Halt> {
        let kept = self.portals.remove(name).and_then(|portal| portal.kept);
        match kept.and_then(|kept| kept.source) {
            Some(source) => self.end_source(&source).await,
            None => Ok(()),
        }
    }

    async fn parse(&mut self, body: &[u8]) -> Result<(), Halt> {
        let view = Parse::read(body).ok_or_else(malformed)?;
        let statement = Statement::read(view.rest).ok_or_else(malformed)?;
        if self.statements.len() >= STATEMENTS_MAX {
            let text = "too many prepared statements in one transaction over several shards";
            return Err(Halt::of(&Fault::error(sqlstate::PROGRAM_LIMIT, text)));
        }
        // A mistake in it is one of the Parse.
        self.tell(&statement).await?;
        self.statements.insert(view.name.into(), Rc::new(statement));
        reply::parse_complete(&mut self.line.out);
        Ok(())
    }

    async fn bind(&mut self, body: &[u8]) -> Result<(), Halt> {
        let (portal, rest) = cstr(body).ok_or_else(malformed)?;
        let (name, rest) = cstr(rest).ok_or_else(malformed)?;
        let statement = self.statement(name)?;
        let bound = Bound::read(rest).ok_or_else(malformed)?;
        self.tell(&statement).await?;
        let expected = statement.types_known().len();
        if bound.values.len() != expected {
            let text = format!(
                "bind message supplies {} parameters, but prepared statement \"{}\" requires {expected}",
                bound.values.len(),
                String::from_utf8_lossy(name)
            );
            return Err(Halt::of(&Fault::error(sqlstate::PROTOCOL_VIOLATION, text)));
        }
        let portal_new = Portal {
            statement,
            bound: Rc::new(bound),
            kept: None,
            is_done: false,
            is_broken: false,
        };
        self.end_portal(portal).await?;
        self.portals.insert(portal.into(), portal_new);
        reply::frame(&mut self.line.out, b'2', |_| ());
        Ok(())
    }

    async fn describe(&mut self, body: &[u8]) -> Result<(), Halt> {
        let (statement, formats) = match Named::read(body).ok_or_else(malformed)? {
            Named::Statement(name) => (self.statement(name)?, None),
            Named::Portal(name) if !self.portals.contains_key(name) => {
                return self.describe_cursor(name).await;
            }
            Named::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.statement.clone(), Some(portal.bound.results.clone()))
            }
        };
        self.tell(&statement).await?;
        let told = statement.told.borrow();
        let told = told.as_ref();
        let out = &mut self.line.out;
        if formats.is_none() {
            let types = told.map_or(&[][..], |told| &told.types);
            reply::frame(out, b't', |out| {
                out.extend_from_slice(&(types.len() as u16).to_be_bytes());
                types
                    .iter()
                    .for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
            });
        }
        match told.and_then(|told| told.rows.as_ref()) {
            Some(rows) => rows.write(out, &formats.unwrap_or_default()),
            None => reply::frame(out, b'n', |_| ()),
        }
        Ok(())
    }

    async fn execute(&mut self, body: &[u8]) -> Result<(), Halt> {
        let (name, rest) = cstr(body).ok_or_else(malformed)?;
        let rows_max: [u8; 4] = rest.try_into().map_err(|_| malformed())?;
        let rows_max = usize::try_from(i32::from_be_bytes(rows_max)).unwrap_or(0);
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let done = self.execute_portal(&mut portal, rows_max).await;
        if !portal.is_broken {
            self.portals.insert(name.into(), portal);
        }
        done
    }

    async fn close(&mut self, body: &[u8]) -> Result<(), Halt> {
        match Named::read(body) {
            Some(Named::Statement(name)) => drop(self.statements.remove(name)),
            Some(Named::Portal(name)) => self.end_portal(name).await?,
            None => {}
        }
        reply::close_complete(&mut self.line.out);
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<Rc<Statement>, Halt> {
        self.statements.get(name).cloned().ok_or_else(|| {
            let text = match name {
                b"" => "unnamed prepared statement does not exist".to_owned(),
                name => format!(
                    "prepared statement \"{}\" does not exist",
                    String::from_utf8_lossy(name)
                ),
            };
            Halt::of(&Fault::error(sqlstate::NO_SUCH_STATEMENT, text))
        })
    }
}

/// Statements one gathering server keeps.
const STATEMENTS_MAX: usize = 10_000;

fn malformed() -> Halt {
    Halt::of(&Fault::error(
        sqlstate::PROTOCOL_VIOLATION,
        "invalid message format",
    ))
}

fn no_portal(name: &[u8]) -> Halt {
    let text = format!("portal \"{}\" does not exist", String::from_utf8_lossy(name));
    Halt::of(&Fault::error(sqlstate::NO_SUCH_PORTAL, text))
}
