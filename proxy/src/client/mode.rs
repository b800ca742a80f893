//! The mode of a client's pool and its session: the session follows when the client comes in, and whenever the
//! configuration has changed, between transactions.

use std::task::Context;
use std::time::Instant;

use super::relay::Client;
use crate::pool::settings::Mode;
use crate::protocol::session::pin::{Pin, Pins};
use crate::protocol::session::{Pooling, Session};

/// Has a session keep what this mode keeps, and its server for as long.
///
/// In PgBouncer's modes nothing keeps a server. In the others it is kept again as soon as something needs it.
pub fn follow(session: &mut Session, mode: Mode) {
    session.pooling = match mode {
        Mode::Auto | Mode::Session => Pooling::Faithful,
        Mode::Transaction => Pooling::Transactions,
        Mode::Statement => Pooling::Statements,
    };
    match mode {
        Mode::Auto => session.pins.remove(Pin::SessionMode),
        Mode::Session => session.pins.insert(Pin::SessionMode),
        Mode::Transaction | Mode::Statement => session.pins = Pins::default(),
    }
}

impl Client {
    /// The configuration may say another mode now: a client that idles follows at once, others when they are settled.
    pub(super) fn look_at_mode(&mut self, cx: &mut Context<'_>) {
        if self.handle.pool.mode() == self.mode || !self.is_idle() {
            return;
        }
        match self.lease {
            Some(_) => self.settle(cx, Instant::now()),
            None => self.follow_mode(),
        }
    }

    /// Follows the pool's mode. Only between transactions.
    pub(super) fn follow_mode(&mut self) {
        let mode = self.handle.pool.mode();
        if mode != self.mode && !self.session.has_begun() {
            self.mode = mode;
            follow(&mut self.session, mode);
        }
    }
}
