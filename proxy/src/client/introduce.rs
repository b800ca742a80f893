//! What a server reports to a client with given startup settings: asked of a server once, then known.
//!
//! A startup setting the server refuses ends the login with the server's own words, as at a PostgreSQL.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use crate::fault::Fault;
use crate::net::buffer::Buffers;
use crate::pool::Pool;
use crate::pool::lease::{Answer, Lease};
use crate::protocol::message::error_field;
use crate::protocol::session::reported::Reported;
use crate::protocol::session::settings::{Shared, change};
use crate::protocol::sqlstate::{self, SqlState};

/// Why a client is not let in.
pub enum NotWelcome {
    /// What it is told.
    Fault(Fault),
}

/// Combinations of startup settings remembered in each pool.
const REMEMBERED_MAX: usize = 256;

/// What servers of this pool report to a client with these settings.
pub async fn introduce(pool: &Rc<Pool>, startup: &Shared, buffers: &Buffers) -> Result<Reported, NotWelcome> {
    let known = pool
        .welcomes
        .borrow()
        .iter()
        .find(|(known, _)| known == startup)
        .map(|(_, reported)| reported.clone());
    if let Some(reported) = known {
        return Ok(reported);
    }
    let mut lease = borrow(pool).await.map_err(NotWelcome::Fault)?;
    if let Some(change) = change(&lease.backend.settings, startup) {
        match lease.run(&change.sql, buffers).await {
            Ok(Ok(())) => lease.backend.settings = startup.clone(),
            Ok(Err(error)) => return Err(NotWelcome::Fault(told(&error))),
            Err(_) => {
                let fault = Fault::fatal(
                    sqlstate::CONNECTION_FAILURE,
                    "the server closed the connection unexpectedly",
                );
                return Err(NotWelcome::Fault(fault));
            }
        }
    }
    let reported = lease.backend.reported.clone();
    lease.give_back();
    let mut welcomes = pool.welcomes.borrow_mut();
    if welcomes.len() >= REMEMBERED_MAX {
        welcomes.remove(0);
    }
    welcomes.push((startup.clone(), reported.clone()));
    Ok(reported)
}

async fn borrow(pool: &Rc<Pool>) -> Result<Lease, Fault> {
    let mut ticket = None;
    poll_fn(|cx| {
        if ticket.is_none() {
            match pool.borrow(0, || cx.waker().clone()) {
                Answer::Lent(lease) => return Poll::Ready(Ok(lease)),
                Answer::Refused(fault) => return Poll::Ready(Err(fault)),
                Answer::Queued(place) => ticket = Some(place),
            }
        }
        match ticket.as_ref().and_then(|ticket| ticket.outcome()) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    })
    .await
}

/// A server's ErrorResponse in the words of a fault.
fn told(error: &[u8]) -> Fault {
    let field = |tag| error_field(error, tag).map(|text| String::from_utf8_lossy(text).into_owned());
    let code = error_field(error, b'C')
        .and_then(|code| code.try_into().ok())
        .map_or(sqlstate::INTERNAL, SqlState);
    Fault {
        detail: field(b'D'),
        hint: field(b'H'),
        ..Fault::fatal(
            code,
            field(b'M').unwrap_or_else(|| "the server refused a startup setting".into()),
        )
    }
}
