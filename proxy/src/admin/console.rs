//! The console's sockets: limits, the loop of messages, answers written. What is said is `talk`'s.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::cancel::Keys;
use super::login::{Guest, Remembered, log_in};
use super::lookout::Lookout;
use super::talk::{Next, Talk};
use crate::client::arrive::adopt;
use crate::client::worker::Accepted;
use crate::fault::Fault;
use crate::net::inbox::{Inbox, InboxError};
use crate::net::stream::Stream;
use crate::protocol::sqlstate;

/// The longest message at the console.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The most connections to the console at one time, logged in or not.
pub const GUESTS_MAX: usize = 100;

/// How long a guest may be silent.
pub const IDLE_MAX: Duration = Duration::from_secs(4 * 3600);

/// How long a guest may take to log in where `client_login_timeout` sets no limit.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);

/// How long a guest may take to read an answer.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// How long a command may go on whose guest has hung up.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// Answers are sent on when they grow beyond this, even if nobody asked for them yet.
const OUT_BYTES_MAX: usize = 1024 * 1024;

/// The console.
pub struct Console {
    lookout: Rc<Lookout>,
    remembered: Remembered,
    keys: Keys,
    guests: Cell<usize>,
}

impl Console {
    /// A console that sees what `lookout` sees.
    pub fn new(lookout: Rc<Lookout>) -> Rc<Self> {
        Rc::new(Console {
            lookout,
            remembered: Remembered::default(),
            keys: Keys::default(),
            guests: Cell::new(0),
        })
    }

    /// Serves one connection from its first byte to its last.
    pub async fn serve(self: Rc<Self>, accepted: Accepted) {
        let guest = Counted::new(&self);
        if self.guests.get() > GUESTS_MAX {
            return turn_away(accepted).await;
        }
        let limit = match self.lookout.common.snapshot.load().limits.client_login_timeout {
            Duration::ZERO => LOGIN_WITHIN,
            limit => limit,
        };
        let login = log_in(&self.lookout.common, (&self.remembered, &self.keys), accepted);
        if let Ok(Some(guest)) = tokio::time::timeout(limit, Box::pin(login)).await {
            converse(&self.lookout, guest).await;
        }
        drop(guest);
    }
}

struct Counted<'a>(&'a Console);

impl<'a> Counted<'a> {
    fn new(console: &'a Console) -> Self {
        console.guests.set(console.guests.get() + 1);
        Counted(console)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.guests.set(self.0.guests.get() - 1);
    }
}

async fn turn_away(accepted: Accepted) {
    if let Some((socket, _)) = adopt(accepted, &Default::default()) {
        let text = "too many connections to the console";
        farewell(
            &mut socket.into(),
            Fault::fatal(sqlstate::TOO_MANY_CONNECTIONS, text),
        )
        .await;
    }
}

async fn converse(lookout: &Rc<Lookout>, guest: Guest) {
    let Guest {
        mut stream,
        mut inbox,
        user,
        database,
        role,
        key,
    } = guest;
    let mut talk = Talk::new(lookout.clone(), user, database, role);
    loop {
        // Cancel safe: what has been read stays in the inbox.
        let message = inbox.message(&mut stream, MESSAGE_BYTES_MAX);
        let (kind, body) = match tokio::time::timeout(IDLE_MAX, message).await {
            Ok(Ok(message)) => message,
            Ok(Err(InboxError::Length)) => {
                let text = "invalid message length";
                return farewell(&mut stream, Fault::fatal(sqlstate::PROTOCOL_VIOLATION, text)).await;
            }
            Ok(Err(InboxError::Closed | InboxError::Io(_))) => return,
            Err(_) => {
                let text = "terminating connection due to idle-session timeout";
                return farewell(&mut stream, Fault::fatal(sqlstate::IDLE_SESSION, text)).await;
            }
        };
        // Some commands wait, and nobody waits for a guest who has left.
        let next = tokio::select! {
            biased;
            next = talk.hear(kind, &body) => Some(next),
            // Cancel safe: what has been read stays in the inbox.
            () = left(&mut inbox, &mut stream) => return,
            () = key.is_used() => None,
        };
        let next = match next {
            Some(next) => next,
            None => talk.cancelled(kind).await,
        };
        let is_written = match next {
            Next::Listen if talk.out.len() < OUT_BYTES_MAX => true,
            Next::Listen | Next::Write | Next::End => write(&mut stream, &mut talk.out).await,
        };
        if next == Next::End || !is_written {
            let _ = tokio::time::timeout(READ_WITHIN, stream.shutdown()).await;
            return;
        }
    }
}

/// Returns when the guest has hung up, and a command that was not to wait has had the time it takes.
async fn left(inbox: &mut Inbox, stream: &mut Stream) {
    inbox.ended(stream, MESSAGE_BYTES_MAX).await;
    tokio::time::sleep(LEFT_ALONE).await;
}

async fn farewell(stream: &mut Stream, fault: Fault) {
    let mut out = Vec::new();
    fault.write(&mut out);
    if write(stream, &mut out).await {
        let _ = tokio::time::timeout(READ_WITHIN, stream.shutdown()).await;
    }
}

/// Writes everything; false if the guest did not take it.
async fn write(stream: &mut Stream, out: &mut Vec<u8>) -> bool {
    let bytes = std::mem::take(out);
    let all = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    matches!(tokio::time::timeout(READ_WITHIN, all).await, Ok(Ok(())))
}
