//! Which free server a client gets, and whether it still answers.

use std::rc::Rc;
use std::time::Duration;

use super::Pool;
use crate::server::held::Server;

/// A client gets the server it had last, if that is free and was given back this recently: it has the client's settings
/// and statements. Later, the most recently used one is better: the others may grow old and be closed.
const FAMILIAR: Duration = Duration::from_secs(2);

/// How long a server may take to answer an empty query. Where one does not, what lies between may have forgotten the line.
const CHECK_WITHIN: Duration = Duration::from_secs(2);

impl Pool {
    /// A free server that is there for certain; `last` is the number of the one the client had last (0: none).
    pub(super) fn take_idle(self: &Rc<Self>, last: u64) -> Option<Box<Server>> {
        loop {
            let mut server = self.familiar(last).or_else(|| self.idle.borrow_mut().pop())?;
            if !server.is_alive(&self.buffers) {
                self.closed();
                continue;
            }
            if !self.is_doubtful(&server) {
                return Some(server);
            }
            // It is the one used last: so are the others. `check_one` asks them.
            self.idle.borrow_mut().push(server);
            return None;
        }
    }

    fn familiar(&self, last: u64) -> Option<Box<Server>> {
        let mut idle = self.idle.borrow_mut();
        let at = idle.iter().rposition(|server| server.id == last)?;
        (idle[at].idle_since.elapsed() < FAMILIAR).then(|| idle.remove(at))
    }

    /// Has it been idle for so long (`server_check_delay`) that it is asked before it is lent?
    fn is_doubtful(&self, server: &Server) -> bool {
        let delay = self.settings.borrow().server_check_delay;
        !delay.is_zero() && server.idle_since.elapsed() >= delay
    }

    /// Asks a free server whether it is still there, and lends it to whoever waits if it is. False: none is free.
    pub(super) fn check_one(self: &Rc<Self>) -> bool {
        let Some(mut server) = self.idle.borrow_mut().pop() else {
            return false;
        };
        self.checking.set(self.checking.get() + 1);
        let pool = self.clone();
        tokio::task::spawn_local(async move {
            // An empty query costs a server nothing but its unnamed statement.
            server.backend.unnamed = 0;
            let answer = tokio::time::timeout(CHECK_WITHIN, server.run(b"", &pool.buffers)).await;
            pool.checking.set(pool.checking.get() - 1);
            match answer {
                Ok(Ok(Ok(()))) => pool.give_back(server),
                Ok(Ok(Err(_)) | Err(_)) | Err(_) => pool.does_not_answer(server),
            }
        });
        true
    }

    /// It is closed, and so are the others that have idled for long.
    fn does_not_answer(self: &Rc<Self>, server: Box<Server>) {
        let (address, idle) = (&server.facts.target.address, server.idle_since.elapsed());
        tracing::warn!(%address, user = self.plan.key.user, ?idle, "a free server did not answer and was closed");
        let all = std::mem::take(&mut *self.idle.borrow_mut());
        let (doubtful, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|server| self.is_doubtful(server));
        *self.idle.borrow_mut() = kept;
        self.retire(server);
        doubtful.into_iter().for_each(|server| self.retire(server));
    }
}
