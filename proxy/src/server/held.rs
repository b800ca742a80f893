//! A server in hand: its stream, what is in flight on it, and what is known of what it holds.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::buffer::{Buffers, Inbox, Outbox};
use crate::net::stream::Stream;
use crate::protocol::frame::{self, HEADER};
use crate::protocol::reply;
use crate::protocol::session::Backend;
use crate::protocol::session::reported;
use crate::protocol::session::settings::Settings;
use crate::server::address::Target;
use crate::server::connect::LoggedIn;
use crate::server::hail::Hail;

/// What is needed to cancel a statement on one server.
#[derive(Debug)]
pub struct CancelPoint {
    /// Where the server is.
    pub target: Arc<Target>,
    /// Its process id.
    pub pid: i32,
    /// Its secret.
    pub secret: Vec<u8>,
    /// Cancel requests on their way: while there are any, the server is lent to nobody.
    pub on_their_way: AtomicU32,
    /// It is played within pgshunt: this is how it is told.
    pub hail: Option<Arc<Hail>>,
}

/// What does not change about a server: it can be counted by this while a client has it in its hands.
#[derive(Debug)]
pub struct Facts {
    /// Its number, unique in the process.
    pub id: u64,
    /// Where it is.
    pub target: Arc<Target>,
    /// Its process id.
    pub pid: i32,
    /// TLS version and cipher; empty without TLS.
    pub tls: Box<str>,
    /// Our end of the line; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    /// The server's end of it.
    pub peer: Option<SocketAddr>,
    /// When it logged in.
    pub connect_time: SystemTime,
    /// Which of its pool's generations it belongs to: one for each time that all servers were to be connected anew.
    pub generation: u64,
}

/// A logged-in server.
pub struct Server {
    /// Its number, unique in the process.
    pub id: u64,
    /// The line to it.
    pub stream: Stream,
    /// Bytes it sent, not yet used.
    pub inbox: Inbox,
    /// Bytes for it, not yet taken.
    pub outbox: Outbox,
    /// What it holds.
    pub backend: Backend,
    /// How to cancel on it.
    pub cancel: Arc<CancelPoint>,
    /// When it logged in.
    pub connected_at: Instant,
    /// What does not change about it.
    pub facts: Rc<Facts>,
    /// When it was last given back.
    pub idle_since: Instant,
    /// What its limits of time are multiplied by, so that servers don't close together: 0.8 to 1.2.
    pub jitter: f64,
    /// It writes floating point exactly while nobody sets otherwise, and when it said so.
    pub writes_exactly: Option<(Instant, bool)>,
}

/// The line to a server broke, or the server broke the protocol.
#[derive(Debug)]
pub struct Lost;

