//! A server in a client's hands, and a place in the queue for one. Whichever is dropped gives back what it holds.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use super::Pool;
use crate::fault::Fault;
use crate::server::held::Server;

/// What asking for a server led to.
pub enum Answer {
    /// A server.
    Lent(Lease),
    /// A place in the queue.
    Queued(Ticket),
    /// A reason why not.
    Refused(Fault),
}

/// A lent server. Dropped, it is closed: only [`Lease::give_back`] lets another client have it.
pub struct Lease {
    server: Option<Box<Server>>,
    pool: Rc<Pool>,
    /// When it was lent.
    pub since: Instant,
}

impl Lease {
    pub(super) fn new(pool: Rc<Pool>, server: Box<Server>) -> Self {
        Lease {
            server: Some(server),
            pool,
            since: Instant::now(),
        }
    }

    /// A server played within pgshunt, of no pool's: `pool` is the session's own.
    pub fn played(pool: Rc<Pool>, server: Server) -> Self {
        Lease::new(pool, Box::new(server))
    }

    /// The pool it goes back to.
    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// The server is idle, clean and owed nothing: the next client may have it.
    pub fn give_back(mut self) {
        if let Some(server) = self.server.take()
            // What is played ends with its line.
            && server.cancel.hail.is_none()
        {
            self.pool.give_back(server);
        }
    }
}

impl Deref for Lease {
    type Target = Server;
    fn deref(&self) -> &Server {
        self.server
            .as_ref()
            .expect("a lease holds its server until it is consumed")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Server {
        self.server
            .as_mut()
            .expect("a lease holds its server until it is consumed")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            match &server.cancel.hail {
                Some(hail) => hail.leave(),
                None => self.pool.retire(server),
            }
        }
    }
}

enum State {
    Waiting,
    Served(Box<Server>),
    Refused(Fault),
    Gone,
}

/// Is a client to be told that it waits?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    NotYet,
    Due,
    Given,
}

/// One client in the queue.
pub struct Waiter {
    state: RefCell<State>,
    waker: Waker,
    notice: Cell<Notice>,
    /// Since when it waits.
    pub since: Instant,
}

impl Waiter {
    pub(super) fn new(waker: Waker) -> Self {
        Waiter {
            state: RefCell::new(State::Waiting),
            waker,
            notice: Cell::new(Notice::NotYet),
            since: Instant::now(),
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(*self.state.borrow(), State::Waiting)
    }

    pub(super) fn serve(&self, server: Box<Server>) {
        *self.state.borrow_mut() = State::Served(server);
        self.waker.wake_by_ref();
    }

    /// Its client is to be told that it waits; once is enough.
    pub(super) fn notify(&self) {
        if self.is_waiting() && self.notice.get() == Notice::NotYet {
            self.notice.set(Notice::Due);
            self.waker.wake_by_ref();
        }
    }

    pub(super) fn refuse(&self, fault: Fault) {
        *self.state.borrow_mut() = State::Refused(fault);
        self.waker.wake_by_ref();
    }
}

/// A place in the queue. Dropped, it is given up, and a server that had already come goes back.
pub struct Ticket {
    pool: Rc<Pool>,
    waiter: Rc<Waiter>,
}

impl Ticket {
    pub(super) fn new(pool: Rc<Pool>, waiter: Rc<Waiter>) -> Self {
        Ticket { pool, waiter }
    }

    /// The pool whose queue it is in.
    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// Has something come of the waiting, or is the client to be told that it goes on?
    pub fn has_news(&self) -> bool {
        let is_settled = matches!(*self.waiter.state.borrow(), State::Served(_) | State::Refused(_));
        is_settled || self.waiter.notice.get() == Notice::Due
    }

    /// Has the client waited so long that it is to be told? True once.
    pub fn takes_notice(&self) -> bool {
        let is_due = self.waiter.notice.get() == Notice::Due;
        if is_due {
            self.waiter.notice.set(Notice::Given);
        }
        is_due
    }

    /// What has come of the waiting; `None` while it goes on.
    pub fn outcome(&self) -> Option<Result<Lease, Fault>> {
        let mut state = self.waiter.state.borrow_mut();
        match std::mem::replace(&mut *state, State::Gone) {
            State::Waiting => {
                *state = State::Waiting;
                None
            }
            State::Served(server) => Some(Ok(Lease::new(self.pool.clone(), server))),
            State::Refused(fault) => Some(Err(fault)),
            State::Gone => None,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.waiter.state.borrow_mut(), State::Gone);
        if let State::Served(server) = state {
            self.pool.give_back(server);
        }
    }
}

impl Pool {
    /// One of the servers it connects to.
    pub fn any_target(&self) -> std::sync::Arc<crate::server::address::Target> {
        // INVARIANT: a pool has targets.
        self.targets.borrow()[0].clone()
    }
}
