//! What a worker knows of one of its clients: enough to find it, wake it, count it, and end its waiting.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Instant, SystemTime};

use crate::pool::Pool;
use crate::protocol::session::pin::Pins;

/// Something a client's task is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Its statement is to be cancelled.
    Cancel,
    /// pgshunt stops, or the configuration has changed: look whether to leave when idle, and what mode to follow.
    Stop,
    /// Leave now.
    Kill,
    /// It ran or idled for too long; [`Handle::overdue`] says how.
    Overdue,
    /// A replica may be fresh enough for it now.
    Caught,
    /// Its server may be an old primary's.
    Fenced,
}

/// A limit on time that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// `query_timeout`
    Query,
    /// `transaction_timeout`
    Transaction,
    /// `idle_transaction_timeout`
    IdleTransaction,
    /// `client_idle_timeout`
    Idle,
    /// `server_fast_close`: the server it keeps is to be connected anew.
    Server,
}

/// What the client is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// Nothing: it holds no server and asks for none.
    #[default]
    Idle,
    /// It waits for a server.
    Waiting,
    /// A server works for it.
    Working,
    /// It holds a server that waits for its next statement, in a transaction.
    InTransaction,
    /// It holds a server because its session is pinned.
    Pinned,
}

/// The worker's side of a client.
pub struct Handle {
    /// Its number, unique in the process.
    pub id: u64,
    /// The process id it was given to cancel with.
    pub pid: i32,
    /// The secret it was given: 4 bytes, or 32 in protocol 3.2.
    pub secret: Box<[u8]>,
    /// Its pool.
    pub pool: Rc<Pool>,
    /// Where it comes from; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Where it came in; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    /// TLS version and cipher, empty without.
    pub tls: Box<str>,
    /// When it connected.
    pub connect_time: SystemTime,
    /// What it is doing.
    pub doing: Cell<Doing>,
    /// Since when.
    pub since: Cell<Instant>,
    /// When its transaction began, if it is in one.
    pub xact_since: Cell<Option<Instant>>,
    /// The number of the server it holds; 0 for none.
    pub link: Cell<u64>,
    /// Which of the primary pool's generations that server is of; `u64::MAX`: of none.
    pub generation: Cell<u64>,
    /// That server's process id.
    pub server_pid: Cell<i32>,
    /// Why it keeps it.
    pub pins: Cell<Pins>,
    /// Prepared statements it has.
    pub prepared: Cell<usize>,
    /// Its application_name.
    pub application_name: RefCell<Box<str>>,
    /// The limit it passed.
    pub overdue: Cell<Option<Overdue>>,
    signals: Cell<u8>,
    waker: RefCell<Option<Waker>>,
}

/// Who a client is, for [`Handle::new`].
pub struct Identity {
    /// Its number.
    pub id: u64,
    /// The process id it is given.
    pub pid: i32,
    /// The secret it is given.
    pub secret: Box<[u8]>,
    /// Where it comes from.
    pub peer: Option<SocketAddr>,
    /// Where it came in.
    pub local: Option<SocketAddr>,
    /// TLS version and cipher.
    pub tls: Box<str>,
    /// Its application_name at startup.
    pub application_name: Box<str>,
}

impl Handle {
    /// A client that has just logged in.
    pub fn new(identity: Identity, pool: Rc<Pool>) -> Rc<Self> {
        Rc::new(Handle {
            id: identity.id,
            pid: identity.pid,
            secret: identity.secret,
            pool,
            peer: identity.peer,
            local: identity.local,
            tls: identity.tls,
            connect_time: SystemTime::now(),
            doing: Cell::default(),
            since: Cell::new(Instant::now()),
            xact_since: Cell::new(None),
            link: Cell::new(0),
            generation: Cell::new(u64::MAX),
            server_pid: Cell::new(0),
            pins: Cell::default(),
            prepared: Cell::new(0),
            application_name: RefCell::new(identity.application_name),
            overdue: Cell::new(None),
            signals: Cell::new(0),
            waker: RefCell::new(None),
        })
    }

    /// Tells the client's task something and wakes it.
    pub fn signal(&self, signal: Signal) {
        self.signals.set(self.signals.get() | 1 << signal as u8);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Has the client look again once this has come to its end, at `until` at the latest; unless such a wait is under way, which
    /// `is_awaited` tells.
    pub fn looks_again(
        self: &Rc<Self>,
        is_awaited: &Rc<Cell<bool>>,
        until: Instant,
        learned: impl Future + 'static,
    ) {
        if is_awaited.replace(true) {
            return;
        }
        let (handle, is_awaited) = (self.clone(), is_awaited.clone());
        tokio::task::spawn_local(async move {
            let _ = tokio::time::timeout_at(until.into(), learned).await;
            is_awaited.set(false);
            handle.signal(Signal::Caught);
        });
    }

    /// Takes a signal if it was given.
    pub fn take(&self, signal: Signal) -> bool {
        let bit = 1 << signal as u8;
        let was = self.signals.get();
        self.signals.set(was & !bit);
        was & bit != 0
    }

    /// Was any signal given?
    pub fn is_signalled(&self) -> bool {
        self.signals.get() != 0
    }

    /// The task sleeps: this is how to wake it.
    pub fn sleeps(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    /// Notes what the client does from now on.
    pub fn does(&self, doing: Doing, now: Instant) {
        self.doing.set(doing);
        self.since.set(now);
    }
}