impl Server {
    /// A server just logged in.
    pub fn new(
        (id, generation): (u64, u64),
        target: Arc<Target>,
        login: Arc<[u8]>,
        logged_in: LoggedIn,
    ) -> Self {
        let now = Instant::now();
        let reported = Arc::new(Settings::collect(logged_in.parameters));
        let facts = Facts {
            id,
            target: target.clone(),
            pid: logged_in.pid,
            tls: logged_in.stream.tls().into(),
            local: logged_in.stream.local_addr(),
            peer: logged_in.stream.peer_addr(),
            connect_time: SystemTime::now(),
            generation,
        };
        let cancel = CancelPoint {
            target,
            pid: logged_in.pid,
            secret: logged_in.cancel_secret,
            on_their_way: AtomicU32::new(0),
            hail: None,
        };
        let mut backend = Backend::new(login, reported);
        backend.pid = logged_in.pid;
        Server {
            id,
            stream: logged_in.stream,
            inbox: Inbox::with(logged_in.rest),
            outbox: Outbox::default(),
            backend,
            cancel: Arc::new(cancel),
            connected_at: now,
            facts: Rc::new(facts),
            idle_since: now,
            jitter: 0.8 + 0.4 * ((id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / f64::from(1 << 24)),
            writes_exactly: None,
        }
    }

    /// A server played within pgshunt, at the other end of this line.
    pub fn played(id: u64, target: Arc<Target>, stream: Stream, backend: Backend, hail: Arc<Hail>) -> Self {
        let logged_in = LoggedIn {
            stream,
            pid: 0,
            cancel_secret: Vec::new(),
            parameters: Vec::new(),
            rest: Vec::new(),
        };
        let mut server = Server::new((id, u64::MAX), target.clone(), backend.login.clone(), logged_in);
        server.backend = backend;
        server.cancel = Arc::new(CancelPoint {
            target,
            pid: 0,
            secret: Vec::new(),
            on_their_way: AtomicU32::new(0),
            hail: Some(hail),
        });
        server
    }

    /// Is this time over for it, counted from `since`? Zero is never over.
    pub fn is_past(&self, limit: Duration, since: Instant, now: Instant) -> bool {
        !limit.is_zero() && now.saturating_duration_since(since) >= limit.mul_f64(self.jitter)
    }

    /// Is a cancel request on its way to it?
    pub fn is_being_canceled(&self) -> bool {
        self.cancel.on_their_way.load(Ordering::Acquire) > 0
    }

    /// Is a free server still alive? It reads what came meanwhile: parameter changes are noted, a last word or the end
    /// of the stream means no. Costs no system call while nothing came.
    pub fn is_alive(&mut self, buffers: &Buffers) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if !self.note_idle_frames(buffers) {
                return false;
            }
            match self.inbox.poll_fill(&mut cx, &mut self.stream, buffers) {
                Poll::Pending => return self.inbox.is_empty(),
                Poll::Ready(Ok(0) | Err(_)) => return false,
                Poll::Ready(Ok(_)) => {}
            }
        }
    }

    fn note_idle_frames(&mut self, buffers: &Buffers) -> bool {
        loop {
            let bytes = self.inbox.bytes();
            let header = match frame::header(bytes) {
                Ok(Some(header)) if header.total <= bytes.len() => header,
                Ok(_) => return true,
                Err(_) => return false,
            };
            match header.kind {
                b'S' => reported::note(&mut self.backend.reported, &bytes[HEADER..header.total]),
                b'N' => {}
                _ => return false,
            }
            self.inbox.consume(header.total, buffers);
        }
    }

    /// Runs a query of pgshunt's own to its end and drops its rows. The inner error is the body of an ErrorResponse.
    ///
    /// # Errors
    /// [`Lost`] when the server can't be used any more.
    pub async fn run(&mut self, sql: &[u8], buffers: &Buffers) -> Result<Result<(), Vec<u8>>, Lost> {
        let mut bytes = Vec::new();
        reply::query(&mut bytes, sql);
        self.write(&bytes).await.map_err(|_| Lost)?;
        let mut failed = None;
        loop {
            let bytes = self.inbox.bytes();
            let whole = match frame::header(bytes) {
                Ok(Some(header)) if header.total <= bytes.len() => Some(header),
                Ok(_) => None,
                Err(_) => return Err(Lost),
            };
            let Some(header) = whole else {
                self.fill(buffers).await?;
                continue;
            };
            let body = &bytes[HEADER..header.total];
            let mut ready = false;
            match header.kind {
                b'S' => reported::note(&mut self.backend.reported, body),
                b'E' => failed = Some(body.to_vec()),
                b'Z' => {
                    self.backend.status = body.first().copied().unwrap_or(b'E');
                    ready = true;
                }
                b'G' | b'W' => return Err(Lost),
                _ => {}
            }
            self.inbox.consume(header.total, buffers);
            if ready {
                return Ok(failed.map_or(Ok(()), Err));
            }
        }
    }

    /// Writes all of `bytes` before it returns.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Server { stream, outbox, .. } = self;
        let mut first = Some(bytes);
        std::future::poll_fn(|cx| {
            if let Some(bytes) = first.take() {
                outbox.write(cx, stream, bytes)?;
            }
            outbox.poll_flush(cx, stream)
        })
        .await
    }

    /// Reads once.
    pub async fn fill(&mut self, buffers: &Buffers) -> Result<(), Lost> {
        let Server { stream, inbox, .. } = self;
        match std::future::poll_fn(|cx| inbox.poll_fill(cx, stream, buffers)).await {
            Ok(0) | Err(_) => Err(Lost),
            Ok(_) => Ok(()),
        }
    }

    /// Says goodbye and waits for the server to hang up, for a moment.
    pub async fn say_goodbye(mut self: Box<Self>) {
        let mut bye = Vec::new();
        reply::frame(&mut bye, b'X', |_| ());
        let goodbye = async {
            self.write(&bye).await?;
            self.stream.shutdown().await?;
            let mut rest = [0; 4096];
            while self.stream.read(&mut rest).await? > 0 {}
            Ok::<(), io::Error>(())
        };
        // A server that goes on talking, or is gone, is left to itself.
        let _ = tokio::time::timeout(LAST_MOMENT, goodbye).await;
    }
}

/// The longest a server may take to hang up.
const LAST_MOMENT: Duration = Duration::from_secs(1);
